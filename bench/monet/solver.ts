/** The product's search and bounds on MONeT's rows. Seeds and numbers of evaluations decide what comes out, no clock. */
import GLPK from "glpk.js/node";
import loadHighs from "highs";
import { branchingBound } from "../../src/core/solve/branching";
import { better, type Candidate, type Genome } from "../../src/core/solve/genome";
import { keep } from "../../src/core/simulate/schedule";
import { Random } from "../../src/core/solve/random";
import type { LinearProgram } from "../../src/core/solve/linear";
import { polish, search } from "../../src/core/solve/search";
import { snapshotOfRows } from "./bound";
import { MonetRows } from "./rows";
import type { SolveInstance } from "./schedule";

const glpk = await GLPK();
const highs = await loadHighs();

/** Nodes judged by all evaluations together: some 10 s. */
const judged = 1.3e8;
/** Evaluations of one walk. */
const walk = 40_000;
/** Nodes and stages up to which several lives from the beginning find more than one long one. */
const small = 250;
const lives = 6;
/** Evaluations that the plan gets to arrange itself around a forced change. */
const trialOf = (size: number): number => (size < small ? 4_000 : 8_000);
/** A gap that more work is worth, and how many columns a small graph's program then gets for stages of their own. */
const openGap = 0.01;
const staged = 9_000;
/** Anneals again from the best, so hot, before changes are forced. */
const reheats = [0.3, 0.6, 1];
/** A plan that much slower, relative, is gone on from one time in e. */
const tolerated = 3e-4;

export const solveInstance: SolveInstance = (instance, budget, seed) => {
  const started = performance.now();
  const rows = new MonetRows(instance);
  const random = new Random(seed);
  const anneal = (from: Genome, iterations: number, heat: number): Candidate =>
    search(rows, budget, from, { seed: Math.floor(random.next() * 2 ** 32), iterations, heat });
  const eager = (): Genome => ({ genes: new Int32Array(rows.space.genes).fill(keep), choice: rows.space.implementations.slice(0, -1) });
  const size = rows.nodes + rows.stages;
  const trial = trialOf(size);
  /** Anneals, then forces one change after another upon the plan and anneals the rest around it: what no chain of single changes finds. */
  const live = (evaluations: number): Candidate => {
    let current = anneal(eager(), walk, 3);
    if (current.peak > budget) share /= 2;
    rows.insisted = new Set();
    let best = current;
    let left = evaluations - walk;
    const consider = (candidate: Candidate): void => {
      const worse = candidate.time - current.time;
      if (better(candidate, current, budget) || (candidate.peak <= budget && random.next() < Math.exp(-worse / (tolerated * current.time)))) current = candidate;
      if (better(candidate, best, budget)) best = candidate;
    };
    for (const heat of size < small ? [] : reheats) {
      consider(anneal(best, walk, heat));
      left -= walk;
    }
    while (left > 0) {
      rows.forced = rows.suggest(random);
      const forced = anneal(current, trial, 0.3);
      rows.forced = [];
      consider(forced.peak <= budget ? anneal(forced, trial / 2, 0.1) : forced);
      left -= 1.5 * trial;
    }
    return best;
  };
  let share = 1;
  const turns = size < small ? lives : 1;
  let best = live(judged / size / turns);
  for (let turn = 1; turn < turns; turn++) {
    // Basins differ more than what is found in one, and a slow algorithm makes one: insisting on the fast ones leads elsewhere.
    if (turn % 2 === 1) rows.insisted = new Set(rows.slow(best, budget).filter(() => random.next() < share));
    const found = live(judged / size / turns);
    if (better(found, best, budget)) best = found;
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
    const close = (which: LinearProgram, nodes: number): void => {
      bound = Math.max(bound, branchingBound(which, highs, { nodes, known }));
    };
    close(program, 60);
    if (bound < (1 - openGap) * known) {
      if (size < small) close(snapshotOfRows(rows, budget, staged)?.program ?? program, 200);
      else close(program, 400);
    }
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
