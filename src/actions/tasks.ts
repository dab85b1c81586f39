/** Tasks of type `monet`: what commands start, and what a person may define in tasks.json. */
import { join } from "node:path";
import * as vscode from "vscode";
import { exitCodeOf, exitCodes } from "../helper/exit";
import { Cancelled, UserError } from "../helper/user_error";
import { Disposable } from "../base/disposable";
import type { Model } from "../workspace";
import { folderOf, readModels } from "./config";
import { actionOf, definitionOf, isMonetTask, pathOf, taskType, type Action, type MonetTaskDefinition } from "./definition";
import { Jobs } from "./jobs";
import { findModel } from "./model_choice";
import { ofModel, requireTrust, sentenceOf, showProblem } from "./problems";
import { exportModel } from "./export";
import { largestModel, profileModel, refineModel, solveModel, type Equipment, type Say } from "./profile";
import { Latest } from "./queue";
import { Reports } from "./reports";
import { verifyModel } from "./verify_job";

/** How long the editor may take, in milliseconds, to notice that a task has ended. */
const endLimit = 2000;
/** A slider that rests this long has arrived, in ms. */
const restful = 600;

/** Who started a task waits for it; where nobody does, problems are shown by the task itself. */
interface Waiting {
  began: boolean;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

export class MonetTasks extends Disposable implements vscode.TaskProvider {
  readonly jobs: Jobs;
  readonly reports = this.register(new Reports());
  private readonly started = new Latest();
  private readonly refining = new Map<string, AbortController>();
  private arriving: NodeJS.Timeout | undefined;

  constructor(readonly equipment: Equipment) {
    super();
    this.jobs = this.register(new Jobs(equipment.models, join(equipment.dist, "..", "docs", "errors.md")));
    this.register(vscode.tasks.registerTaskProvider(taskType, this));
  }

  /** What runs or waits for this model; null: for any. */
  cancel(model: Model | null): void {
    if (model === null) {
      this.jobs.cancelAll();
      for (const stop of this.refining.values()) stop.abort();
      return;
    }
    void this.jobs.cancel(model);
    this.stopRefining(model);
  }

  /** One profile task per model that is known, and per entry of monet.json. */
  async provideTasks(): Promise<vscode.Task[]> {
    if (!vscode.workspace.isTrusted) return [];
    const definitions = new Map<string, { definition: MonetTaskDefinition; scope: vscode.WorkspaceFolder | undefined }>();
    const add = (definition: MonetTaskDefinition, scope: vscode.WorkspaceFolder | undefined): void => {
      definitions.set(`${scope?.uri.toString() ?? ""} ${definition.file}:${definition.model}`, { definition, scope });
    };
    for (const { uri, name } of this.equipment.models.all) {
      const scope = vscode.workspace.getWorkspaceFolder(uri);
      add(definitionOf(scope?.uri.fsPath ?? null, uri.fsPath, name, "profile"), scope);
    }
    for (const scope of vscode.workspace.workspaceFolders ?? []) {
      const entries = await readModels(vscode.Uri.joinPath(scope.uri, "model.py")).catch((error: unknown) => {
        this.equipment.log.warn(sentenceOf(error));
        return null;
      });
      for (const key of Object.keys(entries ?? {})) {
        const colon = key.lastIndexOf(":");
        add({ type: taskType, file: key.slice(0, colon), model: key.slice(colon + 1), action: "profile" }, scope);
      }
    }
    return [...definitions.values()].map(({ definition, scope }) => this.task(definition, scope, null));
  }

  /** For a task of tasks.json; it must keep the very definition that it came with. */
  resolveTask(task: vscode.Task): vscode.Task | undefined {
    if (!isMonetTask(task.definition)) return undefined;
    return this.task(task.definition, typeof task.scope === "object" ? task.scope : undefined, null, task.name);
  }

  /** Runs as a task in the terminal, in its turn; throws what went wrong. */
  async run(model: Model, action: Action): Promise<void> {
    requireTrust();
    // The editor takes two tasks of one definition for the same: the one before must have ended for it too.
    await this.started.run(model.id, () => this.jobs.cancel(model), () => this.execute(model, action));
  }

  private async execute(model: Model, action: Action): Promise<void> {
    const scope = vscode.workspace.getWorkspaceFolder(model.uri);
    const definition = definitionOf(scope?.uri.fsPath ?? null, model.uri.fsPath, model.name, action);
    const listeners: vscode.Disposable[] = [];
    const ended = new Promise<void>((resolve) => {
      listeners.push(vscode.tasks.onDidEndTask(({ execution: { task } }) => { if (task.name === nameOf(definition) && folderKey(task.scope) === folderKey(scope)) resolve(); }));
    });
    try {
      await new Promise<void>((resolve, reject) => {
        const waiting = { began: false, resolve, reject };
        // One that the editor ends before it began is as if cancelled.
        void ended.then(() => { if (!waiting.began) reject(new Cancelled()); });
        vscode.tasks.executeTask(this.task(definition, scope, waiting)).then(undefined, reject);
      });
    } finally {
      await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, endLimit))]);
      for (const listener of listeners) listener.dispose();
    }
  }

  /** Plans for a graph that is there; no Python runs. */
  async solve(model: Model): Promise<void> {
    await this.jobs.run(model, null, (job) => solveModel(this.equipment, model, job));
  }

  async largest(model: Model): Promise<void> {
    await this.jobs.run(model, null, (job) => largestModel(this.equipment, model, job));
  }

  /** A plan for exactly this budget. A newer search of the same model takes the place of the one before. */
  async refine(model: Model, bytes: number): Promise<void> {
    this.stopRefining(model);
    const stop = new AbortController();
    this.refining.set(model.id, stop);
    const { models } = this.equipment;
    models.update(model, { refining: true });
    try {
      await refineModel(this.equipment, model, bytes, stop.signal);
    } catch (error) {
      throw stop.signal.aborted ? new Cancelled() : ofModel(error, model);
    } finally {
      if (this.refining.get(model.id) === stop) {
        this.refining.delete(model.id);
        models.update(model, { refining: false });
      }
    }
  }

  /** Does it when a while has passed without another choice or search. */
  onceRested(model: Model, work: () => void): void {
    this.stopRefining(model);
    this.arriving = setTimeout(work, restful);
  }

  stopRefining(model: Model): void {
    clearTimeout(this.arriving);
    this.refining.get(model.id)?.abort();
  }

  override dispose(): void {
    clearTimeout(this.arriving);
    for (const stop of this.refining.values()) stop.abort();
    super.dispose();
  }

  private task(definition: MonetTaskDefinition, scope: vscode.WorkspaceFolder | undefined, waiting: Waiting | null, name = nameOf(definition)): vscode.Task {
    const execution = new vscode.CustomExecution((resolved) => {
      const asked = isMonetTask(resolved) ? resolved : definition;
      return Promise.resolve(new JobTerminal((signal, say) => this.work(asked, scope, signal, say), waiting, this.equipment.log));
    });
    const task = new vscode.Task(definition, scope ?? vscode.TaskScope.Workspace, name, "MONeT", execution);
    task.presentationOptions = { reveal: vscode.TaskRevealKind.Never, panel: vscode.TaskPanelKind.Dedicated, focus: false, showReuseMessage: false, clear: true };
    task.detail = detailOf(definition);
    return task;
  }

  private async work(definition: MonetTaskDefinition, scope: vscode.WorkspaceFolder | undefined, signal: AbortSignal, say: Say): Promise<void> {
    requireTrust();
    const { models } = this.equipment;
    const folder = scope?.uri.fsPath ?? vscode.workspace.workspaceFolders?.[0]?.uri.fsPath ?? null;
    const model = await findModel(models, vscode.Uri.file(pathOf(definition, folder)), definition.model);
    const here = { ...definition, file: pathOf(definition, folderOf(model.uri)) };
    const { equipment, reports, jobs } = this;
    switch (actionOf(definition)) {
      case "profile":
        return jobs.run(model, signal, (job) => profileModel(equipment, model, here, job, say));
      case "verify":
        await jobs.run(model, signal, (job) => verifyModel(equipment, reports, model, here, job, say), "verify");
        return;
      case "export":
        return jobs.run(model, signal, (job) => exportModel(equipment, reports, model, here, job, say), "export");
    }
  }
}

/** Files of the same name in two folders of a workspace have tasks of the same name. */
const folderKey = (scope: vscode.Task["scope"]): string => (typeof scope === "object" ? scope.uri.toString() : "");

const nameOf = (definition: MonetTaskDefinition): string => {
  const target = `${definition.file}:${definition.model}`;
  switch (actionOf(definition)) {
    case "profile":
      return vscode.l10n.t("profile {0}", target);
    case "verify":
      return vscode.l10n.t("verify {0}", target);
    case "export":
      return vscode.l10n.t("export {0}", target);
  }
};

function detailOf(definition: MonetTaskDefinition): string {
  switch (actionOf(definition)) {
    case "profile":
      return vscode.l10n.t("Measure every operator of a training step and find plans for all budgets");
    case "verify":
      return vscode.l10n.t("Run a real training step with and without the chosen plan, and compare");
    case "export":
      return vscode.l10n.t("Write the chosen plan as checkpoint policies in plain PyTorch, and run a step by them");
  }
}

/** A terminal in which our own process group runs: closing it stops all, and nothing is left behind. */
class JobTerminal implements vscode.Pseudoterminal {
  private readonly written = new vscode.EventEmitter<string>();
  private readonly closed = new vscode.EventEmitter<number>();
  readonly onDidWrite = this.written.event;
  readonly onDidClose = this.closed.event;
  private readonly stop = new AbortController();

  constructor(
    private readonly work: (signal: AbortSignal, say: Say) => Promise<void>,
    private readonly waiting: Waiting | null,
    private readonly log: vscode.LogOutputChannel,
  ) {}

  open(): void {
    if (this.waiting !== null) this.waiting.began = true;
    void this.run();
  }

  close(): void {
    this.stop.abort();
  }

  /** Ctrl-C. */
  handleInput(data: string): void {
    if (data.includes("\u0003")) this.stop.abort();
  }

  private async run(): Promise<void> {
    const say = (text: string): void => { this.written.fire(`${text.replaceAll(/\r?\n/g, "\r\n")}\r\n`); };
    let code: number = exitCodes.ok;
    try {
      await this.work(this.stop.signal, say);
      this.waiting?.resolve();
    } catch (error) {
      const cancelled = error instanceof Cancelled;
      code = error instanceof UserError ? exitCodeOf(error.kind) : cancelled ? exitCodes.cancelled : exitCodes.crash;
      say(cancelled ? vscode.l10n.t("Stopped.") : sentenceOf(error));
      if (this.waiting === null) void showProblem({ log: this.log }, error);
      else this.waiting.reject(error);
    }
    this.closed.fire(code);
    this.written.dispose();
    this.closed.dispose();
  }
}
