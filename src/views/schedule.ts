import { basename } from "node:path";
import * as vscode from "vscode";
import type { Context } from "../context";
import { batchOf } from "../core/config";
import { picture, type Picture } from "../core/picture";
import { gapOf } from "../core/solve/solution";
import { why } from "../core/why";
import { showProblem } from "../actions/problems";
import { refused } from "../actions/write";
import { whyText } from "../editor/texts";
import { isFromSchedule, type FromSchedule, type ScheduleState, type ToSchedule } from "../protocol";
import { Disposable } from "../base/disposable";
import { Soon } from "../base/soon";
import type { Model } from "../workspace";
import { modelName } from "./budget";
import { revealOperator } from "./reveal";
import { page, prepare, translations, webviewRoot } from "./webview";

const viewType = "monet.schedule";

/** One schedule panel per model, found again after a restart. */
export class SchedulePanels extends Disposable implements vscode.WebviewPanelSerializer {
  private readonly panels = new Map<string, SchedulePanel>();

  constructor(private readonly context: Context) {
    super();
    this.register(vscode.window.registerWebviewPanelSerializer(viewType, this));
    this.register(
      vscode.commands.registerCommand("monet.schedule.open", (argument: unknown) => {
        this.open(argument);
      }),
    );
  }

  async deserializeWebviewPanel(panel: vscode.WebviewPanel, state: unknown): Promise<void> {
    const id = typeof state === "object" && state !== null && "model" in state && typeof state.model === "string" ? state.model : null;
    const uri = id === null ? null : vscode.Uri.parse(id.slice(0, id.lastIndexOf("#")), true);
    if (uri !== null) await this.context.models.read(uri);
    const model = id === null ? null : this.context.models.get(id);
    if (model?.profile === null || model === null) panel.dispose();
    else this.adopt(model, panel);
  }

  private open(argument: unknown): void {
    const { models } = this.context;
    const { uri, name, operator } = (argument ?? {}) as { uri?: unknown; name?: unknown; operator?: unknown };
    const model = typeof uri === "string" && typeof name === "string" ? models.get(`${uri}#${name}`) : models.active;
    if (model?.profile === null || model === null) {
      void vscode.commands.executeCommand("monet.optimize", argument);
      return;
    }
    let panel = this.panels.get(model.id);
    if (panel === undefined) {
      const created = vscode.window.createWebviewPanel(viewType, title(model), vscode.ViewColumn.Beside, { retainContextWhenHidden: false });
      panel = this.adopt(model, created);
    } else panel.reveal();
    if (typeof operator === "number") panel.select([operator]);
  }

  private adopt(model: Model, webviewPanel: vscode.WebviewPanel): SchedulePanel {
    const panel = new SchedulePanel(this.context, model, webviewPanel, () => this.panels.delete(model.id));
    this.panels.set(model.id, panel);
    return panel;
  }

  override dispose(): void {
    for (const panel of this.panels.values()) panel.dispose();
    super.dispose();
  }
}

const title = (model: Model): string => vscode.l10n.t("{0} schedule", model.name);

interface Sent {
  readonly text: string;
  readonly picture: Picture;
}

const sentOf = ({ picture: drawn, ...rest }: ScheduleState): Sent => ({ text: JSON.stringify(rest), picture: drawn });

class SchedulePanel extends Disposable {
  private ready = false;
  private readonly update = this.register(new Soon(30, () => { this.send(); }));
  private selected: readonly number[] = [];
  private drawn: { plan: unknown; picture: Picture } | null = null;
  private sent: Sent | null = null;

  constructor(
    private readonly context: Context,
    private readonly opened: Model,
    private readonly panel: vscode.WebviewPanel,
    gone: () => void,
  ) {
    super();
    const root = webviewRoot(context.extension);
    prepare(panel.webview, root);
    panel.iconPath = vscode.Uri.joinPath(context.extension.extensionUri, "media", "monet.svg");
    this.register(panel.webview.onDidReceiveMessage((message: unknown) => {
      if (isFromSchedule(message)) this.receive(message).catch((error: unknown) => showProblem(context, error));
      else context.log.warn("A schedule panel sent a message of no known shape.");
    }));
    this.register(context.models.onDidChange(({ model: changed }) => {
      if (changed?.id === opened.id) this.update.trigger();
    }));
    this.register(vscode.window.onDidChangeTextEditorSelection(({ textEditor, kind }) => {
      if (kind !== undefined) this.follow(textEditor);
    }));
    panel.onDidDispose(() => {
      gone();
      this.dispose();
    });
    panel.webview.html = page(panel.webview, root, "schedule");
  }

  /** A file that was gone and is back has models of its own. */
  private get model(): Model {
    return this.context.models.get(this.opened.id) ?? this.opened;
  }

  reveal(): void {
    this.panel.reveal();
  }

  select(operators: readonly number[]): void {
    this.selected = operators;
    if (this.ready) this.post({ kind: "select", operators });
  }

  /** The editor's cursor selects in the panel. */
  private follow({ document, selection }: vscode.TextEditor): void {
    const marks = this.context.models.marks(document.uri);
    if (marks?.model !== this.model) return;
    const line = selection.active.line;
    const here = marks.places.filter(({ kind, range }) => kind !== "model" && range.start.line <= line && line <= range.end.line);
    const operators = [...new Set(here.flatMap((place) => place.operators))];
    if (operators.length > 0) this.select(operators);
  }

  private async receive(message: FromSchedule): Promise<void> {
    const { model } = this;
    switch (message.kind) {
      case "ready": {
        this.ready = true;
        const state = this.state();
        if (state === null) return;
        this.post({ kind: "start", translations: translations(), state });
        this.sent = sentOf(state);
        if (this.selected.length > 0) this.post({ kind: "select", operators: this.selected });
        return;
      }
      case "reveal":
        await revealOperator(this.context, model, message.operator);
        return;
      case "why":
        this.answerWhy(message.bar);
        return;
      case "export":
        await this.save(message);
        return;
      case "copy":
        await vscode.env.clipboard.writeText(message.text);
        vscode.window.setStatusBarMessage(vscode.l10n.t("Copied to the clipboard."), 3000);
        return;
      case "run":
        await vscode.commands.executeCommand(`monet.${message.command}`, { uri: model.uri.toString(), name: model.name });
    }
  }

  private answerWhy(at: number): void {
    const explained = this.model.explained;
    const bar = this.drawn?.picture.bars[at];
    if (explained === null || bar === undefined) return;
    const answer = why(explained.graph, explained.plan, explained.explanation, bar.operator, bar);
    this.post({ kind: "why", bar: at, text: answer === null ? "" : whyText(answer, explained.graph, this.budget()) });
  }

  private budget(): number | null {
    return Number.isFinite(this.model.budget) ? this.model.budget : null;
  }

  private async save({ format, data }: Extract<FromSchedule, { kind: "export" }>): Promise<void> {
    const name = `${basename(this.model.file, ".py")}.${this.model.name}.schedule.${format}`;
    const target = await vscode.window.showSaveDialog({
      defaultUri: vscode.Uri.joinPath(this.model.uri, "..", name),
      filters: { [format.toUpperCase()]: [format] },
    });
    if (target === undefined) return;
    try {
      await vscode.workspace.fs.writeFile(target, Buffer.from(data, format === "png" ? "base64" : "utf8"));
    } catch (error) {
      throw refused(target.fsPath, error);
    }
    const open = vscode.l10n.t("Open");
    const answer = await vscode.window.showInformationMessage(vscode.l10n.t("Saved {0}.", vscode.workspace.asRelativePath(target)), open);
    if (answer === open) await vscode.commands.executeCommand("vscode.open", target);
  }

  private send(): void {
    const state = this.state();
    if (state === null) this.panel.dispose();
    else if (this.ready) this.sendNews(state);
  }

  /** What runs for the model changes ten times a second, its picture seldom. */
  private sendNews(state: ScheduleState): void {
    const { sent } = this;
    this.sent = sentOf(state);
    const isSame = sent?.picture === state.picture;
    if (isSame && sent.text === this.sent.text) return;
    const { picture: drawn, ...rest } = state;
    this.post({ kind: "state", state: rest, picture: isSame ? null : drawn });
  }

  private state(): ScheduleState | null {
    const { model } = this;
    const { explained, profile, plan } = model;
    if (explained === null || profile === null || plan === null) return null;
    if (this.drawn?.plan !== plan) this.drawn = { plan, picture: picture(profile.graph, plan, explained.explanation) };
    const { predicted, bound } = plan;
    const view = this.context.models.view(model.uri);
    const place = [...(view?.file.models ?? []), ...(view?.file.sources ?? [])].find(({ name }) => name === model.name);
    const tensors = explained.explanation.operators.flatMap((row) => row.tensors);
    return {
      model: modelName(model),
      line: (place?.range.start.line ?? 0) + 1,
      inputs: profile.graph.made_from.inputs ?? [],
      batch: batchOf(profile.graph.made_from.inputs ?? []),
      device: { name: profile.graph.device.name, estimated: profile.graph.device.estimated },
      stale: model.freshness === "stale",
      budget: this.budget(),
      peak: predicted.peak,
      eagerPeak: predicted.eager_peak,
      time: predicted.time,
      overhead: predicted.time / predicted.eager_time - 1,
      recomputeTime: explained.explanation.recomputeTime,
      gap: bound === null || bound.time === 0 ? null : gapOf(predicted.time, bound.time),
      kept: tensors.filter(({ fate, bytes }) => fate === "kept" && bytes > 0).length,
      offloaded: tensors.filter(({ fate }) => fate === "offloaded").length,
      recomputed: tensors.filter(({ fate, bytes }) => (fate === "recomputed" || fate === "retained") && bytes > 0).length,
      changed: explained.explanation.operators.filter(({ changed }) => changed).length,
      picture: this.drawn.picture,
    };
  }

  private post(message: ToSchedule): void {
    void this.panel.webview.postMessage(message);
  }
}
