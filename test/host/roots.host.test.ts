/** A workspace of two folders that hold files of the same name. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import * as vscode from "vscode";
import type { Context } from "../../src/context";
import { writeModelConfig } from "../../src/actions/config";
import type { Model } from "../../src/workspace";
import { test, until } from "./support/runner";

const [first, second] = (vscode.workspace.workspaceFolders ?? []).map(({ uri }) => uri.fsPath);

async function context(): Promise<Context> {
  const extension = vscode.extensions.getExtension<Context>("monet-vscode.monet-vscode");
  assert.ok(extension);
  return extension.activate();
}

async function modelOf(folder: string | undefined): Promise<Model> {
  const file = vscode.Uri.file(join(folder ?? "", "gpt2.py"));
  await vscode.window.showTextDocument(file);
  const { models } = await context();
  return until("the model is known", () => models.get(`${file.toString()}#MLP`));
}

test("files of the same name in both folders have models of their own", async () => {
  assert.notEqual(first, second);
  const one = await modelOf(first);
  const other = await modelOf(second);
  assert.notEqual(one.id, other.id);
  assert.deepEqual([one.file, other.file], ["models 1/gpt2.py", "models 2/gpt2.py"]);
  // It is known a moment before the side panel follows.
  const { models } = await context();
  await until("the side panel follows the editor", () => models.active?.uri.fsPath === other.uri.fsPath);
});

test("each folder has its own monet.json", async () => {
  await writeModelConfig(await modelOf(second), { inputs: ["float32[2,8,32]"], kwargs: { width: 32, dropout: 0 } });
  assert.deepEqual(Object.keys((JSON.parse(readFileSync(join(second ?? "", "monet.json"), "utf8")) as { models: object }).models), ["gpt2.py:MLP"]);
  assert.equal(existsSync(join(first ?? "", "monet.json")), false);
});

test("a task profiles the model of its own folder, and leaves the other alone", async () => {
  const other = await modelOf(second);
  await vscode.commands.executeCommand("monet.optimize", { uri: other.uri.toString(), name: other.name });
  assert.ok(other.profile);
  assert.equal(existsSync(join(second ?? "", ".monet", "gpt2.MLP.graph.json")), true);
  assert.equal(existsSync(join(first ?? "", ".monet")), false);
  assert.equal((await modelOf(first)).profile, null);
});

test("a task that is stopped leaves the other folder's alone, though it has the same name and begins just then", async () => {
  const [one, other] = [await modelOf(first), await modelOf(second)];
  await writeModelConfig(one, { inputs: ["float32[2,8,32]"], kwargs: { width: 32, dropout: 0 } });
  const { tasks } = await context();
  for (let delay = 0; delay < 200; delay += 40) {
    const stopped = assert.rejects(tasks.run(one, "profile"), { name: "Cancelled" });
    await until("the first runs", () => tasks.jobs.isRunning(one));
    const goesOn = tasks.run(other, "profile");
    await new Promise((resolve) => setTimeout(resolve, delay));
    await Promise.all([tasks.jobs.cancel(one), stopped, goesOn]);
  }
  assert.equal(one.profile, null);
});
