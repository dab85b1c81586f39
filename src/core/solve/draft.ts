import type { Graph } from "../graph";
import { compilePlan, plannedGraph, type Plan, type Predicted, type Retention } from "../plan";
import { eager, Simulator, type Summary } from "../simulate";
import { int, num } from "../simulate/arrays";
import type { Absence } from "../simulate/offload";
import { indexGraph, type Problem } from "../simulate/problem";
import { Schedule, type Intervals } from "../simulate/schedule";
import { eagerGenome, type Genome } from "./genome";

/** A plan in the solver's terms: an implementation per operator and the intervals of every tensor. */
export interface Draft {
  readonly choice: Int32Array;
  readonly intervals: Intervals;
  readonly absences: readonly Absence[];
  /** Random operators that run again. */
  readonly rng: readonly number[];
  readonly summary: Summary;
}

/** Takes intervals as lists per tensor; those that are empty, or of tensors with no bytes to hold, are left out. */
export function draft(problem: Problem, choice: Int32Array, lists: readonly (readonly (readonly [number, number])[])[], absences: readonly Absence[] = []): Draft {
  const first = new Int32Array(problem.tensors + 1);
  lists.forEach((list, t) => {
    first[t + 1] = int(first, t) + list.length;
  });
  const flat = lists.flat();
  const intervals = { first, from: Int32Array.from(flat, ([from]) => from), to: Int32Array.from(flat, ([, to]) => to) };
  const schedule = new Schedule(problem);
  schedule.fromIntervals(choice, intervals, absences);
  return { choice: choice.slice(), intervals, absences, rng: schedule.rerunRandom(), summary: new Simulator(problem).summary(choice, schedule) };
}

export function draftOfGenome(problem: Problem, { genes, choice }: Genome): Draft {
  const schedule = new Schedule(problem);
  schedule.fromGenes(choice, genes);
  const { from, to } = schedule;
  const { first } = schedule;
  const lists = Array.from({ length: problem.tensors }, (_, t) =>
    Array.from({ length: int(first, t + 1) - int(first, t) }, (_, k) => [int(from, int(first, t) + k), int(to, int(first, t) + k)] as const));
  return draft(problem, choice, lists, schedule.offloads.absences());
}

/** What a plan does on another graph of the same structure. */
export function draftOfPlan(problem: Problem, plan: Plan): Draft {
  const { choice, intervals, absences } = compilePlan(plan, problem);
  const schedule = new Schedule(problem);
  schedule.fromIntervals(choice, intervals, absences);
  return { choice, intervals, absences, rng: schedule.rerunRandom(), summary: new Simulator(problem).summary(choice, schedule) };
}

export function eagerSummary(problem: Problem): Summary {
  const { choice, schedule } = eager(problem);
  return new Simulator(problem).summary(choice, schedule);
}

/** Exactly what eager PyTorch does: the first implementation everywhere, all that is needed kept. */
export function eagerPlan(graph: Graph): Plan {
  const problem = indexGraph(graph);
  return writePlan(problem, draftOfGenome(problem, eagerGenome(problem)), null, null, eagerSummary(problem));
}

/** The draft as the document of docs/format.md. */
export function writePlan(problem: Problem, { choice, intervals, absences, rng, summary }: Draft, budget: number | null, bound: Plan["bound"], base: Summary): Plan {
  const { graph, storages, implementations } = problem;
  const names: Record<string, string> = {};
  graph.operators.forEach((operator, i) => {
    const offset = int(choice, i) - int(implementations, i);
    if (offset > 0) names[String(i)] = operator.implementations[offset]?.name ?? "";
  });
  const retain: Retention[] = [];
  const away = new Map(absences.map(({ tensor, from, to }) => [tensor, [from, to] as const]));
  for (let t = 0; t < problem.tensors; t++) {
    const list: [number, number][] = [];
    for (let k = int(intervals.first, t); k < int(intervals.first, t + 1); k++) list.push([int(intervals.from, k), int(intervals.to, k)]);
    if (list.length === 0) continue;
    const offload = away.get(t);
    if (t < storages) retain.push({ value: int(problem.valueOf, t), intervals: list, ...(offload === undefined ? {} : { offload }) });
    else if (num(problem.internal, int(choice, t - storages)) > 0) retain.push({ internals: t - storages, intervals: list });
  }
  const predicted: Predicted = {
    peak: summary.peak, structure_peak: summary.structurePeak, time: summary.time,
    eager_peak: base.peak, eager_structure_peak: base.structurePeak, eager_time: base.time,
  };
  return {
    format: "monet-plan", version: 1,
    graph: plannedGraph(graph),
    budget, implementations: names, retain, rng, predicted,
    bound,
  };
}
