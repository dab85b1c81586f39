/** What a person starts, with the real helper, the real solver and the selected Python. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import * as vscode from "vscode";
import { applyPlan, insertIntoScript } from "../../src/actions/apply";
import { refineSoon, setBatch } from "../../src/actions/optimize";
import type { Context } from "../../src/context";
import type { Model } from "../../src/workspace";
import { runningHelpers } from "../e2e/support/processes";
import { test, until } from "./support/runner";

const folder = vscode.workspace.workspaceFolders?.[0]?.uri.fsPath ?? "";
const file = vscode.Uri.file(join(folder, "small.py"));
const argument = { uri: file.toString(), name: "Net" };
const saved = (kind: string): string => join(folder, ".monet", `small.Net.${kind}.json`);

const source = `import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.layers = nn.Sequential(*[nn.Sequential(nn.Linear(width, width), nn.ReLU()) for _ in range(6)])

    def forward(self, x):
        if x.shape[0] == 7:
            raise ValueError("seven")
        return self.layers(x)
`;
const script = `import torch
from small import Net

def main():
    model = Net()
    model.to("cpu")
    model(torch.randn(8, 16)).sum().backward()
`;

async function context(): Promise<Context> {
  const extension = vscode.extensions.getExtension<Context>("monet-vscode.monet-vscode");
  assert.ok(extension);
  return extension.activate();
}

async function modelOf({ uri, name }: typeof argument): Promise<Model> {
  const { models } = await context();
  await models.read(vscode.Uri.parse(uri));
  const model = models.get(`${uri}#${name}`);
  assert.ok(model);
  return model;
}

const theModel = (): Promise<Model> => modelOf(argument);

function config(inputs: string[], ...others: string[]): void {
  const models = ["small.py:Net", ...others].map((key) => [key, { inputs, threads: 1 }] as const);
  writeFileSync(join(folder, "monet.json"), JSON.stringify({ models: Object.fromEntries(models) }));
}

test("Optimize profiles as a task, solves, and stores what it found", async () => {
  writeFileSync(file.fsPath, source);
  config(["float32[4,16]"]);
  await vscode.window.showTextDocument(file);
  const started: string[] = [];
  const listener = vscode.tasks.onDidStartTask(({ execution }) => started.push(execution.task.name));
  await vscode.commands.executeCommand("monet.optimize", argument);
  listener.dispose();
  const model = await theModel();
  assert.equal(model.problem, null);
  assert.deepEqual(started, ["profile small.py:Net"]);
  assert.ok(model.profile !== null && model.profile.plans.length > 1);
  assert.equal(model.freshness, "fresh");
  assert.equal(model.running, null);
  for (const kind of ["graph", "frontier", "snapshot"]) assert.ok(existsSync(saved(kind)), kind);
  const peaks = model.profile.points.map(({ peak }) => peak);
  assert.deepEqual(peaks, [...peaks].sort((a, b) => a - b));
});

test("what is fresh is not profiled again", async () => {
  const before = readFileSync(saved("graph"), "utf8");
  await vscode.commands.executeCommand("monet.optimize", argument);
  assert.equal(readFileSync(saved("graph"), "utf8"), before);
});

test("an exact budget adds a plan that fits it, and one that is too small says what is the least", async () => {
  const { tasks } = await context();
  const model = await theModel();
  const { points } = model.profile ?? { points: [] };
  const budget = Math.floor(((points[0]?.peak ?? 0) + (points.at(-1)?.peak ?? 0)) / 2);
  await tasks.refine(model, budget);
  const fitting = model.profile?.points.findLast(({ peak }) => peak <= budget);
  assert.ok(fitting !== undefined && fitting.time <= (points.findLast(({ peak }) => peak <= budget)?.time ?? 0));
  await assert.rejects(tasks.refine(model, 1000), { code: "M612", message: /^No schedule of Net fits 1000 B: the smallest that was found has a peak of .*, at .+, which takes .+ of activations/ });
  assert.equal(model.refining, false);
});

test("another batch size is written to monet.json and profiled anew", async () => {
  const { models } = await context();
  const model = await theModel();
  // It is measured within seconds.
  const seen = new Set<string | undefined>();
  const listener = models.onDidChange(() => seen.add(model.profile?.graph.hash));
  await setBatch(await context(), model, 6);
  listener.dispose();
  assert.ok([...seen].some((hash) => hash?.endsWith("@6")), "it is told from the profile that is there");
  assert.deepEqual(model.profile?.graph.made_from.inputs, ["float32[6,16]"]);
  assert.doesNotMatch(model.profile.graph.hash, /@/);
  assert.match(readFileSync(join(folder, "monet.json"), "utf8"), /"float32\[6,16\]"/);
  assert.equal(model.outdated, false);
  assert.equal(models.active, model);
});

test("where another batch size fails, the old one holds again, and the line at fault is marked", async () => {
  const model = await theModel();
  await setBatch(await context(), model, 7);
  assert.match(readFileSync(join(folder, "monet.json"), "utf8"), /"float32\[6,16\]"/);
  assert.match(model.problem?.text ?? "", /small\.py:12: .*seven/);
  const [diagnostic] = vscode.languages.getDiagnostics(file).filter(({ source: by }) => by === "MONeT");
  assert.equal(diagnostic?.range.start.line, 11);
  assert.match(diagnostic.message, /^ValueError: seven/);
  assert.ok(typeof diagnostic.code === "object" && diagnostic.code.value === "M201");
  assert.match((await vscode.workspace.openTextDocument(diagnostic.code.target.with({ fragment: "" }))).lineAt(Number(diagnostic.code.target.fragment.slice(1)) - 1).text, /^\| M201 \|/);
  await vscode.commands.executeCommand("monet.profile", argument);
  assert.equal(model.problem, null);
  assert.deepEqual(vscode.languages.getDiagnostics(file).filter(({ source: by }) => by === "MONeT"), []);
});

test("a mark moves with its line, and goes when that line is changed", async () => {
  const at = vscode.Uri.file(join(folder, "marked.py"));
  writeFileSync(at.fsPath, source.replace("self.layers(x)", "self.layers(x).to_sparse().to_dense()"));
  config(["float32[6,16]"], "marked.py:Net");
  await vscode.commands.executeCommand("monet.profile", { uri: at.toString(), name: "Net" });
  const ours = (): vscode.Diagnostic[] => vscode.languages.getDiagnostics(at).filter(({ source: by }) => by === "MONeT");
  const marked = (): number[] => ours().map(({ range }) => range.start.line);
  assert.match(ours()[0]?.message ?? "", /^aten\.to_sparse\.default gives a sparse_coo tensor, which a plan can't hold; parts of it can be planned by themselves: 'layers' \(/);
  const { document } = await vscode.window.showTextDocument(at, { preview: false });
  const write = async (line: number, character: number, text: string): Promise<void> => {
    const edit = new vscode.WorkspaceEdit();
    edit.insert(at, new vscode.Position(line, character), text);
    await vscode.workspace.applyEdit(edit);
  };
  assert.deepEqual(marked(), [12]);
  await write(0, 0, "# one\n# two\n");
  await until("the mark has moved", () => marked().join() === "14");
  await write(14, document.lineAt(14).text.length, "  # mended");
  await until("the mark is gone", () => marked().length === 0);
  await vscode.commands.executeCommand("workbench.action.revertAndCloseActiveEditor");
  rmSync(at.fsPath);
});

test("a class that was profiled and failed takes its mark with it once the file is saved under another name", async () => {
  const at = vscode.Uri.file(join(folder, "named.py"));
  const named = { uri: at.toString(), name: "Net" };
  writeFileSync(at.fsPath, source);
  config(["float32[6,16]"], "named.py:Net");
  await vscode.commands.executeCommand("monet.profile", named);
  const model = await modelOf(named);
  assert.ok(model.profile !== null, model.problem?.text);
  await until("the editor knows that the task has ended", () => vscode.tasks.taskExecutions.length === 0);
  await setBatch(await context(), model, 7);
  assert.ok(model.problem !== null);
  const marks = (): number => vscode.languages.getDiagnostics(at).filter(({ source: by }) => by === "MONeT").length;
  assert.equal(marks(), 1);
  const { models } = await context();
  const { document } = await vscode.window.showTextDocument(at, { preview: false });
  const edit = new vscode.WorkspaceEdit();
  edit.replace(at, new vscode.Range(4, 6, 4, 9), "Renamed");
  await vscode.workspace.applyEdit(edit);
  await until("the new name is known", () => models.of(at).some(({ name }) => name === "Renamed"));
  assert.deepEqual([models.get(model.id), marks()], [model, 1], "it may come back");
  await document.save();
  await until("the old one is gone, and its mark", () => models.get(model.id) === null && marks() === 0);
  await vscode.commands.executeCommand("workbench.action.closeActiveEditor");
  rmSync(at.fsPath);
});

test("Verify runs a real step and finds everything equal", async () => {
  const model = await theModel();
  await vscode.commands.executeCommand("monet.verify", argument);
  assert.equal(model.problem, null);
  assert.ok(model.verified?.equal);
  assert.ok(model.verified.compared > 5);
  const { tasks } = await context();
  await tasks.reports.show(model, "verify");
  assert.match(vscode.window.activeTextEditor?.document.getText() ?? "", /equal to eager's, bit for bit/);
});

test("Export writes the plan as plain PyTorch beside the model, and never over a file of the person's", async () => {
  const { models, tasks } = await context();
  const model = await theModel();
  const written = join(folder, "small_Net_checkpoint.py");
  models.choose(model, model.profile?.points[0]?.peak ?? 0);
  await vscode.commands.executeCommand("monet.export", argument);
  assert.equal(model.problem, null);
  assert.match(readFileSync(written, "utf8"), /^"""Checkpoints of small\.py:Net, written by `monet export` from a plan for a budget of/);
  await tasks.reports.show(model, "export");
  await until("the report is of the export", () => /as plain PyTorch: .*small_Net_checkpoint\.py\n(.*\n)*.*equal to eager's, bit for bit/.test(vscode.window.activeTextEditor?.document.getText() ?? ""));
  writeFileSync(written, "mine\n");
  await vscode.commands.executeCommand("monet.export", argument);
  const { problem } = await theModel();
  assert.match(problem?.text ?? "", /small_Net_checkpoint\.py is there and was not written by export; move it away \[M324\]$/);
  assert.equal(problem?.action.id, "export");
  assert.equal(readFileSync(written, "utf8"), "mine\n");
  rmSync(written);
  models.choose(model, Number.POSITIVE_INFINITY);
  await vscode.commands.executeCommand("monet.export", argument);
  assert.match((await theModel()).problem?.text ?? "", /^nothing that this plan drops lies within a module .* \[M325\]$/);
  assert.equal(existsSync(written), false);
});

test("Apply writes the plan, and the two lines go into the script, to be undone", async () => {
  const { sources } = await context();
  const model = await theModel();
  const { models } = await context();
  const { peak } = model.profile?.points[0] ?? { peak: 0 };
  models.choose(model, peak + 3);
  await vscode.commands.executeCommand("monet.apply", argument);
  assert.ok(model.applied);
  const { budget } = JSON.parse(readFileSync(saved("plan"), "utf8")) as { budget: number };
  assert.equal(budget, peak + 3); // what was asked for, not what the plan was found for
  models.choose(model, peak + 5);
  assert.ok(model.applied); // the same plan
  const train = join(folder, "train.py");
  writeFileSync(train, script);
  const found = await sources.insertions(train, { makers: ["Net"], object: null, plan: ".monet/small.Net.plan.json", loss: null });
  assert.deepEqual(found.map(({ line, edits }) => [line, edits.at(-1)?.text]), [[6, '    monet_torch.apply(model, ".monet/small.Net.plan.json")\n']]);
});

test("the lines go into the editor that the script is open in, and one undo gives the file back", async () => {
  const train = vscode.Uri.file(join(folder, "train.py"));
  const tabs = (): vscode.ViewColumn[] =>
    vscode.window.tabGroups.all.flatMap(({ tabs: all, viewColumn }) => all.flatMap(({ input }) => (input instanceof vscode.TabInputText && input.uri.fsPath === train.fsPath ? [viewColumn] : [])));
  const { document } = await vscode.window.showTextDocument(train, { viewColumn: vscode.ViewColumn.Two, preview: false });
  for (const before of ["in sight", "behind another tab"]) {
    if (before === "behind another tab") await vscode.window.showTextDocument(vscode.Uri.file(join(folder, "gpt2.py")), { viewColumn: vscode.ViewColumn.Two, preview: false });
    await vscode.window.showTextDocument(file, { viewColumn: vscode.ViewColumn.One });
    await insertIntoScript(await context(), await theModel());
    assert.equal(vscode.window.activeTextEditor?.document, document, before);
    assert.deepEqual(tabs(), [vscode.ViewColumn.Two], before);
    assert.equal(document.getText(vscode.window.activeTextEditor.selection), 'monet_torch.apply(model, ".monet/small.Net.plan.json")');
    assert.match(document.getText(), /^import torch\n(.*\n)*import monet_torch\n/);
    await vscode.commands.executeCommand("undo");
    assert.equal(document.getText(), script);
    await until("the editor knows that this is the file again", () => !document.isDirty);
  }
  await vscode.commands.executeCommand("workbench.action.closeEditorsInGroup");
});

/** The files that are looked through for where the lines go, until `stop` puts the look back. */
async function watchLooks(): Promise<{ looked: ReadonlySet<string>; stop: () => void }> {
  const { sources } = await context();
  const look = sources.insertions.bind(sources);
  const looked = new Set<string>();
  sources.insertions = async (file, use) => {
    const found = await look(file, use);
    looked.add(file);
    return found;
  };
  return { looked, stop: () => { sources.insertions = look; } };
}

test("where a script changes while the person chooses, the lines go to where its text stands then", async () => {
  const scripts = ["train.py", "again.py"].map((name) => vscode.Uri.file(join(folder, name)));
  for (const uri of scripts) writeFileSync(uri.fsPath, script);
  let done = false;
  const { looked, stop } = await watchLooks();
  const inserting = insertIntoScript(await context(), await theModel()).finally(() => { done = true; });
  await until("both scripts are looked through", () => scripts.every(({ fsPath }) => looked.has(fsPath))).finally(stop);
  await sleep(2000); // The question is shown by then: an edit shows its file, which would take the focus from it.
  const edit = new vscode.WorkspaceEdit();
  for (const uri of scripts) edit.insert(uri, new vscode.Position(0, 0), "# one\n# two\n# three\n");
  await vscode.workspace.applyEdit(edit);
  await until("a place is chosen", async () => {
    await vscode.commands.executeCommand("workbench.action.acceptSelectedQuickOpenItem");
    return done;
  });
  await inserting;
  assert.match(vscode.window.activeTextEditor?.document.getText() ?? "", /^# one\n(.*\n)*    model\.to\("cpu"\)\n    monet_torch\.apply\(model, .*\n    model\(torch/);
  for (const uri of scripts) {
    await vscode.window.showTextDocument(uri);
    await vscode.commands.executeCommand("workbench.action.revertAndCloseActiveEditor");
  }
  rmSync(scripts[1]?.fsPath ?? "");
});

test("where a script no longer builds the model once the person has chosen, that is said, and it is left alone", async () => {
  const scripts = ["train.py", "again.py"].map((name) => vscode.Uri.file(join(folder, name)));
  for (const uri of scripts) writeFileSync(uri.fsPath, script);
  let done = false;
  const { looked, stop } = await watchLooks();
  const inserting = insertIntoScript(await context(), await theModel()).finally(() => { done = true; });
  const refused = assert.rejects(inserting, { code: "M806" });
  await until("both scripts are looked through", () => scripts.every(({ fsPath }) => looked.has(fsPath))).finally(stop);
  await sleep(2000); // The question is shown by then: an edit shows its file, which would take the focus from it.
  const edit = new vscode.WorkspaceEdit();
  for (const uri of scripts) edit.replace(uri, new vscode.Range(4, 0, 5, 0), "    model = None\n");
  await vscode.workspace.applyEdit(edit);
  await until("a place is chosen", async () => {
    await vscode.commands.executeCommand("workbench.action.acceptSelectedQuickOpenItem");
    return done;
  });
  await refused;
  for (const uri of scripts) {
    await vscode.window.showTextDocument(uri);
    await vscode.commands.executeCommand("workbench.action.revertAndCloseActiveEditor");
  }
  rmSync(scripts[1]?.fsPath ?? "");
});

test("the script is found whatever the model's file is called, and one that only shares words with it is left alone", async () => {
  const { models } = await context();
  const lone = source.replace("Net", "Lone");
  const used = "model = Lone()\n";
  const ownClass = `class Lone:\n    def __init__(self):\n        pass\n\n${used}`;
  const cases: Readonly<Record<string, string>>[] = [
    { "one/__init__.py": lone, "uses_one.py": `from one import Lone\n${used}`, "not_one.py": ownClass },
    { "two/inner.py": lone, "two/__init__.py": "from .inner import Lone\n", "uses_two.py": `from two import Lone\n${used}`, "not_two.py": ownClass },
    { "モデル.py": lone, "uses_three.py": `from モデル import Lone\n${used}` },
    { "c++.py": `${lone}\n\n${used}` },
  ];
  for (const files of cases) {
    const uris = Object.entries(files).map(([name, text]) => {
      const uri = vscode.Uri.file(join(folder, name));
      mkdirSync(dirname(uri.fsPath), { recursive: true });
      writeFileSync(uri.fsPath, text);
      return uri;
    });
    const [own] = uris;
    const script = uris.find(({ fsPath }) => fsPath.includes("uses_")) ?? own;
    assert.ok(own);
    await models.read(own);
    const model = models.get(`${own.toString()}#Lone`);
    assert.ok(model, own.fsPath);
    await insertIntoScript(await context(), model);
    assert.equal(vscode.window.activeTextEditor?.document.uri.fsPath, script?.fsPath);
    assert.match(vscode.window.activeTextEditor?.document.getText() ?? "", /\nmonet_torch\.apply\(model, /);
    await vscode.commands.executeCommand("workbench.action.revertAndCloseActiveEditor");
    for (const { fsPath } of uris) rmSync(fsPath);
  }
});

test("Optimize in a training script means the model that it imports, whatever the side panel shows", async () => {
  const { models } = await context();
  const model = await theModel();
  await vscode.commands.executeCommand("monet.clearResults", argument);
  await vscode.window.showTextDocument(vscode.Uri.file(join(folder, "gpt2.py")));
  await until("the side panel shows another model", () => models.active?.file === "gpt2.py");
  await vscode.window.showTextDocument(vscode.Uri.file(join(folder, "train.py")));
  await vscode.commands.executeCommand("monet.optimize");
  assert.equal(model.problem, null);
  assert.equal(models.active, model);
  assert.ok(model.profile !== null && model.profile.plans.length > 1);
});

test("of two models the second waits for its turn, and can be stopped while it waits", async () => {
  const other = { uri: vscode.Uri.file(join(folder, "other.py")).toString(), name: "Other" };
  writeFileSync(join(folder, "other.py"), source.replace("Net", "Other"));
  config(["float32[6,16]"], "other.py:Other");
  const { models } = await context();
  const [one, two] = [await theModel(), await modelOf(other)];
  const meanwhile = new Set<string | undefined>();
  const listener = models.onDidChange(() => { if (one.running !== null) meanwhile.add(two.running?.text); });
  const start = async (): Promise<[Thenable<unknown>, Thenable<unknown>]> => {
    const first = vscode.commands.executeCommand("monet.profile", argument);
    await until("the first runs", () => one.running !== null);
    const second = vscode.commands.executeCommand("monet.profile", other);
    await until("the second waits", () => two.running?.text === "Waiting for another model");
    return [first, second];
  };

  const [first, second] = await start();
  await vscode.workspace.openTextDocument(vscode.Uri.parse(other.uri));
  const lenses = await vscode.commands.executeCommand<vscode.CodeLens[]>("vscode.executeCodeLensProvider", vscode.Uri.parse(other.uri));
  const cancel = lenses.find(({ command }) => command?.title === "Cancel")?.command;
  await vscode.commands.executeCommand(cancel?.command ?? "", ...((cancel?.arguments ?? []) as unknown[]));
  await second;
  assert.deepEqual([two.running, two.problem, two.profile], [null, null, null]);
  assert.ok(one.running !== null);
  await first;
  assert.equal(one.problem, null);

  await Promise.all(await start());
  listener.dispose();
  assert.deepEqual([...meanwhile].sort(), ["Starting", "Waiting for another model", undefined]);
  assert.deepEqual([one.problem, two.problem], [null, null]);
  assert.ok(two.profile !== null && two.profile.plans.length > 1);
  assert.deepEqual(runningHelpers(folder), []);
});

test("of several runs of one model at once, each that is replaced has been stopped", async () => {
  const { tasks } = await context();
  const model = await theModel();
  const seen: string[] = [];
  const start = (name: string): Promise<void> => tasks.jobs.run(model, null, async ({ signal }) => {
    seen.push(`${name} begins`);
    await new Promise<void>((resolve) => { signal.addEventListener("abort", () => { resolve(); }); });
    seen.push(`${name} is stopped`);
  });
  const first = start("first");
  await until("the first runs", () => seen.length === 1);
  const all = [first, start("second"), start("third")];
  await until("the third runs", () => seen.includes("third begins"));
  tasks.jobs.cancelAll();
  await Promise.allSettled(all);
  for (const name of ["first", "third"]) assert.ok(seen.includes(`${name} is stopped`), name);
  assert.equal(seen.filter((each) => each.endsWith("begins")).length, seen.filter((each) => each.endsWith("is stopped")).length);
});

test("a file that is deleted while it is profiled is one sentence, and nothing runs on", async () => {
  const gone = vscode.Uri.file(join(folder, "gone.py"));
  const read = join(folder, "read");
  const slow = { uri: gone.toString(), name: "Net" };
  config(["float32[6,16]"], "gone.py:Net");
  for (const when of ["before Python reads it", "after Python has read it"]) {
    writeFileSync(gone.fsPath, source.replace("import torch\n", `import time\nimport torch\nopen(${JSON.stringify(read)}, "w").close()\ntime.sleep(100)\n`));
    await vscode.window.showTextDocument(gone, { preview: false });
    const model = await modelOf(slow);
    const running = vscode.commands.executeCommand("monet.profile", slow);
    await until(when, () => (when.startsWith("before") ? runningHelpers(folder).length > 0 : existsSync(read)));
    rmSync(gone.fsPath);
    await until("it has ended", () => model.running === null && model.problem !== null, 10_000);
    assert.equal(model.problem?.text, "gone.py was deleted while it was profiled: bring it back and try again. [M804]", when);
    assert.equal(model.problem.action.id, "retry");
    await running;
    assert.deepEqual(runningHelpers(folder), []);
    assert.equal(existsSync(join(folder, ".monet", "gone.Net.graph.json")), false);
    await vscode.commands.executeCommand("workbench.action.closeActiveEditor");
  }
});

test("a profile task is provided for each model", async () => {
  const tasks = await vscode.tasks.fetchTasks({ type: "monet" });
  assert.ok(tasks.some(({ name, definition }) => name === "profile small.py:Net" && definition["file"] === "small.py"));
});

test("a task of tasks.json does the same, after what is not saved is saved, and says how it ended", async () => {
  const model = await theModel();
  // Before a task, VS Code saves what is open in editors.
  const { document } = await vscode.window.showTextDocument(file, { preview: false });
  const edit = new vscode.WorkspaceEdit();
  edit.replace(file, new vscode.Range(5, 29, 5, 31), "24");
  config(["float32[6,24]"]);
  await vscode.workspace.applyEdit(edit);
  await until("the marks are stale", () => model.freshness === "stale");
  const [task] = (await vscode.tasks.fetchTasks({ type: "monet" })).filter(({ name }) => name === "profile small.py:Net");
  assert.ok(task);
  const ended = new Promise<number | undefined>((resolve) => {
    const listener = vscode.tasks.onDidEndTaskProcess(({ execution, exitCode }) => {
      if (execution.task.name !== task.name) return;
      listener.dispose();
      resolve(exitCode);
    });
  });
  await vscode.tasks.executeTask(task);
  assert.equal(await ended, 0);
  assert.equal(document.isDirty, false);
  assert.deepEqual(model.profile?.graph.made_from.inputs, ["float32[6,24]"]);
  await until("the marks are fresh", () => model.freshness === "fresh");
});

test("of two batch sizes the later one holds", async () => {
  const model = await theModel();
  const first = setBatch(await context(), model, 8);
  await until("it runs", () => model.running !== null);
  const second = setBatch(await context(), model, 9);
  await first;
  assert.equal(model.outdated, true, "the old curve stays grey");
  await second;
  assert.equal(model.outdated, false);
  assert.deepEqual(model.profile?.graph.made_from.inputs, ["float32[9,24]"]);
  assert.match(readFileSync(join(folder, "monet.json"), "utf8"), /"float32\[9,24\]"/);
  assert.equal(model.problem, null);
});

test("a Python that is missing, has no torch, runs out of memory or is killed is one sentence with an action, and what was found stays", async () => {
  const model = await theModel();
  const before = model.profile?.graph.hash;
  const python = join(folder, "python.sh");
  const settings = vscode.workspace.getConfiguration("monet");
  const cases: [string | null, RegExp, string][] = [
    [null, /There is no Python at '.*python\.sh', which monet\.pythonPath names.* \[M701\]$/, "python"],
    ["echo \"ModuleNotFoundError: No module named 'torch'\" >&2; exit 1", /^Python at '.*python\.sh' has no PyTorch.* \[M704\]$/, "python"],
    // As the helper says it where the device has too little memory.
    ['echo "error: small.py:12: memory ran out while profile ran small.py:Net (the device that was found); use a smaller batch [M216]" >&2; exit 2', /^small\.py:12: memory ran out while profile ran .*; use a smaller batch \[M216\]$/, "change"],
    ["kill -9 $$", /was killed, perhaps because memory ran out.* \[M705\]$/, "log"],
  ];
  await settings.update("pythonPath", python, vscode.ConfigurationTarget.Workspace);
  try {
    for (const [body, sentence, action] of cases) {
      if (body !== null) writeFileSync(python, `#!/bin/sh\n${body}\n`, { mode: 0o755 });
      await vscode.commands.executeCommand("monet.profile", argument);
      assert.match(model.problem?.text ?? "", sentence);
      assert.equal(model.problem?.action.id, action);
      assert.equal(model.profile?.graph.hash, before);
    }
  } finally {
    await settings.update("pythonPath", undefined, vscode.ConfigurationTarget.Workspace);
  }
});

test("an input that does not fit this machine says so, and the input can be changed", async () => {
  config(["float32[1099511627776,24]"]);
  const model = await theModel();
  await vscode.commands.executeCommand("monet.profile", argument);
  assert.match(model.problem?.text ?? "", /memory ran out while profile ran .*use a smaller batch/);
  assert.equal(model.problem?.action.id, "change");
});

test("stopping it leaves no process and no half of a file", async () => {
  config(["float32[5,24]"]);
  const model = await theModel();
  const before = readFileSync(saved("graph"), "utf8");
  const running = vscode.commands.executeCommand("monet.profile", argument);
  await until("it runs", () => model.running?.text.includes("Tracing"));
  await vscode.commands.executeCommand("monet.cancel");
  await running;
  assert.equal(model.running, null);
  assert.equal(model.problem, null);
  assert.equal(readFileSync(saved("graph"), "utf8"), before);
  assert.deepEqual(readdirSync(join(folder, ".monet")).filter((name) => name.includes("part")), []);
});

test("a search for plans that was stopped says so, and goes on when asked", async () => {
  const model = await theModel();
  const running = vscode.commands.executeCommand("monet.profile", argument);
  await until("plans are searched for", () => model.running?.text.includes("Finding"));
  await vscode.commands.executeCommand("monet.cancel");
  await running;
  assert.equal(model.profile?.complete, false);
  await vscode.commands.executeCommand("monet.optimize", argument);
  assert.equal(model.profile.complete, true);
  assert.ok(model.profile.plans.length > 1);
});

test("where the choice rests between two plans that are far apart, one for just that budget is searched for", async () => {
  const { models } = await context();
  const model = await theModel();
  const plans = model.profile?.plans ?? [];
  const far = plans.findIndex((plan, k) => k + 1 < plans.length && plan.predicted.time - (plans[k + 1]?.predicted.time ?? 0) > 0.01 * plan.predicted.eager_time);
  assert.ok(far >= 0);
  // It may be found between two looks.
  const seen: boolean[] = [];
  const listening = models.onDidChange(() => seen.push(model.refining));
  models.choose(model, (plans[far + 1]?.predicted.peak ?? 0) - 1);
  refineSoon(await context(), model);
  await until("it is searched for and found", () => seen.includes(true) && !model.refining);
  listening.dispose();
  assert.equal(model.problem, null);
});

test("where a folder can't be written to, nothing is run, and each place says so with a way to try again", async () => {
  const name = { uri: vscode.Uri.file(join(folder, "closed", "small.py")).toString(), name: "Net" };
  const results = join(folder, "closed", ".monet");
  mkdirSync(join(folder, "closed"));
  writeFileSync(join(folder, "closed", "small.py"), source);
  config(["float32[5,16]"], "closed/small.py:Net");
  const model = await modelOf(name);
  await vscode.commands.executeCommand("monet.profile", name);
  assert.ok(model.profile);
  mkdirSync(join(results, "small.Net.plan.json"));
  await assert.rejects(applyPlan(await context(), name), { code: "M603" });
  rmSync(results, { recursive: true });
  // As good as a folder that is closed, for these tests may run as root.
  writeFileSync(results, "");
  await vscode.commands.executeCommand("monet.profile", name);
  assert.match(model.problem?.text ?? "", /closed\/\.monet\/small\.Net\.graph\.json can't be written \(ENOTDIR: not a directory\): allow it/);
  assert.equal(model.problem?.action.id, "retry");
  rmSync(join(folder, "closed"), { recursive: true });
});

test("a mistake in monet.json is said with its line, and the file is left as it is", async () => {
  const text = '{\n  "models": {\n    "small.py:Net": { "inputs": ["float32(4,16)"] }\n  }\n}\n';
  writeFileSync(join(folder, "monet.json"), text);
  const { tasks } = await context();
  const model = await theModel();
  await assert.rejects(tasks.run(model, "profile"), /monet\.json:3: .*write dtype\[sizes\]/);
  assert.equal(readFileSync(join(folder, "monet.json"), "utf8"), text);
});

test("cleared results are gone, and the plan stays", async () => {
  config(["float32[6,24]"]);
  await vscode.commands.executeCommand("monet.clearResults", argument);
  const model = await theModel();
  assert.equal(model.profile, null);
  await assert.rejects(applyPlan(await context(), argument), { code: "M801" });
  const { tasks } = await context();
  writeFileSync(join(folder, "monet.json"), '{ "models": {} }');
  await assert.rejects(tasks.run(model, "profile"), { code: "M803" });
  assert.deepEqual(readdirSync(join(folder, ".monet")).filter((name) => name.startsWith("small.")), ["small.Net.plan.json"]);
});
