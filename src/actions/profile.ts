/** The two halves of profiling: Python measures, the solver finds plans. Each result is stored as soon as it is there. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import * as vscode from "vscode";
import { frontierDocument, ordered, type FoundPlans } from "../core/frontier_document";
import { parseGraph, type Graph, type Implementation } from "../core/graph";
import { planText } from "../core/plan";
import { item } from "../core/simulate/arrays";
import { eagerPlan } from "../core/solve/draft";
import { formatBytes } from "../core/units";
import { runHelper, type HelperResult } from "../helper/helper";
import { UserError } from "../helper/user_error";
import { solveFrontier, solveLargest, solvePlan, type SolveOptions } from "../solver/client";
import type { Snapshot } from "../sources/types";
import type { Model, Models } from "../workspace";
import { folderOf, readModelConfig, knownConfig } from "./config";
import { actionOf, helperArguments, type MonetTaskDefinition } from "./definition";
import type { Interpreters } from "./interpreters";
import type { Job } from "./jobs";
import { unlessStopped } from "./queue";
import { requireWritable, write } from "./write";

/** What running something takes. */
export interface Equipment {
  readonly interpreters: Interpreters;
  readonly models: Models;
  /** The folder that holds the package `monet_torch`. */
  readonly packages: string;
  /** The folder of the bundles. */
  readonly dist: string;
  readonly log: vscode.LogOutputChannel;
}

export type Say = (line: string) => void;

/** Runs the helper for a task, in the Python that is selected. */
async function help(equipment: Equipment, model: Model, definition: MonetTaskDefinition, plan: string, job: Job, say: Say): Promise<HelperResult> {
  const { interpreters, packages } = equipment;
  const config = actionOf(definition) === "profile" ? await readModelConfig(model) : await knownConfig(model);
  if (config === null) throw new UserError("M803", "input", vscode.l10n.t("monet.json does not say what {0} takes: run the command Optimize memory once, which asks for it.", model.name), { action: "optimize" });
  // Another extension may take long to begin, or for ever.
  const interpreter = await unlessStopped(job.signal, interpreters.find(model.uri));
  const folder = folderOf(model.uri);
  const [command, ...words] = helperArguments(definition, folder, config, { graph: model.fileOf("graph"), plan, part: model.part });
  say(vscode.l10n.t("{0} {1}:{2} with {3} (found by {4})", command, model.file, model.name, interpreter.path, interpreter.foundBy));
  equipment.log.info(`${interpreter.path} -m monet_torch ${command} ${words.join(" ")}`);
  return runHelper(command, words, {
    interpreter, packages, cwd: folder, env: process.env, signal: job.signal,
    onProgress: (progress) => {
      job.report(progress, command !== "profile" ? [0, 1] : progress.stage === "trace" ? [0, 0.05] : [0.05, 0.75]);
    },
  });
}

/** The same with the chosen plan, in a place of its own: the one beside the model may be in use by a training script. */
export async function helpWithPlan(equipment: Equipment, model: Model, definition: MonetTaskDefinition, job: Job, say: Say): Promise<HelperResult> {
  const { planToApply: plan } = model;
  if (plan === null) throw new UserError("M801", "input", vscode.l10n.t("{0} was not profiled yet: run the command Optimize memory first.", model.name), { action: "optimize" });
  const folder = mkdtempSync(join(tmpdir(), "monet-"));
  try {
    const file = join(folder, "plan.json");
    write(file, planText(plan));
    return await help(equipment, model, definition, file, job, say);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

export async function profileModel(equipment: Equipment, model: Model, definition: MonetTaskDefinition, job: Job, say: Say): Promise<void> {
  const { models } = equipment;
  requireWritable(model.fileOf("graph"));
  const files = await textsOnDisk(models, model);
  await whileThere(model, job, (watched) => help(equipment, model, definition, "", watched, say));
  const graph = parseGraph(await readFile(model.fileOf("graph"), "utf8"));
  write(model.fileOf("snapshot"), `${JSON.stringify({ graph: graph.hash, files })}\n`);
  await models.setProfile(model, graph, null, files);
  say(vscode.l10n.t("{0} operators measured; finding plans", graph.operators.length));
  await solveModel(equipment, model, job);
  say(vscode.l10n.t("{0} plans from the least memory to no overhead", model.profile?.plans.length ?? 0));
}

/** How often a running profile looks for the model's file, in milliseconds. */
const lookEvery = 500;

/** Stops it where the model's file is deleted meanwhile: what it would find is of nothing that a person can see. */
async function whileThere<T>({ uri, file }: Model, job: Job, run: (job: Job) => Promise<T>): Promise<T> {
  const gone = new AbortController();
  let missed = 0;
  const watch = setInterval(() => {
    // Some programs save a file by deleting and writing it.
    missed = existsSync(uri.fsPath) ? 0 : missed + 1;
    if (missed === 2) gone.abort();
  }, lookEvery);
  try {
    const result = await run({ ...job, signal: AbortSignal.any([job.signal, gone.signal]) });
    if (existsSync(uri.fsPath)) return result;
  } catch (error) {
    if (job.signal.aborted || (!gone.signal.aborted && existsSync(uri.fsPath))) throw error;
  } finally {
    clearInterval(watch);
  }
  throw new UserError("M804", "input", vscode.l10n.t("{0} was deleted while it was profiled: bring it back and try again.", file), { action: "again" });
}

/** What Python reads: a text that was not saved is none of it. */
async function textsOnDisk({ sources }: Models, model: Model): Promise<Snapshot> {
  const newest = await sources.texts(model.uri.fsPath);
  const entries = await Promise.all(Object.keys(newest).map(async (file) => [file, await readFile(file, "utf8").catch(() => null)] as const));
  return Object.fromEntries(entries.filter((entry): entry is [string, string] => entry[1] !== null));
}

/** Which gradients the person allows. */
export const exactnessFor = ({ uri }: Model): Implementation["exactness"] =>
  vscode.workspace.getConfiguration("monet", uri).get<Implementation["exactness"]>("exactness", "bitwise");

function solveOptions({ dist }: Equipment, exactness: Implementation["exactness"], signal: AbortSignal): SolveOptions {
  return { signal, exactness, worker: pathToFileURL(join(dist, "solver-worker.mjs")) };
}

/** Finds plans for all budgets; doing exactly what eager PyTorch does is one of them, unless another beats it. */
export async function solveModel(equipment: Equipment, model: Model, job: Job): Promise<void> {
  const graph = model.profile?.graph;
  if (graph === undefined) return;
  const exactness = exactnessFor(model);
  job.report({ stage: "least memory", done: 0, total: 0, operator: null });
  const soFar = [eagerPlan(graph)];
  let shown = 0;
  const { points } = await solveFrontier(graph, {
    ...solveOptions(equipment, exactness, job.signal),
    // A curve to look at while it gets better; it is stored when it is the best there is.
    onPoint: ({ plan }) => {
      soFar.push(plan);
      if (performance.now() - shown < 500 || model.profile?.graph !== graph) return;
      shown = performance.now();
      equipment.models.setFrontier(model, { plans: ordered(soFar), exactness }, false);
    },
    onProgress: ({ stage, done, total }) => {
      if (stage === "frontier") job.report({ stage, done, total, operator: null }, [0.75, 1]);
    },
  });
  storeFrontier(equipment.models, model, graph, { plans: [...points.map(({ plan }) => plan), eagerPlan(graph)], exactness });
}

/** Adds the best plan for exactly this budget; where none fits, the one of least memory, and says so. */
export async function refineModel(equipment: Equipment, model: Model, bytes: number, signal: AbortSignal): Promise<void> {
  const { profile } = model;
  if (profile === null) return;
  const { graph, exactness } = profile;
  const solution = await solvePlan(graph, bytes, solveOptions(equipment, exactness, signal));
  const { plan } = solution.kind === "plan" ? solution : solution.smallest;
  storeFrontier(equipment.models, model, graph, { plans: [...(model.profile?.plans ?? []), plan], exactness });
  if (solution.kind === "plan") return;
  const least = formatBytes(plan.predicted.peak);
  const { event, fixed, gradients, activations, running } = solution.dominatedBy;
  const { module, op } = item(graph.operators, event.operator);
  const text = vscode.l10n.t(
    "No schedule of {0} fits {1}: the smallest that was found has a peak of {2}, at {3}, which takes {4} beside {5} of parameters, optimizer and inputs, {6} of gradients and {7} of activations. Choose that budget, or a smaller batch.",
    model.name, formatBytes(bytes), least, module === "" ? op : module, ...[running, fixed, gradients, activations].map(formatBytes),
  );
  throw new UserError("M612", "infeasible", text, { least: plan.predicted.peak });
}

/** Searches the largest batch within the budget that is chosen; no Python runs. */
export async function largestModel(equipment: Equipment, model: Model, job: Job): Promise<void> {
  const graph = model.profile?.graph;
  if (graph === undefined) return;
  const { budget } = model;
  const found = await solveLargest(graph, { budget: Math.min(budget, graph.device.total_bytes), overhead: Number.POSITIVE_INFINITY }, {
    ...solveOptions(equipment, exactnessFor(model), job.signal),
    onProgress: () => { job.report({ stage: "largest batch", done: 0, total: 0, operator: null }); },
  });
  if (model.profile?.graph !== graph) return;
  const { batch, solution } = found ?? { batch: 0, solution: null };
  equipment.models.update(model, { largest: { graph, budget, batch, overhead: solution === null ? 0 : solution.summary.time / solution.eager.time - 1 } });
}

/** Stores plans of a graph, unless another has taken its place meanwhile, here or from another window. */
function storeFrontier(models: Models, model: Model, graph: Graph, { plans, exactness }: FoundPlans): void {
  if (model.profile?.graph !== graph) return;
  const kept = { plans: ordered(plans), exactness };
  if (hashOn(model.fileOf("graph")) !== graph.hash) return;
  write(model.fileOf("frontier"), `${JSON.stringify(frontierDocument(graph, kept))}\n`);
  models.setFrontier(model, kept, true);
}

function hashOn(file: string): unknown {
  try {
    return (JSON.parse(readFileSync(file, "utf8")) as { hash?: unknown } | null)?.hash;
  } catch {
    return undefined;
  }
}
