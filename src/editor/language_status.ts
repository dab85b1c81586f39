import * as vscode from "vscode";
import type { Context } from "../context";
import { formatBytes } from "../core/units";
import type { Model } from "../workspace";
import { isPython, python } from "./python";
import { Refreshing } from "./refreshing";
import { argumentOf } from "./targets";
import { deviceText } from "./texts";

/** Beside the language in the status bar: how fresh the numbers of this file are. */
export class LanguageStatus extends Refreshing {
  private readonly item = this.register(vscode.languages.createLanguageStatusItem("monet.status", []));

  constructor(context: Context) {
    super(context);
    this.item.name = "MONeT";
    this.register(vscode.window.onDidChangeActiveTextEditor(() => { this.refreshSoon(); }));
    this.register(vscode.workspace.onDidGrantWorkspaceTrust(() => { this.refreshSoon(); }));
  }

  protected override refresh(): void {
    const document = vscode.window.activeTextEditor?.document;
    const model = document === undefined || !isPython(document) ? null : this.modelOf(document.uri);
    this.item.selector = model === null ? [] : python;
    if (model !== null) Object.assign(this.item, stateOf(model));
  }

  private modelOf(uri: vscode.Uri): Model | null {
    const { models } = this.context;
    const own = models.of(uri);
    const running = own.find((model) => model.running !== null);
    const active = own.find((model) => model === models.active);
    return running ?? models.marks(uri)?.model ?? active ?? own.at(-1) ?? null;
  }
}

type State = Pick<vscode.LanguageStatusItem, "text" | "detail" | "severity" | "busy" | "command">;

function stateOf(model: Model): State {
  const { name, running, problem, freshness, profile } = model;
  const calm = { severity: vscode.LanguageStatusSeverity.Information, busy: false };
  const run = (command: string, title: string): vscode.Command =>
    vscode.workspace.isTrusted ? { command, title, arguments: [argumentOf(model)] } : { command: "workbench.trust.manage", title: vscode.l10n.t("Manage Workspace Trust") };
  if (running !== null) {
    return { ...calm, text: running.text, detail: name, busy: true, command: { command: "monet.cancel", title: vscode.l10n.t("Cancel"), arguments: [argumentOf(model)] } };
  }
  if (problem !== null) {
    return { text: vscode.l10n.t("{0}: failed", name), detail: problem.text, severity: vscode.LanguageStatusSeverity.Error, busy: false, command: { command: "monet.focusBudget", title: vscode.l10n.t("Show") } };
  }
  if (profile === null) {
    return { ...calm, text: vscode.l10n.t("{0}: memory not profiled", name), detail: "MONeT", command: run("monet.optimize", vscode.l10n.t("Optimize memory")) };
  }
  if (freshness === "stale") {
    const detail = vscode.l10n.t("The code has changed since it was profiled.");
    return { text: vscode.l10n.t("{0}: numbers are stale", name), detail, severity: vscode.LanguageStatusSeverity.Warning, busy: false, command: run("monet.profile", vscode.l10n.t("Profile again")) };
  }
  const peak = profile.points[model.selected]?.peak ?? profile.eager.peak;
  return {
    ...calm,
    text: vscode.l10n.t("{0}: peak {1}", name, formatBytes(peak)),
    detail: deviceText(profile.graph.device),
    command: { command: "monet.focusBudget", title: vscode.l10n.t("Show memory budget"), arguments: [argumentOf(model)] },
  };
}
