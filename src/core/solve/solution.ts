import type { Plan } from "../plan";
import type { Event, Summary, TensorRef } from "../simulate";

/** How far a plan may be from the best, as a share of the bound. */
export const gapOf = (time: number, bound: number): number => (time <= bound ? 0 : bound > 0 ? time / bound - 1 : Infinity);

export type Solution = Planned | Infeasible;

export interface Planned {
  readonly kind: "plan";
  readonly plan: Plan;
  readonly summary: Summary;
  readonly eager: Summary;
  /** Proven: no plan within the budget is faster. */
  readonly bound: number;
  /** Of time and bound. */
  readonly gap: number;
}

export interface Infeasible {
  readonly kind: "infeasible";
  readonly budget: number;
  /** True where it is proven that no plan fits; else only that none was found. */
  readonly proven: boolean;
  /** The plan of least memory that was found. Its peak is the smallest budget to ask for. */
  readonly smallest: Planned;
  readonly dominatedBy: Domination;
}

/** What is live at a plan's peak. Bytes add up to the peak. */
export interface Domination {
  readonly event: Pick<Event, "kind" | "clock" | "operator">;
  readonly fixed: number;
  readonly gradients: number;
  readonly activations: number;
  /** What the running operator takes beyond what was live: outputs and workspace. */
  readonly running: number;
  readonly largest: readonly TensorRef[];
}
