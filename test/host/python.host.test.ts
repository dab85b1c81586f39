/** Which Python is taken, with stand-ins of both extensions that may name one. */
import assert from "node:assert/strict";
import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as vscode from "vscode";
import type { Context } from "../../src/context";
import { test } from "./support/runner";

interface StandIn {
  select(path: string | null): void;
}

const folder = vscode.workspace.workspaceFolders?.[0]?.uri ?? vscode.Uri.file("/");
const file = vscode.Uri.joinPath(folder, "resnet50.py");

async function activated<T>(id: string): Promise<T> {
  const extension = vscode.extensions.getExtension<T>(id);
  assert.ok(extension, id);
  return extension.activate();
}

const environments = (): Promise<StandIn> => activated<StandIn>("ms-python.vscode-python-envs");
const python = (): Promise<StandIn> => activated<StandIn>("ms-python.python");

async function found(): Promise<string> {
  const { interpreters } = await activated<Context>("monet-vscode.monet-vscode");
  return (await interpreters.find(file)).path;
}

const programs = ["of-environments", "of-python", "of-setting"].map((name) => join(folder.fsPath, name));
const [ofEnvironments = "", ofPython = "", ofSetting = ""] = programs;
const set = async (path: string | undefined): Promise<void> => {
  await vscode.workspace.getConfiguration("monet").update("pythonPath", path, vscode.ConfigurationTarget.Workspace);
};

test("without a selection anywhere, the environment's own MONET_PYTHON is taken", async () => {
  await vscode.window.showTextDocument(file);
  assert.equal(await found(), process.env["MONET_PYTHON"]);
});

test("the setting wins over that", async () => {
  for (const program of programs) {
    writeFileSync(program, "#!/bin/sh\n");
    chmodSync(program, 0o755);
  }
  await set(ofSetting);
  assert.equal(await found(), ofSetting);
});

test("the Python extension wins over the setting", async () => {
  (await python()).select(ofPython);
  assert.equal(await found(), ofPython);
});

test("the Python Environments extension wins over all", async () => {
  (await environments()).select(ofEnvironments);
  assert.equal(await found(), ofEnvironments);
});

test("another selection holds from the next run on", async () => {
  (await environments()).select(null);
  assert.equal(await found(), ofPython);
  (await python()).select(null);
  assert.equal(await found(), ofSetting);
});

test("Select Python opens the picker of the extension that is there", async () => {
  const opened: string[] = [];
  const picker = vscode.commands.registerCommand("python-envs.set", () => opened.push("python-envs.set"));
  try {
    await vscode.commands.executeCommand("monet.selectPython");
    assert.deepEqual(opened, ["python-envs.set"]);
  } finally {
    picker.dispose();
  }
});

