/** What `verify --json` and `export --json` answer. Pure. */
import { UserError } from "../helper/user_error";
import type { Verified } from "../protocol";

export interface Report {
  readonly verified: Verified;
  /** The same as a table for people. */
  readonly text: string;
}

export interface Exported {
  /** What was written. */
  readonly file: string;
  /** Bytes: measured, measured, predicted. */
  readonly peak: number;
  readonly eagerPeak: number;
  readonly planPeak: number;
  readonly text: string;
}

interface Answer {
  readonly fields: Readonly<Record<string, unknown>>;
  /** 0 for what it doesn't say. */
  readonly number: (name: string) => number;
}

function answerOf(output: string): Answer {
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
  return { fields, number };
}

export function readExported(output: string): Exported {
  const { fields: { file, text }, number } = answerOf(output);
  return { file: typeof file === "string" ? file : "", peak: number("peak"), eagerPeak: number("eager_peak"), planPeak: number("plan_peak"), text: typeof text === "string" ? text : output };
}

export function readReport(output: string): Report {
  const { fields: { text, equal, within_budget: withinBudget }, number } = answerOf(output);
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
