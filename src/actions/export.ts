/** The chosen plan as a Python file of checkpoint policies, for who wants no dependency. */
import { basename } from "node:path";
import * as vscode from "vscode";
import type { ModelArgument } from "../commands";
import type { Context } from "../context";
import { callLines } from "../core/part";
import { formatBytes } from "../core/units";
import type { Model } from "../workspace";
import type { MonetTaskDefinition } from "./definition";
import type { Job } from "./jobs";
import { chooseProfiled } from "./model_choice";
import { requireTrust } from "./problems";
import { helpWithPlan, type Equipment, type Say } from "./profile";
import { readExported, type Exported } from "./report";
import type { Reports } from "./reports";

export async function exportPlan(context: Context, argument: ModelArgument | null): Promise<void> {
  requireTrust();
  const model = await chooseProfiled(context, argument);
  context.models.active = model;
  await context.tasks.run(model, "export");
}

/** Writes it, runs a step by it, and says where it is. */
export async function exportModel(equipment: Equipment, reports: Reports, model: Model, definition: MonetTaskDefinition, job: Job, say: Say): Promise<void> {
  const { output } = await helpWithPlan(equipment, model, definition, job, say);
  const exported = readExported(output);
  say(exported.text);
  reports.set(model, "export", exported.text);
  tell(reports, model, exported);
}

/** Nothing waits for the answer. */
function tell(reports: Reports, model: Model, { file, peak, eagerPeak, planPeak }: Exported): void {
  const steps: Readonly<Record<string, () => unknown>> = {
    [vscode.l10n.t("Open")]: () => vscode.commands.executeCommand("vscode.open", vscode.Uri.file(file)),
    [vscode.l10n.t("Copy Lines")]: () => vscode.env.clipboard.writeText(useOf(model, file)),
    [vscode.l10n.t("Show Report")]: () => reports.show(model, "export"),
  };
  const message = vscode.l10n.t(
    "{0} says the plan with checkpoint policies of PyTorch alone. A step by it has a peak of {1} (by the plan itself {2}, eager {3}), and gradients equal to eager's, bit for bit.",
    vscode.workspace.asRelativePath(file), formatBytes(peak), formatBytes(planPeak), formatBytes(eagerPeak),
  );
  void vscode.window.showInformationMessage(message, ...Object.keys(steps)).then((chosen) => (chosen === undefined ? undefined : steps[chosen]?.()));
}

const useOf = ({ part }: Model, file: string): string => `from ${basename(file, ".py")} import apply\n${callLines(part, (at) => `apply(${at})`)}\n`;
