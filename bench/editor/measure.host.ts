/** Runs inside the extension host: what the editor's surfaces cost on a large file with a real profile. */
import assert from "node:assert/strict";
import { performance } from "node:perf_hooks";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import * as vscode from "vscode";
import type { Context } from "../../src/context";
import { note, test, until } from "../../test/host/support/runner";

export type Measurement = "activation" | "operators" | "marks" | "hover" | "hints" | "keystroke" | "plainKeystroke";

const folder = vscode.workspace.workspaceFolders?.[0]?.uri.fsPath ?? "";
const file = vscode.Uri.file(join(folder, "large.py"));
const repeats = 60;
const keys = 100;

const tell = (name: Measurement, value: number): void => { note(JSON.stringify({ name, value })); };

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? NaN;
}

async function timed(run: () => PromiseLike<unknown>): Promise<number> {
  const started = performance.now();
  await run();
  return performance.now() - started;
}

/** Milliseconds in which the extension host was busy, per key, while a person types in the middle of a file. */
async function typing(uri: vscode.Uri): Promise<number> {
  const document = await vscode.workspace.openTextDocument(uri);
  const editor = await vscode.window.showTextDocument(document);
  const at = document.lineAt(1500).range.end;
  editor.selection = new vscode.Selection(at, at);
  editor.revealRange(editor.selection);
  await vscode.commands.executeCommand("type", { text: "  # " });
  await sleep(2000);
  const before = performance.eventLoopUtilization();
  for (let key = 0; key < keys; key++) {
    await vscode.commands.executeCommand("type", { text: "x" });
    await sleep(60);
  }
  const { active } = performance.eventLoopUtilization(before);
  await vscode.commands.executeCommand("workbench.action.files.revert");
  return active / keys;
}

let context: Context | undefined;

test("activation", async () => {
  const extension = vscode.extensions.getExtension<Context>("monet-vscode.monet-vscode");
  assert.ok(extension);
  assert.equal(extension.isActive, false);
  const started = performance.now();
  context = await extension.activate();
  tell("activation", performance.now() - started);
});

test("a real profile of the large file", async () => {
  await vscode.window.showTextDocument(file);
  await until("the model is known", () => context?.models.get(`${file.toString()}#Net`));
  await vscode.commands.executeCommand("monet.optimize", { uri: file.toString(), name: "Net" });
  const marks = await until("the file has marks", () => context?.models.marks(file));
  tell("operators", marks.explained.graph.operators.length);
  tell("marks", marks.places.length);
});

test("hovers and inlay hints", async () => {
  const document = await vscode.workspace.openTextDocument(file);
  const lines = Array.from({ length: document.lineCount }, (_, at) => at).filter((at) => document.lineAt(at).text.includes("self.layer"));
  const spread = Array.from({ length: repeats }, (_, at) => lines[Math.floor((at * lines.length) / repeats)] ?? 0);
  const hovers: number[] = [];
  const hints: number[] = [];
  for (const line of spread) {
    const place = new vscode.Position(line, document.lineAt(line).text.indexOf("layer") + 2);
    hovers.push(await timed(async () => {
      const found = await vscode.commands.executeCommand<vscode.Hover[]>("vscode.executeHoverProvider", file, place);
      assert.ok(found.length > 0);
    }));
    const page = new vscode.Range(Math.max(0, line - 25), 0, line + 25, 0);
    hints.push(await timed(async () => {
      const found = await vscode.commands.executeCommand<vscode.InlayHint[]>("vscode.executeInlayHintProvider", file, page);
      assert.ok(found.length > 0);
    }));
  }
  tell("hover", median(hovers));
  tell("hints", median(hints));
});

test("a keystroke", async () => {
  tell("plainKeystroke", await typing(vscode.Uri.file(join(folder, "large.txt"))));
  tell("keystroke", await typing(file));
});
