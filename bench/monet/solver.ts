/** The product's search and bounds on MONeT's rows. Seeds and numbers of evaluations decide what comes out, no clock. */
import GLPK from "glpk.js/node";
import loadHighs from "highs";
import { branchingBound } from "../../src/core/solve/branching";
import { better, type Candidate, type Genome } from "../../src/core/solve/genome";
import { keep, retain } from "../../src/core/simulate/schedule";
import { polish, search } from "../../src/core/solve/search";
import { snapshotOfRows } from "./bound";
import { MonetRows } from "./rows";
import type { SolveInstance } from "./schedule";

const glpk = await GLPK();
const highs = await loadHighs();

const evaluations = 400_000;
/** Anneals again from the best, so hot. */
const reheats = [0.3, 0.6, 1, 0.3, 0.6, 1, 0.3];

export const solveInstance: SolveInstance = (instance, budget, seed) => {
  const started = performance.now();
  const rows = new MonetRows(instance);
  const start = (gene: number): Genome => ({ genes: new Int32Array(rows.space.genes).fill(gene), choice: rows.space.implementations.slice(0, -1) });
  const anneal = (from: Genome, share: number, heat: number, turn: number): Candidate =>
    search(rows, budget, from, { seed: 1000 * seed + turn, iterations: Math.round(share * evaluations), heat });
  let best = anneal(start(keep), 0, 0, 0);
  // Basins differ more than what is found in one: a small graph has time for several.
  const restarts = rows.nodes + rows.stages < 250 ? 3 : 1;
  for (let restart = 0; restart < restarts; restart++) {
    const turn = 100 * restart;
    let here = anneal(start(keep), 0.2, 3, turn);
    const consider = (candidate: Candidate): void => {
      if (better(candidate, here, budget)) here = candidate;
    };
    consider(anneal(start(retain), 0.1, 3, turn + 1));
    reheats.forEach((heat, k) => {
      consider(anneal(here, 0.1, heat, turn + 2 + k));
    });
    here = polish(rows, budget, here);
    if (better(here, best, budget)) best = here;
  }
  const searched = performance.now();
  const found = best.peak <= budget;

  const program = snapshotOfRows(rows, budget);
  let bound = Infinity;
  let first = 0;
  if (program !== null) {
    bound = program.dualBound(program.solve(glpk).duals);
    first = (performance.now() - searched) / 1e3;
    const known = found ? best.time : 10 * rows.scale.step * (rows.nodes + rows.stages);
    bound = Math.max(bound, branchingBound(program, highs, { nodes: 60, gap: 2e-3, known }));
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
