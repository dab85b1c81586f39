import { Simulator } from "../simulate";
import { bit, int, num } from "../simulate/arrays";
import { eagerChoice, type Problem } from "../simulate/problem";
import { keep, Schedule } from "../simulate/schedule";
import type { Walk } from "../simulate/walk";
import { none, spaceOf, type Judge, type Limit, type Space } from "./space";

/**
 * A genome decides per tensor from when it is held (see schedule.ts), and per operator its implementation.
 * Whatever it says is a legal plan: needs are pushed through the backward steps and intervals follow.
 */
export interface Genome {
  readonly genes: Int32Array;
  readonly choice: Int32Array;
}

/** A genome with what the simulator says of it. */
export interface Candidate extends Genome {
  readonly peak: number;
  readonly time: number;
}

export const eagerGenome = (problem: Problem): Genome => ({
  genes: new Int32Array(problem.tensors).fill(keep),
  choice: eagerChoice(problem),
});

/** Decodes and simulates; one per search, since it reuses its buffers. */
export class Evaluator implements Judge {
  readonly problem: Problem;
  readonly schedule: Schedule;
  readonly simulator: Simulator;
  readonly space: Space;
  readonly scale: { readonly step: number; readonly perByte: number };
  work = 0;
  private readonly perOperator: number;

  constructor(problem: Problem) {
    this.problem = problem;
    this.space = spaceOf(problem);
    this.schedule = new Schedule(problem);
    this.simulator = new Simulator(problem);
    this.perOperator = workOf(problem) / problem.operators;
    const time = totalTime(problem);
    const peak = this.evaluate(eagerGenome(problem)).peak;
    this.scale = { step: time / (2 * problem.operators), perByte: time / Math.max(1, peak - problem.fixed) };
  }

  /** The steps say what it takes, so a genome that is too slow need not be walked for its peak. */
  judge(genome: Genome, budget: number, { score, perByte }: Limit = none): { readonly peak: number; readonly time: number } {
    const { schedule, simulator } = this;
    const { choice } = genome;
    this.decode(genome);
    if (schedule.conflict >= 0) return { peak: Infinity, time: Infinity };
    const time = this.timeOf(choice);
    return time > score ? { peak: Infinity, time } : simulator.run(choice, schedule, budget + (score - time) / perByte);
  }

  private decode({ genes, choice }: Genome): void {
    const { schedule, problem } = this;
    schedule.fromGenes(choice, genes);
    this.work += this.perOperator * (problem.operators + int(schedule.closureStart, problem.operators));
  }

  private timeOf(choice: Int32Array): number {
    const { operators: n, forwardTime, backwardTime, recomputeTime, overwriting, takesForward, leaves, copyTime } = this.problem;
    const { closureStart, closureOperators, always } = this.schedule;
    let time = 0;
    for (const i of overwriting) {
      const [q, over] = [int(choice, i), int(takesForward, i)];
      if (bit(leaves, q) === 1 || bit(always, over) === 1 || this.schedule.isKept(over)) time += num(copyTime, q);
    }
    for (let i = 0; i < n; i++) time += num(forwardTime, int(choice, i)) + num(backwardTime, int(choice, i));
    for (let at = int(closureStart, n) - 1; at >= 0; at--) time += num(recomputeTime, int(choice, int(closureOperators, at)));
    return time;
  }

  /** Peak, time and moments of a genome, these to the first beyond `most`; one that reruns a pinned operator has an infinite peak. */
  evaluate({ genes, choice }: Genome, most = Infinity): Walk {
    this.decode({ genes, choice });
    const walk = this.simulator.run(choice, this.schedule, most);
    if (this.schedule.conflict >= 0) walk.peak = Infinity;
    return walk;
  }

  candidate(genome: Genome): Candidate {
    const { peak, time } = this.evaluate(genome);
    return { genes: genome.genes.slice(), choice: genome.choice.slice(), peak, time };
  }
}

/** Fits where the other doesn't, else is faster, else is smaller. */
export function better(a: Candidate, b: Candidate, budget: number): boolean {
  if (a.peak > budget || b.peak > budget) return a.peak < b.peak || (a.peak === b.peak && a.time < b.time);
  return a.time < b.time || (a.time === b.time && a.peak < b.peak);
}

/** What one evaluation takes where nothing is recomputed: operators, and tensors that they read. */
export const workOf = (problem: Problem): number => problem.operators + problem.reads.data.length;

export function totalTime(problem: Problem): number {
  let total = 0;
  for (let i = 0; i < problem.operators; i++) {
    const q = int(problem.implementations, i);
    total += num(problem.forwardTime, q) + num(problem.backwardTime, q);
  }
  return Math.max(1, total);
}
