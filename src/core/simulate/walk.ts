import { bit, int, num } from "./arrays";
import type { GradientProfile, TensorRef } from "./gradients";
import type { Problem } from "./problem";
import type { Schedule } from "./schedule";

/** What runs; offload and fetch name the operator whose result goes or comes back. */
export type RunKind = "forward" | "recompute" | "backward" | "offload" | "fetch";

/** One operator run, as the timeline tells it: live bytes are those of activations and what is fixed. */
export interface Trace {
  run(kind: RunKind, clock: number, operator: number, before: number, moment: number, after: number, allocated: TensorRef[], freed: TensorRef[], took: number): void;
  /** The step goes on then: later than the last run ended where it waits for a transfer. */
  until(time: number): void;
}

/**
 * The walk of docs/format.md, "What happens in a step": the one place that knows when memory comes and goes.
 *
 * With A the live bytes of activations and G those of gradients (known beforehand), moments are
 *   forward i       A + peak − [i takes over]·bytes(output)
 *   recompute j     A + G + peak − [j takes over]·bytes(output)
 *   backward i      A + G + peak,  then while handing on  A + handing
 */
export class Walk {
  peak = 0;
  structurePeak = 0;
  time = 0;
  /** The largest moment of each clock. */
  readonly moments: Float64Array;
  /** Which recompute that largest moment is in; −1: the clock's own operator runs then. */
  readonly recomputing: Int32Array;

  private readonly problem: Problem;
  private readonly needed: Int32Array;
  private readonly computed: Int32Array;
  private readonly lastRead: Int32Array;
  private readonly readIn: Int32Array;
  private readonly freedAt: Int32Array;
  private readonly cursor: Int32Array;
  private readonly rerun: Int32Array;
  private stamp = 0;
  private walks = 0;

  constructor(problem: Problem) {
    this.problem = problem;
    this.moments = new Float64Array(2 * problem.operators);
    this.recomputing = new Int32Array(2 * problem.operators).fill(-1);
    this.needed = new Int32Array(problem.storages);
    this.computed = new Int32Array(problem.storages);
    this.lastRead = new Int32Array(problem.storages);
    this.readIn = new Int32Array(problem.storages);
    this.freedAt = new Int32Array(problem.storages);
    this.cursor = new Int32Array(problem.tensors);
    this.rerun = new Int32Array(problem.operators);
  }

  /**
   * Structure is the gradient profile for `structurePeak`; null leaves that out. Where a moment exceeds `most` the walk
   * ends, with an infinite peak, the moments until then, and no time.
   */
  run(choice: Int32Array, schedule: Schedule, gradients: GradientProfile, structure: GradientProfile | null, trace: Trace | null = null, most = Infinity): void {
    const { problem, moments, needed, computed, lastRead, readIn, freedAt, cursor, rerun } = this;
    const { operators: n, storages, bytes, producer, reads, makes, dies, saves, internal } = problem;
    const { from, to, always, closureStart, closureOperators } = schedule;
    const ends = schedule.first;
    const { offloads } = schedule;
    const away = offloads.count > 0;
    if (away) offloads.begin();
    for (let t = 0; t < problem.tensors; t++) cursor[t] = int(ends, t) < int(ends, t + 1) ? int(ends, t) : -1;
    const startOf = (t: number): number => (int(cursor, t) < 0 ? -1 : int(from, int(cursor, t)));
    const endOf = (t: number): number => (int(cursor, t) < 0 ? -1 : int(to, int(cursor, t)));
    const heldFromForward = (t: number, maker: number): boolean => bit(always, t) === 1 || startOf(t) === maker;
    const heldAt = (t: number, clock: number): boolean => {
      if (bit(always, t) === 1) return true;
      const start = startOf(t);
      return start >= 0 && start < clock && clock <= endOf(t);
    };
    const walk = ++this.walks;
    let live = problem.fixed;
    let peak = 0;
    let structurePeak = 0;
    let time = 0;
    let restored = 0;
    if (problem.rng > 0) for (let at = 0; at < int(closureStart, n); at++) {
      const j = int(closureOperators, at);
      if (bit(problem.random, j) === 0 || int(rerun, j) === walk) continue;
      rerun[j] = walk;
      restored++;
    }
    const room = most - restored * problem.rng; // random states are in every moment alike
    this.restored = restored;
    this.peak = Infinity;

    for (let i = 0; i < n; i++) {
      const q = int(choice, i);
      const before = live;
      const over = int(problem.takesForward, i);
      const takesOver = over >= 0 && bit(problem.leaves, q) === 0 && !heldFromForward(over, int(producer, over));
      const taken = takesOver ? num(problem.takenBytes, i) : 0;
      const took = num(problem.forwardTime, q) + (over >= 0 && !takesOver ? num(problem.copyTime, q) : 0);
      const stays = num(problem.madeBytes, i) + num(internal, q);
      const moment = live + num(problem.forwardPeak, q) - taken;
      moments[i] = moment;
      if (moment > peak) peak = moment;
      if (moment > room) return;
      if (live + stays - taken > structurePeak) structurePeak = live + stays - taken;
      time += took;
      live += stays;
      const freed: TensorRef[] | null = trace === null ? null : [];
      for (let slot = int(dies.start, i); slot < int(dies.start, i + 1); slot++) {
        const s = int(dies.data, slot);
        if (heldFromForward(s, int(producer, s))) continue;
        live -= num(bytes, s);
        freed?.push(this.ref(s, choice));
      }
      if (num(internal, q) > 0 && !heldFromForward(storages + i, i)) {
        live -= num(internal, q);
        freed?.push(this.ref(storages + i, choice));
      }
      if (trace !== null && freed !== null) trace.run("forward", i, i, before, moment, live, this.madeRefs(i, choice, true), freed, took);
      if (!away) continue;
      time = offloads.afterForward(i, time);
      trace?.until(time);
      for (let s = offloads.firstLeaving(i); s >= 0; s = offloads.nextLeft(s)) {
        live -= num(bytes, s);
        trace?.run("offload", i, int(producer, s), live + num(bytes, s), live + num(bytes, s), live, [], [this.ref(s, choice)], 0);
      }
    }

    for (let k = 0; k < n; k++) {
      const operator = n - 1 - k;
      const q = int(choice, operator);
      const clock = n + k;
      moments[clock] = 0;
      if (bit(problem.hasBackward, q) === 0) continue;
      const stamp = ++this.stamp;
      const gradient = num(gradients.before, k);
      const structureGradient = structure === null ? 0 : num(structure.before, k);
      let highest = 0;
      let highestIn = -1;
      if (away) {
        for (let s = offloads.firstReturning(clock); s >= 0; s = offloads.nextReturned(s)) {
          live += num(bytes, s);
          trace?.run("fetch", clock, int(producer, s), live - num(bytes, s), live, live, [this.ref(s, choice)], [], 0);
        }
        time = offloads.beforeBackward(clock, time);
        trace?.until(time);
      }
      for (let slot = int(saves.start, q); slot < int(saves.start, q + 1); slot++) needed[int(saves.data, slot)] = stamp;
      const begin = int(closureStart, k);
      const end = int(closureStart, k + 1);
      for (let at = begin; at < end; at++) {
        const j = int(closureOperators, at);
        for (let slot = int(reads.start, j); slot < int(reads.start, j + 1); slot++) {
          const s = int(reads.data, slot);
          lastRead[s] = at;
          readIn[s] = stamp;
        }
      }
      for (let at = begin; at < end; at++) {
        const j = int(closureOperators, at);
        const r = int(choice, j);
        const before = live;
        const internals = storages + j;
        const wanted = num(internal, r) > 0 && ((j === operator && !heldAt(internals, clock)) || startOf(internals) === clock);
        const over = int(problem.takes, j);
        const taken =
          over >= 0 && int(computed, over) === stamp && int(needed, over) !== stamp && int(lastRead, over) === at &&
          !wanted && startOf(over) !== clock && bit(problem.leaves, r) === 0
            ? num(problem.takenBytes, j)
            : 0;
        const moment = live + num(wanted ? problem.remakePeak : problem.recomputePeak, r) - taken;
        if (moment > highest) {
          highest = moment;
          highestIn = j;
        }
        const seen = live + num(problem.madeBytes, j) + num(internal, r) - taken + structureGradient;
        if (seen > structurePeak) structurePeak = seen;
        time += num(problem.recomputeTime, r);
        const allocated: TensorRef[] | null = trace === null ? null : [];
        const freed: TensorRef[] | null = trace === null ? null : [];
        for (let slot = int(makes.start, j); slot < int(makes.start, j + 1); slot++) {
          const s = int(makes.data, slot);
          if (heldAt(s, clock)) continue;
          allocated?.push(this.ref(s, choice));
          if (int(needed, s) === stamp || startOf(s) === clock || (int(readIn, s) === stamp && int(lastRead, s) > at)) {
            live += num(bytes, s);
            computed[s] = stamp;
          } else freed?.push(this.ref(s, choice));
        }
        if (wanted) {
          live += num(internal, r);
          allocated?.push(this.ref(internals, choice));
        }
        for (let slot = int(reads.start, j); slot < int(reads.start, j + 1); slot++) {
          const s = int(reads.data, slot);
          if (int(computed, s) !== stamp || int(lastRead, s) !== at || int(needed, s) === stamp || startOf(s) === clock) continue;
          computed[s] = 0;
          live -= num(bytes, s);
          freed?.push(this.ref(s, choice));
        }
        if (trace !== null && allocated !== null && freed !== null) trace.run("recompute", clock, j, before, moment, live, allocated, freed, num(problem.recomputeTime, r));
      }
      highest += gradient;
      const backward = live + num(problem.backwardPeak, q) + gradient;
      if (backward > highest) {
        highest = backward;
        highestIn = -1;
      }
      const seen = live + structureGradient + num(problem.gradientBytes, q) + num(problem.restoredBytes, q);
      if (seen > structurePeak) structurePeak = seen;
      time += num(problem.backwardTime, q);

      const before = live;
      const freed: TensorRef[] | null = trace === null ? null : [];
      for (let slot = int(saves.start, q); slot < int(saves.start, q + 1); slot++) {
        const s = int(saves.data, slot);
        if (bit(always, s) === 1) continue;
        const start = startOf(s);
        if (start >= 0 && start <= clock && clock < endOf(s)) continue;
        live -= num(bytes, s);
        freed?.push(this.ref(s, choice));
        if (endOf(s) === clock) this.advance(s, ends);
      }
      if (num(internal, q) > 0) {
        live -= num(internal, q);
        freed?.push(this.ref(storages + operator, choice));
      }
      for (let at = begin; at < end; at++) {
        const j = int(closureOperators, at);
        for (let slot = int(reads.start, j); slot < int(reads.start, j + 1); slot++) {
          const s = int(reads.data, slot);
          if (int(needed, s) === stamp || int(freedAt, s) === stamp || bit(always, s) === 1 || endOf(s) !== clock || startOf(s) >= clock) continue;
          freedAt[s] = stamp;
          live -= num(bytes, s);
          freed?.push(this.ref(s, choice));
          this.advance(s, ends);
        }
      }
      if (trace !== null && freed !== null) trace.run("backward", clock, operator, before, backward - gradient, live, [], freed, num(problem.backwardTime, q));
      if (live + num(gradients.handing, q) > highest) {
        highest = live + num(gradients.handing, q);
        highestIn = -1;
      }
      if (structure !== null && live + num(structure.handing, q) > structurePeak) structurePeak = live + num(structure.handing, q);
      moments[clock] = highest;
      this.recomputing[clock] = highestIn;
      if (highest > peak) peak = highest;
      if (highest > room) return;
    }
    this.peak = peak + restored * problem.rng;
    this.structurePeak = structurePeak + restored * problem.rng;
    this.time = time;
  }

  /** How many operators have their random numbers drawn again (where states take memory): each adds its state to every moment. */
  restored = 0;

  private advance(t: number, first: Int32Array): void {
    const next = int(this.cursor, t) + 1;
    if (next < int(first, t + 1)) this.cursor[t] = next;
  }

  private ref(t: number, choice: Int32Array): TensorRef {
    const { storages, valueOf, bytes, internal } = this.problem;
    if (t < storages) return { kind: "value", id: int(valueOf, t), bytes: num(bytes, t) };
    return { kind: "internals", id: t - storages, bytes: num(internal, int(choice, t - storages)) };
  }

  private madeRefs(operator: number, choice: Int32Array, internals: boolean): TensorRef[] {
    const { makes, internal, storages } = this.problem;
    const made = [...makes.data.subarray(int(makes.start, operator), int(makes.start, operator + 1))].map((s) => this.ref(s, choice));
    if (internals && num(internal, int(choice, operator)) > 0) made.push(this.ref(storages + operator, choice));
    return made;
  }
}
