import { dirname, resolve } from "node:path";
import * as vscode from "vscode";
import { findInterpreter, type Interpreter } from "../helper/interpreter";
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
export class Interpreters {
  private readonly sources: readonly PythonSource[] = [
    new PythonEnvironments(extensions),
    new PythonExtension(extensions),
    new FoundPython(`monet.${setting}`, (uri) => (named(uri) === "" ? null : search(uri, named(uri)))),
    new FoundPython("the workspace", search),
  ];

  constructor(private readonly log: vscode.LogOutputChannel) {}

  async find(uri: vscode.Uri): Promise<Interpreter> {
    const found = await firstPython(this.sources, uri, ({ name }, error) => {
      this.log.warn(`Python from ${name}: ${error instanceof Error ? error.message : String(error)}`);
    });
    this.log.info(`Python: ${found.path} (found by ${found.foundBy})`);
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
}
