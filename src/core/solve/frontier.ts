import type { Graph } from "../graph";
import { item } from "../simulate/arrays";
import { indexGraph } from "../simulate/problem";
import { draftOfGenome, type Draft } from "./draft";
import { exact, isSmall } from "./exact";
import { eagerGenome, type Candidate } from "./genome";
import type { Planned } from "./solution";
import { Workshop, type Tools } from "./solve";

/** Plans from the least memory to no overhead; more memory never costs more time. */
export interface Frontier {
  readonly points: readonly Planned[];
}

/**
 * First a greedy plan for each of a ladder of budgets, so that there is a curve to look at; then a search
 * for each, from the eager peak down, started from the plan above and at the bottom from the plan of least memory. A
 * plan that fits a smaller budget fits every larger one too, so a slower plan above a faster one is replaced by it.
 *
 * `onPoint` gets every plan as it is found: the greedy ones first, without more of a bound than the fastest step.
 */
export function frontier(graph: Graph, steps: number, tools: Tools, onPoint?: (point: Planned) => void): Frontier {
  const problem = indexGraph(graph);
  const workshop = new Workshop(problem, tools);
  const eager = draftOfGenome(problem, eagerGenome(problem));
  const small = isSmall(problem);
  const ladder = (low: number): number[] =>
    Array.from({ length: steps }, (_, k) => Math.round(low + (k / Math.max(1, steps - 1)) * Math.max(0, eager.summary.peak - low)));
  const tell = (draft: Draft, budget: number): void => {
    onPoint?.(workshop.planned(draft, budget, null));
  };
  if (!small) for (const budget of ladder(workshop.lowest.peak)) {
    const quick = workshop.quick(budget);
    if (quick !== null) tell(draftOfGenome(problem, quick), budget);
  }
  const bottom = workshop.least;
  const least = draftOfGenome(problem, bottom);
  const drafts: { budget: number; draft: Draft }[] = [];
  const budgets = ladder(bottom.peak);
  let above: Candidate | null = null;
  for (let k = steps - 1; k >= 0; k--) {
    tools.onProgress?.({ stage: "frontier", done: steps - 1 - k, total: steps });
    const budget = budgets[k] ?? 0;
    if (!small) above = workshop.best(budget, [...(above === null ? [] : [above]), ...(k === 0 ? [bottom] : [])], k === 0) ?? above;
    const draft = small ? exact(problem, budget) : above === null || above.peak > budget ? null : draftOfGenome(problem, above);
    if (draft === null) continue;
    drafts.push({ budget, draft });
    if (!small) tell(draft, budget);
  }
  if (drafts.at(-1)?.budget !== bottom.peak) drafts.push({ budget: bottom.peak, draft: least });
  drafts.reverse();
  let best = drafts[0]?.draft ?? least;
  const plans = drafts.map(({ budget, draft }) => {
    if (draft.summary.time < best.summary.time) best = draft;
    return { budget, draft: best };
  });
  const points: Planned[] = [];
  for (const k of inwards(plans.length)) {
    const { budget, draft } = item(plans, k);
    const point = workshop.planned(draft, budget, budget);
    points[k] = point;
    onPoint?.(point);
  }
  return { points };
}

/** 0 … n − 1, halves before quarters: what is proven at a few places bounds those between. */
function inwards(n: number): number[] {
  const order = new Set<number>([0, n - 1]);
  for (let stride = n; stride >= 1; stride /= 2) for (let k = 0; k < n; k += stride) order.add(Math.floor(k));
  return [...order].filter((k) => k >= 0 && k < n);
}
