import { bit, int, num } from "./arrays";
import type { Problem } from "./problem";

/** While it is away a tensor is in host memory alone: freed after the step of clock `from`, allocated before that of clock `to`. */
export interface Absence {
  readonly tensor: number;
  readonly from: number;
  readonly to: number;
}

/** What a schedule's closures look like, so far as transfers care. */
interface Steps {
  readonly closureStart: Int32Array;
  readonly closureOperators: Int32Array;
}

/**
 * Storages that are away for a while, and what the step waits for their transfers (docs/format.md, "Offload").
 *
 * Copies to the host queue in the order in which forward makes the tensors, copies back in the order of their clocks;
 * each queue runs beside the step. With T the step's time, a tensor's copy ends at
 *   max(T, end of the one before it) + latency + bytes / rate,
 * and the step waits for it where it frees or needs the tensor. Where transfers don't overlap, all of it is waited for.
 */
export class Offloads {
  count = 0;
  /** Per storage; −1: it stays. */
  readonly from: Int32Array;
  readonly to: Int32Array;
  /** The first clock in backward at which it is read. */
  readonly need: Int32Array;

  private readonly problem: Problem;
  /** Lists by clock: which tensor is the first, and per tensor the next; −1: none. */
  private readonly leaving: Int32Array;
  private readonly returning: Int32Array;
  private readonly needing: Int32Array;
  private readonly nextLeaving: Int32Array;
  private readonly nextReturning: Int32Array;
  private readonly nextNeeding: Int32Array;
  private readonly ended: Float64Array;
  /** Something stands in the lists, be it of tensors that turned out not to go. */
  private marked = false;
  private sent = 0;
  private fetched = 0;

  constructor(problem: Problem) {
    const storages = problem.transfer === null ? 0 : problem.storages;
    const clocks = problem.transfer === null ? 0 : 2 * problem.operators;
    const none = (length: number): Int32Array => new Int32Array(length).fill(-1);
    this.problem = problem;
    this.from = none(storages);
    this.to = none(storages);
    this.need = none(storages);
    this.leaving = none(clocks);
    this.returning = none(clocks);
    this.needing = none(clocks);
    this.nextLeaving = none(storages);
    this.nextReturning = none(storages);
    this.nextNeeding = none(storages);
    this.ended = new Float64Array(storages);
  }

  clear(): void {
    if (!this.marked) return;
    this.marked = false;
    this.count = 0;
    for (const list of [this.from, this.to, this.need, this.leaving, this.returning, this.needing]) list.fill(-1);
  }

  /** As a plan says. Ascending by tensor, so that the last made of several with one clock comes back first. */
  set(absences: readonly Absence[], choice: Int32Array, steps: Steps): void {
    this.clear();
    for (const { tensor, from, to } of [...absences].sort((a, b) => a.tensor - b.tensor)) {
      if (tensor >= this.from.length) continue;
      this.from[tensor] = from;
      this.to[tensor] = to;
      this.marked = true;
      this.count++;
    }
    if (this.count > 0) {
      this.findNeeds(choice, steps);
      this.link();
    }
  }

  /**
   * Chooses clocks for these tensors, ascending: gone as soon as the queue lets it, back just in time. A copy that
   * the step would not wait for by then is freed after the first clock by which it has ended; one that comes back is
   * sent for at the last clock from which the queue brings it by its need.
   */
  choose(tensors: readonly number[], choice: Int32Array, steps: Steps): void {
    this.clear();
    const { problem } = this;
    const { transfer, operators: n, producer, lastUse, partEnd, forwardTime, backwardTime, recomputeTime } = problem;
    if (transfer === null || tensors.length === 0) return;
    for (const t of tensors) this.from[t] = n;
    this.count = tensors.length;
    this.marked = true;
    this.findNeeds(choice, steps);

    const end = new Float64Array(2 * n);
    let time = 0;
    for (let i = 0; i < n; i++) {
      time += num(forwardTime, int(choice, i));
      end[i] = time;
    }
    for (let k = 0; k < n; k++) {
      for (let at = int(steps.closureStart, k); at < int(steps.closureStart, k + 1); at++) time += num(recomputeTime, int(choice, int(steps.closureOperators, at)));
      time += num(backwardTime, int(choice, n - 1 - k));
      end[n + k] = time;
    }
    let free = 0;
    const going: number[] = [];
    for (const t of tensors) {
      if (int(this.need, t) < 2 * n - 1 - int(partEnd, t)) { // never, or in the backward of another part
        this.from[t] = -1;
        this.count--;
        continue;
      }
      going.push(t);
      free = Math.max(free, num(end, int(producer, t))) + num(transfer.out, t);
      let clock = int(lastUse, t);
      if (transfer.overlaps) while (clock < int(partEnd, t) && num(end, clock) < free) clock++;
      this.from[t] = clock;
    }
    going.sort((a, b) => int(this.need, b) - int(this.need, a) || a - b);
    free = Infinity;
    for (const t of going) {
      const need = int(this.need, t);
      free = Math.min(free, num(end, need - 1)) - num(transfer.back, t);
      let clock = need;
      if (transfer.overlaps) {
        for (let earlier = need - 1; earlier >= 2 * n - 1 - int(partEnd, t) && num(end, clock - 1) > free; earlier--) {
          if (this.unpacks(earlier, choice)) clock = earlier;
        }
      }
      this.to[t] = clock;
    }
    this.link();
  }

  /** Whether the backward step of a clock unpacks anything: only then does the runtime know that it begins. */
  unpacks(clock: number, choice: Int32Array): boolean {
    const { operators: n, saves, internal, hasBackward } = this.problem;
    const q = int(choice, 2 * n - 1 - clock);
    return bit(hasBackward, q) === 1 && (int(saves.start, q) < int(saves.start, q + 1) || num(internal, q) > 0);
  }

  isAway(t: number, clock: number): boolean {
    return this.count > 0 && t < this.from.length && int(this.from, t) >= 0 && int(this.from, t) < clock && clock < int(this.to, t);
  }

  begin(): void {
    this.sent = 0;
    this.fetched = 0;
  }

  /** Operator i has run in forward at `time`: when the step goes on. */
  afterForward(i: number, time: number): number {
    const { transfer, makes } = this.problem;
    if (transfer === null) return time;
    for (let slot = int(makes.start, i); slot < int(makes.start, i + 1); slot++) {
      const t = int(makes.data, slot);
      if (int(this.from, t) < 0) continue;
      this.sent = Math.max(this.sent, time) + num(transfer.out, t);
      this.ended[t] = this.sent;
      if (!transfer.overlaps) time = this.sent;
    }
    for (let t = this.firstLeaving(i); t >= 0; t = this.nextLeft(t)) time = Math.max(time, num(this.ended, t));
    return time;
  }

  /** The backward step of a clock begins at `time`: when it can run. */
  beforeBackward(clock: number, time: number): number {
    const { transfer } = this.problem;
    if (transfer === null) return time;
    for (let t = this.firstReturning(clock); t >= 0; t = this.nextReturned(t)) {
      this.fetched = Math.max(this.fetched, time) + num(transfer.back, t);
      this.ended[t] = this.fetched;
      if (!transfer.overlaps) time = this.fetched;
    }
    for (let t = int(this.needing, clock); t >= 0; t = int(this.nextNeeding, t)) time = Math.max(time, num(this.ended, t));
    return time;
  }

  firstLeaving(clock: number): number {
    return int(this.leaving, clock);
  }
  nextLeft(t: number): number {
    return int(this.nextLeaving, t);
  }
  firstReturning(clock: number): number {
    return int(this.returning, clock);
  }
  nextReturned(t: number): number {
    return int(this.nextReturning, t);
  }

  /** Ascending by tensor. */
  absences(): Absence[] {
    const found: Absence[] = [];
    if (this.count > 0) this.from.forEach((from, tensor) => {
      if (from >= 0) found.push({ tensor, from, to: int(this.to, tensor) });
    });
    return found;
  }

  private findNeeds(choice: Int32Array, { closureStart, closureOperators }: Steps): void {
    const { operators: n, saves, reads, hasBackward } = this.problem;
    for (let k = 0; k < n; k++) {
      const q = int(choice, n - 1 - k);
      if (bit(hasBackward, q) === 0) continue;
      for (let slot = int(saves.start, q); slot < int(saves.start, q + 1); slot++) this.needs(int(saves.data, slot), n + k);
      for (let at = int(closureStart, k); at < int(closureStart, k + 1); at++) {
        const j = int(closureOperators, at);
        for (let slot = int(reads.start, j); slot < int(reads.start, j + 1); slot++) this.needs(int(reads.data, slot), n + k);
      }
    }
  }

  private needs(t: number, clock: number): void {
    if (int(this.from, t) >= 0 && int(this.need, t) < 0) this.need[t] = clock;
  }

  private link(): void {
    for (let t = 0; t < this.from.length; t++) {
      if (int(this.from, t) < 0) continue;
      push(this.leaving, this.nextLeaving, int(this.from, t), t);
      push(this.returning, this.nextReturning, int(this.to, t), t);
      if (int(this.need, t) >= 0) push(this.needing, this.nextNeeding, int(this.need, t), t);
    }
  }
}

function push(first: Int32Array, next: Int32Array, clock: number, t: number): void {
  next[t] = int(first, clock);
  first[clock] = t;
}
