/** What `verify --json` answers. Pure. */
import { UserError } from "../helper/user_error";
import type { Verified } from "../protocol";

export interface Report {
  readonly verified: Verified;
  /** The same as a table for people. */
  readonly text: string;
}

export function readReport(output: string): Report {
  let document: unknown;
  try {
    document = JSON.parse(output);
  } catch {
    document = null;
  }
  if (typeof document !== "object" || document === null) throw new UserError("M706", "crash", "The Python helper did not answer with a JSON document; the log tells what it printed.", { stderr: output, known: { id: "helper-stopped", code: 0, signal: null, last: "" } });
  const fields = document as Readonly<Record<string, unknown>>;
  const number = (name: string): number => {
    const value = fields[name];
    return typeof value === "number" ? value : 0;
  };
  const { text, equal, within_budget: withinBudget } = fields;
  return {
    verified: {
      equal: equal === true,
      withinBudget: withinBudget === true,
      compared: number("compared"),
      peak: number("planned_peak"),
      eagerPeak: number("eager_peak"),
      overhead: number("overhead"),
      overheadLow: number("overhead_low"),
      overheadHigh: number("overhead_high"),
    },
    text: typeof text === "string" ? text : output,
  };
}
