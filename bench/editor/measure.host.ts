/** Runs inside the extension host: what the editor's surfaces cost on a large file with a real profile. */
import assert from "node:assert/strict";
import { performance } from "node:perf_hooks";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import * as vscode from "vscode";
import type { Context } from "../../src/context";
import { solvePlan } from "../../src/solver/client";
import { gpt } from "../../test/support/networks";
import { note, test, until } from "../../test/host/support/runner";

export type Measurement = "operators" | "marks" | "hover" | "busyHover" | "emptyHover" | "hints" | "emptyHints" | "keystroke" | "plainKeystroke";

/** The extension host's Node is newer than the types of ours. */
const cpu = process as typeof process & { threadCpuUsage(before?: NodeJS.CpuUsage): NodeJS.CpuUsage };

const folder = vscode.workspace.workspaceFolders?.[0]?.uri.fsPath ?? "";
const file = vscode.Uri.file(join(folder, "large.py"));
/** The same text, of which we know nothing. */
const plain = vscode.Uri.file(join(folder, "large.txt"));
const repeats = 60;
const keys = 100;
/** Keys before a person looks up; what waits for that is work for these keys. */
const burst = 10;

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

/** Milliseconds that the extension host's own thread works, per key, while a person types in the middle of a file, a pause after each ten keys. */
async function typing(uri: vscode.Uri): Promise<number> {
  const document = await vscode.workspace.openTextDocument(uri);
  const editor = await vscode.window.showTextDocument(document);
  const at = document.lineAt(1500).range.end;
  editor.selection = new vscode.Selection(at, at);
  editor.revealRange(editor.selection);
  await vscode.commands.executeCommand("type", { text: "  # " });
  await sleep(2000);
  const before = cpu.threadCpuUsage();
  for (let key = 0; key < keys; key++) {
    await vscode.commands.executeCommand("type", { text: "x" });
    await sleep(key % burst === burst - 1 ? 1000 : 60);
  }
  const { user, system } = cpu.threadCpuUsage(before);
  await vscode.commands.executeCommand("workbench.action.files.revert");
  return (user + system) / 1000 / keys;
}

async function theExtension(): Promise<Context> {
  const extension = vscode.extensions.getExtension<Context>("monet-vscode.monet-vscode");
  assert.ok(extension);
  return await extension.activate();
}

test("a real profile of the large file", async () => {
  await vscode.window.showTextDocument(file);
  const { models } = await theExtension();
  const marks = await until("the file has marks", () => models.marks(file), 60_000);
  tell("operators", marks.explained.graph.operators.length);
  tell("marks", marks.places.length);
});

/** Medians over places all over the file, from the question to the answer. */
async function answers(uri: vscode.Uri): Promise<{ hover: number; hints: number }> {
  const document = await vscode.workspace.openTextDocument(uri);
  const lines = Array.from({ length: document.lineCount }, (_, at) => at).filter((at) => document.lineAt(at).text.includes("self.layer"));
  const spread = Array.from({ length: repeats }, (_, at) => lines[Math.floor((at * lines.length) / repeats)] ?? 0);
  const hovers: number[] = [];
  const hints: number[] = [];
  for (const line of spread) {
    const place = new vscode.Position(line, document.lineAt(line).text.indexOf("layer") + 2);
    hovers.push(await timed(async () => {
      const found = await vscode.commands.executeCommand<vscode.Hover[]>("vscode.executeHoverProvider", uri, place);
      assert.ok(found.length > 0);
    }));
    const page = new vscode.Range(Math.max(0, line - 25), 0, line + 25, 0);
    hints.push(await timed(async () => {
      const found = await vscode.commands.executeCommand<vscode.InlayHint[]>("vscode.executeInlayHintProvider", uri, page);
      assert.ok(found.length > 0);
    }));
  }
  return { hover: median(hovers), hints: median(hints) };
}

test("hovers and inlay hints", async () => {
  const { hover, hints } = await answers(file);
  tell("hover", hover);
  tell("hints", hints);
});

test("hovers while a decoder of 10,000 operators is solved", async () => {
  const graph = gpt(2, 256, 770);
  const stop = new AbortController();
  const progress: string[] = [];
  const { dist } = await theExtension();
  const worker = pathToFileURL(join(dist, "solver-worker.mjs"));
  const solving = solvePlan(graph, Math.round(0.6 * graph.values.reduce((sum, { bytes }) => sum + bytes, 0)), { signal: stop.signal, worker, onProgress: ({ stage }) => progress.push(stage) });
  const ended = solving.then(() => "solved", () => "stopped");
  await until("it is being solved", () => progress.length > 0);
  const { hover } = await answers(file);
  stop.abort();
  assert.equal(await ended, "stopped", "the solver was at work all the while");
  tell("busyHover", hover);
});

test("the round trip of answers that cost nothing", async () => {
  const selector = { language: "plaintext" };
  const empty = vscode.Disposable.from(
    vscode.languages.registerHoverProvider(selector, { provideHover: () => new vscode.Hover("x") }),
    vscode.languages.registerInlayHintsProvider(selector, { provideInlayHints: (_, { start }) => [new vscode.InlayHint(start, "x")] }),
  );
  try {
    const { hover, hints } = await answers(plain);
    tell("emptyHover", hover);
    tell("emptyHints", hints);
  } finally {
    empty.dispose();
  }
});

test("a keystroke", async () => {
  tell("plainKeystroke", await typing(plain));
  tell("keystroke", await typing(file));
});
