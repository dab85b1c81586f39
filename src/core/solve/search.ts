import { int, item, num } from "../simulate/arrays";
import { eagerChoice, type Problem } from "../simulate/problem";
import { drop, keep, offload, retain } from "../simulate/schedule";
import { cutBlocks, type Block } from "./blocks";
import { better, totalTime, type Candidate, type Evaluator, type Genome } from "./genome";
import { Random } from "./random";
import type { Judge, Space } from "./space";

export interface SearchOptions {
  readonly seed: number;
  /** Evaluations, not seconds: the same input gives the same plan. */
  readonly iterations: number;
  /** Start temperature in mean operator times. */
  readonly heat: number;
}

/**
 * Simulated annealing over genomes g:
 *   minimise  time(g) + λ · max(0, peak(g) − budget)
 * λ grows while the walk is over the budget and shrinks (to a floor) while it is within.
 *
 * Moves: another state for one tensor, or for a few of one unit; another implementation for one operator; copy or
 * swap all decisions of two alike blocks; one habit for a run of them. Copies and swaps find *which* of many equal
 * blocks should pay, and a habit changes how they do: no chain of single changes gets there, each alone being worse.
 */
export function search(judge: Judge, budget: number, start: Genome, options: SearchOptions): Candidate {
  const random = new Random(options.seed);
  const moves = new Moves(judge.space);
  const genes = start.genes.slice();
  const choice = start.choice.slice();
  const current = { genes, choice };
  let { peak, time } = judge.judge(current, budget);
  const now = (): Candidate => ({ genes: genes.slice(), choice: choice.slice(), peak, time });
  let best = peak <= budget ? now() : null;
  let least = now();
  if (moves.empty || options.iterations <= 0) return best ?? least;

  const floor = 0.5 * judge.scale.perByte;
  let penalty = 4 * floor;
  const score = (p: number, t: number): number => t + penalty * Math.max(0, p - budget);
  const cooling = Math.pow(0.002, 1 / options.iterations);
  let temperature = options.heat * judge.scale.step;
  const limit = { score: 0, perByte: 0 };

  for (let k = 0; k < options.iterations; k++, temperature *= cooling) {
    if (!moves.propose(random, genes, choice)) continue;
    // Metropolis' coin, tossed before: a proposal over the limit would be turned down, so it need not be judged to the end.
    limit.score = score(peak, time) - temperature * Math.log(1 - random.next());
    limit.perByte = penalty;
    const next = judge.judge(current, budget, limit);
    if (score(next.peak, next.time) <= limit.score) {
      ({ peak, time } = next);
      if (peak <= budget && (best === null || time < best.time || (time === best.time && peak < best.peak))) best = now();
      else if (best === null && peak < least.peak) least = now();
    } else moves.undo(genes, choice);
    penalty = peak > budget ? Math.min(penalty * 1.002, 1e6 * floor) : Math.max(penalty * 0.999, floor);
  }
  return best ?? least;
}

/** Work of a polish, and of holding more, in all their evaluations: what a small graph has time for, a large one has not. */
const mostPolish = 2_000_000;
const mostHold = 20_000_000;

const genesOf = ({ offloads }: Space): readonly number[] => (offloads === true ? [drop, keep, retain, offload] : [drop, keep, retain]);

/** Steepest single changes until none helps: cheap, and leaves nothing obvious on the table. */
export function polish(judge: Judge, budget: number, start: Candidate): Candidate {
  const genes = start.genes.slice();
  const { choice } = start;
  let best = start;
  const end = judge.work + mostPolish;
  for (let round = 0; round < 4; round++) {
    const before = best;
    for (const t of judge.space.tensors) {
      const old = int(genes, t);
      for (const gene of genesOf(judge.space)) {
        if (gene === old || judge.work >= end) continue;
        genes[t] = gene;
        const { peak, time } = judge.judge({ genes, choice }, budget);
        const candidate = { genes, choice, peak, time };
        if (better(candidate, best, budget)) best = { ...candidate, genes: genes.slice() };
      }
      genes[t] = int(best.genes, t);
    }
    if (best === before) break;
  }
  return best;
}

/**
 * The least memory that the search finds: budgets of nothing, where only the peak counts, from several
 * classical starts (drop everything; retain everything; keep what crosses cuts; keep each √n-th block's end).
 */
export function leastMemory(evaluator: Evaluator, options: SearchOptions): Candidate {
  const { problem } = evaluator;
  let best = evaluator.candidate({ genes: new Int32Array(problem.tensors), choice: eagerChoice(problem) });
  for (const genome of classical(problem)) {
    const candidate = evaluator.candidate(genome);
    if (better(candidate, best, 0)) best = candidate;
  }
  const random = new Random(options.seed);
  const moves = new Moves(evaluator.space);
  if (moves.empty) return best;
  const genes = best.genes.slice();
  const choice = best.choice.slice();
  let { peak, time } = best;
  // Time breaks ties: a thousandth of the eager step weighs as a ten-thousandth of the peak.
  const weight = (0.1 * peak) / totalTime(problem);
  const cooling = Math.pow(0.001, 1 / Math.max(1, options.iterations));
  let temperature = 0.01 * (peak - problem.fixed);
  for (let k = 0; k < options.iterations; k++, temperature *= cooling) {
    if (!moves.propose(random, genes, choice)) continue;
    const walk = evaluator.evaluate({ genes, choice });
    const change = walk.peak - peak + weight * (walk.time - time);
    if (change <= 0 || random.next() < Math.exp(-change / temperature)) {
      peak = walk.peak;
      time = walk.time;
      if (peak < best.peak || (peak === best.peak && time < best.time)) best = { genes: genes.slice(), choice: choice.slice(), peak, time };
    } else moves.undo(genes, choice);
  }
  return options.iterations > 0 ? faster(evaluator, best) : polish(evaluator, 0, best);
}

/** The same plan in less memory, or in the same but less time: a budget of nothing, where smaller comes first. */
export function faster(evaluator: Evaluator, start: Candidate): Candidate {
  return polish(evaluator, 0, holdMore(evaluator, start));
}

/** The same peak or less in less time: as many tensors as the work allows held from their first recompute on, by halves. */
function holdMore(evaluator: Evaluator, start: Candidate): Candidate {
  const { tensors } = evaluator.space;
  let best = start;
  const last = evaluator.work + mostHold;
  const halve = (first: number, end: number): void => {
    if (evaluator.work >= last) return;
    const genes = best.genes.slice();
    for (const t of tensors.subarray(first, end)) if (int(genes, t) !== keep) genes[t] = retain;
    const { peak, time } = evaluator.judge({ genes, choice: best.choice }, best.peak, { score: best.time, perByte: Infinity });
    if (peak <= best.peak && time <= best.time) {
      best = { genes, choice: best.choice, peak, time };
      return;
    }
    if (end - first < 2) return;
    const middle = (first + end) >> 1;
    halve(middle, end);
    halve(first, middle);
  };
  halve(0, tensors.length);
  return best;
}

/** Starts from the literature, each a genome: √n checkpointing keeps every k-th block's result. */
export function classical(problem: Problem): Genome[] {
  const oneEach = problem.implementations.at(-1) === problem.operators;
  const choices = oneEach ? [eagerChoice(problem)] : [eagerChoice(problem), thriftiest(problem)];
  return choices.flatMap((choice) => startsWith(problem, choice));
}

function startsWith(problem: Problem, choice: Int32Array): Genome[] {
  const blocks = cutBlocks(problem);
  const starts: Genome[] = [];
  for (const inner of problem.transfer === null ? [drop, retain] : [drop, retain, offload]) {
    for (let stride = 1; stride <= blocks.length; stride = Math.ceil(stride * 1.5)) {
      const genes = new Int32Array(problem.tensors).fill(inner);
      blocks.forEach((block, k) => {
        if (k % stride !== stride - 1) return;
        for (let slot = int(problem.makes.start, block.last); slot < int(problem.makes.start, block.last + 1); slot++) genes[int(problem.makes.data, slot)] = keep;
      });
      starts.push({ genes, choice });
    }
    starts.push({ genes: new Int32Array(problem.tensors).fill(inner), choice });
  }
  return starts;
}

/** Of each operator the implementation that saves least, counting what its backward takes. */
export function thriftiest(problem: Problem): Int32Array {
  const { implementations, saves, bytes, internal, backwardPeak } = problem;
  const taken = (q: number): number =>
    saves.data.subarray(int(saves.start, q), int(saves.start, q + 1)).reduce((sum, s) => sum + num(bytes, s), num(internal, q) + num(backwardPeak, q));
  return eagerChoice(problem).map((first, i) => {
    let least = first;
    for (let q = first; q < int(implementations, i + 1); q++) if (taken(q) < taken(least)) least = q;
    return least;
  });
}

class Moves {
  readonly empty: boolean;
  private readonly tensors: Int32Array;
  private readonly together: Space["together"];
  private readonly offloads: boolean;
  private readonly alikeChoices: boolean;
  private readonly several: Int32Array;
  /** Units with at least two decidable tensors, these alone in `tensors`. */
  private readonly units: readonly Block[];
  private readonly groups: readonly (readonly Block[])[];
  private readonly implementations: Int32Array;
  private readonly oldGenes: Int32Array;
  private readonly oldChoice: Int32Array;
  /** What the last proposal touched, for undo. */
  private touched: readonly Block[] = [];
  private tensor = -1;
  private operator = -1;
  private oldState = 0;

  constructor({ genes, tensors, implementations, units, groups, together, offloads = false, alikeChoices = false }: Space) {
    this.tensors = tensors;
    this.together = together;
    this.offloads = offloads;
    this.implementations = implementations;
    const several: number[] = [];
    for (let i = 0; i + 1 < implementations.length; i++) if (int(implementations, i + 1) - int(implementations, i) > 1) several.push(i);
    this.several = Int32Array.from(several);
    this.alikeChoices = alikeChoices && several.length > 0;
    const open = new Set(tensors);
    this.units = units.map((unit) => ({ ...unit, tensors: unit.tensors.filter((t) => open.has(t)) })).filter((unit) => unit.tensors.length > 1);
    this.groups = groups.filter((blocks) => blocks.length > 1);
    this.empty = this.tensors.length === 0 && this.several.length === 0;
    this.oldGenes = new Int32Array(genes);
    this.oldChoice = new Int32Array(implementations.length - 1);
  }

  /** Changes the genome in place; false where nothing changed. */
  propose(random: Random, genes: Int32Array, choice: Int32Array): boolean {
    this.tensor = -1;
    this.operator = -1;
    this.touched = [];
    const dice = random.next();
    if (this.groups.length > 0 && (dice < 0.25 || this.tensors.length === 0)) return this.exchange(random, genes, choice, dice < 0.12);
    if (this.groups.length > 0 && dice > 0.9) return this.spread(random, genes, choice);
    if (this.several.length > 0 && (dice < 0.33 || this.tensors.length === 0)) {
      const i = int(this.several, random.below(this.several.length));
      const begin = int(this.implementations, i);
      this.operator = i;
      this.oldState = int(choice, i);
      const others = int(this.implementations, i + 1) - begin - 1;
      const other = begin + random.below(others);
      choice[i] = other >= this.oldState ? other + 1 : other;
      return true;
    }
    if (dice > 0.45 && dice <= 0.7 && this.together !== undefined) return this.adopt(this.together(random), genes);
    if (dice > 0.7 && this.units.length > 0) return this.scramble(random, genes, choice);
    this.tensor = int(this.tensors, random.below(this.tensors.length));
    this.oldState = int(genes, this.tensor);
    genes[this.tensor] = this.sendsAway(random) ? offload : random.otherGene(this.oldState, choice.length);
    return true;
  }

  private sendsAway(random: Random): boolean {
    return this.offloads && random.next() < 0.2;
  }

  private gene(random: Random, span: number): number {
    return this.sendsAway(random) ? offload : random.gene(span);
  }

  undo(genes: Int32Array, choice: Int32Array): void {
    if (this.tensor >= 0) genes[this.tensor] = this.oldState;
    if (this.operator >= 0) choice[this.operator] = this.oldState;
    for (const block of this.touched) {
      for (const t of block.tensors) genes[t] = int(this.oldGenes, t);
      for (let i = block.first; i <= block.last; i++) choice[i] = int(this.oldChoice, i);
    }
  }

  /** New states for two or three tensors of one unit: what shifts a kept tensor along, or follows a mask. */
  private scramble(random: Random, genes: Int32Array, choice: Int32Array): boolean {
    const unit = item(this.units, random.below(this.units.length));
    this.save([unit], genes, choice);
    const count = 2 + random.below(2);
    for (let k = 0; k < count; k++) genes[int(unit.tensors, random.below(unit.tensors.length))] = this.gene(random, choice.length);
    return true;
  }

  private adopt(genesOf: readonly (readonly [tensor: number, gene: number])[], genes: Int32Array): boolean {
    this.touched = [{ first: 0, last: -1, tensors: Int32Array.from(genesOf, ([t]) => t) }];
    for (const [t, gene] of genesOf) {
      this.oldGenes[t] = int(genes, t);
      genes[t] = gene;
    }
    return genesOf.length > 0;
  }

  private save(blocks: readonly Block[], genes: Int32Array, choice: Int32Array): void {
    this.touched = blocks;
    for (const block of blocks) {
      for (const t of block.tensors) this.oldGenes[t] = int(genes, t);
      for (let i = block.first; i <= block.last; i++) this.oldChoice[i] = int(choice, i);
    }
  }

  private exchange(random: Random, genes: Int32Array, choice: Int32Array, swap: boolean): boolean {
    const group = item(this.groups, random.below(this.groups.length));
    const a = item(group, random.below(group.length));
    const b = item(group, random.below(group.length));
    if (a === b) return false;
    this.save([a, b], genes, choice);
    this.transfer(a, b, genes, choice);
    if (swap) this.transfer(b, a, genes, choice);
    return true;
  }

  /** One decision of a block, or a few in a row, made alike in a run of blocks: a habit is worth changing together. */
  private spread(random: Random, genes: Int32Array, choice: Int32Array): boolean {
    const group = item(this.groups, random.below(this.groups.length));
    const from = item(group, random.below(group.length));
    const first = random.below(group.length);
    const blocks = group.slice(first, first + 1 + random.below(group.length - first));
    this.save(blocks, genes, choice);
    if (this.alikeChoices && random.next() < 0.4) return this.spreadChoice(random, from, blocks, choice);
    const begin = random.below(from.tensors.length);
    const end = Math.min(from.tensors.length, begin + 1 + random.below(4));
    const states = Array.from({ length: end - begin }, () => (random.next() < 0.5 ? null : this.gene(random, choice.length)));
    for (const to of blocks) {
      for (let k = begin; k < end; k++) {
        genes[int(to.tensors, k)] = states[k - begin] ?? int(genes, int(from.tensors, k));
      }
    }
    return true;
  }

  private spreadChoice(random: Random, from: Block, blocks: readonly Block[], choice: Int32Array): boolean {
    const open = this.several.filter((i) => i >= from.first && i <= from.last);
    if (open.length === 0) return false;
    const i = int(open, random.below(open.length));
    const other = random.below(int(this.implementations, i + 1) - int(this.implementations, i));
    for (const to of blocks) choice[to.first + i - from.first] = int(this.implementations, to.first + i - from.first) + other;
    return true;
  }

  private transfer(from: Block, to: Block, genes: Int32Array, choice: Int32Array): void {
    for (let k = 0; k < from.tensors.length; k++) genes[int(to.tensors, k)] = int(this.oldGenes, int(from.tensors, k));
    for (let k = 0; k <= from.last - from.first; k++) {
      const offset = int(this.oldChoice, from.first + k) - int(this.implementations, from.first + k);
      choice[to.first + k] = int(this.implementations, to.first + k) + offset;
    }
  }
}
