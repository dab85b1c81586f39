import type { BestKnown } from "./best_known";
import type { Verdict } from "./check";
import type { Mode } from "./instance";
import type { Solved } from "./schedule";

/** One seed on one point: what the solver claims and what the check says of it. */
export interface Attempt {
  readonly seed: number;
  readonly solved: Solved | Error;
  readonly verdict: Verdict | null;
}

export interface Result {
  readonly model: string;
  readonly mode: Mode | null;
  readonly budgetGib: number;
  readonly best: BestKnown | null;
  /** Objectives that the check confirmed; infinite where there is no schedule. */
  readonly objective: { readonly median: number; readonly best: number; readonly worst: number };
  /** Ours above Gurobi's, as a share of Gurobi's; negative is better. */
  readonly aboveGurobi: number | null;
  /** The highest bound of all seeds. */
  readonly bound: number | null;
  /** How much cheaper than the median a schedule could be, as a share of it. */
  readonly gap: number | null;
  /** Of the slowest seed; null where the solver failed. */
  readonly seconds: { readonly search: number | null; readonly lp: number | null; readonly bound: number | null; readonly total: number | null };
  readonly schedules: number;
  readonly problems: readonly string[];
}

export function summarize(model: string, mode: Mode | null, budgetGib: number, best: BestKnown | null, attempts: readonly Attempt[]): Result {
  const solved = attempts.flatMap(({ solved }) => (solved instanceof Error ? [] : [solved]));
  const objectives = attempts.map(({ verdict }) => (verdict?.violations.length === 0 ? verdict.objective : Infinity)).sort((a, b) => a - b);
  const objective = { median: median(objectives), best: objectives.at(0) ?? Infinity, worst: objectives.at(-1) ?? Infinity };
  const bounds = solved.flatMap(({ bound }) => (bound === null ? [] : [bound]));
  const bound = bounds.length === 0 ? null : Math.max(...bounds);
  const slowest = (of: (each: Solved) => number): number | null => (solved.length < attempts.length ? null : Math.max(...solved.map(of)));
  const gurobi = best?.objective ?? null;
  const lps = solved.flatMap(({ lpBoundSeconds }) => (lpBoundSeconds === null ? [] : [lpBoundSeconds]));
  return {
    model,
    mode,
    budgetGib,
    best,
    objective,
    aboveGurobi: gurobi === null ? null : objective.median / gurobi - 1,
    bound,
    gap: bound === null || objective.median === Infinity ? null : 1 - bound / objective.median,
    seconds: {
      search: slowest(({ searchSeconds }) => searchSeconds),
      lp: lps.length === 0 ? null : Math.max(...lps),
      bound: slowest(({ boundSeconds }) => boundSeconds),
      total: slowest(({ searchSeconds, boundSeconds }) => searchSeconds + boundSeconds),
    },
    schedules: attempts.filter(({ verdict }) => verdict !== null).length,
    problems: [...attempts.flatMap(problemsOf), ...contradictions(objective.best, bounds, best)],
  };
}

function median(sorted: readonly number[]): number {
  const middle = (sorted.length - 1) / 2;
  const [low, high] = [sorted[Math.floor(middle)] ?? Infinity, sorted[Math.ceil(middle)] ?? Infinity];
  return low === high ? low : (low + high) / 2;
}

function problemsOf({ seed, solved, verdict }: Attempt): string[] {
  if (solved instanceof Error) return [`seed ${seed}: the solver failed: ${solved.message}`];
  if (verdict === null) return [];
  const [first, ...more] = verdict.violations;
  return [
    ...(first === undefined ? [] : [`seed ${seed}: ${first}${more.length > 0 ? `, and ${more.length} more` : ""}`]),
    ...(verdict.objective === solved.objective ? [] : [`seed ${seed}: the solver says ${solved.objective}, the check ${verdict.objective}`]),
  ];
}

/** A bound above a schedule that exists is wrong, whoever made either. */
function contradictions(objective: number, bounds: readonly number[], best: BestKnown | null): string[] {
  const slack = 1e-6;
  const known = Math.min(objective, best?.objective ?? Infinity);
  const of = objective <= known ? "a schedule" : "the objective in Gurobi's log";
  const found = bounds.filter((bound) => bound > known * (1 + slack)).map((bound) => `the bound ${bound} is above ${of}, ${known}`);
  if (best?.status === "infeasible" && objective < Infinity) found.push(`Gurobi found this infeasible, and here is a schedule of ${objective}`);
  const gurobis = best?.bound ?? -Infinity;
  if (objective < gurobis * (1 - slack)) found.push(`a schedule of ${objective} is below Gurobi's bound ${gurobis}`);
  return found;
}
