import { Simulator } from "../simulate";
import { bit, int, num } from "../simulate/arrays";
import { eagerChoice, type Problem } from "../simulate/problem";
import type { Price } from "../plan";
import { branchingBound, type Highs } from "./branching";
import { LinearProgram, type Glpk } from "./linear";

/**
 * The snapshot program: a lower bound on the time of every plan of the format within a budget.
 *
 * Columns in [0, 1], each with the value that a plan gives it:
 *   S_u   storage u is kept from forward          S_ip  so are the internals of operator i's implementation p
 *   R_j   operator j is recomputed at least once  Y_ip  operator i uses implementation p
 * Cost: Σ Y_ip (forward + backward) + Σ R_j · cheapest recompute, and for what i may take over and whose memory it has to
 * leave, the copy: with Y_ip where p saves it, else the cheapest of these with S_u.
 *
 * Needs: what a backward step unpacks, and what a recompute reads, was kept or recomputed:
 *   Σ_{p saves u} Y_ip ≤ S_u + R_{producer(u)},   Y_ip ≤ S_ip + R_i,   R_j ≤ S_u + R_{producer(u)}.
 *
 * Memory is charged only where every plan pays it. Forward: what forward itself still uses, S of the rest.
 * Backward of i: gradients, what i unpacks, and what is needed later and never recomputed, since that must
 * have been there all along: bytes(u)·(1 − R_u). Recompute of j: the same at the latest step that can want j
 * (residency only shrinks with time), with j's inputs and peak.
 *
 * What only a recompute reads is charged through it. Let j read u and make w, which a step after i needs. If j is
 * recomputed and u never, then at i either u is there (j runs after i) or w is (it ran before): both are charged
 *   min(bytes(u), bytes(w)) · D_uj,   D_uj ≥ R_j − R_u.
 *
 * Offload, where the graph has links: O_u, storage u is offloaded. It is available then, and wherever it may be away
 * nothing is charged for it: 1 − R_u above is 1 − R_u − O_u, and D_uj ≥ R_j − R_u − O_u − Σ_w O_w. Where transfers don't
 * overlap, O_u costs both of its own. Where they do, the copies to the host follow each other and end within forward, so
 *   Σ O_u · out(u) ≤ Σ Y_ip · forward + Σ S_u · copy + W,   and those back within backward:   Σ O_u · back(u) ≤ Σ Y_ip · backward + Σ R_j · cheapest + W',
 * where W and W' are what else these halves of the step take: waits, and further recomputes. Both cost what they are.
 *
 * Every legal plan satisfies these rows, so the relaxation, and its dual by LinearProgram.dualBound, bounds them all.
 */
export interface Bound {
  /** No plan within the budget is faster; Infinity where none exists at all. */
  readonly time: number;
  readonly budget: number;
  /** A budget enters the dual only in the memory rows' limits, so one dual bounds every budget: by this much per byte, ≤ 0. */
  readonly perByte: number;
  /** The same by the memory rows that it is made of. */
  readonly prices: readonly Price[];
}

/** What a bound for one budget proves for another. */
export function boundAt({ time, budget, perByte }: Bound, other: number): number {
  return time === Infinity ? (other <= budget ? Infinity : 0) : Math.floor(time + perByte * (other - budget));
}

export function lowerBound(problem: Problem, budget: number, glpk: Glpk): Bound {
  if (problem.operators > mostOperators) return { time: budget < problem.fixed ? Infinity : fastest(problem), budget, perByte: 0, prices: [] };
  const snapshot = snapshotProgram(problem, budget);
  const least = fastest(problem);
  if (snapshot === null) return { time: Infinity, budget, perByte: 0, prices: [] };
  const { program, clocks } = snapshot;
  const { status, duals } = program.solve(glpk);
  if (status === "none") return { time: least, budget, perByte: 0, prices: [] };
  const proven = program.dualBound(duals) * timeUnit;
  const safe = Math.ceil(proven - 1e-9 * Math.abs(proven) - 1e-3);
  const dual = program.memory.map((k) => (Math.min(0, num(duals, k)) * timeUnit) / sizeUnit);
  return safe > least ? { time: safe, budget, perByte: dual.reduce((sum, each) => sum + each, 0), prices: pricesOf(dual, clocks) } : { time: least, budget, perByte: 0, prices: [] };
}

/** By clock, ascending; six digits are more than anyone reads. */
function pricesOf(dual: readonly number[], clocks: readonly number[]): Price[] {
  const found = new Map<number, number>();
  dual.forEach((perByte, k) => {
    const clock = clocks[k] ?? 0;
    if (perByte < 0) found.set(clock, (found.get(clock) ?? 0) - perByte);
  });
  return [...found].sort(([a], [b]) => a - b).map(([clock, perByte]) => [clock, Number(perByte.toPrecision(6))]);
}

/** Columns of a program that branch and cut is worth trying on, and how long: nodes, not seconds. */
const mostColumns = 4_000;
const nodes = 40;

/** The same program with its decisions whole; as good as `known` at most, the time of a plan. */
export function integerBound(problem: Problem, budget: number, highs: Highs, known: number): number {
  const snapshot = snapshotProgram(problem, budget);
  if (snapshot === null) return Infinity;
  const { program } = snapshot;
  if (program.cost.length > mostColumns) return 0;
  const proven = branchingBound(program, highs, { nodes, known: known / timeUnit }) * timeUnit;
  return Math.min(known, Math.ceil(proven - 1e-3));
}

/** No memory limit: every operator's best implementation, nothing recomputed. */
export function fastest(problem: Problem): number {
  const { operators, implementations, backwardTime } = problem;
  let total = 0;
  for (let i = 0; i < operators; i++) total += Math.min(...range(implementations, i).map((q) => leastForward(problem, i, q) + num(backwardTime, q)));
  return total;
}

/** With a copy where the implementation itself saves what it might overwrite. */
function leastForward({ forwardTime, copyTime, takesForward, leaves }: Problem, i: number, q: number): number {
  return num(forwardTime, q) + (int(takesForward, i) >= 0 && bit(leaves, q) === 1 ? num(copyTime, q) : 0);
}

/** Beyond this many operators the program takes too long, and nothing beats the fastest step is all that is said. */
const mostOperators = 2_500;
/** Operators up to which each has its memory rows. */
const allRows = 500;
/** About as many of each kind a larger graph has; fewer rows make a weaker bound, and never a wrong one. */
const memoryRows = 200;

/** The program is solved in µs and MiB, where its coefficients are near one. */
const timeUnit = 1e3;
const sizeUnit = 2 ** 20;

type Terms = (readonly [column: number, coefficient: number])[];

/** With the clock that each memory row speaks of; null where a row can't hold. */
function snapshotProgram(problem: Problem, budget: number): { readonly program: LinearProgram; readonly clocks: readonly number[] } | null {
  const { operators: n, storages, producer, lastUse, bytes, isOutput, pinned, implementations, internal, saves, reads, takesForward, takes, takenBytes } = problem;
  const program = new LinearProgram();
  const clocks: number[] = [];
  const count = (i: number): number => int(implementations, i + 1) - int(implementations, i);
  const each = (i: number, visit: (q: number) => void): void => {
    for (let q = int(implementations, i); q < int(implementations, i + 1); q++) visit(q);
  };
  const total = int(implementations, n);
  const size = (u: number): number => num(bytes, u) / sizeUnit;
  const room = (budget - problem.fixed) / sizeUnit;

  // Columns. −1 stands for a constant: R of a pinned operator is 0, Y of a single implementation is 1.
  const choose = new Int32Array(total).fill(-1);
  const keepInternals = new Int32Array(total).fill(-1);
  const recompute = new Int32Array(n).fill(-1);
  const keepStorage = new Int32Array(storages).fill(-1);
  for (let i = 0; i < n; i++) {
    let cheapest = Infinity;
    each(i, (q) => {
      const time = (leastForward(problem, i, q) + num(problem.backwardTime, q)) / timeUnit;
      if (count(i) > 1) choose[q] = program.column(time, true);
      else program.constant += time;
      if (num(internal, q) > 0) keepInternals[q] = program.column(0, true);
      cheapest = Math.min(cheapest, num(problem.recomputeTime, q));
    });
    if (count(i) > 1) program.row(range(implementations, i).map((q) => [int(choose, q), 1] as const), 1, true);
    if (bit(pinned, i) === 0) recompute[i] = program.column(cheapest / timeUnit, true);
  }
  // What an operator without backward saves is held anyway, so it may be there for nothing.
  const there = Uint8Array.from(isOutput);
  for (let q = 0; q < total; q++) if (bit(problem.hasBackward, q) === 0) for (const u of rowOf(saves, q)) there[u] = 1;
  const copy = new Float64Array(storages);
  for (const i of problem.overwriting) copy[int(takesForward, i)] = Math.min(...range(implementations, i).map((q) => (bit(problem.leaves, q) === 1 ? 0 : num(problem.copyTime, q))));
  for (let u = 0; u < storages; u++) if (bit(there, u) === 0) keepStorage[u] = program.column(num(copy, u) / timeUnit, true);
  const away = offloadColumns(problem, program, there);
  if (problem.transfer?.overlaps === true) addLinks(problem, program, away, { choose, recompute, keepStorage, copy });
  const again = (u: number): number => int(recompute, int(producer, u));
  /** Σ terms ≤ S_u + R_u, where the terms are certain (a constant one) or not. */
  const available = (need: Terms, certain: number, u: number): void => {
    if (bit(there, u) === 0) program.row([...need, [int(keepStorage, u), -1], [again(u), -1], [int(away, u), -1]], -certain);
  };

  // Needs. A storage is certainly needed by i if every implementation saves it.
  const certainNeed = new Int32Array(storages).fill(n);
  const perhaps: { i: number; need: Terms }[][] = Array.from({ length: storages }, () => []);
  const firstNeed = new Int32Array(storages).fill(n);
  for (let i = 0; i < n; i++) {
    const wanting = new Map<number, number[]>();
    each(i, (q) => {
      if (bit(problem.hasBackward, q) === 0) return;
      for (const u of rowOf(saves, q)) wanting.set(u, [...(wanting.get(u) ?? []), q]);
      if (num(internal, q) > 0) {
        const need: Terms = count(i) > 1 ? [[int(choose, q), 1]] : [];
        program.row([...need, [int(keepInternals, q), -1], [int(recompute, i), -1]], count(i) > 1 ? 0 : -1);
      }
    });
    for (const [u, list] of wanting) {
      firstNeed[u] = Math.min(int(firstNeed, u), i);
      if (list.length === count(i)) {
        available([], 1, u);
        certainNeed[u] = Math.min(int(certainNeed, u), i);
      } else {
        const need: Terms = list.map((q) => [int(choose, q), 1] as const);
        available(need, 0, u);
        perhaps[u]?.push({ i, need });
      }
    }
    if (int(recompute, i) >= 0) for (const u of rowOf(reads, i)) available([[int(recompute, i), 1]], 0, u);
  }
  // q_{u,m} ≥ need_m − R_u, not decreasing towards earlier steps: resident for the sake of an uncertain need.
  const resident: { i: number; column: number }[][] = perhaps.map((list, u) => {
    let before = -1;
    return list.map(({ i, need }) => {
      const column = program.column(0);
      program.row([...need, [again(u), -1], [int(away, u), -1], [column, -1]], 0);
      if (before >= 0) program.row([[before, 1], [column, -1]], 0);
      before = column;
      return { i, column };
    });
  });
  /** What u is charged while operators below i are still to come: bytes·(1 − R_u) if one certainly needs it. */
  let charged = 0;
  let terms: Terms = [];
  const chargeResident = (u: number, i: number): void => {
    if (bit(there, u) === 1) return;
    if (int(certainNeed, u) < i) {
      charged += size(u);
      terms.push([again(u), -size(u)], [int(away, u), -size(u)]);
      return;
    }
    const last = resident[u]?.filter((entry) => entry.i < i).at(-1);
    if (last !== undefined) terms.push([last.column, size(u)]);
  };
  const leastInternal = Float64Array.from({ length: n }, (_, i) =>
    Math.min(...range(implementations, i).map((q) => (bit(problem.hasBackward, q) === 1 ? num(internal, q) / sizeUnit : 0))));
  const chargeInternals = (below: number, except: number): void => {
    for (let i = 0; i < below; i++) {
      if (i === except || leastInternal[i] === 0) continue;
      charged += num(leastInternal, i);
      terms.push([int(recompute, i), -num(leastInternal, i)]);
    }
  };
  const chargeOutputs = (before: number): void => {
    for (let u = 0; u < storages; u++) if (bit(isOutput, u) === 1 && int(producer, u) < before) charged += size(u);
  };
  const close = (clock: number): boolean => {
    const most = terms.reduce((sum, [column, coefficient]) => (column >= 0 && coefficient > 0 ? sum + coefficient : sum), charged);
    const least = terms.reduce((sum, [column, coefficient]) => (column >= 0 && coefficient < 0 ? sum + coefficient : sum), charged);
    if (least > room + 1e-9) return false;
    if (most > room) {
      program.memory.push(program.rows.length);
      clocks.push(clock);
      program.row(terms, room - charged);
    }
    terms = [];
    charged = 0;
    return true;
  };
  const chosen = (i: number, q: number, amount: number): void => {
    if (count(i) > 1) terms.push([int(choose, q), amount]);
    else charged += amount;
  };

  const rowsOf = memoryRowsOf(problem);
  // Forward rows.
  for (let i = 0; i < n; i++) {
    if (bit(rowsOf, i) === 0) continue;
    for (let u = 0; u < storages; u++) {
      if (int(producer, u) >= i) continue;
      if (int(lastUse, u) >= i || bit(isOutput, u) === 1) charged += size(u);
      else terms.push([int(keepStorage, u), size(u)]);
    }
    for (let j = 0; j < i; j++) each(j, (q) => terms.push([int(keepInternals, q), num(internal, q) / sizeUnit]));
    each(i, (q) => {
      chosen(i, q, num(problem.forwardPeak, q) / sizeUnit);
    });
    const over = int(takesForward, i);
    const overwriting = over < 0 ? [] : range(implementations, i).filter((q) => bit(problem.leaves, q) === 0);
    const taken = num(takenBytes, i) / sizeUnit;
    if (overwriting.length === count(i)) {
      charged -= taken;
      terms.push([int(keepStorage, over), taken], [int(away, over), taken]);
    } else if (overwriting.length > 0) {
      // It takes over by one of these alone, and only what isn't kept.
      const column = program.column(0);
      program.row([[column, 1], ...overwriting.map((q) => [int(choose, q), -1] as const)], 0);
      program.row([[column, 1], [int(keepStorage, over), 1], [int(away, over), 1]], 1);
      terms.push([column, -taken]);
    }
    if (!close(i)) return null;
  }

  // Who reads a storage and makes something that counts: candidates for j above, with a column once one is used.
  const readers: { j: number; column: number }[][] = Array.from({ length: storages }, () => []);
  for (let j = 0; j < n; j++) {
    if (int(recompute, j) < 0) continue;
    for (const u of rowOf(reads, j)) if (bit(there, u) === 0) readers[u]?.push({ j, column: -1 });
  }
  /** Storages that `covered` has are charged already; each w is charged once at most. */
  const chargeThroughReaders = (i: number, covered: ReadonlySet<number>): void => {
    const left = new Map<number, number>();
    const roomOf = (j: number): number => {
      const made = rowOf(problem.makes, j).filter((w) => int(certainNeed, w) < i && bit(there, w) === 0 && !covered.has(w));
      return left.get(j) ?? made.reduce((sum, w) => sum + size(w), j < i ? num(leastInternal, j) : 0);
    };
    for (let u = 0; u < storages; u++) {
      if (bit(there, u) === 1 || covered.has(u) || int(certainNeed, u) < i || resident[u]?.some((entry) => entry.i < i) === true) continue;
      let best: { j: number; column: number } | undefined;
      for (const reader of readers[u] ?? []) if (roomOf(reader.j) > (best === undefined ? 0 : roomOf(best.j))) best = reader;
      if (best === undefined) continue;
      const amount = Math.min(size(u), roomOf(best.j));
      left.set(best.j, roomOf(best.j) - amount);
      if (best.column < 0) {
        best.column = program.column(0);
        const gone = [u, ...rowOf(problem.makes, best.j)].map((s) => [int(away, s), -1] as const);
        program.row([[int(recompute, best.j), 1], [again(u), -1], ...gone, [best.column, -1]], 0);
      }
      terms.push([best.column, amount]);
    }
  };

  // Backward rows, and the least gradient memory from the start to each step.
  const alike = problem.gradientClass.every((kind) => kind === 0);
  const gradients = alike ? new Simulator(problem).profile(eagerChoice(problem)).gradients.before : new Float64Array(n);
  for (let i = n - 1; i >= 0; i--) {
    if (bit(rowsOf, i) === 0 || range(implementations, i).some((q) => bit(problem.hasBackward, q) === 0)) continue;
    charged += num(gradients, n - 1 - i) / sizeUnit;
    chargeOutputs(n);
    const wanted = new Map<number, number[]>();
    each(i, (q) => {
      chosen(i, q, (num(problem.backwardPeak, q) + num(internal, q)) / sizeUnit);
      for (const u of rowOf(saves, q)) if (bit(isOutput, u) === 0) wanted.set(u, [...(wanted.get(u) ?? []), q]);
    });
    for (let u = 0; u < storages; u++) {
      const list = wanted.get(u);
      if (list === undefined) chargeResident(u, i);
      else if (list.length === count(i)) charged += size(u);
      else if (int(certainNeed, u) < i) chargeResident(u, i);
      else for (const q of list) chosen(i, q, size(u));
    }
    chargeInternals(i, i);
    chargeThroughReaders(i, new Set(wanted.keys()));
    if (!close(2 * n - 1 - i)) return null;
  }

  // Recompute rows. latest[j] is the last step's operator (the smallest id) that can want j again.
  const latest = new Int32Array(n).fill(n);
  for (let j = n - 1; j >= 0; j--) {
    if (range(implementations, j).some((q) => num(internal, q) > 0)) latest[j] = j;
    for (const u of rowOf(problem.makes, j)) latest[j] = Math.min(int(latest, j), int(firstNeed, u));
    for (let later = j + 1; later < n; later++) {
      if (rowOf(reads, later).some((u) => int(producer, u) === j)) latest[j] = Math.min(int(latest, j), int(latest, later));
    }
  }
  for (let j = 0; j < n; j++) {
    const column = int(recompute, j);
    const at = int(latest, j);
    if (column < 0 || at >= n || bit(rowsOf, j) === 0) continue;
    chargeOutputs(n);
    const inputs = new Set(rowOf(reads, j));
    for (let u = 0; u < storages; u++) {
      if (int(producer, u) === j || bit(there, u) === 1) continue;
      const certain = int(certainNeed, u) <= at;
      if (!inputs.has(u)) {
        if (certain) chargeResident(u, at + 1);
      } else if (certain) {
        // max(1 − R_u, R_j): resident, or there because j reads it.
        const either = program.column(0);
        program.row([[again(u), -1], [int(away, u), -1], [either, -1]], -1);
        program.row([[column, 1], [either, -1]], 0);
        terms.push([either, size(u)]);
      } else terms.push([column, size(u)]);
    }
    chargeInternals(at + 1, j);
    const over = int(takes, j) >= 0 ? num(takenBytes, j) : 0;
    const cheapest = Math.min(...range(implementations, j).map((q) => num(problem.recomputePeak, q) - (bit(problem.leaves, q) === 1 ? 0 : over)));
    terms.push([column, cheapest / sizeUnit]);
    if (!close(2 * n - 1 - at)) return null;
  }
  return { program, clocks };
}

/** O_u of the storages that can be offloaded; −1 for the rest. */
function offloadColumns({ transfer, storages, offloadable }: Problem, program: LinearProgram, there: Uint8Array): Int32Array {
  const columns = new Int32Array(storages).fill(-1);
  if (transfer === null) return columns;
  for (let u = 0; u < storages; u++) {
    if (bit(there, u) === 1 || bit(offloadable, u) === 0) continue;
    columns[u] = program.column(transfer.overlaps ? 0 : (num(transfer.out, u) + num(transfer.back, u)) / timeUnit, true);
  }
  return columns;
}

/** The two rows of links that overlap with the step. */
function addLinks(problem: Problem, program: LinearProgram, away: Int32Array, { choose, recompute, keepStorage, copy }: Record<"choose" | "recompute" | "keepStorage", Int32Array> & { readonly copy: Float64Array }): void {
  const { transfer, operators: n, implementations, backwardTime, recomputeTime } = problem;
  if (transfer === null) return;
  const forward = (i: number, q: number): number => leastForward(problem, i, q);
  const backward = (_: number, q: number): number => num(backwardTime, q);
  for (const [takes, during, again] of [[transfer.out, forward, false], [transfer.back, backward, true]] as const) {
    const terms: (readonly [number, number])[] = [];
    let certain = 0;
    let all = 0;
    away.forEach((column, u) => {
      if (column < 0) return;
      terms.push([column, num(takes, u) / timeUnit]);
      all += num(takes, u) / timeUnit;
    });
    for (let i = 0; i < n; i++) {
      const own = range(implementations, i);
      for (const q of own) {
        if (own.length === 1) certain += during(i, q) / timeUnit;
        else terms.push([int(choose, q), -during(i, q) / timeUnit]);
      }
      if (again) terms.push([int(recompute, i), -Math.min(...own.map((q) => num(recomputeTime, q))) / timeUnit]);
    }
    if (!again) keepStorage.forEach((column, u) => terms.push([column, -num(copy, u) / timeUnit]));
    if (all === 0) continue;
    terms.push([program.column(all), -all]);
    program.row(terms, certain);
  }
}

/** Operators whose moments are worth rows: all of a small graph; of a large one those that take most, and some of the rest. */
function memoryRowsOf({ operators: n, implementations, forwardPeak, backwardPeak }: Problem): Uint8Array {
  const stride = n <= allRows ? 1 : Math.ceil(n / memoryRows);
  const takes = Float64Array.from({ length: n }, (_, i) => Math.max(num(forwardPeak, int(implementations, i)), num(backwardPeak, int(implementations, i))));
  const heavy = new Set(Array.from(takes.keys()).sort((a, b) => num(takes, b) - num(takes, a) || a - b).slice(0, memoryRows / 4));
  return Uint8Array.from({ length: n }, (_, i) => Number(i % stride === 0 || heavy.has(i)));
}

const range = (start: Int32Array, k: number): number[] => Array.from({ length: int(start, k + 1) - int(start, k) }, (_, at) => int(start, k) + at);
const rowOf = ({ start, data }: { start: Int32Array; data: Int32Array }, k: number): Int32Array => data.subarray(int(start, k), int(start, k + 1));
