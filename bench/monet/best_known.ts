import { readDocument } from "./document";
import { modeOf, type Instance, type Mode } from "./instance";

/** What Gurobi made of one point; objective and bound are null where the program is infeasible. */
export interface BestKnown {
  readonly model: string;
  readonly mode: Mode;
  readonly budget_gib: number;
  readonly objective: number | null;
  readonly bound: number | null;
  readonly gap_percent: number | null;
  readonly gurobi_seconds: number | null;
  readonly status: string;
}

const optional = { type: ["number", "null"] };
const schema = {
  type: "array",
  items: {
    type: "object",
    required: ["model", "mode", "budget_gib", "objective", "bound", "gap_percent", "gurobi_seconds", "status"],
    properties: {
      model: { type: "string" }, mode: { enum: ["i", "im", "icmn"] }, budget_gib: { type: "number", exclusiveMinimum: 0 },
      objective: optional, bound: optional, gap_percent: optional, gurobi_seconds: optional, status: { type: "string" },
    },
  },
};

export function parseBestKnown(text: string, file: string): readonly BestKnown[] {
  return readDocument<readonly BestKnown[]>(text, file, "list of best-known objectives", schema);
}

export function bestKnownOf(instance: Instance, rows: readonly BestKnown[]): readonly BestKnown[] {
  return rows.filter(({ model, mode }) => model === instance.model && mode === modeOf(instance)).sort((a, b) => a.budget_gib - b.budget_gib);
}
