import type { Graph } from "../graph";
import { int } from "../simulate/arrays";
import { indexGraph, type Problem } from "../simulate/problem";
import { keep } from "../simulate/schedule";
import { draftOfGenome, type Draft } from "./draft";
import { exact, isSmall } from "./exact";
import { eagerGenome, type Genome } from "./genome";
import type { Planned } from "./solution";
import { Workshop, type Tools } from "./solve";

/** Plans from the least memory to no overhead; more memory never costs more time. */
export interface Frontier {
  readonly points: readonly Planned[];
}

/**
 * First the master program's plan for each of a ladder of budgets, so that there is a curve to look at; then a search
 * for each, from the eager peak down, started from the plan above and at the bottom from the plan of least memory. A
 * plan that fits a smaller budget fits every larger one too, so a slower plan above a faster one is replaced by it.
 *
 * `onPoint` gets every plan as it is found: those of the master first, without more of a bound than the fastest step.
 */
export function frontier(graph: Graph, steps: number, tools: Tools, onPoint?: (point: Planned) => void): Frontier {
  const problem = indexGraph(graph);
  const workshop = new Workshop(problem, tools);
  const eager = draftOfGenome(problem, eagerGenome(problem));
  const small = isSmall(problem);
  const ladder = (low: number): number[] =>
    Array.from({ length: steps }, (_, k) => Math.round(low + (k / Math.max(1, steps - 1)) * Math.max(0, eager.summary.peak - low)));
  if (!small) for (const budget of ladder(workshop.lowest.peak)) {
    const quick = workshop.master(budget);
    if (quick !== null && quick.peak <= budget) onPoint?.(workshop.planned(draftOfGenome(problem, quick), budget, null));
  }
  const least = draftOfGenome(problem, workshop.least);
  const bottom = genomeOf(least, problem);
  const drafts: { budget: number; draft: Draft }[] = [];
  let warm: Genome[] = [];
  const budgets = ladder(least.summary.peak);
  for (let k = steps - 1; k >= 0; k--) {
    tools.onProgress?.({ stage: "frontier", done: steps - 1 - k, total: steps });
    const budget = budgets[k] ?? 0;
    const draft = small ? exact(problem, budget) : workshop.best(budget, k === 0 ? [...warm, bottom] : warm, false);
    if (draft === null) continue;
    drafts.push({ budget, draft });
    if (!small) onPoint?.(workshop.planned(draft, budget, null));
    warm = small ? [] : [genomeOf(draft, problem)];
  }
  if (drafts.at(-1)?.budget !== least.summary.peak) drafts.push({ budget: least.summary.peak, draft: least });
  drafts.reverse();
  let best = drafts[0]?.draft ?? least;
  const points = drafts.map(({ budget, draft }) => {
    if (draft.summary.time < best.summary.time) best = draft;
    const point = workshop.planned(best, budget, budget);
    onPoint?.(point);
    return point;
  });
  return { points };
}

/** A draft of the search's own making back as a genome: kept from forward, retained later, or dropped. */
function genomeOf({ choice, intervals }: Draft, { operators: n, storages, tensors, producer }: Problem): Genome {
  const genes = new Int32Array(tensors);
  for (let t = 0; t < tensors; t++) {
    const at = int(intervals.first, t);
    if (at >= int(intervals.first, t + 1)) continue;
    const from = int(intervals.from, at);
    const maker = t < storages ? int(producer, t) : t - storages;
    genes[t] = from < n ? keep : 2 * n - 1 - from - maker;
  }
  return { genes, choice };
}
