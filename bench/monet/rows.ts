/**
 * MONeT's charges as a judge for the search: its stages, its memory rows (a)–(c), its paths, masks, in-place
 * forms and convolution algorithms. The rows are those of ../shared/monet-instances/README.md, where t is a
 * stage, j a forward node and everything is in KiB and units of 10 µs.
 *
 * Genes are per forward node, choices per forward node too: the path of its backward (0: whichever is cheapest
 * with what is there). The decoder pushes needs through the stages, recomputes at the first need or where a gene says
 * so, runs in place wherever that is legal, and gives each convolution the fastest algorithm that its row has room for.
 */
import type { Block } from "../../src/core/solve/blocks";
import type { Genome } from "../../src/core/solve/genome";
import { drop, keep, retain, sortRange } from "../../src/core/simulate/schedule";
import type { Random } from "../../src/core/solve/random";
import { none, type Judge, type Limit, type Space } from "../../src/core/solve/space";
import { int, item, num } from "../../src/core/simulate/arrays";
import type { BackwardNode, ForwardNode, Instance } from "./instance";
import type { Schedule } from "./schedule";

const kibi = (bytes: number): number => Math.ceil(bytes / 1024);
const kibiOfMebi = (mebi: number): number => Math.ceil(mebi * 1024);
const cost = (ms: number): number => Math.ceil(ms * 100);

/** Algorithms of one convolution: fastest first, each needing less workspace than the one before. */
export interface Algorithms {
  readonly id: Int32Array;
  readonly time: Float64Array;
  readonly workspace: Float64Array;
}

const never = 1 << 29;

/** A reach that also says: at that place it is recomputed, whether anything there needs it or not. */
const exact = 1 << 20;
export const exactly = (reach: number): number => exact + reach;
const isExact = (gene: number): boolean => Math.abs(gene) >>> 20 === 1;
const reachOf = (gene: number): number => (isExact(gene) ? Math.abs(gene) - exact : Math.abs(gene));

export class MonetRows implements Judge {
  readonly space: Space;
  readonly scale: { readonly step: number; readonly perByte: number };
  work = 0;
  readonly nodes: number;
  readonly stages: number;
  readonly instance: Instance;

  readonly ram: Float64Array;
  readonly local: Float64Array;
  readonly localTensors: readonly Int32Array[];
  readonly fixed: Float64Array;
  readonly args: readonly Int32Array[];
  readonly parent: Int32Array;
  readonly inPlaceOf: Int32Array;
  readonly time: Float64Array;
  readonly again: Float64Array;
  readonly timeInPlace: Float64Array;
  readonly workspace: Float64Array;
  readonly workspaceAgain: Float64Array;
  readonly workspaceInPlace: Float64Array;
  readonly algorithms: readonly (Algorithms | null)[];
  /** Per stage: the backward node's paths, each the forward tensors it needs, its cost and its workspace. */
  readonly needs: readonly (readonly Int32Array[])[];
  readonly pathTime: readonly Float64Array[];
  readonly pathWorkspace: readonly Float64Array[];
  readonly backwardAlgorithms: readonly (Algorithms | null)[];
  readonly forwardOf: Int32Array;
  /** G(t), and what row (c) charges whatever is stored. */
  readonly ground: Float64Array;
  readonly backwardGround: Float64Array;
  /** The least that a node's runs can cost, whatever algorithm or form they take, and the sum that every schedule pays. */
  private readonly leastForward: Float64Array;
  private readonly leastAgain: Float64Array;
  private readonly leastPath: Float64Array;
  private readonly least: number;

  /** Stages whose backward convolution must run by its fastest algorithm, whether there is room or not. */
  insisted: ReadonlySet<number> = new Set();
  /** Genes that every genome gets when it is judged, whatever it has. */
  forced: readonly (readonly [node: number, gene: number])[] = [];

  // What the last genome became: node i is stored before stages 1 … keptTo[i] and heldFrom[i] … lastHeld[i].
  private readonly keptTo: Int32Array;
  private readonly heldFrom: Int32Array;
  private readonly lastHeld: Int32Array;
  /** While it is decoded: the last stage that may use what is stored. */
  private readonly until: Int32Array;
  /** The last stage that is for an operator behind place o. */
  private readonly lastBeyond: Int32Array;
  /** What is to be recomputed at a stage though it may not need it: a linked list for each stage. */
  private readonly wantedFirst: Int32Array;
  private readonly wantedNext: Int32Array;
  private readonly path: Int32Array;
  private readonly closureStart: Int32Array;
  private closure = new Int32Array(1 << 12);
  private readonly mark: Int32Array;
  private stamp = 0;
  private readonly change: Float64Array;
  private readonly freedStart: Int32Array;
  private readonly freed: Int32Array;
  private readonly needed: Int32Array;
  private readonly trial = new Int32Array(1 << 12);

  constructor(instance: Instance) {
    this.instance = instance;
    const forward = instance.fwd;
    const n = (this.nodes = forward.length);
    const stages = (this.stages = instance.T);
    const each = (measure: (node: ForwardNode) => number): Float64Array => Float64Array.from(forward, measure);
    this.ram = each((node) => kibi(node.mem_bytes));
    this.local = each((node) => kibi(node.local_mem_bytes));
    this.localTensors = forward.map((node) => Int32Array.from(node.local_tensors));
    this.fixed = each((node) => kibi(node.fixed_mem_bytes));
    this.args = forward.map((node) => Int32Array.from(node.args[0]));
    this.parent = Int32Array.from(forward, (node) => node.parent ?? -1);
    this.inPlaceOf = Int32Array.from(forward, (node) => (instance.do_inplace ? (node.inplace_of ?? -1) : -1));
    this.time = each((node) => cost(node.ms[0] ?? 0));
    this.again = each((node) => cost(node.re_ms?.[0] ?? node.ms[0] ?? 0));
    this.timeInPlace = each((node) => cost(node.ip_ms?.[0] ?? 0));
    this.workspace = each((node) => kibiOfMebi(node.ws_mib[0] ?? 0));
    this.workspaceAgain = each((node) => kibiOfMebi(node.re_ws_mib?.[0] ?? node.ws_mib[0] ?? 0));
    this.workspaceInPlace = each((node) => kibiOfMebi(node.ip_ws_mib?.[0] ?? 0));
    const convolution = (node: ForwardNode | BackwardNode): Algorithms | null => (instance.select_conv_algo && node.conv_idx !== undefined ? algorithmsOf(node) : null);
    this.algorithms = forward.map(convolution);
    const backward = [item(forward, instance.loss), ...instance.bwd];
    this.needs = backward.map((node) => (node.kind === "bwd" ? node.deps_fwd : [[]]).map((list) => Int32Array.from(list)));
    this.backwardAlgorithms = backward.map((node, t) => (t === 0 ? null : convolution(node)));
    this.pathTime = backward.map((node, t) => Float64Array.from(t === 0 ? [0] : node.ms, cost));
    this.pathWorkspace = backward.map((node) => Float64Array.from(node.ws_mib, kibiOfMebi));
    this.forwardOf = Int32Array.from(backward, (node) => (node.kind === "bwd" ? node.fwd_id : -1));
    const fixedOf = (id: number): number => kibi((id < n ? item(forward, id) : item(instance.bwd, id - n)).fixed_mem_bytes);
    this.ground = Float64Array.from(backward, (node, t) => fixedOf(instance.loss + t - 1) + (t === 0 ? 0 : kibi(node.local_mem_bytes)));
    this.backwardGround = Float64Array.from(backward, (node) => kibi(node.local_mem_bytes) + kibi(node.fixed_mem_bytes) + kibi(node.mem_bytes));

    const fastest = (j: number, otherwise: number): number => num(item(this.algorithms, j)?.time ?? Float64Array.of(otherwise), 0);
    const form = (j: number): number => (int(this.inPlaceOf, j) >= 0 ? Math.min(0, num(this.timeInPlace, j) - num(this.time, j)) : 0);
    this.leastForward = Float64Array.from(forward, (_, j) => fastest(j, num(this.time, j) + form(j)));
    this.leastAgain = Float64Array.from(forward, (_, j) => fastest(j, num(this.again, j) + form(j)));
    this.leastPath = Float64Array.from(backward, (_, t) => num(this.backwardAlgorithms[t]?.time ?? Float64Array.of(Math.min(...item(this.pathTime, t))), 0));
    const sum = (values: Float64Array): number => values.reduce((total, x) => total + x, 0);
    this.least = sum(this.leastForward.filter((_, j) => int(this.parent, j) < 0)) + sum(this.leastPath);

    this.keptTo = new Int32Array(n);
    this.heldFrom = new Int32Array(n);
    this.until = new Int32Array(n);
    this.wantedFirst = new Int32Array(stages);
    this.wantedNext = new Int32Array(n);
    this.lastBeyond = Int32Array.from({ length: n }, (_, o) => this.forwardOf.findLastIndex((i) => i > o));
    this.lastHeld = new Int32Array(n);
    this.path = new Int32Array(stages);
    this.closureStart = new Int32Array(stages + 1);
    this.mark = new Int32Array(n);
    this.needed = new Int32Array(n);
    this.change = new Float64Array(stages + 3);
    this.freedStart = new Int32Array(stages + 3);
    this.freed = new Int32Array(2 * n);

    this.space = this.makeSpace();
    const total = this.time.reduce((sum, x) => sum + x, 0) + this.pathTime.reduce((sum, x) => sum + (x[0] ?? 0), 0);
    const bytes = this.ram.reduce((sum, x) => sum + x, 0);
    this.scale = { step: total / (n + stages), perByte: total / bytes };
  }

  /** Decisions per backward with several paths: 0 is whichever is cheapest. */
  private makeSpace(): Space {
    const n = this.nodes;
    const count = new Int32Array(n).fill(1);
    this.needs.forEach((paths, t) => {
      const i = int(this.forwardOf, t);
      if (i >= 0 && paths.length > 1) count[i] = paths.length + 1;
    });
    const implementations = new Int32Array(n + 1);
    for (let i = 0; i < n; i++) implementations[i + 1] = int(implementations, i) + int(count, i);
    const wanted = new Set(this.needs.flatMap((paths) => paths.flatMap((list) => [...list])));
    for (const list of this.args) for (const u of list) wanted.add(u);
    const tensors = Int32Array.from([...wanted].sort((a, b) => a - b));
    const block = (first: number, last: number): Block => ({ first, last, tensors: Int32Array.from({ length: last - first + 1 }, (_, k) => first + k) });
    const lastUse = Int32Array.from({ length: n }, (_, i) => i);
    this.args.forEach((list, i) => {
      for (const u of list) lastUse[u] = i;
    });
    const crossing = new Int32Array(n);
    for (let u = 0; u < n; u++) for (let i = u; i < int(lastUse, u); i++) crossing[i] = int(crossing, i) + 1;
    const cut = (isEnd: (i: number) => boolean): Block[] => {
      const blocks: Block[] = [];
      let first = 0;
      for (let i = 0; i < n; i++) {
        if (i < n - 1 && !isEnd(i)) continue;
        blocks.push(block(first, i));
        first = i + 1;
      }
      return blocks;
    };
    const isMask = (i: number): boolean => i < n && int(this.parent, i) >= 0;
    const heavy = (i: number): boolean => i < n && this.instance.fwd[i]?.conv_idx !== undefined;
    const isHeavy = (i: number): boolean => heavy(i) || /conv|addmm/.test(this.instance.fwd[i]?.op ?? "");
    const cuts = cut((i) => int(crossing, i) <= 1 && !isMask(i + 1));
    const units = cut((i) => isHeavy(i + 1));
    return { genes: n, tensors, implementations, units, groups: [...this.alike(cuts), ...this.alike(units)], together: (random) => this.handOver(random) };
  }

  /** Node v is recomputed before some stage's backward, and what it is made from may be given up there: small for large. */
  private handOver(random: Random): (readonly [node: number, gene: number])[] {
    const v = random.below(this.nodes);
    const place = int(this.forwardOf, 1 + random.below(this.stages - 1));
    if (place <= v) return [];
    const made = random.next() < 0.5 ? exactly(place - v) : -exactly(place - v);
    const from = [...item(this.args, v)].filter(() => random.next() < 0.6);
    return [[v, made], ...from.map((u) => [u, u + 1 - place] as const)];
  }

  /** Something that a plan may be made to do, for the search to arrange the rest around it. */
  suggest(random: Random): (readonly [node: number, gene: number])[] {
    const v = int(this.space.tensors, random.below(this.space.tensors.length));
    const dice = random.next();
    if (dice < 0.3) return [[v, keep]];
    if (dice < 0.45) return [[v, drop]];
    return dice < 0.55 ? [[v, retain]] : this.handOver(random);
  }

  private alike(blocks: readonly Block[]): Block[][] {
    const groups = new Map<string, Block[]>();
    for (const block of blocks) {
      const signature = this.instance.fwd.slice(block.first, block.last + 1).map((node) => node.op).join(" ");
      groups.set(signature, [...(groups.get(signature) ?? []), block]);
    }
    return [...groups.values()];
  }

  judge(genome: Genome, budget: number, limit: Limit = none): { peak: number; time: number } {
    for (const [node, gene] of this.forced) genome.genes[node] = gene;
    this.work += this.nodes + this.stages;
    const time = this.decode(genome, limit.score);
    return time > limit.score ? { peak: Infinity, time } : this.charge(budget, time, limit, null);
  }

  /** The schedule in MONeT's variables. */
  schedule(genome: Genome, budget: number): { schedule: Schedule; peak: number; time: number } {
    const schedule = emptyDraft(this.stages);
    const { peak, time } = this.charge(budget, this.decode(genome, Infinity), none, schedule);
    return { schedule, peak, time };
  }

  /**
   * Who is recomputed where, by which path each backward goes, and who is stored when. Returns the least time that
   * this can take; may give up once that is more than `most`.
   */
  private decode({ genes, choice }: Genome, most: number): number {
    const { nodes: n, stages, keptTo, heldFrom, lastHeld, until, wantedFirst, wantedNext, needs, closureStart, args, parent, mark } = this;
    wantedFirst.fill(-1);
    for (let i = 0; i < n; i++) {
      const gene = int(genes, i);
      if (isExact(gene)) {
        const t = int(this.lastBeyond, i + reachOf(gene) - 1);
        if (t > 0) {
          wantedNext[i] = int(wantedFirst, t);
          wantedFirst[t] = i;
        }
      }
      const kept = gene === keep || gene < 0;
      until[i] = gene < 0 ? int(this.lastBeyond, Math.min(i + reachOf(gene), n - 1)) : kept ? never : 0;
      heldFrom[i] = kept ? 1 : never;
      lastHeld[i] = 0;
      keptTo[i] = 0;
    }
    let time = this.least;
    let end = 0;
    closureStart[0] = 0;
    closureStart[1] = 0;
    this.path[0] = 0;
    for (let t = 1; t < stages; t++) {
      const paths = item(needs, t);
      let p = 0;
      if (paths.length > 1) {
        const i = int(this.forwardOf, t);
        p = int(choice, i) - int(this.space.implementations, i) - 1;
        if (p < 0) p = this.cheapest(t);
      }
      this.path[t] = p;
      if (paths.length > 1) time += num(item(this.pathTime, t), p) - num(this.leastPath, t);
      const stamp = ++this.stamp;
      const begin = end;
      if (begin + n > this.closure.length) {
        const larger = new Int32Array(2 * this.closure.length + n);
        larger.set(this.closure);
        this.closure = larger;
      }
      const list = this.closure;
      const needed = item(paths, p);
      for (let k = 0; k < needed.length; k++) {
        const u = int(needed, k);
        if (int(until, u) >= t) lastHeld[u] = t + 1;
        else if (int(mark, u) !== stamp) {
          mark[u] = stamp;
          list[end++] = u;
        }
      }
      for (let u = int(wantedFirst, t); u >= 0; u = int(wantedNext, u)) {
        if (int(until, u) >= t || int(lastHeld, u) >= t || int(mark, u) === stamp) continue;
        mark[u] = stamp;
        list[end++] = u;
      }
      for (let at = begin; at < end; at++) {
        const v = int(list, at);
        time += num(this.leastAgain, v);
        const over = int(parent, v);
        if (over >= 0 && int(mark, over) !== stamp) {
          mark[over] = stamp;
          list[end++] = over;
        }
        const inputs = item(args, v);
        for (let k = 0; k < inputs.length; k++) {
          const u = int(inputs, k);
          if (int(mark, u) === stamp) continue;
          if (int(lastHeld, u) >= t) continue;
          if (int(until, u) >= t) lastHeld[u] = t;
          else {
            mark[u] = stamp;
            list[end++] = u;
          }
        }
      }
      if (time > most) return time;
      sortRange(list, begin, end);
      for (let at = begin; at < end; at++) {
        const v = int(list, at);
        const gene = int(genes, v);
        if (int(until, v) >= t || gene === drop || int(this.forwardOf, t) - v > reachOf(gene)) continue;
        until[v] = never;
        if (int(lastHeld, v) >= t) continue; // stored up to here, whatever was meant
        keptTo[v] = int(lastHeld, v);
        heldFrom[v] = t + 1;
        lastHeld[v] = 0;
      }
      closureStart[t + 1] = end;
    }
    return time;
  }

  /** The path of least time at a stage, with what it makes run again. */
  private cheapest(t: number): number {
    const { until, lastHeld, args, parent, mark, trial } = this;
    const paths = item(this.needs, t);
    let best = 0;
    let least = Infinity;
    for (let p = 0; p < paths.length; p++) {
      let time = num(item(this.pathTime, t), p);
      const stamp = ++this.stamp;
      let end = 0;
      const list = item(paths, p);
      for (let k = 0; k < list.length; k++) {
        const u = int(list, k);
        if (int(until, u) >= t || int(mark, u) === stamp) continue;
        mark[u] = stamp;
        trial[end++] = u;
      }
      for (let at = 0; at < end && time < least; at++) {
        const v = int(trial, at);
        time += num(this.again, v);
        const over = int(parent, v);
        if (over >= 0 && int(mark, over) !== stamp) {
          mark[over] = stamp;
          trial[end++] = over;
        }
        const inputs = item(args, v);
        for (let k = 0; k < inputs.length; k++) {
          const u = int(inputs, k);
          if (int(until, u) >= t || int(lastHeld, u) >= t || int(mark, u) === stamp) continue;
          mark[u] = stamp;
          trial[end++] = u;
        }
      }
      if (time < least) {
        least = time;
        best = p;
      }
    }
    return best;
  }

  /** Rows (a)–(c) of every stage; `time` is the least it can take. */
  private charge(bytes: number, time: number, { score, perByte }: Limit, out: Draft | null): { peak: number; time: number } {
    const budget = bytes / 1024;
    const perKibi = perByte * 1024;
    const { nodes: n, stages, keptTo, heldFrom, lastHeld, ram, local, localTensors, change, freedStart, freed, inPlaceOf, ground, needed } = this;
    change.fill(0);
    freedStart.fill(0);
    const charged = (i: number, from: number, to: number): void => {
      if (to < from) return;
      change[from] = num(change, from) + num(ram, i);
      change[to + 1] = num(change, to + 1) - num(ram, i);
      freedStart[to + 1] = int(freedStart, to + 1) + 1;
    };
    for (let i = 0; i < n; i++) {
      charged(i, 1, int(keptTo, i));
      charged(i, int(heldFrom, i), int(lastHeld, i));
    }
    for (let t = 0; t <= stages + 1; t++) freedStart[t + 1] = int(freedStart, t + 1) + int(freedStart, t);
    // Ascending ids within each stage; freedStart[t] is then the end of stage t − 1's, hence the start of t's.
    const freedAfter = (i: number, from: number, to: number): void => {
      if (to < from) return;
      freedStart[to + 1] = int(freedStart, to + 1) - 1;
      freed[int(freedStart, to + 1)] = i;
    };
    for (let i = n - 1; i >= 0; i--) {
      freedAfter(i, 1, int(keptTo, i));
      freedAfter(i, int(heldFrom, i), int(lastHeld, i));
    }
    // Shifted by one: stage t's are freedStart[t + 1] … freedStart[t + 2].
    const held = (i: number, t: number): boolean => this.isHeld(i, t);
    let peak = 0;

    // Stage 0: the forward pass.
    let stored = 0;
    for (let j = 0; j < n; j++) {
      const isMask = int(this.parent, j) >= 0;
      if (isMask && !held(j, 1)) continue;
      const u = int(inPlaceOf, j);
      const inPlace = u >= 0 && !held(u, 1);
      if (j === n - 1) for (const u of item(this.args, j)) if (!held(u, 1)) stored += num(ram, u); // K(0, loss)
      let row = num(ground, 0) + num(ram, j) + num(local, j) + stored;
      const locals = item(localTensors, j);
      for (let k = 0; k < locals.length; k++) if (held(int(locals, k), 1)) row -= num(ram, int(locals, k));
      const algorithms = item(this.algorithms, j);
      if (algorithms !== null) {
        const a = fitting(algorithms, budget - row);
        row += num(algorithms.workspace, algorithms.id.length - 1);
        time += num(algorithms.time, a) - num(this.leastForward, j);
        out?.RF.push([0, item(this.instance.fwd, j).conv_idx ?? 0, int(algorithms.id, a)]);
      } else {
        row += inPlace ? num(this.workspaceInPlace, j) : num(this.workspace, j);
        time += (inPlace ? num(this.timeInPlace, j) : num(this.time, j)) - (isMask ? 0 : num(this.leastForward, j));
      }
      if (row > peak) peak = row;
      if (held(j, 1)) stored += num(ram, j);
      if (num(ground, 0) + stored > peak) peak = num(ground, 0) + stored;
      if (out !== null) {
        out.R[0]?.push(j);
        if (inPlace) out.IP[0]?.push(j);
      }
    }

    if (time + perKibi * Math.max(0, peak - budget) > score) return { peak: Infinity, time };

    // Stages t ≥ 1: what is needed again, then a backward node.
    let before = 0;
    for (let t = 1; t < stages; t++) {
      before += num(change, t);
      const after = before + num(change, t + 1);
      const p = int(this.path, t);
      const wanted = item(item(this.needs, t), p);
      const base = num(ground, t);
      let live = base + before;
      if (live > peak) peak = live;
      const begin = int(this.closureStart, t);
      const end = int(this.closureStart, t + 1);
      let backward = num(this.backwardGround, t) + after;
      for (let k = 0; k < wanted.length; k++) {
        const u = int(wanted, k);
        needed[u] = t;
        if (!held(u, t + 1)) backward += num(ram, u);
      }
      let f = int(freedStart, t + 1);
      const fEnd = int(freedStart, t + 2);
      for (let at = begin; at < end; at++) {
        const j = int(this.closure, at);
        while (f < fEnd && int(freed, f) < j) live -= num(ram, int(freed, f++));
        const u = int(inPlaceOf, j);
        const inPlace = u >= 0 && !held(u, t + 1) && int(needed, u) !== t;
        let row = live + num(ram, j) + num(local, j);
        if (held(j, t)) row -= num(ram, j);
        const locals = item(localTensors, j);
        for (let k = 0; k < locals.length; k++) if (held(int(locals, k), t + 1)) row -= num(ram, int(locals, k));
        const algorithms = item(this.algorithms, j);
        if (algorithms !== null) {
          const a = fitting(algorithms, budget - row);
          row += num(algorithms.workspace, algorithms.id.length - 1);
          time += num(algorithms.time, a) - num(this.leastAgain, j);
          out?.RF.push([t, item(this.instance.fwd, j).conv_idx ?? 0, int(algorithms.id, a)]);
        } else {
          row += inPlace ? num(this.workspaceInPlace, j) : num(this.workspaceAgain, j);
          time += num(this.again, j) + (inPlace ? num(this.timeInPlace, j) - num(this.time, j) : 0) - num(this.leastAgain, j);
        }
        if (row > peak) peak = row;
        if (held(j, t + 1) ? !held(j, t) : int(needed, j) === t) live += num(ram, j);
        if (live > peak) peak = live;
        if (out !== null) {
          out.R[t]?.push(j);
          if (inPlace) out.IP[t]?.push(j);
        }
      }
      const algorithms = item(this.backwardAlgorithms, t);
      if (algorithms !== null) {
        const insists = this.insisted.has(t);
        const a = insists ? 0 : fitting(algorithms, budget - backward);
        backward += num(algorithms.workspace, insists ? 0 : algorithms.id.length - 1);
        time += num(algorithms.time, a) - num(this.leastPath, t);
        out?.RF.push([t, this.instance.bwd[t - 1]?.conv_idx ?? 0, int(algorithms.id, a)]);
      } else backward += num(item(this.pathWorkspace, t), p);
      if (backward > peak) peak = backward;
      if (time + perKibi * Math.max(0, peak - budget) > score) return { peak: Infinity, time };
    }
    if (out !== null) this.finish(out);
    return { peak: peak * 1024, time };
  }

  /** Stages whose backward convolution doesn't run by its fastest algorithm. */
  slow(genome: Genome, budget: number): number[] {
    return this.schedule(genome, budget).schedule.RF
      .filter(([t, convolution, id]) => this.instance.bwd[t - 1]?.conv_idx === convolution && this.backwardAlgorithms[t]?.id[0] !== id)
      .map(([t]) => t);
  }

  /** S[t,i]. */
  private isHeld(i: number, t: number): boolean {
    return t <= int(this.keptTo, i) || (int(this.heldFrom, i) <= t && t <= int(this.lastHeld, i));
  }

  /** S, P and M follow from what was decoded, R and IP. */
  private finish(out: Draft): void {
    for (let t = 1; t <= this.stages; t++) for (let i = 0; i < this.nodes; i++) if (this.isHeld(i, t)) out.S[t]?.push(i);
    for (let t = 0; t < this.stages; t++) {
      const overwritten = new Set(item(out.IP, t).map((j) => int(this.inPlaceOf, j)));
      for (const i of item(out.R, t)) if (!overwritten.has(i)) out.P[t]?.push(i);
      out.M[t] = int(this.path, t);
    }
  }
}

/** A schedule while it is written. */
interface Draft {
  readonly R: number[][];
  readonly P: number[][];
  readonly S: number[][];
  readonly M: number[];
  readonly IP: number[][];
  readonly RF: [stage: number, convolution: number, algorithm: number][];
}

function emptyDraft(stages: number): Draft {
  const lists = (count: number): number[][] => Array.from({ length: count }, () => []);
  return { R: lists(stages), P: lists(stages), S: lists(stages + 1), M: lists(stages).map(() => 0), IP: lists(stages), RF: [] };
}

/** The fastest that fits, else the one with the least workspace. */
function fitting({ workspace }: Algorithms, room: number): number {
  const last = workspace.length - 1;
  let a = 0;
  while (a < last && num(workspace, a) > room) a++;
  return a;
}

function algorithmsOf(node: ForwardNode | BackwardNode): Algorithms {
  const all = node.ms.map((ms, id) => ({ id, time: cost(ms), workspace: kibiOfMebi(node.ws_mib[id] ?? 0), failed: ms < 0 })).filter(({ failed }) => !failed);
  all.sort((a, b) => a.time - b.time || a.workspace - b.workspace);
  let least = Infinity;
  const useful = all.filter(({ workspace }) => {
    const better = workspace < least;
    least = Math.min(least, workspace);
    return better;
  });
  return {
    id: Int32Array.from(useful, ({ id }) => id),
    time: Float64Array.from(useful, ({ time }) => time),
    workspace: Float64Array.from(useful, ({ workspace }) => workspace),
  };
}
