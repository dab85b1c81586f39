import { int, item, num } from "../simulate/arrays";
import type { Problem } from "../simulate/problem";

/** Consecutive operators first … last, and the tensors they make in a fixed order. */
export interface Block {
  readonly first: number;
  readonly last: number;
  readonly tensors: Int32Array;
}

/** Blocks with the same signature have tensors that correspond one to one. */
export interface Group {
  readonly signature: string;
  readonly blocks: readonly Block[];
}

/**
 * Cuts the graph where exactly one activation storage is still needed by what follows: at such a place
 * everything behind depends on everything before through that tensor alone. (What follows may make what stands in
 * for something before it: it is not cut off from that.)
 */
export function cutBlocks(problem: Problem): Block[] {
  const { operators: n, storages, lastUse } = problem;
  const crossing = new Int32Array(n + 1);
  const earliest = firstSavers(problem);
  for (let s = 0; s < storages; s++) {
    for (let i = int(earliest, s); i < int(lastUse, s); i++) crossing[i] = int(crossing, i) + 1;
  }
  const blocks: Block[] = [];
  let first = 0;
  for (let i = 0; i < n; i++) {
    if (i < n - 1 && int(crossing, i) > 1) continue;
    blocks.push(block(problem, first, i));
    first = i + 1;
  }
  return blocks;
}

/** Per storage its maker, or the first operator that saves it before it is made. */
function firstSavers({ operators: n, producer, implementations, saves }: Problem): Int32Array {
  const first = producer.slice();
  for (let i = n - 1; i >= 0; i--) {
    for (let slot = int(saves.start, int(implementations, i)); slot < int(saves.start, int(implementations, i + 1)); slot++) {
      const s = int(saves.data, slot);
      if (int(first, s) > i) first[s] = i;
    }
  }
  return first;
}

/** Cuts before every operator of more than average time: a convolution with what follows it, say. */
export function unitBlocks(problem: Problem): Block[] {
  const { operators: n, implementations, forwardTime } = problem;
  const time = (i: number): number => num(forwardTime, int(implementations, i));
  let total = 0;
  for (let i = 0; i < n; i++) total += time(i);
  const blocks: Block[] = [];
  let first = 0;
  for (let i = 1; i <= n; i++) {
    if (i < n && time(i) * n < total) continue;
    blocks.push(block(problem, first, i - 1));
    first = i;
  }
  return blocks;
}

function block(problem: Problem, first: number, last: number): Block {
  const tensors: number[] = [];
  for (let i = first; i <= last; i++) {
    for (let slot = int(problem.makes.start, i); slot < int(problem.makes.start, i + 1); slot++) tensors.push(int(problem.makes.data, slot));
    tensors.push(problem.storages + i);
  }
  return { first, last, tensors: Int32Array.from(tensors) };
}

/** Same operators in the same order with the same number of results: enough for decisions to be worth copying. */
export function groupAlike(problem: Problem, blocks: readonly Block[]): Group[] {
  const groups = new Map<string, Block[]>();
  for (const candidate of blocks) {
    const parts: string[] = [];
    for (let i = candidate.first; i <= candidate.last; i++) {
      const operator = item(problem.graph.operators, i);
      parts.push(`${operator.op}/${int(problem.makes.start, i + 1) - int(problem.makes.start, i)}/${operator.implementations.length}`);
    }
    const signature = parts.join(" ");
    groups.set(signature, [...(groups.get(signature) ?? []), candidate]);
  }
  return [...groups].map(([signature, alike]) => ({ signature, blocks: alike }));
}
