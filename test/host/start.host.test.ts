/** Who begins with nothing: an empty folder, and a Python without our runtime. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import * as vscode from "vscode";
import { openExample } from "../../src/actions/example";
import type { Context } from "../../src/context";
import { test, until } from "./support/runner";

const folder = vscode.workspace.workspaceFolders?.[0]?.uri.fsPath ?? "";

async function context(): Promise<Context> {
  const extension = vscode.extensions.getExtension<Context>("monet-vscode.monet-vscode");
  assert.ok(extension);
  return extension.activate();
}

test("an example is copied into the empty folder, opened, and can be profiled", async () => {
  assert.deepEqual(readdirSync(folder), []);
  await vscode.commands.executeCommand("monet.openExample");
  const editor = vscode.window.activeTextEditor;
  assert.equal(editor?.document.uri.fsPath, join(folder, "resnet50.py"));
  writeFileSync(join(folder, "monet.json"), JSON.stringify({ models: { "resnet50.py:resnet50": { inputs: ["float32[2,3,32,32]"] } } }));
  const argument = { uri: editor.document.uri.toString(), name: "resnet50" };
  const profiled = vscode.commands.executeCommand("monet.profile", argument);
  const { models } = await context();
  const model = await until("the model is known", () => models.get(`${argument.uri}#resnet50`));
  await until("it is profiled, or has failed", () => model.profile !== null || model.problem !== null, 280_000);
  assert.equal(model.problem, null);
  await vscode.commands.executeCommand("monet.cancel");
  await profiled;
});

test("an example that is there is opened as it is", async () => {
  const file = join(folder, "resnet50.py");
  writeFileSync(file, "# mine\n");
  await vscode.commands.executeCommand("monet.openExample");
  assert.equal(vscode.window.activeTextEditor?.document.uri.fsPath, file);
  await until("the text of the file", () => vscode.window.activeTextEditor?.document.getText() === "# mine\n");
});

test("an example that can't be written is said", async () => {
  const file = join(folder, "gpt2.py");
  const text = readFileSync(file);
  rmSync(file);
  symlinkSync(join(folder, "nowhere", "gpt2.py"), file);
  await assert.rejects(openExample(await context()), { code: "M810" });
  rmSync(file);
  writeFileSync(file, text);
});

test("the runtime is installed into the Python that is selected, without a network", async () => {
  const python = join(folder, "env", "bin", "python");
  const ofTests = process.env["MONET_PYTHON"] ?? "";
  const packages = (program: string): string => execFileSync(program, ["-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"], { encoding: "utf8" }).trim();
  execFileSync(ofTests, ["-m", "venv", "--without-pip", dirname(dirname(python))]);
  symlinkSync(join(packages(ofTests), "pip"), join(packages(python), "pip"));
  const found = (): string => spawnSync(python, ["-c", "import importlib.metadata as m; print(m.version('monet-torch'))"], { encoding: "utf8", cwd: dirname(python) }).stdout.trim();
  assert.equal(found(), "");
  await vscode.workspace.getConfiguration("monet").update("pythonPath", python, vscode.ConfigurationTarget.Workspace);
  await vscode.commands.executeCommand("monet.installRuntime");
  const { dist } = await context();
  assert.ok(readdirSync(join(dist, "python")).some((name) => name.startsWith(`monet_torch-${found()}-`)), found());
  assert.ok(existsSync(join(packages(python), "monet_torch", "__init__.py")));
  assert.deepEqual(readdirSync(packages(python)).filter((name) => name.startsWith("torch")), []);
});
