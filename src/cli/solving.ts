import type { Graph } from "../core/graph";
import type { Plan } from "../core/plan";
import type { Progress } from "../helper/helper";

export type Solution = { readonly kind: "plan"; readonly plan: Plan } | { readonly kind: "infeasible"; readonly smallest: number };

/** What the commands ask of the solver. */
export interface Solver {
  solve(graph: Graph, budget: number, signal: AbortSignal): Promise<Solution>;
  /** Plans from the least memory to no overhead. */
  frontier(graph: Graph, signal: AbortSignal, onProgress: (progress: Progress) => void): Promise<readonly Plan[]>;
}
