import { Simulator } from "../simulate";
import { bit, int, num } from "../simulate/arrays";
import { eagerChoice, type Problem } from "../simulate/problem";
import { keep, Schedule } from "../simulate/schedule";
import type { Walk } from "../simulate/walk";

/**
 * A genome decides per tensor drop, keep or retain (see schedule.ts), and per operator its implementation.
 * Whatever it says is a legal plan: needs are pushed through the backward steps and intervals follow.
 */
export interface Genome {
  readonly genes: Uint8Array;
  readonly choice: Int32Array;
}

/** A genome with what the simulator says of it. */
export interface Candidate extends Genome {
  readonly peak: number;
  readonly time: number;
}

export const eagerGenome = (problem: Problem): Genome => ({
  genes: new Uint8Array(problem.tensors).fill(keep),
  choice: eagerChoice(problem),
});

/** Decodes and simulates; one per search, since it reuses its buffers. */
export class Evaluator {
  readonly problem: Problem;
  readonly schedule: Schedule;
  readonly simulator: Simulator;
  evaluations = 0;

  constructor(problem: Problem) {
    this.problem = problem;
    this.schedule = new Schedule(problem);
    this.simulator = new Simulator(problem);
  }

  /** Peak, time and moments of a genome; a genome that reruns a pinned operator has an infinite peak. */
  evaluate({ genes, choice }: Genome): Walk {
    this.evaluations++;
    this.schedule.fromGenes(choice, genes);
    const walk = this.simulator.run(choice, this.schedule);
    if (this.schedule.conflict >= 0) walk.peak = Infinity;
    return walk;
  }

  candidate(genome: Genome): Candidate {
    const { peak, time } = this.evaluate(genome);
    return { genes: genome.genes.slice(), choice: genome.choice.slice(), peak, time };
  }

  /** Fits where the other doesn't, else is faster, else is smaller. */
  better(a: Candidate, b: Candidate, budget: number): boolean {
    if (a.peak > budget || b.peak > budget) return a.peak < b.peak || (a.peak === b.peak && a.time < b.time);
    return a.time < b.time || (a.time === b.time && a.peak < b.peak);
  }
}

/** Tensors that some plan may treat differently: not empty, not held anyway, not made by a pinned operator. */
export function decidable(problem: Problem): Int32Array {
  const { storages, producer, pinned, isOutput, bytes, implementations, internal } = problem;
  const found: number[] = [];
  for (let t = 0; t < problem.tensors; t++) {
    const maker = t < storages ? int(producer, t) : t - storages;
    if (bit(pinned, maker) === 1) continue;
    if (t < storages ? bit(isOutput, t) === 0 && num(bytes, t) > 0 : hasInternals(maker)) found.push(t);
  }
  return Int32Array.from(found);

  function hasInternals(i: number): boolean {
    for (let q = int(implementations, i); q < int(implementations, i + 1); q++) if (num(internal, q) > 0) return true;
    return false;
  }
}
