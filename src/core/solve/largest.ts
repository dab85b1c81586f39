/** The largest batch that fits a budget, with its plan. */
import { atBatch } from "../batch";
import { optimizerPeak, type Graph, type Implementation } from "../graph";
import type { Plan } from "../plan";
import { indexGraph, type Problem } from "../simulate/problem";
import { draftOfGenome, draftOfPlan, eagerSummary, writePlan } from "./draft";
import { eagerGenome, Evaluator, type Candidate, type Genome } from "./genome";
import type { Planned } from "./solution";
import { restrict, Workshop, type Tools } from "./solve";

export interface Limits {
  /** Peak of the whole device, in bytes. */
  readonly budget: number;
  /** Time over eager's at the same batch, as a fraction; infinite where any will do. */
  readonly overhead: number;
}

export interface Largest {
  readonly batch: number;
  readonly solution: Planned;
}

/** Nobody trains on more samples at once; also where a graph does not grow at all. */
const mostSamples = 2 ** 24;

/**
 * Decisions mean the same at every batch size, so one search's plan is tried on all sizes at once: from the plan of
 * least memory it leaps to near the answer, and few searches are left from there, each a share further and warm from the
 * last, until a single sample more does not fit. Null: not even one sample fits.
 */
export function largestBatch(graph: Graph, limits: Limits, exactness: Implementation["exactness"], tools: Tools): Largest | null {
  const problemAt = (batch: number): Problem => indexGraph(restrict(atBatch(graph, batch), exactness));
  const within = (problem: Problem, { peak, time }: Candidate): boolean =>
    Math.max(peak, optimizerPeak(problem.graph)) <= limits.budget && time <= (1 + limits.overhead) * eagerSummary(problem).time;
  let best = 0;
  let known: Genome = eagerGenome(problemAt(1));
  const fits = (genome: Genome) => (batch: number): boolean => {
    const problem = problemAt(batch);
    return within(problem, new Evaluator(problem).candidate(genome));
  };
  const leap = (genome: Genome): void => {
    const farther = lastTrue(best, fits(genome));
    if (farther > best) [best, known] = [farther, genome];
  };
  leap(known);
  leap(new Workshop(problemAt(Math.max(1, best)), tools).least);
  const searched = (batch: number): boolean => {
    tools.onProgress?.({ stage: "search", done: best, total: batch });
    const problem = problemAt(batch);
    const found = batch > mostSamples ? null : new Workshop(problem, tools).best(limits.budget, [known], false);
    if (found === null || !within(problem, found)) return false;
    [best, known] = [batch, found];
    leap(found);
    return true;
  };
  let step = Math.max(1, Math.floor(best / 16));
  while (searched(best + step)) step *= 2;
  for (step = Math.floor(step / 2); step >= 1; step = Math.floor(step / 2)) searched(best + step);
  if (best === 0) return null;
  const problem = problemAt(best);
  const workshop = new Workshop(problem, tools);
  const chosen = workshop.best(limits.budget, [known]) ?? new Evaluator(problem).candidate(known);
  return { batch: best, solution: workshop.planned(draftOfGenome(problem, chosen), limits.budget, limits.budget) };
}

/** The largest number up to mostSamples for which a test holds that holds for `from`, and for less whatever it holds for. */
function lastTrue(from: number, holds: (batch: number) => boolean): number {
  let step = Math.max(1, from);
  let last = from;
  while (last + step <= mostSamples && holds(last + step)) {
    last += step;
    step *= 2;
  }
  for (step = Math.floor(step / 2); step >= 1; step = Math.floor(step / 2)) if (last + step <= mostSamples && holds(last + step)) last += step;
  return last;
}

/** What plans that were made at one batch size do at another: the same decisions, with the numbers of `graph`. */
export function plansAt(graph: Graph, plans: readonly Plan[]): Plan[] {
  const problem = indexGraph(graph);
  const eager = eagerSummary(problem);
  return plans.map((plan) => {
    const moved = draftOfPlan(problem, plan);
    return writePlan(problem, moved, moved.summary.peak, null, eager);
  });
}
