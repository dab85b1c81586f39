/** The product's search and bounds on MONeT's rows. Seeds and numbers of evaluations decide what comes out, no clock. */
import GLPK from "glpk.js/node";
import loadHighs from "highs";
import { branchingBound } from "../../src/core/solve/branching";
import { better, type Candidate, type Genome } from "../../src/core/solve/genome";
import { item } from "../../src/core/simulate/arrays";
import { keep } from "../../src/core/simulate/schedule";
import { Random } from "../../src/core/solve/random";
import { polish, search } from "../../src/core/solve/search";
import { snapshotOfRows } from "./bound";
import { MonetRows } from "./rows";
import type { SolveInstance } from "./schedule";

const glpk = await GLPK();
const highs = await loadHighs();

/** Nodes judged by all evaluations together: some 10 s. */
const judged = 1e8;
/** Evaluations of one walk. */
const walk = 40_000;
/** Nodes and stages up to which fresh starts find more than going on from the best does. */
const small = 250;
/** A gap that a larger program is worth trying on, and how many columns it may have for stages of their own. */
const openGap = 0.01;
const staged = 9_000;
/** Anneals again from the best, so hot. */
const reheats = [0.3, 0.6, 1];

export const solveInstance: SolveInstance = (instance, budget, seed) => {
  const started = performance.now();
  const rows = new MonetRows(instance);
  const random = new Random(seed);
  const anneal = (from: Genome, iterations: number, heat: number): Candidate =>
    search(rows, budget, from, { seed: Math.floor(random.next() * 2 ** 32), iterations, heat });
  const eager = (): Genome => ({ genes: new Int32Array(rows.space.genes).fill(keep), choice: rows.space.implementations.slice(0, -1) });
  const size = rows.nodes + rows.stages;
  let best = anneal(eager(), walk, 3);
  const consider = (candidate: Candidate): void => {
    if (better(candidate, best, budget)) best = candidate;
  };
  // Basins differ more than what is found in one, and a slow algorithm makes one: insisting on the fast ones leads elsewhere.
  let share = 1;
  for (let left = judged / size - walk, turn = 0; left > 0; left -= size < small ? 2 * walk : walk, turn++) {
    if (size >= small) {
      consider(anneal(best, walk, item(reheats, turn % reheats.length)));
      continue;
    }
    const slow = turn % 2 === 0 ? rows.slow(best, budget) : [];
    rows.insisted = new Set(slow.filter(() => random.next() < share));
    const elsewhere = anneal(eager(), walk, 3);
    rows.insisted = new Set();
    if (slow.length > 0 && elsewhere.peak > budget) share /= 2;
    consider(elsewhere.peak > budget ? elsewhere : anneal(elsewhere, walk / 2, 0.3));
    consider(anneal(best, walk / 2, item(reheats, turn % reheats.length)));
  }
  best = polish(rows, budget, best);
  const searched = performance.now();
  const found = best.peak <= budget;

  const snapshot = snapshotOfRows(rows, budget);
  let bound = Infinity;
  let first = 0;
  if (snapshot !== null) {
    const { program } = snapshot;
    bound = program.dualBound(program.solve(glpk).duals);
    first = (performance.now() - searched) / 1e3;
    const known = found ? best.time : 10 * rows.scale.step * (rows.nodes + rows.stages);
    bound = Math.max(bound, branchingBound(program, highs, { nodes: 60, gap: 2e-3, known }));
    const larger = bound < (1 - openGap) * known ? snapshotOfRows(rows, budget, staged) : null;
    if (larger !== null) bound = Math.max(bound, branchingBound(larger.program, highs, { nodes: 200, gap: 2e-3, known }));
  }
  const bounded = performance.now();
  return {
    schedule: found ? rows.schedule(best, budget).schedule : null,
    objective: best.time,
    bound: Number.isFinite(bound) ? bound : null,
    lpBoundSeconds: first,
    searchSeconds: (searched - started) / 1e3,
    boundSeconds: (bounded - searched) / 1e3,
  };
};
