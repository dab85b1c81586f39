import type { Graph, Implementation } from "../core/graph";
import type { Limits } from "../core/solve/largest";
import type { Domination } from "../core/solve/solution";
import type { Plan } from "../core/plan";
import type { Progress } from "../helper/helper";

export type Solution =
  | { readonly kind: "plan"; readonly plan: Plan }
  /** Proven: no schedule needs less than the smallest, at whose peak is what dominates it; else none was found. */
  | { readonly kind: "infeasible"; readonly smallest: number; readonly proven: boolean; readonly dominatedBy: Domination };

export interface SolverOptions {
  readonly signal: AbortSignal;
  readonly onProgress: (progress: Progress) => void;
  readonly exactness: Implementation["exactness"];
}

/** What the commands ask of the solver. An infinite budget is none. */
export interface Solver {
  solve(graph: Graph, budget: number, options: SolverOptions): Promise<Solution>;
  /** Plans from the least memory to no overhead. */
  frontier(graph: Graph, options: SolverOptions): Promise<readonly Plan[]>;
  /** The largest batch within the limits; null where not even one sample fits. */
  largest(graph: Graph, limits: Limits, options: SolverOptions): Promise<{ readonly batch: number; readonly plan: Plan } | null>;
}
