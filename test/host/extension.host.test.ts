/** What everyone gets who opens a Python file. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import * as vscode from "vscode";
import type { Context } from "../../src/context";
import { runningHelpers } from "../e2e/support/processes";
import { test, until } from "./support/runner";

const folder = vscode.workspace.workspaceFolders?.[0]?.uri.fsPath ?? "";
const extension = vscode.extensions.getExtension<Context>("monet-vscode.monet-vscode");

interface Manifest {
  readonly contributes: {
    readonly commands: readonly { readonly command: string; readonly title: string }[];
    readonly configuration: { readonly properties: Readonly<Record<string, { readonly default?: unknown }>> };
  };
}

const manifest = (): Manifest["contributes"] => (extension?.packageJSON as Manifest).contributes;

test("nothing is activated before a Python file is open", () => {
  assert.ok(extension);
  assert.equal(extension.isActive, false);
});

test("opening a Python file activates the extension, and runs nothing", async () => {
  await vscode.window.showTextDocument(vscode.Uri.file(join(folder, "resnet50.py")));
  await until("the extension is active", () => extension?.isActive);
  const context = await extension?.activate();
  await until("the models of the file are known", () => context?.models.all.some(({ name }) => name === "resnet50"));
  assert.deepEqual(runningHelpers(folder), []);
  assert.equal(existsSync(join(folder, ".monet")), false);
});

test("each command of the manifest is registered", async () => {
  const registered = new Set(await vscode.commands.getCommands(true));
  const declared = manifest().commands.map(({ command }) => command);
  assert.deepEqual(declared.filter((command) => !registered.has(command)), []);
});

test("every text of the manifest has its words", () => {
  const untranslated = JSON.stringify(manifest()).match(/"%[\w.]+%"/g) ?? [];
  assert.deepEqual(untranslated, []);
});

test("each setting has the default that the manifest tells", () => {
  for (const [name, { default: value }] of Object.entries(manifest().configuration.properties)) {
    assert.deepEqual(vscode.workspace.getConfiguration().get(name), value, name);
  }
});
