import type { Graph, Implementation } from "../core/graph";
import type { Frontier } from "../core/solve/frontier";
import type { Largest, Limits } from "../core/solve/largest";
import type { Planned, Solution } from "../core/solve/solution";
import type { Progress } from "../core/solve/solve";

/** Evaluations per search that people wait for: a plan for one budget in some seconds, each of a frontier's in less. */
export const effort = { plan: 40_000, frontier: 8_000 };

/** What goes to a solver's worker as its data, and what comes back as messages. */
export type Request = Common & ({ readonly kind: "plan"; readonly budget: number | null } | { readonly kind: "frontier"; readonly steps: number } | { readonly kind: "largest"; readonly limits: Limits });

interface Common {
  readonly graph: Graph;
  readonly exactness: Implementation["exactness"];
  readonly seed: number;
  readonly iterations: number;
}

export type Answer =
  | { readonly kind: "progress"; readonly progress: Progress }
  | { readonly kind: "point"; readonly point: Planned }
  | { readonly kind: "solution"; readonly solution: Solution }
  | { readonly kind: "frontier"; readonly frontier: Frontier }
  | { readonly kind: "largest"; readonly largest: Largest | null }
  | { readonly kind: "failed"; readonly message: string };
