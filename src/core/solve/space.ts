import { bit, int, num } from "../simulate/arrays";
import { makerOf, type Problem } from "../simulate/problem";
import { cutBlocks, groupAlike, unitBlocks, type Block } from "./blocks";
import type { Genome } from "./genome";
import type { Random } from "./random";

/** What a search may change: genes of tensors, one choice per operator, and places that are worth changing together. */
export interface Space {
  /** Length of a genome's genes, and those of them that make a difference. */
  readonly genes: number;
  readonly tensors: Int32Array;
  /** Choices of operator i are implementations[i] … implementations[i+1]. */
  readonly implementations: Int32Array;
  readonly units: readonly Block[];
  /** Blocks whose decisions may be copied from one to another. */
  readonly groups: readonly (readonly Block[])[];
  /** Whether the gene `offload` means anything. */
  readonly offloads?: boolean;
  /** Whether the choices of alike operators have a meaning in common: the n-th implementation of one is the n-th of the other. */
  readonly alikeChoices?: boolean;
  /** Genes that mean something together, as the judge alone knows; none: not this time. */
  readonly together?: (random: Random) => readonly (readonly [tensor: number, gene: number])[];
}

/**
 * Says what a genome costs, under whatever rules: the search knows no more of them. Its peak is compared with
 * the budget, its time is what is to be least.
 */
export interface Judge {
  readonly space: Space;
  /** The mean time of a step, and what a byte is worth in time to begin with. */
  readonly scale: { readonly step: number; readonly perByte: number };
  /** What all that was judged took so far: operators run and tensors they read. Efforts are limited by it, never by a clock. */
  readonly work: number;
  /** May stop early, with an infinite peak, once time + perByte · max(0, peak − budget) is sure to exceed the limit. */
  judge(genome: Genome, budget: number, limit?: Limit): { readonly peak: number; readonly time: number };
}

export interface Limit {
  readonly score: number;
  readonly perByte: number;
}

export const none: Limit = { score: Infinity, perByte: 0 };

export function spaceOf(problem: Problem): Space {
  return {
    genes: problem.tensors,
    tensors: decidable(problem),
    implementations: problem.implementations,
    units: unitBlocks(problem),
    offloads: problem.transfer !== null,
    alikeChoices: true,
    groups: [...groupAlike(problem, cutBlocks(problem)), ...groupAlike(problem, unitBlocks(problem))].map(({ blocks }) => blocks),
  };
}

/** Tensors that some plan may treat differently: not empty, not held anyway. */
export function decidable(problem: Problem): Int32Array {
  const { storages, stays, isOutput, bytes, implementations, internal } = problem;
  const found: number[] = [];
  for (let t = 0; t < problem.tensors; t++) {
    if (bit(stays, t) === 1) continue;
    const maker = makerOf(problem, t);
    if (t < storages ? bit(isOutput, t) === 0 && num(bytes, t) > 0 : hasInternals(maker)) found.push(t);
  }
  return Int32Array.from(found);

  function hasInternals(i: number): boolean {
    for (let q = int(implementations, i); q < int(implementations, i + 1); q++) if (num(internal, q) > 0) return true;
    return false;
  }
}
