import { bit, int, item, num } from "../simulate/arrays";
import type { Problem } from "../simulate/problem";
import { cutBlocks, type Block } from "./blocks";
import { eagerGenome, totalTime, type Evaluator, type Genome } from "./genome";
import { Random } from "./random";
import { decidable } from "./space";

/** One way to run a block while every other block keeps all it needs. Bytes are relative to what earlier blocks keep. */
export interface Option {
  /** Decisions for the block's tensors and operators (implementations counted from each operator's first). */
  readonly genes: Int32Array;
  readonly choice: Int32Array;
  readonly time: number;
  readonly kept: number;
  readonly forwardPeak: number;
  readonly backwardPeak: number;
}

const most = 8;

export interface BlockOptions {
  readonly block: Block;
  readonly options: readonly Option[];
}

/**
 * Pareto-optimal options of every block in (time, bytes kept, forward peak, backward peak). A block's last
 * results cross the cut and stay kept, so that blocks don't meet but in the bytes that they keep: what is
 * dropped across cuts is the whole-graph search's business. Equal blocks share the decisions found for the
 * first of them and are priced each at its place, where gradients differ.
 */
export function blockOptions(evaluator: Evaluator, effort: number, seed: number): BlockOptions[] {
  const { problem } = evaluator;
  const base = eagerGenome(problem);
  const baseTime = evaluator.evaluate(base).time;
  const blocks = cutBlocks(problem);
  const before = keptBefore(evaluator, base, blocks);
  const patterns = new Map<string, Option[]>();
  return blocks.map((block, k) => {
    const price = (genome: Genome): Option => priced(evaluator, block, genome, baseTime, item(before, k));
    const signature = signatureOf(problem, block);
    const known = patterns.get(signature);
    if (known !== undefined) {
      const again = known.map((option) => {
        const genome = eagerGenome(problem);
        place(problem, block, option, genome);
        return price(genome);
      });
      return { block, options: pareto(again) };
    }
    const options = thin(pareto(explore(evaluator, block, price, effort, seed)));
    patterns.set(signature, options);
    return { block, options };
  });
}

/** Writes an option's decisions into a genome. */
export function place(problem: Problem, block: Block, option: Pick<Option, "genes" | "choice">, { genes, choice }: Genome): void {
  block.tensors.forEach((t, at) => {
    genes[t] = int(option.genes, at);
  });
  for (let i = block.first; i <= block.last; i++) choice[i] = int(problem.implementations, i) + int(option.choice, i - block.first);
}

function keptBefore(evaluator: Evaluator, base: Genome, blocks: readonly Block[]): number[] {
  evaluator.evaluate(base);
  let sum = 0;
  return blocks.map((block) => {
    const before = sum;
    sum += kept(evaluator, block, base.choice);
    return before;
  });
}

/** Bytes of the block's tensors that the last evaluated genome holds from forward on. */
function kept(evaluator: Evaluator, block: Block, choice: Int32Array): number {
  const { problem, schedule } = evaluator;
  let sum = 0;
  for (const t of block.tensors) {
    if (!schedule.isKept(t) && bit(schedule.always, t) === 0) continue;
    sum += t < problem.storages ? num(problem.bytes, t) : num(problem.internal, int(choice, t - problem.storages));
  }
  return sum;
}

function priced(evaluator: Evaluator, block: Block, genome: Genome, baseTime: number, before: number): Option {
  const { problem } = evaluator;
  const { moments, time } = evaluator.evaluate(genome);
  const n = problem.operators;
  let forwardPeak = 0;
  let backwardPeak = 0;
  for (let i = block.first; i <= block.last; i++) {
    forwardPeak = Math.max(forwardPeak, num(moments, i) - before);
    backwardPeak = Math.max(backwardPeak, num(moments, 2 * n - 1 - i) - before);
  }
  return {
    genes: Int32Array.from(block.tensors, (t) => int(genome.genes, t)),
    choice: Int32Array.from({ length: block.last - block.first + 1 }, (_, k) => int(genome.choice, block.first + k) - int(problem.implementations, block.first + k)),
    time: time - baseTime,
    kept: kept(evaluator, block, genome.choice),
    forwardPeak,
    backwardPeak,
  };
}

/** All patterns of drop and keep where these are few, then short annealings for a ladder of prices per byte. */
function explore(evaluator: Evaluator, block: Block, price: (genome: Genome) => Option, effort: number, seed: number): Option[] {
  const { problem } = evaluator;
  const genome = eagerGenome(problem);
  const { genes, choice } = genome;
  const found = [price(genome)];
  const crossing = new Set(problem.makes.data.subarray(int(problem.makes.start, block.last), int(problem.makes.start, block.last + 1)));
  const own = new Set(block.tensors);
  const free = decidable(problem).filter((t) => own.has(t) && !crossing.has(t));
  const several = range(block.first, block.last).filter((i) => int(problem.implementations, i + 1) - int(problem.implementations, i) > 1);
  if (free.length === 0 && several.length === 0) return found;
  const unit = totalTime(problem) / Math.max(1, item(found, 0).backwardPeak);
  const random = new Random(seed);
  const score = (option: Option, perByte: number): number => option.time + perByte * (option.kept + 0.5 * option.backwardPeak);
  for (const factor of [0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10]) {
    let current = price(genome);
    let temperature = 0.02 * totalTime(problem);
    const cooling = Math.pow(1e-4, 1 / effort);
    for (let k = 0; k < effort; k++, temperature *= cooling) {
      const at = random.below(free.length + several.length);
      const t = at < free.length ? int(free, at) : -1;
      const i = at < free.length ? -1 : item(several, at - free.length);
      const old = t >= 0 ? int(genes, t) : int(choice, i);
      if (t >= 0) genes[t] = random.otherGene(old, block.last - block.first + 1);
      else choice[i] = int(problem.implementations, i) + random.below(int(problem.implementations, i + 1) - int(problem.implementations, i));
      const next = price(genome);
      const change = score(next, factor * unit) - score(current, factor * unit);
      if (change <= 0 || random.next() < Math.exp(-change / temperature)) {
        current = next;
        found.push(next);
      } else if (t >= 0) genes[t] = old;
      else choice[i] = old;
    }
  }
  return found;
}

function pareto(options: readonly Option[]): Option[] {
  const sorted = [...options].sort((a, b) => a.time - b.time || a.kept - b.kept || a.backwardPeak - b.backwardPeak || a.forwardPeak - b.forwardPeak);
  const front: Option[] = [];
  for (const option of sorted) {
    if (!front.some((better) => better.kept <= option.kept && better.backwardPeak <= option.backwardPeak && better.forwardPeak <= option.forwardPeak)) front.push(option);
  }
  return front;
}

/**
 * At most a few options per block, since branch and bound without cuts drowns in near-equal ones: for a
 * ladder of prices per byte the best option, with the cheapest and the least hungry.
 */
function thin(options: readonly Option[]): Option[] {
  const first = item(options, 0);
  const chosen = new Set<Option>([first]);
  const least = (measure: (option: Option) => number): Option => options.reduce((low, option) => (measure(option) < measure(low) ? option : low), first);
  chosen.add(least((option) => option.kept)).add(least((option) => option.backwardPeak));
  const scale = Math.max(...options.map((option) => option.time)) / Math.max(1, first.kept);
  for (const factor of [0.05, 0.1, 0.2, 0.4, 0.7, 1, 1.5, 2.5, 5]) {
    if (chosen.size < most) chosen.add(least((option) => option.time + factor * scale * (option.kept + 0.3 * option.backwardPeak)));
  }
  return options.filter((option) => chosen.has(option));
}

/** Equal in everything but place: what blocks need to share their options. */
function signatureOf(problem: Problem, { first, last }: Block): string {
  const { values, operators } = problem.graph;
  const local = new Map<number, number>();
  const name = (id: number): string => {
    const value = values[id];
    if (value?.kind !== "activation") return `${value?.kind ?? ""}${value?.bytes ?? 0}`;
    if (!local.has(value.storage)) local.set(value.storage, local.size);
    return `${local.get(value.storage) ?? 0}:${values[value.storage]?.bytes ?? 0}`;
  };
  return JSON.stringify(
    operators.slice(first, last + 1).map(({ inputs, outputs, in_place, random, pinned, opaque, implementations }) => [
      inputs.map(name), outputs.map(name), in_place, random, pinned, opaque !== undefined,
      implementations.map(({ saves, internal_bytes, in_place: over, forward, recompute, backward }) => [saves.map(name), internal_bytes, over, forward, recompute, backward]),
    ]),
  );
}

const range = (first: number, last: number): number[] => Array.from({ length: last - first + 1 }, (_, k) => first + k);
