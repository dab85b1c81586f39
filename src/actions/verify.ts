import * as vscode from "vscode";
import type { ModelArgument } from "../commands";
import type { Context } from "../context";
import { formatBytes, formatPercent } from "../core/units";
import type { Verified } from "../protocol";
import type { Model } from "../workspace";
import { chooseProfiled } from "./model_choice";
import { requireTrust } from "./problems";

/** Runs a real step with and without the chosen plan; what it gave is said in one sentence, and the report tells the rest. */
export async function verifyPlan(context: Context, argument: ModelArgument | null): Promise<void> {
  requireTrust();
  const model = await chooseProfiled(context, argument);
  context.models.active = model;
  await context.tasks.run(model, "verify");
  const { measured } = model;
  if (measured !== null) tell(context, model, measured.result);
}

function tell({ tasks }: Context, model: Model, verified: Verified): void {
  const show = vscode.l10n.t("Show Report");
  const message = sentence(model.name, verified);
  const shown = verified.equal && verified.withinBudget ? vscode.window.showInformationMessage(message, show) : vscode.window.showWarningMessage(message, show);
  void shown.then((chosen) => (chosen === show ? tasks.reports.show(model, "verify") : undefined));
}

function sentence(name: string, { equal, withinBudget, compared, peak, eagerPeak, overhead, overheadLow, overheadHigh }: Verified): string {
  if (!equal) return vscode.l10n.t("{0}: the planned step differs from eager's; the report says where.", name);
  const percent = (fraction: number): string => formatPercent(fraction, { sign: true });
  if (!withinBudget) return vscode.l10n.t("{0}: all {1} tensors are equal, but the peak of {2} is above the budget.", name, compared, formatBytes(peak));
  return vscode.l10n.t("{0}: all {1} tensors are equal, bit for bit; the peak went from {2} to {3}, step time {4} ({5} to {6}).", name, compared, formatBytes(eagerPeak), formatBytes(peak), percent(overhead), percent(overheadLow), percent(overheadHigh));
}
