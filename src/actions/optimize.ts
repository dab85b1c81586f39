/** From a model to plans for all budgets. */
import { rmSync } from "node:fs";
import * as vscode from "vscode";
import type { ModelArgument } from "../commands";
import type { Context } from "../context";
import { atBatch, batchProblem } from "../core/batch";
import { batchOf, madeBy, withBatch, type ModelConfig } from "../core/config";
import { partsOffered } from "../core/part";
import { plansAt } from "../core/solve/largest";
import { formatBytes } from "../core/units";
import { Cancelled, UserError } from "../helper/user_error";
import type { Model } from "../workspace";
import { configFor, knownConfig, readModelConfig, writeModelConfig } from "./config";
import { chooseModel, chooseProfiled } from "./model_choice";
import { planning, requireTrust, showProblem, type Offer } from "./problems";
import { exactnessFor } from "./profile";

/** Profiles and solves what is not there yet, and shows it. */
export async function optimize(context: Context, argument: ModelArgument | null): Promise<void> {
  const model = await begin(context, argument);
  const config = await configFor(context, model);
  await focusBudget();
  if (context.tasks.jobs.isRunning(model)) return;
  const { profile, freshness } = model;
  if (profile === null || freshness !== "fresh" || !madeBy(profile.graph, config)) await profileOrPart(context, model);
  else if (!profile.complete || profile.exactness !== exactnessFor(model)) await context.tasks.solve(model);
  refineSoon(context, model);
}

export async function profileAgain(context: Context, argument: ModelArgument | null): Promise<void> {
  const model = await begin(context, argument);
  await configFor(context, model);
  await focusBudget();
  await profileOrPart(context, model);
  refineSoon(context, model);
}

/** Profiles; where the whole can't be captured, the parts that can are offered. */
async function profileOrPart(context: Context, model: Model, profile = (): Promise<void> => context.tasks.run(model, "profile")): Promise<void> {
  try {
    await profile();
  } catch (error) {
    const parts = error instanceof UserError ? partsOffered(error.message) : [];
    if (parts.length === 0) throw error;
    await showProblem(context, error, undefined, parts.slice(0, 2).map((part) => ({ title: planning(part), run: () => planPart(context, model, part) })));
  }
}

/** Only this part from now on, as monet.json then says; where it can't be captured either, parts are offered again. */
export async function planPart(context: Context, model: Model, part: string): Promise<void> {
  requireTrust();
  const before = await knownConfig(model);
  if (before === null) return;
  const after = { ...before, part };
  await writeModelConfig(model, after);
  await profileOrPart(context, model, () => profileAs(context, model, before, after));
  refineSoon(context, model);
}

/** Profiles by the entry that monet.json was just given. Where that fails or is stopped, the one before holds again. */
async function profileAs(context: Context, model: Model, before: ModelConfig, after: ModelConfig): Promise<void> {
  try {
    await context.tasks.run(model, "profile");
  } catch (error) {
    const now = await readModelConfig(model);
    // Unless a still newer one has taken its place.
    if (JSON.stringify(now) === JSON.stringify(after)) {
      await context.models.load(model);
      context.models.update(model, { outdated: false });
      await writeModelConfig(model, before);
    }
    throw error;
  }
}

/** Asks again, with the last answers ready, and profiles. */
export async function changeInput(context: Context, argument: ModelArgument | null): Promise<void> {
  const model = await begin(context, argument);
  await configFor(context, model, "again");
  await focusBudget();
  await profileOrPart(context, model);
  refineSoon(context, model);
}

async function begin(context: Context, argument: ModelArgument | null): Promise<Model> {
  requireTrust();
  const model = await chooseModel(context, argument);
  context.models.active = model;
  return model;
}

const focusBudget = async (): Promise<void> => {
  await vscode.commands.executeCommand("monet.budget.focus");
};

/** Takes away what was measured and solved. The plan stays: a training script may run by it. */
export async function clearResults(context: Context, argument: ModelArgument | null): Promise<void> {
  const model = await chooseProfiled(context, argument);
  await context.tasks.jobs.cancel(model);
  context.tasks.stopRefining(model);
  for (const kind of ["graph", "frontier", "snapshot"] as const) rmSync(model.fileOf(kind), { force: true });
  context.models.update(model, { problem: null, measured: null });
  await context.models.load(model);
  if (model.planFile !== null) {
    vscode.window.setStatusBarMessage(vscode.l10n.t("MONeT: the results are gone; the applied plan is still there"), 5000);
  }
}

export async function findLargest(context: Context, model: Model): Promise<void> {
  try {
    await context.tasks.largest(model);
  } catch (error) {
    if (!(error instanceof Cancelled)) await showProblem(context, error);
  }
}

/** What the profile that is there tells of another batch size, until that is measured. */
async function tell({ models }: Context, model: Model, batch: number): Promise<void> {
  const { profile } = model;
  if (profile === null || batchProblem(profile.graph) !== null) return;
  const graph = atBatch(profile.graph, batch);
  await models.setProfile(model, graph, { plans: plansAt(graph, profile.plans), exactness: profile.exactness }, null);
}

/**
 * Another batch size: told at once from the profile that is there, profiled and solved anew in the background. Where
 * that fails, the old one holds again.
 */
export async function setBatch(context: Context, model: Model, batch: number): Promise<void> {
  try {
    requireTrust();
    const before = await knownConfig(model);
    if (before === null || batchOf(before.inputs) === batch) return;
    const after = withBatch(before, batch);
    await writeModelConfig(model, after);
    await tell(context, model, batch);
    context.models.update(model, { outdated: true });
    await profileAs(context, model, before, after);
    refineSoon(context, model);
  } catch (error) {
    await showProblem(context, error);
  }
}

/** How much of a step a plan for exactly the chosen budget may win over the one that is there, to be worth a search. */
const worth = 0.01;

/** The plans that are there answer at once; once the choice rests between two that are far apart, one for just that budget is searched for. */
export function refineSoon(context: Context, model: Model): void {
  context.tasks.onceRested(model, () => {
    const { budget, plan, profile, running } = model;
    if (plan === null || profile === null || !profile.complete || running !== null || plan.budget === budget || budget < plan.predicted.peak) return;
    const next = profile.plans[profile.plans.indexOf(plan) + 1];
    if (next !== undefined && plan.predicted.time - next.predicted.time > worth * plan.predicted.eager_time) void refine(context, model, budget);
  });
}

/** Searches a plan for exactly this budget and adds it to the frontier. */
export async function refine(context: Context, model: Model, bytes: number): Promise<void> {
  try {
    await context.tasks.refine(model, bytes);
  } catch (error) {
    // A newer search has taken its place.
    if (!(error instanceof Cancelled)) await showProblem(context, error, undefined, useLeast(context, model, error));
  }
}

/** A budget that is too small leads to the least that can be had. */
function useLeast({ models }: Context, model: Model, error: unknown): Offer[] {
  const least = error instanceof UserError ? error.facts["least"] : undefined;
  return typeof least === "number" ? [{ title: vscode.l10n.t("Use {0}", formatBytes(least)), run: () => { models.choose(model, least); } }] : [];
}
