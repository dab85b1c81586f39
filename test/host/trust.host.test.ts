/** A folder that is not trusted: models are read, nothing is run. */
import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as vscode from "vscode";
import type { Context } from "../../src/context";
import { runningHelpers } from "../e2e/support/processes";
import { test, until } from "./support/runner";

const folder = vscode.workspace.workspaceFolders?.[0]?.uri.fsPath ?? "";
const file = vscode.Uri.file(join(folder, "resnet50.py"));
const argument = { uri: file.toString(), name: "resnet50" };
const ran = join(folder, "ran");

async function context(): Promise<Context> {
  const extension = vscode.extensions.getExtension<Context>("monet-vscode.monet-vscode");
  assert.ok(extension);
  return extension.activate();
}

const lenses = async (): Promise<readonly string[]> =>
  (await vscode.commands.executeCommand<vscode.CodeLens[]>("vscode.executeCodeLensProvider", file)).map(({ command }) => command?.title ?? "");

test("models are read", async () => {
  assert.equal(vscode.workspace.isTrusted, false);
  await vscode.window.showTextDocument(file);
  const { models } = await context();
  await until("the models of the file are known", () => models.all.some(({ name }) => name === "resnet50"));
});

test("no lens offers to run something", async () => {
  assert.deepEqual(await lenses(), []);
});

test("no command starts a Python, and the file's code is not run", async () => {
  writeFileSync(file.fsPath, `open(${JSON.stringify(ran)}, "w")\n${readFileSync(file.fsPath, "utf8")}`);
  writeFileSync(join(folder, "monet.json"), JSON.stringify({ models: { "resnet50.py:resnet50": { inputs: ["float32[2,3,64,64]"] } } }));
  for (const command of ["monet.optimize", "monet.profile", "monet.verify"]) {
    void vscode.commands.executeCommand(command, argument);
  }
  await new Promise((resolve) => setTimeout(resolve, 3000));
  assert.deepEqual(runningHelpers(folder), []);
  assert.equal(existsSync(ran), false);
  assert.equal(existsSync(join(folder, ".monet")), false);
});

test("no task of ours is provided", async () => {
  assert.deepEqual(await (await context()).tasks.provideTasks(), []);
});

test("a Python that the folder itself names is not taken", async () => {
  await vscode.workspace.getConfiguration("monet").update("pythonPath", join(folder, "evil"), vscode.ConfigurationTarget.Workspace);
  assert.equal(vscode.workspace.getConfiguration("monet").get("pythonPath"), "");
});
