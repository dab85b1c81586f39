import { sep } from "node:path";
import * as vscode from "vscode";
import type { Context } from "../context";
import { Disposable } from "../base/disposable";
import { Soon } from "../base/soon";
import type { Model } from "../workspace";
import { isAside, isPython } from "./python";
import { targetAt, targetsOf, type Target } from "./targets";

/** Time after the last keystroke or the last change on disk. */
const quiet = 250;

/** Tells what the person has open and changes, so that models are read; and which model the side panel shows. */
export class Documents extends Disposable {
  /** Files whose models were read, and those that have to be read again. */
  private readonly known = new Map<string, vscode.Uri>();
  private readonly behind = new Set<string>();
  /** Models whose saved files have changed. */
  private readonly touched = new Set<string>();
  private followed = "";
  private readonly keys = new Map<string, boolean>();
  private readonly reading = this.register(new Soon(quiet, () => { this.readBehind(); }, "quiet"));
  private readonly loading = this.register(new Soon(quiet, () => { this.loadSaved(); }, "quiet"));

  constructor(private readonly context: Context) {
    super();
    const { workspace, window } = vscode;
    this.setRoots();
    for (const document of workspace.textDocuments) this.open(document);
    this.readVisible();
    this.register(workspace.onDidChangeWorkspaceFolders(() => { this.setRoots(); }));
    this.register(workspace.onDidOpenTextDocument((document) => { this.open(document); }));
    this.register(workspace.onDidChangeTextDocument((event) => { this.change(event); }));
    this.register(context.edits.onDidSettle(({ fsPath }) => { this.readLater(this.reaching(fsPath)); }));
    this.register(workspace.onDidCloseTextDocument((document) => { this.close(document); }));
    this.register(window.onDidChangeVisibleTextEditors(() => { this.readVisible(); }));
    this.register(window.onDidChangeActiveTextEditor(() => { this.follow(); }));
    this.register(window.onDidChangeTextEditorSelection(({ kind }) => {
      if (kind !== undefined) this.follow();
    }));
    this.register(context.models.onDidChange(({ model }) => {
      this.setContext();
      if (model !== null && model.running === null && this.touched.has(model.id)) this.loading.trigger();
    }));
    this.watchPython();
    this.watchSaved();
    this.watchDeleted();
    this.follow();
  }

  private setRoots(): void {
    this.context.sources.setRoots((vscode.workspace.workspaceFolders ?? []).filter(({ uri }) => uri.scheme === "file").map(({ uri }) => uri.fsPath));
    this.readLater([...this.known.values()]);
  }

  private open(document: vscode.TextDocument): void {
    if (!isPython(document)) return;
    this.context.sources.open(document.uri.fsPath, document.getText());
    this.readLater(this.reaching(document.uri.fsPath));
  }

  private change({ document, contentChanges }: vscode.TextDocumentChangeEvent): void {
    if (!isPython(document) || contentChanges.length === 0) return;
    const { fsPath } = document.uri;
    this.context.sources.change(fsPath, contentChanges.map(({ rangeOffset, rangeLength, text }) => ({ offset: rangeOffset, length: rangeLength, text })));
    this.readLater(this.reaching(fsPath));
  }

  private close(document: vscode.TextDocument): void {
    if (!isPython(document)) return;
    this.context.sources.close(document.uri.fsPath);
    this.readLater(this.reaching(document.uri.fsPath));
  }

  private readVisible(): void {
    for (const { document } of vscode.window.visibleTextEditors) {
      if (isPython(document) && !this.known.has(document.uri.toString())) void this.read(document.uri);
    }
  }

  /** Files of known models into which a file reaches: its own, and those that import it. */
  private reaching(path: string): readonly vscode.Uri[] {
    return [...this.known.values()].filter((uri) => this.filesOf(uri).includes(path));
  }

  private filesOf(uri: vscode.Uri): readonly string[] {
    return [uri.fsPath, ...(this.context.models.view(uri)?.files ?? []).map(({ path }) => path)];
  }

  private readLater(uris: readonly vscode.Uri[]): void {
    for (const uri of uris) this.behind.add(uri.toString());
    if (uris.length > 0) this.reading.trigger();
  }

  private readBehind(): void {
    const uris = [...this.behind].flatMap((key) => this.known.get(key) ?? []);
    this.behind.clear();
    for (const uri of uris) void this.read(uri);
  }

  private async read(uri: vscode.Uri): Promise<void> {
    const key = uri.toString();
    this.known.set(key, uri);
    const { models } = this.context;
    try {
      const view = await models.read(uri);
      if (this.isDisposed) return;
      if (view === null) {
        this.known.delete(key);
        models.forget(uri);
      }
      this.follow();
    } catch (error) {
      this.context.log.error(error instanceof Error ? error : String(error));
    }
  }

  private watchPython(): void {
    const watcher = this.register(vscode.workspace.createFileSystemWatcher("**/*.py", false, false, true));
    this.register(watcher.onDidChange(({ fsPath }) => {
      const reaching = this.reaching(fsPath);
      if (reaching.length > 0) this.context.sources.changedOnDisk(fsPath);
      this.readLater(reaching);
    }));
    // An import that led nowhere may lead here now.
    this.register(watcher.onDidCreate((uri) => {
      if (isAside(uri)) return;
      this.context.sources.changedOnDisk(uri.fsPath);
      this.readLater([...this.known.values()]);
    }));
  }

  /** Another window or the command line may write what was saved for a model. */
  private watchSaved(): void {
    const watcher = this.register(vscode.workspace.createFileSystemWatcher("**/.monet/*.json", false, false, true));
    const written = ({ fsPath }: vscode.Uri): void => { this.loadLater((file) => file === fsPath); };
    this.register(watcher.onDidCreate(written));
    this.register(watcher.onDidChange(written));
  }

  /** Of a folder that is deleted only the folder is told. */
  private watchDeleted(): void {
    const watcher = this.register(vscode.workspace.createFileSystemWatcher("**", true, true, false));
    this.register(watcher.onDidDelete(({ fsPath }) => {
      const isGone = (path: string): boolean => path === fsPath || path.startsWith(fsPath + sep);
      const gone = [...this.known.values()].flatMap((uri) => this.filesOf(uri)).filter(isGone);
      for (const path of new Set(gone)) {
        this.context.sources.changedOnDisk(path);
        this.readLater(this.reaching(path));
      }
      this.loadLater(isGone);
    }));
  }

  private loadLater(concerns: (file: string) => boolean): void {
    for (const model of this.context.models.all) {
      if ((["graph", "frontier", "snapshot", "plan"] as const).some((kind) => concerns(model.fileOf(kind)))) this.touched.add(model.id);
    }
    if (this.touched.size > 0) this.loading.trigger();
  }

  private loadSaved(): void {
    const { models, log } = this.context;
    for (const id of [...this.touched]) {
      const model = models.get(id);
      // What runs here writes these files itself; once it has ended, another window may have written them too.
      if (model !== null && model.running !== null) continue;
      this.touched.delete(id);
      if (model !== null) models.load(model).catch((error: unknown) => { log.error(error instanceof Error ? error : String(error)); });
    }
  }

  /** The side panel shows the model at the cursor, once the cursor comes to it. */
  private follow(): void {
    const { models } = this.context;
    const editor = vscode.window.activeTextEditor;
    const view = editor === undefined || !isPython(editor.document) ? null : models.view(editor.document.uri);
    if (editor !== undefined && view !== null) {
      const { uri } = editor.document;
      const targets = targetsOf(models, uri, view);
      const here = targetAt(targets, editor.selection.active.line);
      const place = `${uri.toString()}#${here?.name ?? ""}`;
      const isGone = models.active === null || models.get(models.active.id) !== models.active;
      if (place !== this.followed || isGone) {
        const model = this.modelOf(uri, targets, here);
        // Who looks into a library goes on with their own model.
        if (model !== null && (model.profile !== null || !isAside(uri))) models.active = model;
      }
      this.followed = place;
    }
    this.setContext();
  }

  /** A profiled model that the class is or is a part of, else the class's own; between classes a profiled one, else the last. */
  private modelOf(uri: vscode.Uri, targets: readonly Target[], here: Target | null): Model | null {
    const { models } = this.context;
    const marks = models.marks(uri);
    if (here !== null) {
      const isPart = marks?.places.some(({ kind, model }) => kind === "model" && model.name === here.name && model.file === uri.fsPath) ?? false;
      return here.profiled ?? (isPart && marks !== null ? marks.model : here.model);
    }
    const current = targets.find(({ model }) => model === models.active);
    // A script that only builds models leaves the profiled one in sight.
    const isScript = targets.every(({ kind }) => kind !== "class") && models.active !== null && models.active.profile !== null;
    return marks?.model ?? current?.model ?? (isScript ? null : (targets.at(-1)?.model ?? null));
  }

  private setContext(): void {
    const { models } = this.context;
    const document = vscode.window.activeTextEditor?.document;
    const set = (key: string, value: boolean): void => {
      if (this.keys.get(key) === value) return;
      this.keys.set(key, value);
      void vscode.commands.executeCommand("setContext", key, value);
    };
    set("monet.fileHasModel", document !== undefined && isPython(document) && !isAside(document.uri) && models.of(document.uri).length > 0);
    set("monet.hasProfile", models.active !== null && models.active.profile !== null);
    set("monet.running", models.all.some((model) => model.running !== null));
  }
}
