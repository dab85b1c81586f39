import * as vscode from "vscode";
import { findLargest, planPart, refine, refineSoon, setBatch } from "../actions/optimize";
import { showProblem } from "../actions/problems";
import type { Context } from "../context";
import { parseBudget, budgetBytes } from "../core/units";
import { batchProblem } from "../core/batch";
import { batchOf } from "../core/config";
import { fixedBytes, opaqueModules } from "../core/graph";
import { isFromBudget, type BudgetCommand, type BudgetResult, type BudgetState, type FromBudget, type ModelName, type ToBudget } from "../protocol";
import { Disposable } from "../base/disposable";
import { Soon } from "../base/soon";
import type { Model } from "../workspace";
import { cards } from "./cards";
import { page, prepare, translations, webviewRoot } from "./webview";

/** The side panel: device, budget, frontier. It shows the active model and passes on what the person does. */
export class BudgetView extends Disposable implements vscode.WebviewViewProvider {
  private view: vscode.WebviewView | null = null;
  private ready = false;
  /** Several changes in one turn are one message. */
  private readonly update = this.register(new Soon(10, () => { this.send(); }));

  constructor(private readonly context: Context) {
    super();
    this.register(vscode.window.registerWebviewViewProvider("monet.budget", this, { webviewOptions: { retainContextWhenHidden: false } }));
    this.register(context.models.onDidChange(() => { this.update.trigger(); }));
    this.register(vscode.workspace.onDidGrantWorkspaceTrust(() => { this.update.trigger(); }));
    this.register(vscode.workspace.onDidChangeConfiguration((event) => {
      if (event.affectsConfiguration("monet.reservePercent")) this.update.trigger();
    }));
  }

  resolveWebviewView(view: vscode.WebviewView): void {
    const root = webviewRoot(this.context.extension);
    this.view = view;
    this.ready = false;
    prepare(view.webview, root);
    view.webview.onDidReceiveMessage((message: unknown) => {
      if (isFromBudget(message)) this.receive(message).catch((error: unknown) => showProblem(this.context, error));
      else this.context.log.warn("The budget view sent a message of no known shape.");
    });
    view.onDidDispose(() => {
      this.view = null;
      this.ready = false;
    });
    view.webview.html = page(view.webview, root, "budget");
  }

  private async receive(message: FromBudget): Promise<void> {
    const { models } = this.context;
    const model = models.active;
    switch (message.kind) {
      case "ready":
        this.ready = true;
        this.post({ kind: "start", translations: translations(), state: budgetState(this.context) });
        return;
      case "model":
        models.active = models.get(message.id);
        return;
      case "run":
        if (message.command === "part") {
          if (model?.problem?.part !== undefined) await planPart(this.context, model, model.problem.part);
          return;
        }
        await vscode.commands.executeCommand(...commandOf(message.command, model));
        return;
      case "budget":
        if (model === null) return;
        models.choose(model, message.bytes);
        refineSoon(this.context, model);
        return;
      case "exact":
        if (model !== null) await exact(this.context, model, message.text);
        return;
      case "batch":
        if (model !== null) await setBatch(this.context, model, message.batch);
        return;
      case "largest":
        if (model !== null) await findLargest(this.context, model);
    }
  }

  private send(): void {
    if (this.ready) this.post({ kind: "state", state: budgetState(this.context) });
  }

  private post(message: ToBudget): void {
    void this.view?.webview.postMessage(message);
  }
}

function commandOf(command: Exclude<BudgetCommand, "part">, model: Model | null): [string, ...unknown[]] {
  const argument = model === null ? [] : [{ uri: model.uri.toString(), name: model.name }];
  switch (command) {
    case "optimize":
      return ["monet.optimize", ...argument];
    case "change":
      return ["monet.changeInput", ...argument];
    case "retry":
      return ["monet.profile", ...argument];
    case "cancel":
      return ["monet.cancel", ...argument];
    case "apply":
      return ["monet.apply", ...argument];
    case "verify":
      return ["monet.verify", ...argument];
    case "export":
      return ["monet.export", ...argument];
    case "schedule":
      return ["monet.showSchedule", ...argument];
    case "log":
      return ["monet.showLog"];
    case "python":
      return ["monet.selectPython"];
    case "trust":
      return ["workbench.trust.manage"];
  }
}

async function exact(context: Context, model: Model, text: string): Promise<void> {
  const budget = parseBudget(text);
  const { profile } = model;
  if (budget === null || profile === null) return;
  const bytes = budgetBytes(budget, { fixed: fixedBytes(profile.graph), eagerPeak: profile.eager.peak });
  context.models.choose(model, Math.min(bytes, profile.eager.peak));
  if (bytes < profile.eager.peak) await refine(context, model, bytes);
}

export const modelName = (model: Model): ModelName => ({ id: model.id, name: model.name, file: model.file });

function budgetState({ models }: Context): BudgetState {
  const model = models.active;
  return {
    model: model === null ? null : modelName(model),
    models: models.all.map(modelName),
    trusted: vscode.workspace.isTrusted,
    stale: model?.freshness === "stale",
    running: model?.running ?? null,
    problem: model?.problem ?? null,
    result: model === null ? null : budgetResult(model),
    cards,
  };
}

function budgetResult(model: Model): BudgetResult | null {
  const { profile } = model;
  if (profile === null) return null;
  const { device, fixed, made_from: madeFrom } = profile.graph;
  const share = vscode.workspace.getConfiguration("monet", model.uri).get<number>("reservePercent", 5) / 100;
  const torch = madeFrom["torch"];
  const part = (name: string): number => fixed[name] ?? 0;
  return {
    device: { name: device.name, totalBytes: device.total_bytes, estimated: device.estimated },
    reserve: Math.round(share * device.total_bytes),
    torch: typeof torch === "string" ? torch : "",
    part: model.part,
    opaque: opaqueModules(profile.graph).size,
    batch: batchOf(madeFrom.inputs ?? []),
    largest: model.largest?.graph === profile.graph && model.largest.budget === model.budget ? model.largest : null,
    grows: batchProblem(profile.graph) === null,
    fixed: { parameters: part("parameters"), buffers: part("buffers"), inputs: part("inputs"), gradients: part("gradients"), optimizer: part("optimizer") },
    eager: profile.eager,
    points: profile.points,
    budget: Math.min(model.budget, Number.MAX_SAFE_INTEGER),
    outdated: model.outdated,
    complete: profile.complete,
    refining: model.refining,
    applied: model.applied,
    // The lines of a part are the person's to place.
    left: model.part === null ? model.left : model.left.filter((step) => step !== "script"),
    verified: model.verified,
  };
}
