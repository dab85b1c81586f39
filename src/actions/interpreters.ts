import { dirname, resolve } from "node:path";
import * as vscode from "vscode";
import { findInterpreter, type Interpreter } from "../helper/interpreter";
import { Disposable } from "../base/disposable";
import { folderOf } from "./config";
import { firstPython, FoundPython, PythonEnvironments, PythonExtension, type Extensions, type PythonSource } from "./python_sources";

const setting = "pythonPath";

const extensions: Extensions = {
  api: async (id) => (await vscode.extensions.getExtension(id)?.activate()) as unknown,
  has: (id) => vscode.extensions.getExtension(id) !== undefined,
};

/** A path is relative to the workspace folder; a name without one is looked for on the search path. */
function named(uri: vscode.Uri): string {
  const program = vscode.workspace.getConfiguration("monet", uri).get<string>(setting, "").trim();
  return /[\\/]/.test(program) ? resolve(folderOf(uri), program) : program;
}

function search(uri: vscode.Uri, explicit?: string): Interpreter {
  return findInterpreter({ explicit, explicitBy: `monet.${setting}`, folders: [dirname(uri.fsPath), folderOf(uri)], env: process.env });
}

/** Finds the Python that the person has selected. */
export class Interpreters extends Disposable {
  private readonly changed = this.register(new vscode.EventEmitter<void>());
  readonly onDidChange = this.changed.event;
  private readonly listened = new Set<PythonSource>();
  private readonly sources: readonly PythonSource[] = [
    new PythonEnvironments(extensions),
    new PythonExtension(extensions),
    new FoundPython(`monet.${setting}`, (uri) => (named(uri) === "" ? null : search(uri, named(uri)))),
    new FoundPython("the workspace", search),
  ];

  constructor(private readonly log: vscode.LogOutputChannel) {
    super();
    this.register(
      vscode.workspace.onDidChangeConfiguration((event) => {
        if (event.affectsConfiguration(`monet.${setting}`)) this.changed.fire();
      }),
    );
  }

  async find(uri: vscode.Uri): Promise<Interpreter> {
    const found = await firstPython(this.sources, uri, ({ name }, error) => {
      this.log.warn(`Python from ${name}: ${error instanceof Error ? error.message : String(error)}`);
    });
    this.log.info(`Python: ${found.path} (found by ${found.foundBy})`);
    this.listen();
    return found;
  }

  /** Opens the picker of the extension that is there, else asks for a program and keeps it in the setting. */
  async select(): Promise<void> {
    const picker = this.sources.map((source) => source.picker).find((command) => command !== null);
    if (picker !== undefined) {
      await vscode.commands.executeCommand(picker);
      return;
    }
    const [first] = await vscode.window.showOpenDialog({ title: vscode.l10n.t("The Python that has your PyTorch"), openLabel: vscode.l10n.t("Select Python"), canSelectMany: false }) ?? [];
    if (first === undefined) return;
    const target = vscode.workspace.workspaceFolders === undefined ? vscode.ConfigurationTarget.Global : vscode.ConfigurationTarget.Workspace;
    await vscode.workspace.getConfiguration("monet").update(setting, first.fsPath, target);
  }

  /** Once it has answered, an extension is listened to. */
  private listen(): void {
    for (const source of this.sources) {
      if (this.listened.has(source)) continue;
      const listener = source.onDidChange(() => { this.changed.fire(); });
      if (listener === null) continue;
      this.listened.add(source);
      this.register(listener);
    }
  }
}
