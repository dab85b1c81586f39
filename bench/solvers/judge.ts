import { fixedBytes, type Graph } from "../../src/core/graph";
import { checkPlan, plannedGraph, type Interval, type Plan, type Retention } from "../../src/core/plan";
import { Simulator, simulate, simulateEager, type Summary } from "../../src/core/simulate";
import { bit, int, num } from "../../src/core/simulate/arrays";
import { eagerChoice, indexGraph, type Problem } from "../../src/core/simulate/problem";
import { keep, Schedule } from "../../src/core/simulate/schedule";

/**
 * What a peer decides. A wish [from, to] of a tensor says: if it is computed at a clock from … to, hold it from
 * there to its last use up to `to`. [0, 2n] keeps, [n, 2n] holds from the first recompute on, none drops.
 */
export type Wishes = readonly (readonly Interval[])[];

/** What becomes of wishes: intervals that docs/format.md allows, and the clocks of backward at which a tensor is used. */
export interface Settled {
  readonly intervals: readonly (readonly Interval[])[];
  readonly uses: readonly (readonly number[])[];
}

export interface Measured {
  readonly peak: number;
  readonly time: number;
  readonly moments: Float64Array;
}

/** Turns every peer's decisions into plans of our format, with each operator's first implementation, and simulates them. */
export class Judge {
  readonly graph: Graph;
  readonly problem: Problem;
  readonly choice: Int32Array;
  readonly eager: Summary;
  readonly fixed: number;
  readonly simulator: Simulator;
  /** Held to the end whatever a plan says, and never recomputed: nothing is decided about them. */
  readonly always: Uint8Array;
  private readonly schedule: Schedule;

  constructor(graph: Graph) {
    this.graph = graph;
    this.problem = indexGraph(graph);
    this.choice = eagerChoice(this.problem);
    this.eager = simulateEager(graph);
    this.fixed = fixedBytes(graph);
    this.simulator = new Simulator(this.problem);
    this.schedule = new Schedule(this.problem);
    this.schedule.fromGenes(this.choice, new Int32Array(this.problem.tensors).fill(keep));
    this.always = this.schedule.always.slice();
  }

  producer(t: number): number {
    return t < this.problem.storages ? int(this.problem.producer, t) : t - this.problem.storages;
  }

  bytes(t: number): number {
    return t < this.problem.storages ? num(this.problem.bytes, t) : num(this.problem.internal, int(this.choice, t - this.problem.storages));
  }

  stays(t: number): boolean {
    return bit(this.problem.stays, t) === 1;
  }

  reads = (i: number): Int32Array => row(this.problem.reads, i);
  makes = (i: number): Int32Array => row(this.problem.makes, i);
  saves = (i: number): Int32Array => row(this.problem.saves, int(this.choice, i));

  /** Walks the backward steps: recomputes what is missing, opens an interval where a wish has the tensor computed, ends it at its last use. */
  settle(wishes: Wishes): Settled {
    const { operators: n, storages, tensors, hasBackward } = this.problem;
    const intervals: Interval[][] = Array.from({ length: tensors }, () => []);
    const uses: number[][] = Array.from({ length: tensors }, () => []);
    const from = new Int32Array(tensors).fill(-1);
    const to = new Int32Array(tensors).fill(-1);
    const held = (t: number, clock: number): boolean => bit(this.always, t) === 1 || (int(from, t) >= 0 && int(from, t) < clock && clock <= int(to, t));
    const close = (t: number): void => {
      const last = (uses[t] ?? []).findLast((clock) => clock > int(from, t) && clock <= int(to, t));
      if (int(from, t) >= 0 && last !== undefined) intervals[t]?.push([int(from, t), last]);
    };
    const open = (t: number, clock: number): void => {
      if (bit(this.always, t) === 1 || held(t, clock)) return;
      const wish = this.stays(t) ? ([0, 2 * n] as const) : wishes[t]?.find(([begin, end]) => begin <= clock && clock < end);
      if (wish === undefined) return;
      close(t);
      from[t] = clock;
      to[t] = wish[1];
    };
    for (let t = 0; t < tensors; t++) open(t, this.producer(t));
    for (let clock = n; clock < 2 * n; clock++) {
      const operator = 2 * n - 1 - clock;
      if (bit(hasBackward, int(this.choice, operator)) === 0) continue;
      const used = new Set<number>();
      const closure = new Set<number>();
      const need = (t: number): void => {
        used.add(t);
        if (!held(t, clock)) closure.add(this.producer(t));
      };
      this.saves(operator).forEach(need);
      if (this.bytes(storages + operator) > 0) need(storages + operator);
      for (const j of closure) this.reads(j).forEach(need);
      for (const t of used) uses[t]?.push(clock);
      for (const j of closure) for (const t of [...this.makes(j), storages + j]) open(t, clock);
    }
    for (let t = 0; t < tensors; t++) close(t);
    return { intervals, uses };
  }

  measure(settled: Settled): Measured {
    this.load(settled);
    const { peak, time, moments, restored } = this.simulator.run(this.choice, this.schedule);
    return { peak: this.schedule.conflict >= 0 ? Infinity : peak, time, moments: moments.map((moment) => moment + restored * this.problem.rng) };
  }

  /** The plan as a document that has passed every check, with what the public simulator says of it. */
  plan(settled: Settled, budget: number): { plan: Plan; summary: Summary } {
    const { graph, problem, eager } = this;
    this.load(settled);
    const { peak, structurePeak, time } = this.simulator.summary(this.choice, this.schedule);
    const retain = settled.intervals.flatMap((intervals, t): Retention[] => {
      if (intervals.length === 0 || this.bytes(t) === 0) return [];
      return [t < problem.storages ? { value: int(problem.valueOf, t), intervals } : { internals: t - problem.storages, intervals }];
    });
    const document: Plan = {
      format: "monet-plan", version: 1,
      graph: plannedGraph(graph),
      budget, implementations: {}, retain, rng: this.schedule.rerunRandom(),
      predicted: { peak, structure_peak: structurePeak, time, eager_peak: eager.peak, eager_structure_peak: eager.structurePeak, eager_time: eager.time },
      bound: null,
    };
    const plan = checkPlan(document, graph);
    return { plan, summary: simulate(graph, plan) };
  }

  private load({ intervals }: Settled): void {
    const first = new Int32Array(this.problem.tensors + 1);
    intervals.forEach((list, t) => {
      first[t + 1] = int(first, t) + list.length;
    });
    const flat = intervals.flat();
    this.schedule.fromIntervals(this.choice, { first, from: Int32Array.from(flat, ([from]) => from), to: Int32Array.from(flat, ([, to]) => to) });
  }

  /** First and last operator between places where one tensor alone is still needed by what follows. */
  blocks(): (readonly [first: number, last: number])[] {
    const { operators: n, storages, lastUse } = this.problem;
    const crossing = new Int32Array(n);
    for (let s = 0; s < storages; s++) for (let i = this.producer(s); i < int(lastUse, s); i++) crossing[i] = int(crossing, i) + 1;
    const lasts = [...crossing.keys()].filter((i) => i === n - 1 || int(crossing, i) <= 1);
    return lasts.map((last, k) => [k === 0 ? 0 : (lasts[k - 1] ?? 0) + 1, last]);
  }
}

const row = ({ start, data }: { start: Int32Array; data: Int32Array }, k: number): Int32Array => data.subarray(int(start, k), int(start, k + 1));
