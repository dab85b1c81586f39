/** What shows inside the text editor, asked of the editor itself, on two files and a model that was really profiled. */
import assert from "node:assert/strict";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as vscode from "vscode";
import type { Context } from "../../src/context";
import type { Model } from "../../src/workspace";
import { test, until } from "./support/runner";

const folder = vscode.workspace.workspaceFolders?.[0]?.uri.fsPath ?? "";
const uriOf = (name: string): vscode.Uri => vscode.Uri.file(join(folder, name));
const net = uriOf("net.py");
const parts = uriOf("parts.py");
const argument = { uri: net.toString(), name: "Net" };

const partsText = `from torch import nn


class Unit(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.act = nn.Tanh()

    def forward(self, x):
        return self.act(self.linear(x))
`;
const netText = `from torch import nn
from parts import Unit


class Net(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.units = nn.ModuleList(Unit(width) for _ in range(8))

    def forward(self, x):
        for unit in self.units:
            x = unit(x)
        return x
`;

async function context(): Promise<Context> {
  const extension = vscode.extensions.getExtension<Context>("monet-vscode.monet-vscode");
  assert.ok(extension);
  return extension.activate();
}

async function theModel(): Promise<Model> {
  const model = (await context()).models.get(`${argument.uri}#Net`);
  assert.ok(model);
  return model;
}

async function show(uri: vscode.Uri): Promise<vscode.TextEditor> {
  return vscode.window.showTextDocument(await vscode.workspace.openTextDocument(uri), { preview: false });
}

/** `line text` for each. */
async function lenses(uri: vscode.Uri): Promise<string[]> {
  const found = await vscode.commands.executeCommand<vscode.CodeLens[]>("vscode.executeCodeLensProvider", uri);
  return found.map(({ range, command }) => `${range.start.line + 1} ${command?.title ?? ""}`);
}

async function hints(uri: vscode.Uri): Promise<Record<number, string>> {
  const all = new vscode.Range(0, 0, 1000, 0);
  const found = await vscode.commands.executeCommand<vscode.InlayHint[]>("vscode.executeInlayHintProvider", uri, all);
  return Object.fromEntries(found.map(({ position, label }) => [position.line + 1, typeof label === "string" ? label : label.map(({ value }) => value).join("")]));
}

async function hoverAt(uri: vscode.Uri, line: number, column: number): Promise<string> {
  const found = await vscode.commands.executeCommand<vscode.Hover[]>("vscode.executeHoverProvider", uri, new vscode.Position(line - 1, column));
  return found.flatMap(({ contents }) => contents).map((content) => (content instanceof vscode.MarkdownString ? content.value : "")).join("\n");
}

const isStale = async (uri: vscode.Uri): Promise<boolean> => Object.values(await hints(uri)).some((text) => text.startsWith("stale · "));

/** The fastest plan keeps what eager keeps. */
async function choose(share: "most" | "least"): Promise<Model> {
  const { models } = await context();
  const model = await theModel();
  const points = model.profile?.points ?? [];
  models.choose(model, (share === "most" ? points.at(-1) : points[0])?.peak ?? 0);
  return model;
}

test("before a profile there are two lenses per class, and nothing else", async () => {
  writeFileSync(parts.fsPath, partsText);
  writeFileSync(net.fsPath, netText);
  writeFileSync(join(folder, "monet.json"), JSON.stringify({ models: { "net.py:Net": { inputs: ["float32[64,16]"], threads: 1 } } }));
  await show(net);
  await until("lenses", async () => (await lenses(net)).length > 0);
  assert.deepEqual(await lenses(net), ["5 Profile memory", "5 Optimize memory"]);
  assert.deepEqual(await hints(net), {});
  assert.equal(await hoverAt(net, 8, 10), "");
  assert.equal((await context()).models.active, await theModel());
});

test("a profiled class has its peak above it, and memory at the end of its lines", async () => {
  await vscode.commands.executeCommand("monet.optimize", argument);
  await choose("most");
  await show(net);
  await until("the peak", async () => (await lenses(net)).some((text) => text.startsWith("5 peak ")));
  assert.match((await lenses(net)).join("\n"), /^5 peak \S+ KiB → \S+ KiB \(\+0\.0%\)\n5 Schedule\n5 Optimize memory$/);
  // Eight outputs of 64×16 floats by Tanh, which its backward needs, and nothing twice.
  assert.deepEqual(await hints(net), { 8: "◆ 32.0 KiB kept", 12: "◆ 32.0 KiB kept" });
});

test("a class in another file shows its share, and its lines their sums over all uses", async () => {
  await show(parts);
  await until("hints", async () => Object.keys(await hints(parts)).length > 0);
  assert.equal((await lenses(parts))[0], "4 ◆ 32.0 KiB kept, of 32.0 KiB in the whole model");
  assert.deepEqual(await hints(parts), { 8: "◆ 32.0 KiB kept", 11: "◆ 32.0 KiB kept" });
});

test("a smaller budget shows at once what is recomputed", async () => {
  const model = await choose("least");
  assert.notEqual(model.selected, (model.profile?.points.length ?? 0) - 1);
  const { 8: act = "" } = await hints(parts);
  assert.match(act, /^◆ \S+ KiB kept · ↻ \S+ KiB (recomputed )?\+\S+ [µnm]s$/);
});

test("a hover is a table of all calls, with links that run", async () => {
  const text = await hoverAt(parts, 8, 14);
  assert.match(text, /\*\*`self\.act`\*\* · `Tanh` · \[Show in schedule\]\(command:monet\.showSchedule\?/);
  assert.match(text, /8 operators in 8 modules, summed/);
  assert.match(text, /\| Kept by eager PyTorch \| 32\.0 KiB \|/);
  assert.match(text, /\| `units\.7\.act` tanh \|/);
  assert.match(text, /Keeping it would raise the peak to|lower the peak/);
});

test("while something runs, the lens says what and can stop it", async () => {
  const { models } = await context();
  const model = await theModel();
  models.update(model, { running: { text: "profiling 34 of 160", fraction: 0.2 } });
  assert.deepEqual(await lenses(net), ["5 $(sync~spin) profiling 34 of 160", "5 Cancel"]);
  models.update(model, { running: null });
  assert.equal((await lenses(net)).length, 3);
});

test("a comment moves the marks and leaves them fresh", async () => {
  const editor = await show(net);
  await editor.edit((edit) => { edit.insert(new vscode.Position(2, 0), "# one\n# two\n"); });
  // Asked at once: the answer is about the newest text.
  assert.deepEqual(Object.keys(await hints(net)), ["10", "14"]);
  assert.equal(await isStale(net), false);
});

test("a change of the model marks everything as stale, in each of its files, and undoing it as fresh", async () => {
  const editor = await show(parts);
  const at = editor.document.positionAt(partsText.indexOf("Tanh"));
  await editor.edit((edit) => { edit.replace(new vscode.Range(at, at.translate(0, 4)), "Sigmoid"); });
  await until("stale marks in parts.py", () => isStale(parts));
  assert.equal(await isStale(net), true);
  assert.match((await lenses(net)).join("\n"), /^7 stale · peak .*\n7 Schedule\n7 Profile again$/);
  assert.match((await lenses(parts))[0] ?? "", /^4 stale · ◆/);
  assert.match(await hoverAt(net, 10, 10), /The code has changed since it was profiled/);
  await vscode.commands.executeCommand("undo");
  await until("fresh marks in net.py", async () => !(await isStale(net)));
  assert.equal((await theModel()).freshness, "fresh");
});

test("the side panel's model is the one at the cursor", async () => {
  const { models } = await context();
  writeFileSync(uriOf("other.py").fsPath, netText.replace("class Net", "class Other"));
  await show(uriOf("other.py"));
  await until("the other model", () => models.active?.name === "Other");
  await show(net);
  await until("the model again", () => models.active?.name === "Net");
});

test("a class that is gone is no longer the side panel's model, though no file is open", async () => {
  const { models } = await context();
  const other = uriOf("other.py");
  await show(other);
  await until("the other model", () => models.active?.name === "Other");
  await vscode.commands.executeCommand("workbench.action.closeAllEditors");
  writeFileSync(other.fsPath, netText.replace("class Net", "class Renamed"));
  await until("the new name is known", () => models.all.some(({ name }) => name === "Renamed"));
  await until("the old one is gone", () => models.active?.name !== "Other");
  await show(net);
  await until("the model again", () => models.active?.name === "Net");
});

test("the setting takes the lenses away", async () => {
  const configuration = vscode.workspace.getConfiguration("monet", net);
  await configuration.update("codeLens", false, vscode.ConfigurationTarget.Workspace);
  assert.deepEqual(await lenses(net), []);
  await configuration.update("codeLens", undefined, vscode.ConfigurationTarget.Workspace);
  assert.equal((await lenses(net)).length, 3);
});

test("what this window has saved is not loaded again", async () => {
  const model = await theModel();
  const { profile } = model;
  const graph = model.fileOf("graph");
  writeFileSync(graph, readFileSync(graph));
  writeFileSync(model.fileOf("plan"), "{}");
  await until("the plan file to be read", () => model.planFile === "{}");
  assert.equal(model.profile, profile);
});

test("without the text that was profiled, marks are fresh only for a file that is the same", async () => {
  const model = await theModel();
  rmSync(model.fileOf("snapshot"));
  rmSync(model.fileOf("frontier"));
  await until("stale marks: two comments have come", () => isStale(net));
});

test("what another window deletes is gone here too", async () => {
  rmSync(join(folder, ".monet"), { recursive: true });
  await until("no hints", async () => Object.keys(await hints(net)).length === 0);
  assert.deepEqual(await lenses(net), ["7 Profile memory", "7 Optimize memory"]);
});
