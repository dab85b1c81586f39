import { Simulator } from "../simulate";
import { bit, int, num } from "../simulate/arrays";
import { eagerChoice, type Problem } from "../simulate/problem";
import { draft, type Draft } from "./draft";

/**
 * The fastest of ALL plans of the format that offload nothing, within a budget, for small graphs.
 *
 * After the forward pass, what a step does and costs depends on the past through one thing only: the set H
 * of tensors held when it starts. So, per choice of implementations and of random operators that may run
 * again (their saved state is charged to every moment),
 *   V_n(H)     = 0                   if forward, keeping H, stays within the budget, else ∞
 *   V_{c+1}(H') = min over H → H' of V_c(H) + time of the closure at c under H, if the moments of c fit,
 * where H' drops any of the tensors used at c and retains any of those computed at c. A tensor may be
 * dropped only where it is used; dropping it later than its last use costs memory and saves nothing, so
 * trimming each interval to its last use keeps the optimum within the format.
 *
 * A path on which a pinned operator would run again is no plan and is left.
 */
export function exact(problem: Problem, budget: number): Draft | null {
  let best: { time: number; choice: Int32Array; path: readonly number[] } | null = null;
  for (const choice of choices(problem)) {
    const program = new ExactProgram(problem, choice);
    for (const rerun of program.randomSubsets()) {
      const found = program.solve(budget, rerun, best?.time ?? Infinity);
      if (found !== null) best = { ...found, choice };
    }
  }
  return best === null ? null : new ExactProgram(problem, best.choice).draft(best.path);
}

/** Whether `exact` finishes soon: the number of sets and choices that it may have to visit. */
export function isSmall(problem: Problem, limit = 1 << 10): boolean {
  let size = 2 ** settable(problem, eagerChoice(problem)).length;
  for (let i = 0; i < problem.operators; i++) size *= (int(problem.implementations, i + 1) - int(problem.implementations, i)) * (bit(problem.random, i) === 1 ? 2 : 1);
  return size <= limit;
}

function* choices(problem: Problem): Generator<Int32Array> {
  const choice = problem.implementations.slice(0, problem.operators);
  for (;;) {
    yield choice.slice();
    let i = 0;
    while (i < problem.operators && int(choice, i) + 1 === int(problem.implementations, i + 1)) {
      choice[i] = int(problem.implementations, i);
      i++;
    }
    if (i === problem.operators) return;
    choice[i] = int(choice, i) + 1;
  }
}

/** Everything that a set can hold: all storages but model outputs, and internals of the chosen implementations. */
function settable(problem: Problem, choice: Int32Array): Int32Array {
  const found: number[] = [];
  for (let s = 0; s < problem.storages; s++) if (bit(problem.isOutput, s) === 0) found.push(s);
  for (let i = 0; i < problem.operators; i++) if (num(problem.internal, int(choice, i)) > 0) found.push(problem.storages + i);
  return Int32Array.from(found);
}

interface State {
  readonly time: number;
  /** Sets held before each backward step so far. */
  readonly path: readonly number[];
}

class ExactProgram {
  private readonly problem: Problem;
  private readonly choice: Int32Array;
  /** Tensor to bit of the set, −1: held or not whatever the set says. */
  private readonly place: Int32Array;
  private readonly free: Int32Array;
  private readonly always: Uint8Array;
  private readonly before: Float64Array;
  private readonly handing: Float64Array;

  constructor(problem: Problem, choice: Int32Array) {
    const { storages, tensors } = problem;
    this.problem = problem;
    this.choice = choice;
    this.always = new Uint8Array(tensors);
    this.always.set(problem.isOutput);
    for (let i = 0; i < problem.operators; i++) {
      const q = int(choice, i);
      if (bit(problem.hasBackward, q) === 1) continue;
      this.always[storages + i] = 1;
      for (const s of row(problem.saves, q)) this.always[s] = 1;
    }
    this.free = settable(problem, choice).filter((t) => bit(this.always, t) === 0);
    this.place = new Int32Array(tensors).fill(-1);
    this.free.forEach((t, k) => {
      this.place[t] = k;
    });
    const { gradients } = new Simulator(problem).profile(choice);
    this.before = gradients.before;
    this.handing = gradients.handing;
  }

  /** Sets of random operators that may run again. */
  *randomSubsets(): Generator<ReadonlySet<number>> {
    const random = [...this.problem.random.keys()].filter((i) => bit(this.problem.random, i) === 1);
    for (let mask = 0; mask < 1 << random.length; mask++) yield new Set(random.filter((_, k) => (mask >> k) & 1));
  }

  solve(budget: number, rerun: ReadonlySet<number>, below: number): State | null {
    const { problem } = this;
    const room = budget - problem.fixed - problem.rng * rerun.size;
    let time = 0;
    for (let i = 0; i < problem.operators; i++) time += num(problem.forwardTime, int(this.choice, i)) + num(problem.backwardTime, int(this.choice, i));
    if (time >= below) return null;
    let states = new Map<number, State>();
    for (let set = 0; set < 2 ** this.free.length; set++) {
      if (this.forwardPeak(set) <= room) states.set(set, { time: time + this.copyTime(set), path: [] });
    }
    for (let k = 0; k < problem.operators; k++) {
      const operator = problem.operators - 1 - k;
      const next = new Map<number, State>();
      for (const [set, state] of states) {
        if (state.time >= below) continue;
        const path = [...state.path, set];
        if (bit(problem.hasBackward, int(this.choice, operator)) === 0) {
          next.set(set, { time: state.time, path });
          continue;
        }
        const closure = this.closure(operator, set);
        if (closure.length > 0 && bit(problem.opaque, operator) === 1) continue;
        if (closure.some((j) => bit(problem.pinned, j) === 1 || (bit(problem.random, j) === 1 && !rerun.has(j)))) continue;
        const cost = closure.reduce((sum, j) => sum + num(problem.recomputeTime, int(this.choice, j)), state.time);
        const changeable = this.changeable(operator, set, closure);
        const gone = int(this.place, problem.storages + operator);
        for (const after of subsets(set & ~changeable & ~(gone < 0 ? 0 : 1 << gone), changeable)) {
          const known = next.get(after);
          if (known !== undefined && known.time <= cost) continue;
          if (this.stepPeak(k, set, after, closure) <= room) next.set(after, { time: cost, path });
        }
      }
      states = next;
    }
    let best: State | null = null;
    for (const [set, state] of states) if (state.time < (best?.time ?? below)) best = { time: state.time, path: [...state.path, set] };
    return best;
  }

  /** The intervals along a path of sets, each trimmed to its last use. */
  draft(path: readonly number[]): Draft {
    const { problem } = this;
    const { operators: n, storages, tensors, producer } = problem;
    const lists: [number, number][][] = Array.from({ length: tensors }, () => []);
    const open = new Int32Array(tensors).fill(-1);
    const last = new Int32Array(tensors).fill(-1);
    const close = (t: number): void => {
      if (int(open, t) >= 0 && int(last, t) > int(open, t) && bit(this.always, t) === 0) lists[t]?.push([int(open, t), int(last, t)]);
      open[t] = -1;
      last[t] = -1;
    };
    for (let t = 0; t < tensors; t++) {
      if (this.inSet(t, path[0] ?? 0)) open[t] = t < storages ? int(producer, t) : t - storages;
    }
    for (let k = 0; k < n; k++) {
      const operator = n - 1 - k;
      const clock = n + k;
      if (bit(problem.hasBackward, int(this.choice, operator)) === 0) continue;
      const set = path[k] ?? 0;
      const closure = this.closure(operator, set);
      for (const t of this.used(operator, closure)) if (int(open, t) >= 0) last[t] = clock;
      for (let t = 0; t < tensors; t++) {
        const held = this.inSet(t, path[k + 1] ?? 0);
        if (held && int(open, t) < 0) {
          open[t] = clock;
          last[t] = clock;
        } else if (!held && int(open, t) >= 0) close(t);
      }
    }
    for (let t = 0; t < tensors; t++) close(t);
    return draft(problem, this.choice, lists);
  }

  private inSet(t: number, set: number): boolean {
    const place = int(this.place, t);
    return place >= 0 && ((set >> place) & 1) === 1;
  }

  private held(t: number, set: number): boolean {
    return bit(this.always, t) === 1 || this.inSet(t, set);
  }

  private used(operator: number, closure: readonly number[]): number[] {
    const { problem } = this;
    const q = int(this.choice, operator);
    const found = new Set<number>(row(problem.saves, q));
    if (num(problem.internal, q) > 0) found.add(problem.storages + operator);
    for (const j of closure) for (const s of row(problem.reads, j)) found.add(s);
    return [...found];
  }

  private closure(operator: number, set: number): number[] {
    const { problem } = this;
    const found = new Set<number>();
    const visit = (j: number): void => {
      if (found.has(j)) return;
      found.add(j);
      for (const s of row(problem.reads, j)) if (!this.held(s, set)) visit(int(problem.producer, s));
    };
    const q = int(this.choice, operator);
    for (const s of row(problem.saves, q)) if (!this.held(s, set)) visit(int(problem.producer, s));
    if (num(problem.internal, q) > 0 && !this.held(problem.storages + operator, set)) visit(operator);
    return [...found].sort((a, b) => a - b);
  }

  /** Bits that may differ after the step: held ones that it uses, and ones that it computes. */
  private changeable(operator: number, set: number, closure: readonly number[]): number {
    const { problem } = this;
    let bits = 0;
    const add = (t: number): void => {
      if (int(this.place, t) >= 0 && bit(this.always, t) === 0) bits |= 1 << int(this.place, t);
    };
    for (const t of this.used(operator, closure)) if (this.held(t, set) && t !== problem.storages + operator) add(t);
    for (const j of closure) {
      for (const s of row(problem.makes, j)) if (!this.held(s, set)) add(s);
      if (j !== operator && num(problem.internal, int(this.choice, j)) > 0 && !this.held(problem.storages + j, set)) add(problem.storages + j);
    }
    return bits;
  }

  private copyTime(set: number): number {
    const { overwriting, takesForward, leaves, copyTime } = this.problem;
    const copying = [...overwriting].filter((i) => this.held(int(takesForward, i), set) || bit(leaves, int(this.choice, i)) === 1);
    return copying.reduce((sum, i) => sum + num(copyTime, int(this.choice, i)), 0);
  }

  private forwardPeak(set: number): number {
    const { problem } = this;
    let live = 0;
    let peak = 0;
    const stays = (t: number): boolean => this.held(t, set);
    for (let i = 0; i < problem.operators; i++) {
      const q = int(this.choice, i);
      const over = int(problem.takesForward, i);
      const taken = over >= 0 && !stays(over) && bit(problem.leaves, q) === 0 ? num(problem.takenBytes, i) : 0;
      peak = Math.max(peak, live + num(problem.forwardPeak, q) - taken);
      live += num(problem.madeBytes, i);
      if (stays(problem.storages + i)) live += num(problem.internal, q);
      for (const s of row(problem.dies, i)) if (!stays(s)) live -= num(problem.bytes, s);
    }
    return peak;
  }

  private stepPeak(k: number, set: number, after: number, closure: readonly number[]): number {
    const { problem } = this;
    const { operators: n, storages, tensors } = problem;
    const operator = n - 1 - k;
    const q = int(this.choice, operator);
    const bytes = (t: number): number => (t < storages ? num(problem.bytes, t) : num(problem.internal, int(this.choice, t - storages)));
    const heldThen = (t: number): boolean => this.held(t, after);
    const heldNow = (t: number): boolean => this.held(t, set);
    const live = new Set<number>();
    for (let t = 0; t < tensors; t++) if (heldNow(t)) live.add(t);
    const sum = (): number => [...live].reduce((total, t) => total + bytes(t), num(this.before, k));
    const needed = new Set<number>(row(problem.saves, q));
    const computed = new Set<number>();
    let peak = 0;
    closure.forEach((j, at) => {
      const r = int(this.choice, j);
      const later = new Set(closure.slice(at + 1).flatMap((l) => [...row(problem.reads, l)]));
      const starts = (t: number): boolean => !heldNow(t) && heldThen(t);
      const internals = storages + j;
      const wanted = num(problem.internal, r) > 0 && ((j === operator && !heldNow(internals)) || starts(internals));
      const over = int(problem.takes, j);
      const taken = !wanted && over >= 0 && computed.has(over) && !starts(over) && !needed.has(over) && !later.has(over) && bit(problem.leaves, r) === 0;
      peak = Math.max(peak, sum() + num(wanted ? problem.remakePeak : problem.recomputePeak, r) - (taken ? num(problem.takenBytes, j) : 0));
      for (const s of row(problem.makes, j)) {
        if (live.has(s)) continue;
        live.add(s);
        computed.add(s);
      }
      if (wanted) live.add(internals);
      for (const s of [...computed]) {
        if (later.has(s) || needed.has(s) || starts(s)) continue;
        live.delete(s);
        computed.delete(s);
      }
    });
    peak = Math.max(peak, sum() + num(problem.backwardPeak, q));
    let rest = 0;
    for (let t = 0; t < tensors; t++) if (heldThen(t) && t !== storages + operator) rest += bytes(t);
    return Math.max(peak, rest + num(this.handing, q));
  }
}

const row = ({ start, data }: { start: Int32Array; data: Int32Array }, k: number): Int32Array => data.subarray(int(start, k), int(start, k + 1));

function* subsets(base: number, bits: number): Generator<number> {
  for (let part = bits; ; part = (part - 1) & bits) {
    yield base | part;
    if (part === 0) return;
  }
}
