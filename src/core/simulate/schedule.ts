import { bit, int, num } from "./arrays";
import { Offloads, type Absence } from "./offload";
import type { Problem } from "./problem";

/**
 * What a genome says of a tensor: how early it begins to be held. It then is until its last need, never longer.
 * In between, a gene r means: dropped after forward, and held from its first recompute on that is for the backward of an
 * operator at most r places behind its maker; −r means the same, but held from forward as well, for operators that are
 * more than r places behind. Places are relative, so that alike blocks mean the same by the same genes.
 */
export const drop = 0;
/** Dropped after forward, held from its first recompute on. */
export const retain = 0x3fff_ffff;
export const keep = 0x7fff_ffff;
/** Kept from forward, and in host memory alone for as much of that as its transfers leave. */
export const offload = keep - 1;

/** Retention intervals: those of tensor t are number first[t] … first[t+1], each [from, to]. */
export interface Intervals {
  readonly first: Int32Array;
  readonly from: Int32Array;
  readonly to: Int32Array;
}

/**
 * Who is held when, and what each backward step recomputes.
 *
 * With H_c the tensors held at clock c, the closure of step c is the least set C with
 *   producers of (needs(c) \ H_c) ⊆ C   and   producers of (reads(j) \ H_c) ⊆ C for every j in C.
 * Operators read only what came before them, so ascending ids are an order of execution.
 *
 * The buffers are reused from one call to the next: a schedule describes the last plan or genome given.
 */
export class Schedule implements Intervals {
  /** Step k (clock n + k) recomputes closureOperators[closureStart[k]] … in ascending id. */
  readonly closureStart: Int32Array;
  closureOperators: Int32Array;
  /** Held to the end whatever the plan says: model outputs, and what an operator without backward saved. */
  readonly always: Uint8Array;
  first: Int32Array;
  from: Int32Array;
  to: Int32Array;
  /** An operator that must not run twice and would have to: the plan or genome is impossible. −1: none. */
  conflict = -1;
  readonly offloads: Offloads;

  private readonly problem: Problem;
  private readonly until: Int32Array;
  private readonly last: Int32Array;
  /** Of a genome: where the interval at hand began, and where the one before it ended; −1: none. */
  private readonly begun: Int32Array;
  private readonly interrupted: Int32Array;
  private readonly mark: Int32Array;
  private stamp = 0;
  private readonly own: Intervals;

  constructor(problem: Problem) {
    const { operators, tensors } = problem;
    this.problem = problem;
    this.closureStart = new Int32Array(operators + 1);
    this.closureOperators = new Int32Array(4 * operators + 16);
    this.always = new Uint8Array(tensors);
    this.own = {
      first: new Int32Array(tensors + 1),
      from: new Int32Array(2 * tensors),
      to: new Int32Array(2 * tensors),
    };
    this.first = this.own.first;
    this.from = this.own.from;
    this.to = this.own.to;
    this.until = new Int32Array(tensors);
    this.last = new Int32Array(tensors);
    this.begun = new Int32Array(tensors);
    this.interrupted = new Int32Array(tensors);
    this.mark = new Int32Array(operators);
    this.offloads = new Offloads(problem);
  }

  /** Intervals that follow from a genome: needs are pushed through the backward steps, then trimmed to the last. */
  fromGenes(choice: Int32Array, genes: Int32Array): void {
    const { problem, until, last, begun, interrupted } = this;
    const { operators: n, storages, tensors, producer, stays } = problem;
    const { first, from, to } = this.own;
    this.first = first;
    this.from = from;
    this.to = to;
    this.begin(choice);
    const forever = 2 * n;
    for (let t = 0; t < tensors; t++) {
      const maker = t < storages ? int(producer, t) : t - storages;
      const gene = int(genes, t);
      const kept = gene >= offload || bit(stays, t) === 1;
      until[t] = kept || bit(this.always, t) === 1 ? forever : gene < 0 ? forever - 2 - maker + gene : -1;
      begun[t] = kept || gene < 0 ? maker : -1;
      last[t] = -1;
      interrupted[t] = -1;
    }
    for (let k = 0; k < n; k++) {
      if (!this.gather(k, choice)) continue;
      const clock = n + k;
      for (let at = int(this.closureStart, k); at < int(this.closureStart, k + 1); at++) {
        const j = int(this.closureOperators, at);
        const internals = storages + j;
        const behind = n - 1 - k - j;
        if (behind <= 0 && !problem.standsIn) continue; // its own backward is the last to need anything of it
        if (behind > 0 && behind <= Math.abs(int(genes, internals)) && int(until, internals) < clock) this.retainFrom(internals, clock);
        const reach = Math.max(1, behind); // where it is still needed, it is for operators before it
        for (let slot = int(problem.makes.start, j); slot < int(problem.makes.start, j + 1); slot++) {
          const s = int(problem.makes.data, slot);
          if (reach <= Math.abs(int(genes, s)) && int(until, s) < clock) this.retainFrom(s, clock);
        }
      }
    }
    let count = 0;
    for (let t = 0; t < tensors; t++) {
      first[t] = count;
      if (bit(this.always, t) === 1) continue;
      const maker = t < storages ? int(producer, t) : t - storages;
      if (int(interrupted, t) > maker) {
        from[count] = maker;
        to[count++] = int(interrupted, t);
      }
      if (int(begun, t) < 0 || int(last, t) <= int(begun, t)) continue;
      from[count] = int(begun, t);
      to[count++] = int(last, t);
    }
    first[tensors] = count;
    if (problem.transfer !== null) this.offloadGenes(choice, genes);
  }

  private offloadGenes(choice: Int32Array, genes: Int32Array): void {
    const { storages, offloadable } = this.problem;
    const found: number[] = [];
    for (let t = 0; t < storages; t++) if (int(genes, t) === offload && bit(offloadable, t) === 1 && bit(this.always, t) === 0) found.push(t);
    this.offloads.choose(found, choice, this);
  }

  /** Intervals as a plan gives them. Returns the numbers of those that don't start or end where a step computes or uses the tensor. */
  fromIntervals(choice: Int32Array, intervals: Intervals, absences: readonly Absence[] = []): number[] {
    const { problem, until, last } = this;
    const { operators: n, storages, tensors } = problem;
    const { first, from, to } = intervals;
    this.first = first;
    this.from = from;
    this.to = to;
    this.begin(choice);
    const cursor = first.slice(0, tensors);
    const started = new Uint8Array(from.length);
    const ended = new Uint8Array(from.length);
    for (let t = 0; t < tensors; t++) {
      const maker = t < storages ? int(problem.producer, t) : t - storages;
      const k = int(first, t);
      const kept = k < int(first, t + 1) && int(from, k) === maker;
      if (kept) started[k] = 1;
      until[t] = bit(this.always, t) === 1 ? 2 * n : kept ? int(to, k) : -1;
      last[t] = -1;
    }
    const settle = (t: number, clock: number): void => {
      let k = int(cursor, t);
      while (k < int(first, t + 1) && int(to, k) < clock) k++;
      cursor[t] = k;
      if (k < int(first, t + 1) && int(from, k) === clock) {
        started[k] = 1;
        if (bit(this.always, t) === 0) until[t] = int(to, k);
      }
    };
    const use = (t: number, clock: number): void => {
      for (let k = int(first, t); k < int(first, t + 1); k++) if (int(to, k) === clock) ended[k] = 1;
    };
    for (let k = 0; k < n; k++) {
      if (!this.gather(k, choice)) continue;
      const clock = n + k;
      const operator = n - 1 - k;
      const q = int(choice, operator);
      for (let slot = int(problem.saves.start, q); slot < int(problem.saves.start, q + 1); slot++) use(int(problem.saves.data, slot), clock);
      if (num(problem.internal, q) > 0) use(storages + operator, clock);
      for (let at = int(this.closureStart, k); at < int(this.closureStart, k + 1); at++) {
        const j = int(this.closureOperators, at);
        for (let slot = int(problem.reads.start, j); slot < int(problem.reads.start, j + 1); slot++) use(int(problem.reads.data, slot), clock);
        for (let slot = int(problem.makes.start, j); slot < int(problem.makes.start, j + 1); slot++) settle(int(problem.makes.data, slot), clock);
        settle(storages + j, clock);
      }
    }
    this.offloads.set(absences, choice, this);
    const wrong: number[] = [];
    started.forEach((ok, k) => {
      if (ok === 0 || ended[k] === 0) wrong.push(k);
    });
    return wrong;
  }

  /** Held from forward on, to some use in backward. */
  isKept(t: number): boolean {
    const k = int(this.first, t);
    return k < int(this.first, t + 1) && int(this.from, k) < this.problem.operators;
  }

  /** The interval that the tensor is held in at a clock or begins to be; −1: none. */
  intervalAt(t: number, clock: number): number {
    for (let k = int(this.first, t); k < int(this.first, t + 1); k++) if (int(this.from, k) <= clock && clock <= int(this.to, k)) return k;
    return -1;
  }

  /** The random operators that run again anywhere, ascending. */
  rerunRandom(): number[] {
    const run = this.closureOperators.subarray(0, int(this.closureStart, this.problem.operators));
    return [...new Set(run)].filter((j) => bit(this.problem.random, j) === 1).sort((a, b) => a - b);
  }

  private begin(choice: Int32Array): void {
    const { problem, always } = this;
    this.conflict = -1;
    this.closureStart[0] = 0;
    always.set(problem.isOutput);
    if (!problem.strands) return;
    always.fill(0, problem.storages);
    for (let i = 0; i < problem.operators; i++) {
      const q = int(choice, i);
      if (bit(problem.hasBackward, q) === 1) continue;
      if (num(problem.internal, q) > 0) always[problem.storages + i] = 1;
      for (let slot = int(problem.saves.start, q); slot < int(problem.saves.start, q + 1); slot++) always[int(problem.saves.data, slot)] = 1;
    }
  }

  private retainFrom(t: number, clock: number): void {
    this.until[t] = 2 * this.problem.operators;
    if (int(this.begun, t) >= 0) this.interrupted[t] = int(this.last, t);
    this.begun[t] = clock;
    this.last[t] = clock;
  }

  /** Collects the closure of step k; false where the operator has no backward. */
  private gather(k: number, choice: Int32Array): boolean {
    const { problem, until, last, mark } = this;
    const { operators: n, storages, producer, reads, saves } = problem;
    const begin = int(this.closureStart, k);
    const clock = n + k;
    const operator = n - 1 - k;
    const q = int(choice, operator);
    let end = begin;
    if (bit(problem.hasBackward, q) === 1) {
      if (begin + n > this.closureOperators.length) this.grow();
      const list = this.closureOperators;
      const stamp = ++this.stamp;
      for (let slot = int(saves.start, q); slot < int(saves.start, q + 1); slot++) {
        const s = int(saves.data, slot);
        if (int(until, s) >= clock) {
          last[s] = clock;
          continue;
        }
        const j = int(producer, s);
        if (int(mark, j) !== stamp) {
          mark[j] = stamp;
          list[end++] = j;
        }
      }
      if (num(problem.internal, q) > 0) {
        if (int(until, storages + operator) >= clock) last[storages + operator] = clock;
        else if (int(mark, operator) !== stamp) {
          mark[operator] = stamp;
          list[end++] = operator;
        }
      }
      if (end > begin && bit(problem.opaque, operator) === 1) this.conflict = int(list, begin);
      for (let at = begin; at < end; at++) {
        const j = int(list, at);
        if (bit(problem.pinned, j) === 1) this.conflict = j;
        for (let slot = int(reads.start, j); slot < int(reads.start, j + 1); slot++) {
          const s = int(reads.data, slot);
          if (int(until, s) >= clock) {
            last[s] = clock;
            continue;
          }
          const before = int(producer, s);
          if (int(mark, before) !== stamp) {
            mark[before] = stamp;
            list[end++] = before;
          }
        }
      }
      sortRange(list, begin, end);
    }
    this.closureStart[k + 1] = end;
    return bit(problem.hasBackward, q) === 1;
  }

  private grow(): void {
    const larger = new Int32Array(2 * this.closureOperators.length + this.problem.operators);
    larger.set(this.closureOperators);
    this.closureOperators = larger;
  }
}

/** Closures are short and nearly descending: reverse, then insert; long ones go to the library. */
export function sortRange(list: Int32Array, begin: number, end: number): void {
  if (end - begin < 2) return;
  if (end - begin > 48) {
    list.subarray(begin, end).sort();
    return;
  }
  for (let low = begin, high = end - 1; low < high; low++, high--) {
    const swap = int(list, low);
    list[low] = int(list, high);
    list[high] = swap;
  }
  for (let at = begin + 1; at < end; at++) {
    const j = int(list, at);
    let hole = at;
    while (hole > begin && int(list, hole - 1) > j) {
      list[hole] = int(list, hole - 1);
      hole--;
    }
    list[hole] = j;
  }
}
