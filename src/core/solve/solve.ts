import type { Graph, Implementation } from "../graph";
import type { Certificate } from "../plan";
import { simulate, type Summary, type TensorRef, type Timeline } from "../simulate";
import { item } from "../simulate/arrays";
import { indexGraph, type Problem } from "../simulate/problem";
import { boundAt, fastest, integerBound, lowerBound, type Bound } from "./bound";
import type { Highs } from "./branching";
import { draftOfGenome, eagerSummary, writePlan, type Draft } from "./draft";
import { exact, isSmall } from "./exact";
import { greedy, habits, rebuild, shrink } from "./greedy";
import { better, eagerGenome, Evaluator, workOf, type Candidate, type Genome } from "./genome";
import type { Glpk } from "./linear";
import { master } from "./master";
import { blockOptions, type BlockOptions } from "./options";
import { Random } from "./random";
import { faster, leastMemory, polish, search, thriftiest } from "./search";
import { gapOf, type Domination, type Infeasible, type Planned, type Solution } from "./solution";

export interface Tools {
  readonly glpk: Glpk;
  /** Closes the bound further; without it there is the relaxation's. */
  readonly highs?: Highs | undefined;
  readonly seed: number;
  /** Evaluations per search: the one knob between quick and thorough. */
  readonly iterations: number;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

export interface Progress {
  readonly stage: "blocks" | "master" | "search" | "bound" | "least memory" | "frontier";
  readonly done: number;
  readonly total: number;
}

/** A way to find a plan within a budget: the fastest it can, or null. All of them are pure functions. */
export type Solver = (problem: Problem, budget: number, tools: Tools) => Draft | null;

/** Optimal over all plans of the format that offload nothing; for small graphs only. */
export const exactSolver: Solver = (problem, budget) => exact(problem, budget);

/** Annealing over the whole graph from the eager plan, or from the plan of least memory where that fails. */
export const searchSolver: Solver = (problem, budget, tools) => drafted(problem, new Workshop(problem, tools).search(budget, []));

/** Blocks and the master program first; the search starts from what they find. */
export const hierarchicalSolver: Solver = (problem, budget, tools) => {
  const workshop = new Workshop(problem, tools);
  const skeleton = workshop.master(budget);
  return drafted(problem, workshop.search(budget, skeleton === null ? [] : [skeleton]));
};

const drafted = (problem: Problem, plan: Candidate | null): Draft | null => (plan === null ? null : draftOfGenome(problem, plan));

/** Operators keep their first implementation and those that are exact enough. */
export function restrict(graph: Graph, exactness: Implementation["exactness"]): Graph {
  const order = ["bitwise", "same-kernel", "approximate"];
  const allowed = (implementation: Implementation): boolean => order.indexOf(implementation.exactness) <= order.indexOf(exactness);
  if (graph.operators.every(({ implementations }) => implementations.every((x, k) => k === 0 || allowed(x)))) return graph;
  return { ...graph, operators: graph.operators.map((operator) => ({ ...operator, implementations: operator.implementations.filter((x, k) => k === 0 || allowed(x)) })) };
}

/** The same graph for plans that offload nothing. */
export const withoutOffload = (graph: Graph): Graph => ({ ...graph, transfer: undefined });

/** The same graph for plans that run what eager runs, and choose no more than what to keep and what to make again. */
export const recomputingOnly = (graph: Graph): Graph => ({
  ...withoutOffload(graph),
  operators: graph.operators.map((operator) => ({ ...operator, implementations: operator.implementations.slice(0, 1) })),
});

/** The best plan within a budget (null: no limit) with its bound, or the least memory and what stands in the way. */
export function solve(graph: Graph, budget: number | null, tools: Tools): Solution {
  const problem = indexGraph(graph);
  const workshop = new Workshop(problem, tools);
  const limit = budget ?? Number.MAX_SAFE_INTEGER;
  const draft = workshop.fastest(limit);
  if (draft !== null) return workshop.planned(draft, budget, limit);
  return workshop.infeasible(limit);
}

/** Work of one evaluation up to which a search makes them all: that of some 250 operators. */
const fullEffort = 525;

/** Operators beyond which the master program takes longer than all else (minutes and gigabytes at 10,000), and greedy plans are as good. */
const mostOfMaster = 600;

/** Implementations that a greedy plan may change where nothing else makes it fit. */
const mostSwitches = 8;

/** Plans that a thorough search takes parts from, each found on a way of its own. */
const ways = 4;

/** Nobody minds how much of this is proven away. */
const closeEnough = 1.003;

/** What searches of one problem share: the evaluator, block options, the plan of least memory. */
export class Workshop {
  readonly problem: Problem;
  readonly evaluator: Evaluator;
  private readonly tools: Tools;
  private readonly eager: Candidate;
  private blocks: readonly BlockOptions[] | undefined;
  private readonly bounds: Bound[] = [];
  private leastFound: Candidate | undefined;
  private eagerFound: Summary | undefined;

  constructor(problem: Problem, tools: Tools) {
    this.problem = problem;
    // An evaluation of a larger graph takes longer, and is worth as much; one of a small graph takes next to nothing.
    const effort = Math.min(2, fullEffort / workOf(problem));
    this.tools = { ...tools, iterations: Math.ceil(tools.iterations * effort) };
    this.evaluator = new Evaluator(problem);
    this.eager = this.evaluator.candidate(eagerGenome(problem));
  }

  /** The smallest peak of the classical starts and single changes to them: quickly there. */
  get lowest(): Candidate {
    return leastMemory(this.evaluator, { seed: this.tools.seed, iterations: 0, heat: 1 });
  }

  get least(): Candidate {
    this.report("least memory", 0, 1);
    this.leastFound ??= this.findLeast();
    return this.leastFound;
  }

  /**
   * By annealing, and by greedy plans for less and less where these get as low; then the best of them piece by piece.
   * There are many basins, so it anneals more than once, and takes each outcome apart.
   */
  private findLeast(): Candidate {
    const { evaluator } = this;
    const { iterations } = this.tools;
    const work = (iterations / 4) * workOf(this.problem);
    const seeds = Array.from({ length: 3 }, (_, k) => this.tools.seed + k);
    const annealed = seeds.map((seed, k) => leastMemory(evaluator, { seed, iterations: (k === 0 ? 3 : 1) * iterations, heat: 1 }));
    let best = item(annealed, 0);
    const consider = (candidate: Candidate | null): void => {
      if (candidate !== null && better(candidate, best, 0)) best = candidate;
    };
    for (const candidate of annealed) consider(candidate);
    const { peak } = best;
    const quick = this.quick(peak);
    consider(quick);
    for (let step = 0.05 * peak; quick !== null && step > 0.005 * peak; step /= 2) consider(this.quick(Math.floor(best.peak - step)));
    annealed.forEach((candidate, k) => {
      consider(shrink(evaluator, candidate, { seed: item(seeds, k), work: work / 2 }));
    });
    consider(shrink(evaluator, best, { seed: this.tools.seed, work }));
    return annealed.includes(best) ? best : faster(evaluator, best);
  }

  /** The fastest of the greedy plans, within a moment. */
  quick(budget: number): Candidate | null {
    const plans = habits.map((habit) => greedy(this.evaluator, budget, this.eager, habit)).filter((plan) => plan !== null);
    return plans.reduce<Candidate | null>((best, plan) => (best === null || better(plan, best, budget) ? plan : best), null);
  }

  /** The optimum of a small graph, but for what offloading gains on it; else the best that is found. */
  fastest(budget: number): Draft | null {
    const { problem } = this;
    const optimum = isSmall(problem) ? exact(problem, budget) : null;
    if (this.isProven) return optimum;
    const found = drafted(problem, this.best(budget, []));
    return found !== null && (optimum === null || found.summary.time < optimum.summary.time) ? found : optimum;
  }

  /** What the exact program finds is all there is: it knows nothing of offloads. */
  private get isProven(): boolean {
    return this.problem.transfer === null && isSmall(this.problem);
  }

  /** Eager where it fits and nothing else could be faster; else search, of smaller graphs from the master program on. */
  best(budget: number, warm: readonly Genome[], thorough = true): Candidate | null {
    if (this.eager.peak <= budget && this.eager.time <= fastest(this.problem)) return this.eager;
    if (budget < this.problem.fixed) return null;
    const skeleton = this.problem.operators > mostOfMaster ? null : this.master(budget);
    return this.search(budget, skeleton === null ? warm : [...warm, skeleton], thorough);
  }

  master(budget: number): Candidate | null {
    this.report("blocks", 0, 1);
    this.blocks ??= blockOptions(this.evaluator, Math.min(200, Math.ceil(this.tools.iterations / 40)), this.tools.seed);
    this.report("master", 0, 1);
    return master(this.evaluator, this.blocks, budget, this.tools.glpk);
  }

  /**
   * Starts from what is given and from greedy plans; takes the best apart and together again, and anneals it, in turns.
   * Thorough: more turns, once from the eager plan, which is far away and wants heat, and with parts of plans that were
   * found on other ways: near the least memory there are many basins, and each way ends in one.
   */
  search(budget: number, warm: readonly Genome[], thorough = true): Candidate | null {
    const { evaluator, eager } = this;
    const { iterations, seed } = this.tools;
    const seeds = new Random(seed);
    let best: Candidate | null = null;
    const consider = (candidate: Candidate | null): void => {
      if (candidate !== null && candidate.peak <= budget && (best === null || better(candidate, best, budget))) best = candidate;
    };
    const found = (): Candidate | null => best;
    const turns = thorough ? 3 : 1;
    this.report("search", 0, turns + 1);
    const [mildest = eager] = warm;
    consider(this.quick(budget));
    const others = new Map(warm.map(({ choice }) => [choice.join(), choice]));
    const thrifty = thriftiest(this.problem);
    others.set(thrifty.join(), thrifty);
    others.delete(eager.choice.join());
    for (const habit of habits) {
      for (const start of warm) consider(greedy(evaluator, budget, start, habit));
      for (const choice of others.values()) consider(greedy(evaluator, budget, { genes: eager.genes, choice }, habit));
    }
    if (found() === null) for (const habit of habits.slice(0, 2)) consider(greedy(evaluator, budget, { genes: eager.genes, choice: mildest.choice }, habit, mostSwitches));
    if (thorough) consider(search(evaluator, budget, eager, { seed: seeds.seed(), iterations: iterations / 2, heat: 3 }));
    if (found() === null) consider(this.least);
    const elites: Candidate[] = [];
    for (let way = 0; thorough && way < ways; way++) {
      const start = found();
      if (start === null) return null;
      const elite = rebuild(evaluator, budget, start, { seed: seeds.seed(), work: (iterations / 4) * workOf(this.problem) });
      if (elite !== start) elites.push(elite);
    }
    for (const elite of elites) consider(elite);
    for (let turn = 0; turn < turns; turn++) {
      this.report("search", turn + 1, turns + 1);
      const start = found();
      if (start === null) return null;
      const rebuilt = rebuild(evaluator, budget, start, { seed: seeds.seed(), work: (iterations / 4) * workOf(this.problem), elites });
      consider(rebuilt);
      consider(search(evaluator, budget, rebuilt, { seed: seeds.seed(), iterations: iterations / 3, heat: 0.3 }));
    }
    const start = found();
    return start === null ? null : polish(evaluator, budget, start);
  }

  /** A plan with its certificate for any plan within `limit`; null: no more than that nothing beats the fastest step. */
  planned(draft: Draft, budget: number | null, limit: number | null): Planned {
    if (limit !== null) this.report("bound", 0, 1);
    const bound = limit === null ? { time: fastest(this.problem) } : this.bound(limit, draft.summary.time);
    const eager = (this.eagerFound ??= eagerSummary(this.problem));
    return {
      kind: "plan",
      plan: writePlan(this.problem, draft, budget, bound, eager),
      summary: draft.summary,
      eager,
      bound: bound.time,
      gap: gapOf(draft.summary.time, bound.time),
    };
  }

  /**
   * What is proven of other budgets may do; else by the relaxation; where that leaves more than a percent and HiGHS is at
   * hand, by branch and cut.
   */
  private bound(limit: number, known: number): Certificate {
    const { glpk, highs } = this.tools;
    const least: Certificate = { time: fastest(this.problem) };
    const proven = (): Certificate => this.bounds.reduce((most, bound) => {
      const time = boundAt(bound, limit);
      return time > most.time ? { time, prices: bound.prices } : most;
    }, least);
    const promising = Math.min(known, this.relaxation(limit));
    if (promising > closeEnough * proven().time) this.bounds.push(lowerBound(this.problem, limit, glpk));
    const certificate = proven();
    if (highs === undefined || known <= certificate.time * 1.01) return certificate;
    return { ...certificate, time: Math.max(certificate.time, integerBound(this.problem, limit, highs, known)) };
  }

  /** No more can the relaxation prove for a budget: its bound is convex, so below the chord of any two that are known. */
  private relaxation(limit: number): number {
    let least = Infinity;
    for (const below of this.bounds) {
      if (below.budget > limit || below.time === Infinity) continue;
      for (const above of this.bounds) {
        if (above.budget <= below.budget || above.budget < limit) continue;
        const share = (limit - below.budget) / (above.budget - below.budget);
        least = Math.min(least, below.time + share * (above.time - below.time));
      }
    }
    return least;
  }

  infeasible(budget: number): Infeasible {
    let draft = draftOfGenome(this.problem, this.least);
    if (isSmall(this.problem)) draft = leastExact(this.problem, draft);
    const smallest = this.planned(draft, draft.summary.peak, draft.summary.peak);
    const proven = budget < this.problem.fixed || lowerBound(this.problem, budget, this.tools.glpk).time === Infinity || this.isProven;
    return { kind: "infeasible", budget, proven, smallest, dominatedBy: domination(simulate(this.problem.graph, smallest.plan), this.problem.fixed) };
  }

  private report(stage: Progress["stage"], done: number, total: number): void {
    this.tools.onProgress?.({ stage, done, total });
  }
}

/** Bisection with the exact program: the peak of the last plan found is the least there is. */
function leastExact(problem: Problem, start: Draft): Draft {
  let best = start;
  let low = problem.fixed;
  while (low < best.summary.peak - 1) {
    const middle = Math.floor((low + best.summary.peak) / 2);
    const draft = exact(problem, middle);
    if (draft === null) low = middle;
    else best = draft;
  }
  return best;
}

/** What is live at the largest moment of a timeline. */
export function domination({ events, peak }: Timeline, fixed: number): Domination {
  const live = new Map<string, TensorRef[]>();
  const key = ({ kind, id }: TensorRef): string => `${kind} ${id}`;
  for (const event of events) {
    if (event.moment === peak) {
      const tensors = [...live.values()].flat();
      const sum = (gradients: boolean): number =>
        tensors.reduce((total, { kind, bytes }) => ((kind === "gradient") === gradients ? total + bytes : total), 0);
      return {
        event: { kind: event.kind, clock: event.clock, operator: event.operator },
        fixed: event.before - sum(true) - sum(false),
        gradients: sum(true),
        activations: sum(false),
        running: event.moment - event.before,
        largest: tensors.sort((a, b) => b.bytes - a.bytes || a.id - b.id).slice(0, 5),
      };
    }
    for (const tensor of event.allocated) live.set(key(tensor), [...(live.get(key(tensor)) ?? []), tensor]);
    for (const tensor of event.freed) live.get(key(tensor))?.shift();
  }
  const first = item(events, 0);
  return { event: { kind: first.kind, clock: first.clock, operator: first.operator }, fixed, gradients: 0, activations: 0, running: peak - fixed, largest: [] };
}
