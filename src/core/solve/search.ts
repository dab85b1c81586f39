import { bit, int, item } from "../simulate/arrays";
import type { Problem } from "../simulate/problem";
import { cutBlocks, groupAlike, unitBlocks, type Block } from "./blocks";
import { decidable, type Candidate, type Evaluator, type Genome } from "./genome";
import { Random } from "./random";

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
 * Moves: another state for one tensor; another implementation for one operator; copy or swap all decisions
 * of two alike blocks. The last is what finds *which* of many equal blocks should pay: no chain of single
 * changes gets there, since each alone is worse.
 */
export function search(evaluator: Evaluator, budget: number, start: Genome, options: SearchOptions): Candidate {
  const { problem } = evaluator;
  const random = new Random(options.seed);
  const moves = new Moves(problem);
  const current = evaluator.candidate(start);
  const { genes, choice } = current;
  let best = current.peak <= budget ? copyOf(current) : null;
  let least = copyOf(current);
  if (moves.empty || options.iterations <= 0) return best ?? least;

  const eagerTime = totalTime(problem);
  const step = eagerTime / (2 * problem.operators);
  const floor = 0.5 * (eagerTime / Math.max(1, evaluator.candidate({ genes: new Uint8Array(problem.tensors).fill(1), choice }).peak - problem.fixed));
  let penalty = 4 * floor;
  const score = (peak: number, time: number): number => time + penalty * Math.max(0, peak - budget);
  let { peak, time } = current;
  const cooling = Math.pow(0.002, 1 / options.iterations);
  let temperature = options.heat * step;

  for (let k = 0; k < options.iterations; k++, temperature *= cooling) {
    if (!moves.propose(random, genes, choice)) continue;
    const walk = evaluator.evaluate({ genes, choice });
    const change = score(walk.peak, walk.time) - score(peak, time);
    if (change <= 0 || random.next() < Math.exp(-change / temperature)) {
      peak = walk.peak;
      time = walk.time;
      if (peak <= budget && (best === null || time < best.time || (time === best.time && peak < best.peak))) {
        best = { genes: genes.slice(), choice: choice.slice(), peak, time };
      } else if (best === null && peak < least.peak) least = { genes: genes.slice(), choice: choice.slice(), peak, time };
    } else moves.undo(genes, choice);
    penalty = peak > budget ? Math.min(penalty * 1.002, 1e6 * floor) : Math.max(penalty * 0.999, floor);
  }
  return best ?? least;
}

/** Steepest single changes until none helps: cheap, and leaves nothing obvious on the table. */
export function polish(evaluator: Evaluator, budget: number, start: Candidate): Candidate {
  const tensors = decidable(evaluator.problem);
  let best = start;
  for (let round = 0; round < 4; round++) {
    const before = best;
    for (const t of tensors) {
      for (let state = 0; state < 3; state++) {
        if (state === bit(best.genes, t)) continue;
        const genes = best.genes.slice();
        genes[t] = state;
        const candidate = evaluator.candidate({ genes, choice: best.choice });
        if (evaluator.better(candidate, best, budget)) best = candidate;
      }
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
  let best = evaluator.candidate({ genes: new Uint8Array(problem.tensors), choice: problem.implementations.slice(0, problem.operators) });
  for (const genome of classical(problem)) {
    const candidate = evaluator.candidate(genome);
    if (evaluator.better(candidate, best, 0)) best = candidate;
  }
  const random = new Random(options.seed);
  const moves = new Moves(problem);
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
  // A budget of nothing: smaller first, and faster where that costs no memory.
  return polish(evaluator, 0, best);
}

/** Starts from the literature, each a genome: √n checkpointing keeps every k-th block's result. */
export function classical(problem: Problem): Genome[] {
  const choice = problem.implementations.slice(0, problem.operators);
  const blocks = cutBlocks(problem);
  const starts: Genome[] = [];
  for (const inner of [0, 2]) {
    for (let stride = 1; stride <= blocks.length; stride = Math.ceil(stride * 1.5)) {
      const genes = new Uint8Array(problem.tensors).fill(inner);
      blocks.forEach((block, k) => {
        if (k % stride !== stride - 1) return;
        for (let slot = int(problem.makes.start, block.last); slot < int(problem.makes.start, block.last + 1); slot++) genes[int(problem.makes.data, slot)] = 1;
      });
      starts.push({ genes, choice });
    }
    starts.push({ genes: new Uint8Array(problem.tensors).fill(inner), choice });
  }
  return starts;
}

export function totalTime(problem: Problem): number {
  let total = 0;
  for (let i = 0; i < problem.operators; i++) {
    const q = int(problem.implementations, i);
    total += (problem.forwardTime[q] ?? 0) + (problem.backwardTime[q] ?? 0);
  }
  return Math.max(1, total);
}

const copyOf = ({ genes, choice, peak, time }: Candidate): Candidate => ({ genes: genes.slice(), choice: choice.slice(), peak, time });

class Moves {
  readonly empty: boolean;
  private readonly tensors: Int32Array;
  private readonly several: Int32Array;
  /** Units with at least two decidable tensors, these alone in `tensors`. */
  private readonly units: readonly Block[];
  private readonly groups: readonly (readonly Block[])[];
  private readonly implementations: Int32Array;
  private readonly oldGenes: Uint8Array;
  private readonly oldChoice: Int32Array;
  /** What the last proposal touched, for undo. */
  private touched: readonly Block[] = [];
  private tensor = -1;
  private operator = -1;
  private oldState = 0;

  constructor(problem: Problem) {
    this.tensors = decidable(problem);
    this.implementations = problem.implementations;
    this.several = Int32Array.from(
      problem.graph.operators.filter(({ implementations }) => implementations.length > 1).map(({ id }) => id),
    );
    const open = new Set(this.tensors);
    this.units = unitBlocks(problem)
      .map((unit) => ({ ...unit, tensors: unit.tensors.filter((t) => open.has(t)) }))
      .filter(({ tensors }) => tensors.length > 1);
    this.groups = [...groupAlike(problem, cutBlocks(problem)), ...groupAlike(problem, unitBlocks(problem))]
      .map(({ blocks }) => blocks)
      .filter((blocks) => blocks.length > 1);
    this.empty = this.tensors.length === 0 && this.several.length === 0;
    this.oldGenes = new Uint8Array(problem.tensors);
    this.oldChoice = new Int32Array(problem.operators);
  }

  /** Changes the genome in place; false where nothing changed. */
  propose(random: Random, genes: Uint8Array, choice: Int32Array): boolean {
    this.tensor = -1;
    this.operator = -1;
    this.touched = [];
    const dice = random.next();
    if (this.groups.length > 0 && (dice < 0.15 || this.tensors.length === 0)) return this.exchange(random, genes, choice, dice < 0.08);
    if (this.several.length > 0 && (dice < 0.3 || this.tensors.length === 0)) {
      const i = int(this.several, random.below(this.several.length));
      const begin = int(this.implementations, i);
      this.operator = i;
      this.oldState = int(choice, i);
      const others = int(this.implementations, i + 1) - begin - 1;
      const other = begin + random.below(others);
      choice[i] = other >= this.oldState ? other + 1 : other;
      return true;
    }
    if (dice > 0.75 && this.units.length > 0) return this.scramble(random, genes, choice);
    this.tensor = int(this.tensors, random.below(this.tensors.length));
    this.oldState = bit(genes, this.tensor);
    genes[this.tensor] = (this.oldState + 1 + random.below(2)) % 3;
    return true;
  }

  undo(genes: Uint8Array, choice: Int32Array): void {
    if (this.tensor >= 0) genes[this.tensor] = this.oldState;
    if (this.operator >= 0) choice[this.operator] = this.oldState;
    for (const block of this.touched) {
      for (const t of block.tensors) genes[t] = bit(this.oldGenes, t);
      for (let i = block.first; i <= block.last; i++) choice[i] = int(this.oldChoice, i);
    }
  }

  /** New states for two or three tensors of one unit: what shifts a kept tensor along, or follows a mask. */
  private scramble(random: Random, genes: Uint8Array, choice: Int32Array): boolean {
    const unit = item(this.units, random.below(this.units.length));
    this.save([unit], genes, choice);
    const count = 2 + random.below(2);
    for (let k = 0; k < count; k++) genes[int(unit.tensors, random.below(unit.tensors.length))] = random.below(3);
    return true;
  }

  private save(blocks: readonly Block[], genes: Uint8Array, choice: Int32Array): void {
    this.touched = blocks;
    for (const block of blocks) {
      for (const t of block.tensors) this.oldGenes[t] = bit(genes, t);
      for (let i = block.first; i <= block.last; i++) this.oldChoice[i] = int(choice, i);
    }
  }

  private exchange(random: Random, genes: Uint8Array, choice: Int32Array, swap: boolean): boolean {
    const group = item(this.groups, random.below(this.groups.length));
    const a = item(group, random.below(group.length));
    const b = item(group, random.below(group.length));
    if (a === b) return false;
    this.save([a, b], genes, choice);
    this.transfer(a, b, genes, choice);
    if (swap) this.transfer(b, a, genes, choice);
    return true;
  }

  private transfer(from: Block, to: Block, genes: Uint8Array, choice: Int32Array): void {
    for (let k = 0; k < from.tensors.length; k++) genes[int(to.tensors, k)] = bit(this.oldGenes, int(from.tensors, k));
    for (let k = 0; k <= from.last - from.first; k++) {
      const offset = int(this.oldChoice, from.first + k) - int(this.implementations, from.first + k);
      choice[to.first + k] = int(this.implementations, to.first + k) + offset;
    }
  }
}
