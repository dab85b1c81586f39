import type { Graph } from "../graph";
import { indexGraph } from "../simulate/problem";
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
 * Walks a ladder of budgets down from the eager peak, each search started from the plan above and the plan of
 * least memory at the bottom. A plan that fits a smaller budget fits every larger one too, so a slower
 * plan above a faster one is replaced by it.
 */
export function frontier(graph: Graph, steps: number, tools: Tools, onPoint?: (point: Planned) => void): Frontier {
  const problem = indexGraph(graph);
  const workshop = new Workshop(problem, tools);
  const eager = draftOfGenome(problem, eagerGenome(problem));
  const least = draftOfGenome(problem, workshop.least);
  const bottom = genomeOf(least, problem.operators, problem.tensors);
  const small = isSmall(problem);
  const drafts: { budget: number; draft: Draft }[] = [];
  let warm: Genome[] = [];
  for (let k = steps - 1; k >= 0; k--) {
    tools.onProgress?.({ stage: "frontier", done: steps - 1 - k, total: steps });
    const budget = Math.round(least.summary.peak + (k / Math.max(1, steps - 1)) * Math.max(0, eager.summary.peak - least.summary.peak));
    const draft = small ? exact(problem, budget) : workshop.best(budget, k === 0 ? [...warm, bottom] : warm, false);
    if (draft === null) continue;
    drafts.push({ budget, draft });
    warm = small ? [] : [genomeOf(draft, problem.operators, problem.tensors)];
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
function genomeOf({ choice, intervals }: Draft, operators: number, tensors: number): Genome {
  const genes = new Uint8Array(tensors);
  for (let t = 0; t < tensors; t++) {
    const at = intervals.first[t] ?? 0;
    if (at < (intervals.first[t + 1] ?? 0)) genes[t] = (intervals.from[at] ?? 0) < operators ? 1 : 2;
  }
  return { genes, choice };
}
