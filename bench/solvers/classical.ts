import type { Interval } from "../../src/core/plan";
import { bit, int, num } from "../../src/core/simulate/arrays";
import type { Judge, Settled, Wishes } from "./judge";

/** Consecutive operators, as a number per operator. */
type Segments = readonly number[];

/**
 * `torch.utils.checkpoint` around blocks: what crosses a block's border is kept, the rest of a checkpointed block is
 * recomputed once, in its backward. Blocks are the modules at each depth of the tree, what lies between single-tensor
 * cuts, and an expensive operator with what follows; the first 1, 2, … are checkpointed, since nobody has to checkpoint all.
 */
export function perBlock(judge: Judge): Wishes[] {
  const paths = judge.graph.operators.map(({ module }) => module.split("."));
  const depths = Array.from({ length: Math.max(...paths.map(({ length }) => length)) }, (_, k) => k + 1);
  const ways = [...depths.map((depth) => runs(paths.map((path) => path.slice(0, depth).join(".")))), cuts(judge), units(judge)];
  return ways.flatMap((segments) => {
    const count = 1 + (segments.at(-1) ?? 0);
    return Array.from({ length: count }, (_, k) => checkpoint(judge, segments, k + 1));
  });
}

/** Equal segments, √n of them or any other number, the last not checkpointed: `checkpoint_sequential`. */
export function equalSegments(judge: Judge): Wishes[] {
  const ways = [cuts(judge), units(judge), judge.graph.operators.map((_, i) => i)];
  return ways.flatMap((parts) => {
    const count = 1 + (parts.at(-1) ?? 0);
    return Array.from({ length: count }, (_, k) => {
      const segments = parts.map((part) => Math.floor(part / (k + 1)));
      return checkpoint(judge, segments, segments.at(-1) ?? 0);
    });
  });
}

/** The first `count` segments are checkpointed. */
function checkpoint(judge: Judge, segments: Segments, count: number): Wishes {
  const { operators: n, tensors } = judge.problem;
  const crosses = new Set<number>();
  for (let i = 0; i < n; i++) {
    for (const t of [...judge.reads(i), ...judge.saves(i)]) if (segments[judge.producer(t)] !== segments[i]) crosses.add(t);
  }
  return Array.from({ length: tensors }, (_, t): Interval[] => {
    const kept = crosses.has(t) || (segments[judge.producer(t)] ?? 0) >= count;
    return [[kept ? 0 : n, 2 * n]];
  });
}

function runs(names: readonly string[]): Segments {
  let segment = 0;
  return names.map((name, i) => (i > 0 && names[i - 1] !== name ? ++segment : segment));
}

const cuts = (judge: Judge): number[] => judge.blocks().flatMap(([first, last], k) => Array<number>(last - first + 1).fill(k));

/** Cuts before every operator of more than average time: a convolution with what follows it, say. */
function units({ problem, choice }: Judge): number[] {
  const times = [...choice].map((q) => num(problem.forwardTime, q));
  const mean = times.reduce((sum, time) => sum + time, 0) / times.length;
  let unit = 0;
  return times.map((time, i) => (i > 0 && time >= mean ? ++unit : unit));
}

/**
 * Dynamic tensor rematerialization as a static schedule: run the step, and whenever it would exceed the budget, evict
 * the resident tensor t with the least
 *   h(t) = (time to recompute t and what is missing before it) / (bytes(t) · clocks since its last use);
 * a tensor that was recomputed is resident again. Without staleness it is bytes per second alone. What the moment itself
 * reads goes only where nothing else can: it is then recomputed there, and freed as soon as it was read.
 */
export function evict(judge: Judge, budget: number, staleness: boolean): Wishes | null {
  const { operators: n, tensors } = judge.problem;
  const wishes: Interval[][] = Array.from({ length: tensors }, () => [[0, 2 * n]]);
  for (;;) {
    const settled = judge.settle(wishes);
    const clock = judge.measure(settled).moments.findIndex((moment) => moment > budget);
    if (clock < 0) return wishes;
    const candidates = evictable(judge, settled, clock);
    const idle = candidates.filter(({ stale }) => stale > 0);
    const [victim] = (idle.length > 0 ? idle : candidates)
      .map(({ t, stale }) => ({ t, stale, score: recomputeTime(judge, settled, t, clock) / (judge.bytes(t) * (staleness ? Math.max(1, stale) : 1)) }))
      .sort((a, b) => a.score - b.score || a.t - b.t);
    const list = victim === undefined ? undefined : wishes[victim.t];
    if (victim === undefined || list === undefined) return null;
    const at = list.findIndex(([from, to]) => from <= clock && clock < to);
    const [from, to] = list[at] ?? [0, 0];
    list.splice(at, 1, [from, clock - 1], [victim.stale > 0 ? clock + 1 : clock, to]);
  }
}

/** Tensors that are held at the clock and could go, with the clocks since their last use; 0: a recompute reads it now. */
function evictable(judge: Judge, { intervals, uses }: Settled, clock: number): { t: number; stale: number }[] {
  const { operators: n, storages, tensors, lastUse } = judge.problem;
  const needed = clock < n ? [] : [...judge.saves(2 * n - 1 - clock), storages + 2 * n - 1 - clock];
  const found: { t: number; stale: number }[] = [];
  for (let t = 0; t < tensors; t++) {
    const interval = intervals[t]?.find(([from, to]) => from <= clock && clock < to);
    if (interval === undefined || judge.bytes(t) === 0 || judge.stays(t)) continue;
    const [from] = interval;
    const forward = t < storages ? int(lastUse, t) : judge.producer(t);
    const used = Math.max(uses[t]?.findLast((use) => use <= clock) ?? -1, from < n ? forward : from);
    if (from === clock ? clock >= n : used < clock) found.push({ t, stale: Math.max(1, clock - used) });
    else if (clock >= n && !needed.includes(t)) found.push({ t, stale: 0 });
  }
  return found;
}

/** Of the tensor's producer and of everything missing before it. */
function recomputeTime(judge: Judge, { intervals }: Settled, t: number, clock: number): number {
  const { problem, choice } = judge;
  const held = (u: number): boolean => bit(judge.always, u) === 1 || (intervals[u] ?? []).some(([from, to]) => from < clock && clock <= to);
  const closure = new Set([judge.producer(t)]);
  let time = 0;
  for (const j of closure) {
    time += num(problem.recomputeTime, int(choice, j));
    for (const u of judge.reads(j)) if (!held(u)) closure.add(judge.producer(u));
  }
  return time;
}
