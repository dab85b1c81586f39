import { fixedBytes, type Graph } from "../../core/graph";
import type { Plan } from "../../core/plan";
import { eagerPlan } from "../../core/solve/draft";
import type { Domination } from "../../core/solve/solution";
import { recomputingOnly, withoutOffload } from "../../core/solve/solve";
import { budgetBytes, formatBytes, formatDuration, formatPercent, type Budget } from "../../core/units";
import { UserError } from "../../helper/user_error";
import { exitCodes } from "../../helper/exit";
import { readBudget, saidBudget } from "../budget";
import { readGraph, writeJson, writeText } from "../files";
import type { Io } from "../io";
import type { Outcome } from "../outcome";
import { ProgressLine } from "../progress";
import { headline, overhead } from "../schedule";
import type { Solver, SolverOptions } from "../solving";
import { table } from "../table";
import { stepName } from "../timeline";
import { graphAt, planLargest } from "./batch";
import { graphFacts } from "./profile";
import { graphBeside } from "./verify";

export interface PlanOptions {
  readonly budget?: string;
  readonly frontier?: boolean;
  /** False: --no-offload. */
  readonly offload?: boolean;
  readonly recomputeOnly?: boolean;
  readonly batch?: string;
  readonly maxBatch?: boolean;
  readonly overhead?: string;
  readonly exactness: SolverOptions["exactness"];
  readonly out?: string;
}

export function planFile(graphFile: string): string {
  return graphFile.endsWith(".graph.json") ? graphFile.replace(/\.graph\.json$/, ".plan.json") : graphFile.replace(/(\.json)?$/, ".plan.json");
}

export function planFacts(plan: Plan): Record<string, unknown> {
  return { budget: plan.budget, predicted: plan.predicted, overhead: overhead(plan), bound: plan.bound };
}

export async function planFor(io: Io, solver: Solver, graph: Graph, budget: Budget, exactness: SolverOptions["exactness"]): Promise<Plan> {
  if (budget.kind === "eager") return eagerPlan(graph);
  const facts = graphFacts(graph);
  const bytes = budgetBytes(budget, { fixed: facts.fixed, eagerPeak: facts.eager_peak });
  if (bytes < facts.fixed) {
    throw new UserError(
      "M610",
      "infeasible",
      `The budget of ${saidBudget(bytes)} is below the ${formatBytes(facts.fixed)} that parameters, optimizer and inputs take: raise it above that, or use a smaller model or optimizer.`,
      { budget: bytes, fixed: facts.fixed },
    );
  }
  if (bytes < facts.optimizer_peak) {
    throw new UserError(
      "M611",
      "infeasible",
      `The budget of ${saidBudget(bytes)} is below the ${formatBytes(facts.optimizer_peak)} that the optimizer's step takes when activations are gone: raise it above that, or use a smaller optimizer.`,
      { budget: bytes, optimizer_peak: facts.optimizer_peak },
    );
  }
  const line = new ProgressLine(io);
  try {
    const solution = await solver.solve(graph, bytes, { signal: io.signal, onProgress: line.show, exactness });
    if (solution.kind === "plan") return solution.plan;
    const { smallest, proven, dominatedBy } = solution;
    throw new UserError(
      "M612",
      "infeasible",
      `No schedule ${proven ? "fits" : "was found that fits"} into ${saidBudget(bytes)}: the smallest budget that has one is ${formatBytes(smallest)}, --budget ${smallest}. ${dominated(graph, dominatedBy)}`,
      { budget: bytes, smallest, proven, dominated_by: { ...dominatedBy, event: stepName(graph, dominatedBy.event) } },
    );
  } finally {
    line.clear();
  }
}

const dominated = (graph: Graph, { event, fixed, gradients, activations, running }: Domination): string =>
  `It takes that much in the ${stepName(graph, event)}, beside ${formatBytes(fixed)} of parameters, optimizer and inputs, ${formatBytes(gradients)} of gradients and ${formatBytes(activations)} of activations: ${formatBytes(running)} for itself.`;

/** The same solver, for plans that choose among less. */
function choosingOf(narrowed: (graph: Graph) => Graph, solver: Solver): Solver {
  return {
    solve: async (graph, ...rest) => solver.solve(narrowed(graph), ...rest),
    frontier: async (graph, ...rest) => solver.frontier(narrowed(graph), ...rest),
    largest: async (graph, ...rest) => solver.largest(narrowed(graph), ...rest),
  };
}

export async function plan(io: Io, given: Solver, graphFile: string, options: PlanOptions): Promise<Outcome> {
  const solver = options.recomputeOnly === true ? choosingOf(recomputingOnly, given) : options.offload === false ? choosingOf(withoutOffload, given) : given;
  if (options.budget === undefined && options.frontier !== true) {
    throw new UserError("M613", "input", "Which budget? Name one with --budget (6GiB, 60%, max, eager), or ask for all with --frontier.");
  }
  const budget = options.budget === undefined ? null : readBudget(options.budget);
  const profiled = readGraph(io, graphFile);
  if (options.maxBatch === true) return largest(io, solver, profiled, graphFile, budget, options);
  if (options.overhead !== undefined) throw new UserError("M614", "input", "--overhead says how slow a step may be with --max-batch; a plan for a budget is the fastest there is.");
  const graph = options.batch === undefined ? profiled : graphAt(profiled, options.batch);
  if (options.frontier === true) return frontier(io, solver, graph, graphFile, options);
  const solved = await planFor(io, solver, graph, budget ?? { kind: "max" }, options.exactness);
  const files = writePlan(io, graphFile, profiled, graph, solved, options.out);
  return { exit: exitCodes.ok, text: `${headline(solved)}\n${filesText(files)}`, json: { ...files, ...planFacts(solved) } };
}

async function largest(io: Io, solver: Solver, profiled: Graph, graphFile: string, budget: Budget | null, options: PlanOptions): Promise<Outcome> {
  if (budget?.kind !== "bytes" || options.frontier === true || options.batch !== undefined) {
    throw new UserError("M615", "input", "--max-batch goes with a --budget in bytes (6GiB): a share of what one batch takes says nothing of others; and without --frontier or --batch.");
  }
  const { graph, batch, plan: solved } = await planLargest(io, solver, profiled, budget.bytes, options.overhead, options.exactness);
  const files = writePlan(io, graphFile, profiled, graph, solved, options.out);
  const text = `Largest batch within ${formatBytes(budget.bytes)}: ${batch}\n${headline(solved)}\n${filesText(files)}`;
  return { exit: exitCodes.ok, text, json: { batch, ...files, ...planFacts(solved) } };
}

/** For another batch size than the profiled one, both files get a name with it, so that the profiled graph stays. */
function writePlan(io: Io, graphFile: string, profiled: Graph, graph: Graph, solved: Plan, given: string | undefined): { graph: string; plan: string } {
  const named = graph === profiled ? graphFile : graphFile.replace(/(\.graph)?\.json$/, `.batch${graph.batch?.size ?? ""}.graph.json`);
  const out = given ?? planFile(named);
  const beside = graph === profiled ? graphFile : (graphBeside(out) ?? named);
  if (graph !== profiled) writeJson(io, beside, graph);
  writeJson(io, out, solved);
  return { graph: beside, plan: out };
}

const filesText = ({ graph, plan: out }: { graph: string; plan: string }): string => `Plan: ${out}\nIts graph: ${graph}\n`;

async function frontier(io: Io, solver: Solver, graph: Graph, graphFile: string, options: PlanOptions): Promise<Outcome> {
  const line = new ProgressLine(io);
  let plans: readonly Plan[];
  try {
    plans = await solver.frontier(graph, { signal: io.signal, onProgress: line.show, exactness: options.exactness });
  } finally {
    line.clear();
  }
  const fixed = fixedBytes(graph);
  // A plan that serves several of the budgets is told once.
  const different = plans.filter(({ predicted }, k) => k === 0 || predicted.peak !== plans[k - 1]?.predicted.peak || predicted.time !== plans[k - 1]?.predicted.time);
  const rows = different.map((each) => {
    const { peak, time, eager_peak } = each.predicted;
    return [formatBytes(peak), formatPercent((peak - fixed) / (eager_peak - fixed)), formatDuration(time), formatPercent(overhead(each), { sign: true })];
  });
  const columns = [{ title: "peak", right: true }, { title: "of eager's", right: true }, { title: "step", right: true }, { title: "overhead", right: true }];
  const text = `${graph.made_from.model}: ${formatBytes(fixed)} fixed; percent are of what eager takes above that\n${table(columns, rows, "  ")}\n`;
  const document = { graph: graphFile, plans: plans.map(planFacts) };
  if (options.out !== undefined) writeText(io, options.out, `${JSON.stringify({ ...document, plans })}\n`);
  return { exit: exitCodes.ok, text: options.out === undefined ? text : `${text}Plans: ${options.out}\n`, json: document };
}
