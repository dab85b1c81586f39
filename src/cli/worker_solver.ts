import { pathToFileURL } from "node:url";
import { Cancelled } from "../helper/user_error";
import { solveFrontier, solveLargest, solvePlan, type SolveOptions } from "../solver/client";
import type { Solver, SolverOptions } from "./solving";

/** The solver in a worker thread whose bundle is this file. */
export function workerSolver(file: string): Solver {
  const given = ({ signal, onProgress, exactness }: SolverOptions): SolveOptions => ({
    signal,
    exactness,
    worker: pathToFileURL(file),
    onProgress: ({ stage, done, total }) => {
      onProgress({ stage: `planning, ${stage}`, done, total, operator: null });
    },
  });
  return {
    solve: (graph, budget, options) =>
      stoppable(options.signal, async () => {
        const solution = await solvePlan(graph, Number.isFinite(budget) ? budget : null, given(options));
        if (solution.kind === "plan") return { kind: "plan", plan: solution.plan };
        return { kind: "infeasible", smallest: solution.smallest.summary.peak, proven: solution.proven, dominatedBy: solution.dominatedBy };
      }),
    frontier: (graph, options) =>
      stoppable(options.signal, async () => {
        const { points } = await solveFrontier(graph, given(options));
        return points.map(({ plan }) => plan);
      }),
    largest: (graph, limits, options) =>
      stoppable(options.signal, async () => {
        const found = await solveLargest(graph, limits, given(options));
        return found === null ? null : { batch: found.batch, plan: found.solution.plan };
      }),
  };
}

async function stoppable<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw signal.aborted ? new Cancelled() : error;
  }
}
