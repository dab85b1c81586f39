import { item } from "../simulate/arrays";
import { eagerGenome, type Candidate, type Evaluator } from "./genome";
import { LinearProgram, type Glpk } from "./linear";
import { totalTime } from "./search";
import { place, type BlockOptions } from "./options";

/**
 * The master program: one option per block,
 *   minimise Σ_k time_k(o_k)
 *   subject to, for every block k,  Σ_{j<k} kept_j(o_j) + forwardPeak_k(o_k) ≤ B
 *                                   Σ_{j<k} kept_j(o_j) + backwardPeak_k(o_k) ≤ B.
 * Times are in ms and bytes in MiB, where the coefficients are near one.
 */
export function master(evaluator: Evaluator, blocks: readonly BlockOptions[], budget: number, glpk: Glpk): Candidate | null {
  const { problem } = evaluator;
  let room = budget;
  let best: Candidate | null = null;
  // Where the expanded plan overshoots, the program is solved again with that much less.
  for (let round = 0; round < 4; round++) {
    const picks = solveMaster(blocks, room, totalTime(problem), glpk);
    if (picks === null) return best;
    const genome = eagerGenome(problem);
    blocks.forEach(({ block, options }, k) => {
      place(problem, block, item(options, item(picks, k)), genome);
    });
    const candidate = evaluator.candidate(genome);
    if (best === null || evaluator.better(candidate, best, budget)) best = candidate;
    if (candidate.peak <= budget) return best;
    room -= candidate.peak - budget;
  }
  return best;
}

/** More binaries than this are settled by the relaxation alone, rounded to less memory. */
const integerLimit = 1500;

function solveMaster(blocks: readonly BlockOptions[], budget: number, stepTime: number, glpk: Glpk): number[] | null {
  const program = new LinearProgram();
  const mebi = 2 ** 20;
  const columns = blocks.map(({ options }) => options.map((option) => program.column(option.time / 1e6)));
  const sofar: (readonly [number, number])[] = [];
  blocks.forEach(({ options }, k) => {
    const own = item(columns, k);
    program.row(own.map((column) => [column, 1] as const), 1, true);
    for (const peak of ["forwardPeak", "backwardPeak"] as const) {
      program.cap([...sofar, ...options.map((option, o) => [item(own, o), option[peak] / mebi] as const)], budget / mebi);
    }
    options.forEach((option, o) => sofar.push([item(own, o), option.kept / mebi]));
  });
  const integer = program.cost.length <= integerLimit;
  const relaxed = program.solve(glpk);
  if (relaxed.status === "none") return null;
  // A thousandth of the step is all that is worth branching for: the search goes on from here.
  const gap = Math.max(0.01, (0.001 * stepTime) / 1e6 / Math.max(1e-9, relaxed.objective));
  const { status, values } = integer ? program.solve(glpk, gap) : relaxed;
  if (status === "none") return null;
  return blocks.map(({ options }, k) => {
    const chosen = item(columns, k).map((column) => values[column] ?? 0);
    const candidates = options.map((_, o) => o).filter((o) => (chosen[o] ?? 0) > (integer ? 0.5 : 1e-6));
    return candidates.reduce((low, o) => (item(options, o).kept < item(options, low).kept ? o : low), candidates[0] ?? 0);
  });
}
