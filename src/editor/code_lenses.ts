import * as vscode from "vscode";
import type { Context } from "../context";
import { numbersOf } from "../core/numbers";
import { formatBytes } from "../core/units";
import type { Marks, Model } from "../workspace";
import { Newest } from "./newest";
import { isAside, python } from "./python";
import { Refreshing } from "./refreshing";
import { argumentOf, targetsOf, type Target } from "./targets";
import { peakText, staleText } from "./texts";

/** Above each model: what it takes, and what can be done about it. */
export class CodeLenses extends Refreshing implements vscode.CodeLensProvider {
  private readonly changed = this.register(new vscode.EventEmitter<void>());
  readonly onDidChangeCodeLenses = this.changed.event;
  private readonly newest = this.register(new Newest(this.context.models));

  constructor(context: Context) {
    super(context);
    this.register(vscode.languages.registerCodeLensProvider(python, this));
    this.register(vscode.workspace.onDidGrantWorkspaceTrust(() => { this.refreshSoon(); }));
    this.register(vscode.workspace.onDidChangeConfiguration((event) => {
      if (event.affectsConfiguration("monet.codeLens")) this.refreshSoon();
    }));
  }

  protected override refresh(): void {
    this.changed.fire();
  }

  async provideCodeLenses(document: vscode.TextDocument, token: vscode.CancellationToken): Promise<vscode.CodeLens[]> {
    if (!vscode.workspace.getConfiguration("monet", document).get<boolean>("codeLens", true)) return [];
    await this.newest.of(document, token);
    const { models } = this.context;
    const view = models.view(document.uri);
    if (view === null || token.isCancellationRequested) return [];
    const marks = models.marks(document.uri);
    return targetsOf(models, document.uri, view).flatMap((target) => {
      const { line } = target.range.start;
      return commandsOf(target, marks).map((command) => new vscode.CodeLens(new vscode.Range(line, 0, line, 0), command));
    });
  }
}

function commandsOf(target: Target, marks: Marks | null): vscode.Command[] {
  const { model, profiled } = target;
  const running = model.running ?? profiled?.running ?? null;
  if (running !== null) {
    const of = argumentOf(model.running === null && profiled !== null ? profiled : model);
    return [
      { command: "monet.focusBudget", title: `$(sync~spin) ${running.text}`, arguments: [of] },
      { command: "monet.cancel", title: vscode.l10n.t("Cancel"), arguments: [of] },
    ];
  }
  const runs = (command: string, title: string, of: Model): vscode.Command[] =>
    vscode.workspace.isTrusted && (of.profile !== null || !isAside(of.uri)) ? [{ command, title, arguments: [argumentOf(of)] }] : [];
  const optimize = vscode.l10n.t("Optimize memory");
  if (profiled === null) {
    return [...shareOf(target, marks), ...runs("monet.profile", vscode.l10n.t("Profile memory"), model), ...runs("monet.optimize", optimize, model)];
  }
  const stale = profiled.freshness === "stale";
  const peak = peakOf(profiled);
  const named = profiled === model ? peak : `${profiled.name} · ${peak}`;
  return [
    { command: "monet.focusBudget", title: stale ? staleText(named) : named, arguments: [argumentOf(profiled)] },
    { command: "monet.showSchedule", title: vscode.l10n.t("Schedule"), arguments: [argumentOf(profiled)] },
    ...(stale ? runs("monet.profile", vscode.l10n.t("Profile again"), profiled) : runs("monet.optimize", optimize, profiled)),
  ];
}

function peakOf({ profile, selected }: Model): string {
  const point = profile?.points[selected];
  return profile === null || point === undefined ? "" : peakText(profile.eager.peak, point, profile.graph.device.estimated);
}

/** What a class keeps that was profiled as a part of another model. */
function shareOf({ name, kind }: Target, marks: Marks | null): vscode.Command[] {
  const place = marks?.places.find((each) => kind === "class" && each.kind === "model" && each.model.name === name);
  if (marks === null || place === undefined || place.operators.length === 0) return [];
  const { kept } = numbersOf(marks.explained, place.operators);
  const text = vscode.l10n.t("◆ {0} kept, of {1} in the whole model", formatBytes(kept), formatBytes(marks.explained.explanation.kept));
  return [{ command: "monet.focusBudget", title: marks.stale ? staleText(text) : text, arguments: [argumentOf(marks.model)] }];
}
