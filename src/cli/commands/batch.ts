import { atBatch, batchProblem } from "../../core/batch";
import { fixedBytes, type Graph } from "../../core/graph";
import type { Plan } from "../../core/plan";
import { simulateEager } from "../../core/simulate";
import { formatBytes, formatPercent, parseBudget } from "../../core/units";
import { UserError } from "../../helper/user_error";
import { saidBudget } from "../budget";
import type { Io } from "../io";
import { ProgressLine } from "../progress";
import type { Solver, SolverOptions } from "../solving";

/** The graph for a batch size as it is typed. */
export function graphAt(graph: Graph, text: string): Graph {
  const batch = Number(text);
  if (!Number.isSafeInteger(batch) || batch < 1) throw new UserError("M616", "input", `--batch ${text} is no batch size: write a number from 1 up.`);
  requireBatch(graph);
  return atBatch(graph, batch);
}

/** The plan for the largest batch whose peak stays within the budget, and whose overhead stays within what is asked. */
export async function planLargest(io: Io, solver: Solver, graph: Graph, budget: number, overhead: string | undefined, exactness: SolverOptions["exactness"]): Promise<{ graph: Graph; batch: number; plan: Plan }> {
  requireBatch(graph);
  const limits = { budget, overhead: overhead === undefined ? Number.POSITIVE_INFINITY : readShare(overhead) };
  const line = new ProgressLine(io);
  try {
    const found = await solver.largest(graph, limits, { signal: io.signal, onProgress: line.show, exactness });
    if (found !== null) return { ...found, graph: atBatch(graph, found.batch) };
    const one = atBatch(graph, 1);
    const within = `${saidBudget(budget)}${overhead === undefined ? "" : ` at ${formatPercent(limits.overhead)} overhead`}`;
    throw new UserError(
      "M617",
      "infeasible",
      `No batch fits into ${within}: with a single sample, ${formatBytes(fixedBytes(one))} are fixed (parameters, optimizer, inputs) and eager PyTorch takes ${formatBytes(simulateEager(one).peak)}; raise the budget, or use a smaller model or optimizer.`,
      { budget, fixed: fixedBytes(one) },
    );
  } finally {
    line.clear();
  }
}

function readShare(text: string): number {
  const share = parseBudget(text);
  if (share?.kind !== "share") throw new UserError("M618", "input", `--overhead ${text} is no share of the step: write one as 10%.`);
  return share.share;
}

function requireBatch(graph: Graph): void {
  const problem = batchProblem(graph);
  if (problem !== null) throw new UserError("M619", "input", `This graph can't be told for another batch size: ${problem}. Profile the model with that batch instead.`);
}
