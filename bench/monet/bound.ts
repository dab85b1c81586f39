/**
 * The snapshot program for MONeT's rows: a lower bound on the objective of every schedule within a budget.
 *
 *   S_u  stored before stage 1       R_v  recomputed at least once      M_tp  path p at stage t
 *   X_ja, XR_ja, XB_ta  algorithm a of a convolution's forward, (some) recompute and backward
 *   I_v  runs in place in stage 0    q_ut  stored before stage t + 1, for the sake of a need at t or later
 *
 * What a stage needs was stored or recomputed, and what is needed and never recomputed has been stored all along:
 *   M_tp ≤ S_u + R_u,   R_v ≤ S_u + R_u,   q_ut ≥ Σ_p M_tp − R_u,   q_ut ≥ q_u,t+1.
 * Rows (b) of stage 0 are exact; rows (a) and (c) of later stages charge the q alone; a recompute of v happens
 * at the latest stage that can want it or before, where at least as much was stored: one row (b) each.
 *
 * Where a backward convolution chooses among algorithms, row (c) is what decides, and q forgets what a later recompute
 * reads. There, what is stored afterwards gets columns of its own, with the recomputes that come later:
 *   s_u  stored before stage t + 1    g_v  recomputed in a later stage, ≤ R_v
 *   Σ_p M_t'p ≤ s_u + g_u for each later need,   g_v ≤ s_u + g_u for each u that v reads.
 */
import { int, item, num } from "../../src/core/simulate/arrays";
import { LinearProgram } from "../../src/core/solve/linear";
import type { Algorithms, MonetRows } from "./rows";

const mebi = 1024;
type Terms = (readonly [column: number, coefficient: number])[];

export interface Snapshot {
  readonly program: LinearProgram;
  /** Per forward node: S, R and I; −1 where there is none. */
  readonly stored: Int32Array;
  readonly again: Int32Array;
  readonly inPlace: Int32Array;
  /** Per stage: M, where the backward node has several paths. */
  readonly paths: readonly (Int32Array | null)[];
}

/** Null where no schedule fits at all. `staged`: columns that stages may have of their own, those first that have most to choose. */
export function snapshotOfRows(rows: MonetRows, budgetBytes: number, staged = 0): Snapshot | null {
  const { nodes: n, stages, ram, local, localTensors, args, parent, inPlaceOf, needs } = rows;
  const program = new LinearProgram();
  const budget = budgetBytes / 1024 / mebi;
  const size = (u: number): number => num(ram, u) / mebi;
  const isMask = (j: number): boolean => int(parent, j) >= 0;
  const discount = (v: number): number => (int(inPlaceOf, v) >= 0 ? num(rows.timeInPlace, v) - num(rows.time, v) : 0);

  // ---- columns and what they cost ----
  const stored = new Int32Array(n).fill(-1);
  const again = new Int32Array(n).fill(-1);
  const inPlace = new Int32Array(n).fill(-1);
  const pick = (algorithms: Algorithms): Int32Array => Int32Array.from(algorithms.time, (time) => program.column(time, true));
  const forwardAlgorithm: (Int32Array | null)[] = [];
  const recomputeAlgorithm: (Int32Array | null)[] = [];
  for (let j = 0; j < n; j++) {
    const algorithms = item(rows.algorithms, j);
    stored[j] = program.column(isMask(j) ? num(rows.time, j) + Math.min(0, discount(j)) : 0, true);
    again[j] = program.column(algorithms === null ? num(rows.again, j) + Math.min(0, discount(j)) : 0, true);
    if (algorithms === null) {
      if (!isMask(j)) program.constant += num(rows.time, j);
      forwardAlgorithm.push(null);
      recomputeAlgorithm.push(null);
      if (int(inPlaceOf, j) >= 0 && !isMask(j)) {
        inPlace[j] = program.column(discount(j), true);
        program.row([[int(inPlace, j), 1], [int(stored, int(inPlaceOf, j)), 1]], 1);
      }
    } else {
      const forward = pick(algorithms);
      program.row([...forward].map((column) => [column, 1] as const), 1, true);
      const recompute = pick(algorithms);
      program.row([...[...recompute].map((column) => [column, 1] as const), [int(again, j), -1]], 0, true);
      forwardAlgorithm.push(forward);
      recomputeAlgorithm.push(recompute);
    }
  }
  const paths: (Int32Array | null)[] = [];
  const backwardAlgorithm: (Int32Array | null)[] = [];
  for (let t = 0; t < stages; t++) {
    const algorithms = t === 0 ? null : item(rows.backwardAlgorithms, t);
    const times = item(rows.pathTime, t);
    const several = item(needs, t).length > 1;
    paths.push(several ? Int32Array.from(item(needs, t), (_, p) => program.column(num(times, p), true)) : null);
    const columns = item(paths, t);
    if (columns !== null) program.row([...columns].map((column) => [column, 1] as const), 1, true);
    backwardAlgorithm.push(algorithms === null ? null : pick(algorithms));
    const chosen = item(backwardAlgorithm, t);
    if (chosen !== null) program.row([...chosen].map((column) => [column, 1] as const), 1, true);
    else if (columns === null && t > 0) program.constant += num(times, 0);
  }

  // ---- what needs what ----
  /** Per node: stages that may need it, ascending; null terms: they surely do. */
  const uses: { t: number; terms: Terms | null }[][] = Array.from({ length: n }, () => []);
  for (let t = 1; t < stages; t++) {
    const lists = item(needs, t);
    const columns = item(paths, t);
    const wanted = new Map<number, number[]>();
    lists.forEach((list, p) => {
      for (const u of list) wanted.set(u, [...(wanted.get(u) ?? []), p]);
    });
    for (const [u, by] of wanted) {
      const sure = columns === null || by.length === lists.length;
      const terms: Terms = sure ? [] : by.map((p) => [int(columns, p), 1] as const);
      uses[u]?.push({ t, terms: sure ? null : terms });
      program.row([...terms, [int(stored, u), -1], [int(again, u), -1]], sure ? -1 : 0);
    }
  }
  for (let v = 0; v < n; v++) {
    for (const u of item(args, v)) program.row([[int(again, v), 1], [int(stored, u), -1], [int(again, u), -1]], 0);
    if (isMask(v)) program.row([[int(again, v), 1], [int(again, int(parent, v)), -1]], 0);
  }
  // q: one column per uncertain use, over the certain ones after it.
  interface Held { t: number; sure: boolean; column: number }
  const held: Held[][] = uses.map((list, u) => {
    const found: Held[] = [];
    let sure = false;
    let later = -1;
    for (const { t, terms } of [...list].reverse()) {
      if (terms === null) sure = true;
      if (!sure && terms !== null) {
        const column = program.column(0);
        program.row([...terms, [int(again, u), -1], [column, -1]], 0);
        if (later >= 0) program.row([[later, 1], [column, -1]], 0);
        later = column;
      }
      found.push({ t, sure, column: later });
    }
    return found.reverse();
  });
  let charged = 0;
  let terms: Terms = [];
  /** Stored for the sake of a need at stage t or later. */
  const chargeHeld = (u: number, t: number): void => {
    const next = item(held, u).find((each) => each.t >= t);
    if (next === undefined) return;
    if (next.sure) {
      charged += size(u);
      terms.push([int(again, u), -size(u)]);
    } else terms.push([next.column, size(u)]);
  };
  const close = (): boolean => {
    const least = terms.reduce((sum, [, coefficient]) => (coefficient < 0 ? sum + coefficient : sum), charged);
    if (least > budget + 1e-9) return false;
    program.cap(terms, budget - charged);
    terms = [];
    charged = 0;
    return true;
  };
  const chargeAlgorithms = (columns: Int32Array, { workspace }: Algorithms): void => {
    for (let a = 0; a < columns.length; a++) terms.push([int(columns, a), num(workspace, a) / mebi]);
  };

  // ---- stage 0, row (b) ----
  for (let j = 0; j < n; j++) {
    charged += num(rows.ground, 0) / mebi;
    const locals = new Set(item(localTensors, j));
    for (let i = 0; i < j; i++) if (!locals.has(i)) terms.push([int(stored, i), size(i)]);
    const algorithms = item(rows.algorithms, j);
    const columns = item(forwardAlgorithm, j);
    if (isMask(j)) {
      const workspace = Math.min(num(rows.workspace, j), int(inPlaceOf, j) >= 0 ? num(rows.workspaceInPlace, j) : Infinity);
      terms.push([int(stored, j), (num(ram, j) + num(local, j) + workspace) / mebi]);
    } else {
      charged += (num(ram, j) + num(local, j)) / mebi;
      if (algorithms !== null && columns !== null) chargeAlgorithms(columns, algorithms);
      else {
        charged += num(rows.workspace, j) / mebi;
        if (int(inPlace, j) >= 0) terms.push([int(inPlace, j), (num(rows.workspaceInPlace, j) - num(rows.workspace, j)) / mebi]);
      }
    }
    if (!close()) return null;
  }
  for (const t of [0, 1]) {
    charged += num(rows.ground, Math.min(t, stages - 1)) / mebi;
    for (let u = 0; u < n; u++) terms.push([int(stored, u), size(u)]);
    if (!close()) return null;
  }

  /** s for one stage, for every node. */
  const storedAfter = (t: number): Int32Array => {
    const s = Int32Array.from({ length: n }, () => program.column(0));
    const g = Int32Array.from({ length: n }, () => program.column(0));
    const there = (u: number): Terms => [[int(s, u), -1], [int(g, u), -1]];
    for (let v = 0; v < n; v++) {
      program.row([[int(g, v), 1], [int(again, v), -1]], 0);
      for (const u of item(args, v)) program.row([[int(g, v), 1], ...there(u)], 0);
      if (isMask(v)) program.row([[int(g, v), 1], [int(g, int(parent, v)), -1]], 0);
      const later = item(uses, v).filter((use) => use.t > t);
      if (later.some(({ terms }) => terms === null)) program.row(there(v), -1);
      else for (const { terms } of later) program.row([...(terms ?? []), ...there(v)], 0);
    }
    return s;
  };

  const atStake = Float64Array.from({ length: stages }, (_, t) => {
    const algorithms = t === 0 ? null : item(rows.backwardAlgorithms, t);
    return algorithms === null ? 0 : Math.max(...algorithms.workspace) - Math.min(...algorithms.workspace);
  });
  const choosing = [...atStake.keys()].filter((t) => num(atStake, t) > 0).sort((a, b) => num(atStake, b) - num(atStake, a) || a - b);
  const ofTheirOwn = new Set(choosing.slice(0, Math.floor(staged / (2 * n))));

  // ---- later stages, rows (a) at their start and (c) ----
  for (let t = 1; t < stages; t++) {
    if (t > 1) {
      charged += num(rows.ground, t) / mebi;
      for (let u = 0; u < n; u++) chargeHeld(u, t - 1);
      if (!close()) return null;
    }
    charged += num(rows.backwardGround, t) / mebi;
    const columns = item(paths, t);
    const lists = item(needs, t);
    const wanted = new Map<number, number[]>();
    lists.forEach((list, p) => {
      for (const u of list) wanted.set(u, [...(wanted.get(u) ?? []), p]);
    });
    const algorithms = item(rows.backwardAlgorithms, t);
    const after = ofTheirOwn.has(t) ? storedAfter(t) : null;
    for (let u = 0; u < n; u++) {
      const by = wanted.get(u);
      if (by === undefined && after !== null) terms.push([int(after, u), size(u)]);
      else if (by === undefined) chargeHeld(u, t + 1);
      else if (columns === null || by.length === lists.length) charged += size(u);
      else {
        // Needed now, or stored for later: whichever is more.
        const next = item(held, u).find((each) => each.t > t);
        const now = by.map((p) => [int(columns, p), 1] as const);
        if (after !== null) {
          const either = program.column(0);
          program.row([...now, [either, -1]], 0);
          program.row([[int(after, u), 1], [either, -1]], 0);
          terms.push([either, size(u)]);
        } else if (next === undefined) for (const [column] of now) terms.push([column, size(u)]);
        else {
          const either = program.column(0);
          program.row([...now, [either, -1]], 0);
          program.row(next.sure ? [[int(again, u), -1], [either, -1]] : [[next.column, 1], [either, -1]], next.sure ? -1 : 0);
          terms.push([either, size(u)]);
        }
      }
    }
    const chosen = item(backwardAlgorithm, t);
    if (algorithms !== null && chosen !== null) chargeAlgorithms(chosen, algorithms);
    else {
      const workspaces = item(rows.pathWorkspace, t);
      if (columns === null) charged += num(workspaces, 0) / mebi;
      else columns.forEach((column, p) => terms.push([column, num(workspaces, p) / mebi]));
    }
    if (!close()) return null;
  }

  // ---- recomputes, row (b) at the latest stage that can want each ----
  const latest = new Int32Array(n).fill(0);
  for (let v = n - 1; v >= 0; v--) latest[v] = Math.max(int(latest, v), ...item(uses, v).map(({ t }) => t));
  for (let v = n - 1; v >= 0; v--) {
    const parents = isMask(v) ? [...item(args, v), int(parent, v)] : item(args, v);
    for (const u of parents) latest[u] = Math.max(int(latest, u), int(latest, v));
  }
  let lowest = Infinity;
  const lowestGround = Float64Array.from({ length: stages }, (_, t) => (t === 0 ? Infinity : (lowest = Math.min(lowest, num(rows.ground, t)))));
  for (let v = 0; v < n; v++) {
    const t = int(latest, v);
    if (t === 0) {
      program.row([[int(again, v), 1]], 0);
      continue;
    }
    charged += num(lowestGround, t) / mebi;
    const locals = new Set(item(localTensors, v));
    for (let u = 0; u < n; u++) {
      if (u === v || (u < v && locals.has(u))) continue;
      chargeHeld(u, t);
    }
    terms.push([int(again, v), (num(ram, v) + num(local, v)) / mebi]);
    const algorithms = item(rows.algorithms, v);
    const columns = item(recomputeAlgorithm, v);
    if (algorithms !== null && columns !== null) chargeAlgorithms(columns, algorithms);
    else terms.push([int(again, v), Math.min(num(rows.workspaceAgain, v), int(inPlaceOf, v) >= 0 ? num(rows.workspaceInPlace, v) : Infinity) / mebi]);
    if (!close()) return null;
  }
  return { program, stored, again, inPlace, paths };
}
