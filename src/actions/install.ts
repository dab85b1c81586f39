/** Our runtime in the person's environment, from the wheel that comes with the extension. */
import { existsSync, readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as vscode from "vscode";
import type { Context } from "../context";
import { onPath, type Interpreter } from "../helper/interpreter";
import { runProcess } from "../helper/process";
import { UserError } from "../helper/user_error";
import { installCommand, probe, readProbe, wheelVersion } from "./runtime_wheel";
import { requireTrust } from "./problems";

export async function installRuntime({ dist, interpreters, models }: Context): Promise<void> {
  requireTrust();
  const uri = models.active?.uri ?? vscode.window.activeTextEditor?.document.uri ?? vscode.workspace.workspaceFolders?.[0]?.uri;
  if (uri === undefined) throw new UserError("M802", "input", vscode.l10n.t("Open a folder or a Python file first: its Python is where the runtime goes."));
  const interpreter = await interpreters.find(uri);
  const wheels = join(dist, "python");
  const version = wheelVersion(existsSync(wheels) ? readdirSync(wheels) : []);
  if (version === null) throw new UserError("M807", "environment", vscode.l10n.t("This build of the extension has no runtime in {0}: install the packed extension.", wheels));
  const found = await ask(interpreter);
  const isThere = (): void => { if (models.active !== null) models.update(models.active, { left: models.active.left.filter((step) => step !== "runtime") }); };
  if (found.version === version) {
    isThere();
    const again = vscode.l10n.t("Install Again");
    const chosen = await vscode.window.showInformationMessage(vscode.l10n.t("monet-torch {0} is installed in {1} already.", version, interpreter.path), again);
    if (chosen !== again) return;
  }
  const uv = found.pip ? null : onPath("uv", process.env);
  if (!found.pip && uv === null) {
    throw new UserError("M808", "environment", vscode.l10n.t("Python at '{0}' has no pip, and there is no uv: install one of them, or select another Python.", interpreter.path));
  }
  const [program, ...args] = installCommand({ python: interpreter.path, uv, wheels, again: found.version === version });
  const code = await runTask(program, args);
  if (code !== 0) throw new UserError("M809", "environment", vscode.l10n.t("The runtime could not be installed in {0}; the terminal says why.", interpreter.path));
  isThere();
  const log = vscode.l10n.t("Show Log");
  void vscode.window.showInformationMessage(vscode.l10n.t("monet-torch {0} is installed in {1}.", version, interpreter.path), log).then((chosen) => (chosen === log ? vscode.commands.executeCommand("monet.showLog") : undefined));
}

/** The Python of a file where it lacks the runtime, of whatever version. */
export async function withoutRuntime({ interpreters }: Context, uri: vscode.Uri): Promise<Interpreter | null> {
  const interpreter = await interpreters.find(uri);
  return (await ask(interpreter)).version === null ? interpreter : null;
}

async function ask({ path, foundBy }: Interpreter): Promise<{ version: string | null; pip: boolean }> {
  const lines: string[] = [];
  try {
    await runProcess(path, ["-c", probe], { cwd: tmpdir(), env: { ...process.env, PYTHONSAFEPATH: "1" }, onLine: (line) => lines.push(line) });
  } catch (error) {
    throw new UserError("M703", "environment", vscode.l10n.t("Python at '{0}' (found by {1}) can't be started: {2}.", path, foundBy, error instanceof Error ? error.message : String(error)));
  }
  return readProbe(lines);
}

/** In a terminal that is shown, so that the person sees what is done to their environment. Somebody else's task may have the same name: ours is known by its execution. */
async function runTask(program: string, args: readonly string[]): Promise<number | undefined> {
  const name = vscode.l10n.t("install the MONeT runtime");
  const task = new vscode.Task({ type: "process" }, vscode.TaskScope.Workspace, name, "MONeT", new vscode.ProcessExecution(program, [...args]));
  task.presentationOptions = { reveal: vscode.TaskRevealKind.Always, panel: vscode.TaskPanelKind.Dedicated, clear: true };
  const listeners: vscode.Disposable[] = [];
  try {
    return await new Promise<number | undefined>((resolve, reject) => {
      let ours: vscode.TaskExecution | null = null;
      const isOurs = ({ execution }: vscode.TaskEndEvent): boolean => execution === ours;
      listeners.push(
        vscode.tasks.onDidEndTaskProcess((ended) => { if (isOurs(ended)) resolve(ended.exitCode); }),
        // One that never began has no process.
        vscode.tasks.onDidEndTask((ended) => { if (isOurs(ended)) resolve(undefined); }),
      );
      vscode.tasks.executeTask(task).then((execution) => { ours = execution; }, reject);
    });
  } finally {
    for (const listener of listeners) listener.dispose();
  }
}
