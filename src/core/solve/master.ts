import { item } from "../simulate/arrays";
import { better, eagerGenome, type Candidate, type Evaluator } from "./genome";
import { LinearProgram, type Glpk } from "./linear";
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
    const picks = solveMaster(blocks, room, glpk);
    if (picks === null) return best;
    const genome = eagerGenome(problem);
    blocks.forEach(({ block, options }, k) => {
      place(problem, block, item(options, item(picks, k)), genome);
    });
    const candidate = evaluator.candidate(genome);
    if (best === null || better(candidate, best, budget)) best = candidate;
    if (candidate.peak <= budget) return best;
    room -= candidate.peak - budget;
  }
  return best;
}

/**
 * Relax and fix: a basic solution of the relaxation is fractional in no more blocks than it has tight rows.
 * The others keep their choice, and the integer program decides those few: small enough to finish always,
 * where branching over many equal blocks would not. A clock must not decide what is returned.
 */
function solveMaster(blocks: readonly BlockOptions[], budget: number, glpk: Glpk): number[] | null {
  const relaxed = program(blocks, budget, blocks.map(({ options }) => options.map((_, o) => o))).solve(glpk);
  if (relaxed.status === "none") return null;
  let at = 0;
  const shares = blocks.map(({ options }) => options.map(() => relaxed.values[at++] ?? 0));
  let open = mostOpen;
  const allowed = shares.map((share, k) => {
    const sure = share.findIndex((x) => x > 1 - 1e-6);
    if (sure >= 0) return [sure];
    return open-- > 0 ? share.map((_, o) => o) : [rounded(share, item(blocks, k))];
  });
  const whole = program(blocks, budget, allowed).solve(glpk, integerGap);
  if (whole.status === "none") return shares.map((share, k) => rounded(share, item(blocks, k)));
  at = 0;
  return allowed.map((list) => {
    const values = list.map(() => whole.values[at++] ?? 0);
    return list[Math.max(0, values.findIndex((x) => x > 0.5))] ?? 0;
  });
}

const integerGap = 0.01;
/** Branching without cuts is quick for so many open blocks, and may take for ever for more: those are rounded. */
const mostOpen = 4;

/** Of the options with a share, the one that keeps least. */
function rounded(share: readonly number[], { options }: BlockOptions): number {
  const used = share.map((_, o) => o).filter((o) => (share[o] ?? 0) > 1e-6);
  return used.reduce((low, o) => (item(options, o).kept < item(options, low).kept ? o : low), used[0] ?? 0);
}

/** Many blocks are alike to the byte, and over equal costs the simplex method of GLPK goes round in circles. */
const distinct = (cost: number, k: number, o: number): number => cost * (1 + 1e-6 * ((31 * k + o) % 97));

function program(blocks: readonly BlockOptions[], budget: number, allowed: readonly (readonly number[])[]): LinearProgram {
  const linear = new LinearProgram();
  const mebi = 2 ** 20;
  const sofar: (readonly [number, number])[] = [];
  const own = blocks.map(({ options }, k) => item(allowed, k).map((o) => ({ option: item(options, o), column: linear.column(distinct(item(options, o).time / 1e6, k, o)) })));
  for (const list of own) {
    linear.row(list.map(({ column }) => [column, 1] as const), 1, true);
    for (const peak of ["forwardPeak", "backwardPeak"] as const) {
      linear.cap([...sofar, ...list.map(({ option, column }) => [column, option[peak] / mebi] as const)], budget / mebi);
    }
    for (const { option, column } of list) sofar.push([column, option.kept / mebi]);
  }
  return linear;
}
