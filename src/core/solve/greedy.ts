import { bit, int, item, num } from "../simulate/arrays";
import { makerOf, type Problem } from "../simulate/problem";
import { drop, keep, offload, retain } from "../simulate/schedule";
import { better, type Candidate, type Evaluator, type Genome } from "./genome";
import { Random } from "./random";

/** Which moment over the budget is mended first, and whether a tensor that is long unused goes sooner. */
export interface Habit {
  readonly moment: "first" | "highest";
  readonly staleness: boolean;
}

export const habits: readonly Habit[] = [
  { moment: "first", staleness: true },
  { moment: "first", staleness: false },
  { moment: "highest", staleness: true },
  { moment: "highest", staleness: false },
];

/** Work of an evaluation up to which one tensor goes at a time. */
const singly = 840;

/**
 * Work of one plan: at `singly` for each eviction, twice for each tensor, and that of a small graph's many short evaluations.
 * More is taken only near the least memory of large graphs whose recomputes reach far, where every evaluation is long.
 */
const workOfOne = (tensors: number): number => Math.max(2_500_000, 2 * singly * tensors);

/**
 * Evicts until the plan fits, after dynamic tensor rematerialization (Kirisame et al., ICLR 2021): at a moment over the
 * budget that tensor t goes which is held there for the least
 *   h(t) = (time to recompute t and what is missing before it) / (bytes(t) · clocks since its last use),
 * or without the last factor. What goes is held again from its first recompute after that moment; where the links have
 * room, or waiting for them takes less, it is offloaded, and goes for good if that does not help. Where nothing is left to
 * evict, that operator changes its implementation which lowers the moment for the least time per byte, up to `switches`
 * times: each takes an evaluation of every other choice. Null: it does not fit, or takes too much work.
 */
export function greedy(evaluator: Evaluator, budget: number, start: Genome, { moment, staleness }: Habit, switches = 0): Candidate | null {
  const { problem, schedule } = evaluator;
  const { operators: n, storages, lastUse, bytes, internal } = problem;
  const genes = start.genes.slice();
  const choice = start.choice.slice();
  const missing = new Missing(evaluator);
  const links = new Links(problem);
  const used = new Int32Array(problem.tensors);
  const most = moment === "first" && problem.transfer === null ? budget : Infinity;
  let end = evaluator.work + workOfOne(evaluator.space.tensors.length);
  while (evaluator.work < end) {
    const begun = evaluator.work;
    const { peak, time, moments, restored } = evaluator.evaluate({ genes, choice }, most);
    if (peak <= budget) return { genes, choice, peak, time };
    // Where an evaluation takes long, several go at once, or it would take as many evaluations as there are tensors.
    const together = Math.ceil((evaluator.work - begun) / singly);
    const room = budget - restored * problem.rng; // random states are in every moment alike
    const clock = moment === "first" ? moments.findIndex((bytes) => bytes > room) : moments.indexOf(peak - restored * problem.rng);
    const read = missing.readBefore(clock, choice, used);
    links.load(genes, choice, time);
    const found: Eviction[] = [];
    for (const t of evaluator.space.tensors) {
      const maker = makerOf(problem, t);
      const unread = t < storages ? int(lastUse, t) : maker; // forward is done with it
      const held = schedule.intervalAt(t, clock);
      if (held < 0 || bit(schedule.always, t) === 1 || schedule.offloads.isAway(t, clock)) continue;
      const from = int(schedule.from, held);
      if (clock < n && unread >= clock) continue;
      if (clock >= n && from < clock && read(t)) continue;
      const stale = staleness ? Math.max(1, clock - Math.max(int(used, t), from < n ? unread : from)) : 1;
      const size = t < storages ? num(bytes, t) : num(internal, int(choice, maker));
      if (size === 0) continue;
      const again = missing.time(maker, clock, choice);
      // Once only, or it would come and go for ever; and what was read in backward is back already.
      const wait = int(genes, t) === keep && int(used, t) < n ? links.wait(t) : Infinity;
      found.push({ t, from, score: Math.min(again, wait) / (size * stale), away: wait < again });
    }
    if (found.length === 0) {
      const evicted = evaluator.work;
      if (switches-- <= 0 || !changeImplementation(evaluator, genes, choice, clock)) return null;
      end += evaluator.work - evicted;
      continue;
    }
    for (const { t, from, away } of cheapest(found, together)) {
      if (away) {
        genes[t] = offload;
        continue;
      }
      const maker = makerOf(problem, t);
      const gene = int(genes, t);
      const behind = 2 * n - 1 - clock - maker;
      if (clock < n) genes[t] = gene >= offload ? retain : Math.max(drop, -gene);
      else if (from < n && int(used, t) >= n) genes[t] = Math.min(drop, 1 - behind); // forward's part ends with its use before
      else genes[t] = Math.max(drop, Math.min(behind, Math.abs(gene)) - 1);
    }
  }
  return null;
}

interface Eviction {
  readonly t: number;
  readonly from: number;
  readonly score: number;
  /** To host memory, rather than to be made again. */
  readonly away: boolean;
}

function cheapest(found: Eviction[], count: number): Eviction[] {
  const before = (a: Eviction, b: Eviction): number => a.score - b.score || a.t - b.t;
  return count === 1 ? [found.reduce((low, each) => (before(each, low) < 0 ? each : low))] : found.sort(before).slice(0, count);
}

/** In place; false where no other implementation of one operator lowers the moment. */
function changeImplementation(evaluator: Evaluator, genes: Int32Array, choice: Int32Array, clock: number): boolean {
  const { operators: n, implementations } = evaluator.problem;
  const { time, moments } = evaluator.evaluate({ genes, choice });
  const moment = num(moments, clock);
  let best: { i: number; q: number; score: number } | undefined;
  for (let i = 0; i < n; i++) {
    const old = int(choice, i);
    for (let q = int(implementations, i); q < int(implementations, i + 1); q++) {
      if (q === old) continue;
      choice[i] = q;
      const walk = evaluator.evaluate({ genes, choice });
      const saved = moment - num(walk.moments, clock);
      const score = (walk.time - time) / saved;
      if (saved > 0 && walk.peak < Infinity && (best === undefined || score < best.score)) best = { i, q, score };
    }
    choice[i] = old;
  }
  if (best === undefined) return false;
  choice[best.i] = best.q;
  return true;
}

export interface Rebuilding {
  readonly seed: number;
  readonly work: number;
  /** Plans found on other ways, whose parts may be taken over. */
  readonly elites?: readonly Genome[];
}

/** How often a part of another plan is tried, rather than keeping more. */
const crossing = 0.3;

/**
 * Ruin and recreate (Schrimpf et al., J. Comput. Phys. 2000): keep again what a stretch of operators, or a few tensors
 * anywhere, gave up, or do there as another plan does; evict until it fits; take the outcome where it is faster, or hardly
 * slower while the walk is young.
 */
export function rebuild(evaluator: Evaluator, budget: number, start: Candidate, { seed, work, elites = [] }: Rebuilding): Candidate {
  const random = new Random(seed);
  let here = start;
  let best = start;
  const begun = evaluator.work;
  for (let done = 0; done < 1; done = (evaluator.work - begun) / work) {
    const temperature = 0.3 * evaluator.scale.step * Math.pow(0.01, done);
    const changed =
      elites.length > 0 && random.next() < crossing
        ? cross(evaluator.problem, here, item(elites, random.below(elites.length)), random)
        : ruin(evaluator, here, random);
    const next = greedy(evaluator, budget, changed, item(habits, random.below(habits.length)));
    if (next === null || next.time > here.time - temperature * Math.log(1 - random.next())) continue;
    here = next;
    if (better(here, best, budget)) best = here;
  }
  return best;
}

/** The same for the least memory: each plan has to take less than the one before, in whatever time. */
export function shrink(evaluator: Evaluator, start: Candidate, { seed, work }: Rebuilding): Candidate {
  const random = new Random(seed);
  let best = start;
  const end = evaluator.work + work;
  while (evaluator.work < end) best = greedy(evaluator, best.peak - 1, ruin(evaluator, best, random), item(habits, random.below(habits.length)), 2) ?? best;
  return best;
}

function ruin({ problem, space }: Evaluator, here: Genome, random: Random): Genome {
  const { operators: n } = problem;
  const genes = here.genes.slice();
  const choice = here.choice.slice();
  const stretch = random.next() < 0.6;
  const first = random.below(n);
  const last = stretch ? first + 1 + random.below(Math.max(3, Math.ceil(n / 6))) : n;
  const share = stretch ? (random.next() < 0.5 ? 1 : 0.4) : 0.02 + 0.1 * random.next();
  for (const t of space.tensors) {
    const maker = makerOf(problem, t);
    if (stretch && (maker < first || maker > last)) continue;
    if (random.next() >= share) continue;
    genes[t] = random.next() < 0.8 ? keep : random.gene(n);
    const choices = int(space.implementations, maker + 1) - int(space.implementations, maker);
    if (choices > 1 && random.next() < 0.2) choice[maker] = int(space.implementations, maker) + random.below(choices);
  }
  return { genes, choice };
}

/** One plan within a stretch of operators, of any length, and another outside of it. */
export function cross(problem: Problem, a: Genome, b: Genome, random: Random): Genome {
  const { operators: n, tensors } = problem;
  const first = random.below(n);
  const end = first + 1 + random.below(n - first);
  const [inner, outer] = random.next() < 0.5 ? [a, b] : [b, a];
  const genes = outer.genes.slice();
  const choice = outer.choice.slice();
  for (let t = 0; t < tensors; t++) {
    const maker = makerOf(problem, t);
    if (maker >= first && maker < end) genes[t] = int(inner.genes, t);
  }
  choice.set(inner.choice.subarray(first, end), first);
  return { genes, choice };
}

/** How busy the links are: what waiting for one more tensor would take. */
class Links {
  private readonly problem: Problem;
  private readonly left = { out: 0, back: 0 };

  constructor(problem: Problem) {
    this.problem = problem;
  }

  /** A step takes `time`; its forward is what copies to the host can overlap with, the rest what copies back can. */
  load(genes: Int32Array, choice: Int32Array, time: number): void {
    const { transfer, operators: n, storages, forwardTime } = this.problem;
    if (transfer?.overlaps !== true) return;
    let forward = 0;
    for (let i = 0; i < n; i++) forward += num(forwardTime, int(choice, i));
    this.left.out = forward;
    this.left.back = time - forward;
    for (let t = 0; t < storages; t++) {
      if (int(genes, t) !== offload) continue;
      this.left.out -= num(transfer.out, t);
      this.left.back -= num(transfer.back, t);
    }
  }

  wait(t: number): number {
    const { transfer, storages, offloadable } = this.problem;
    if (transfer === null || t >= storages || bit(offloadable, t) === 0) return Infinity;
    const beyond = (takes: number, left: number): number => Math.max(0, takes - Math.max(0, left));
    return beyond(num(transfer.out, t), this.left.out) + beyond(num(transfer.back, t), this.left.back);
  }
}

/** What a schedule reads, and what it would take to make a tensor again. */
class Missing {
  private readonly evaluator: Evaluator;
  private readonly mark: Int32Array;
  private readonly stack: Int32Array;
  private stamp = 0;

  constructor(evaluator: Evaluator) {
    this.evaluator = evaluator;
    this.mark = new Int32Array(evaluator.problem.operators);
    this.stack = new Int32Array(evaluator.problem.operators);
  }

  /** Writes when each tensor was last read in backward up to the clock (−1: not yet); says what that clock itself reads. */
  readBefore(clock: number, choice: Int32Array, used: Int32Array): (t: number) => boolean {
    const { problem, schedule } = this.evaluator;
    const { operators: n, storages, reads, saves } = problem;
    used.fill(-1);
    for (let k = 0; k <= clock - n; k++) {
      const operator = n - 1 - k;
      const q = int(choice, operator);
      if (bit(problem.hasBackward, q) === 0) continue;
      for (let slot = int(saves.start, q); slot < int(saves.start, q + 1); slot++) used[int(saves.data, slot)] = n + k;
      used[storages + operator] = n + k;
      for (let at = int(schedule.closureStart, k); at < int(schedule.closureStart, k + 1); at++) {
        const j = int(schedule.closureOperators, at);
        for (let slot = int(reads.start, j); slot < int(reads.start, j + 1); slot++) used[int(reads.data, slot)] = n + k;
      }
    }
    return (t) => int(used, t) === clock;
  }

  /** Time of an operator and of those that must run before it, given what is held at the clock. */
  time(operator: number, clock: number, choice: Int32Array): number {
    const { problem, schedule } = this.evaluator;
    const { producer, reads, recomputeTime, operators: n } = problem;
    const { mark, stack } = this;
    const stamp = ++this.stamp;
    let time = 0;
    let end = 0;
    mark[operator] = stamp;
    stack[end++] = operator;
    for (let at = 0; at < end; at++) {
      const j = int(stack, at);
      time += num(recomputeTime, int(choice, j));
      for (let slot = int(reads.start, j); slot < int(reads.start, j + 1); slot++) {
        const s = int(reads.data, slot);
        if (bit(schedule.always, s) === 1) continue;
        const held = schedule.intervalAt(s, clock);
        if (held >= 0 && (clock < n || int(schedule.from, held) < clock)) continue;
        const before = int(producer, s);
        if (int(mark, before) === stamp) continue;
        mark[before] = stamp;
        stack[end++] = before;
      }
    }
    return time;
  }
}
