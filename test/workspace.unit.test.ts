/** What is known of models, with an editor that only tells what has changed, and real files. */
import { copyFileSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type * as vscode from "vscode";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { Edits, pause } from "../src/editor/edits";
import type { Sources } from "../src/sources/client";
import type { SourceView } from "../src/sources/types";
import { Models, type Model } from "../src/workspace";

type Listener = (event: unknown) => void;
const editor = vi.hoisted((): { listeners: Record<string, (event: unknown) => void> } => ({ listeners: {} }));

vi.mock("vscode", () => {
  const of = (name: string) => (listener: Listener) => { editor.listeners[name] = listener; return { dispose: () => undefined }; };
  return {
    workspace: Object.fromEntries(["onDidChangeTextDocument", "onWillSaveTextDocument", "onDidSaveTextDocument", "onDidCloseTextDocument"].map((name) => [name, of(name)])),
    TextDocumentSaveReason: { Manual: 1, AfterDelay: 2 },
    EventEmitter: class {
      listener: Listener = () => undefined;
      event = (listener: Listener): { dispose: () => void } => { this.listener = listener; return { dispose: () => undefined }; };
      fire(event: unknown): void { this.listener(event); }
      dispose(): void { this.listener = () => undefined; }
    },
  };
});

let folder: string;
let uri: vscode.Uri;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "monet models "));
  const fsPath = join(folder, "net.py");
  uri = { fsPath, toString: () => `file://${fsPath}` } as unknown as vscode.Uri;
  mkdirSync(join(folder, ".monet"));
  copyFileSync(fileURLToPath(new URL("fixtures/example.graph.json", import.meta.url)), join(folder, ".monet", "net.Net.graph.json"));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

const range = { start: { line: 0, column: 0 }, end: { line: 9, column: 0 } };
const view = (fingerprint: string, ...names: string[]): SourceView => ({
  path: uri.fsPath, files: [], required: [], fingerprints: Object.fromEntries(names.map((name) => [name, fingerprint])),
  file: { path: uri.fsPath, models: names.map((name) => ({ name, range, nameRange: range, layers: [], calls: [] })), sources: [] } as unknown as SourceView["file"],
});

/** Views in the order in which they are asked for; a profile whose text has the fingerprint "profiled". */
function modelsOf(...views: SourceView[]): Models {
  return modelsBeside({ isUnsettled: () => false }, ...views);
}

function modelsBeside(edits: Pick<Edits, "isUnsettled">, ...views: SourceView[]): Models {
  const sources = {
    read: () => Promise.resolve(views.length > 1 ? views.shift() : views[0]),
    texts: () => Promise.resolve({}),
    place: () => Promise.resolve({ fingerprint: "profiled", layers: [], calls: [], models: [] }),
  } as unknown as Sources;
  return new Models(sources, { get: () => undefined } as unknown as vscode.Memento, {} as vscode.LogOutputChannel, edits);
}

const net = (models: Models): Model | undefined => models.of(uri).find(({ name }) => name === "Net");

it("whoever reads a file finds what was saved for its models, though another reads it at the same time", async () => {
  const models = modelsOf(view("profiled", "Net"));
  const first = models.read(uri);
  await models.read(uri);
  expect(net(models)?.profile).not.toBeNull();
  await first;
});

it("an older text that took longer to take in says nothing about a newer one", async () => {
  const models = modelsOf(view("profiled", "Net", "Old"), view("edited", "Net", "New"));
  await Promise.all([models.read(uri), models.read(uri)]);
  expect(net(models)?.freshness).toBe("stale");
  expect(models.of(uri).map(({ name }) => name).sort()).toEqual(["Net", "New"]);
});

it("a class that is being profiled is not forgotten while its name is edited", async () => {
  const models = modelsOf(view("profiled", "Part"), view("profiled", "Pa"), view("profiled", "Pa"));
  await models.read(uri);
  const [part] = models.of(uri);
  if (part === undefined) throw new Error("no model");
  models.update(part, { running: { text: "", fraction: null } });
  await models.read(uri);
  expect(models.get(part.id)).toBe(part);
  models.update(part, { running: null });
  await models.read(uri);
  expect(models.get(part.id)).toBeNull();
});

/** What the editor tells of one text. */
function typing(): { type: () => void; save: (reason: number) => void } {
  const document = { uri: { fsPath: uri.fsPath, scheme: "file", toString: () => uri.toString() }, languageId: "python", isDirty: false };
  return {
    type: () => {
      document.isDirty = true;
      editor.listeners["onDidChangeTextDocument"]?.({ document, contentChanges: [{}] });
    },
    save: (reason) => {
      editor.listeners["onWillSaveTextDocument"]?.({ document, reason });
      document.isDirty = false;
      editor.listeners["onDidSaveTextDocument"]?.(document);
    },
  };
}

it("a class that was profiled stays while its name is edited, and is gone with its problem once it is saved otherwise", async () => {
  const edits = new Edits();
  const models = modelsBeside(edits, view("profiled", "Net"), view("profiled", "Ne"), view("profiled", "Renamed"), view("profiled", "Net"));
  await models.read(uri);
  const before = net(models);
  if (before === undefined) throw new Error("no model");
  models.active = before;
  models.update(before, { problem: { text: "no", action: { title: "Try Again", id: "retry" } } });
  const person = typing();
  person.type();
  await models.read(uri);
  expect([net(models), models.active]).toEqual([before, before]);
  person.save(1);
  await models.read(uri);
  expect([models.of(uri).map(({ name }) => name), models.active]).toEqual([["Renamed"], null]);
  await models.read(uri);
  expect(net(models)).toMatchObject({ freshness: "fresh", problem: null });
  edits.dispose();
});

it("what the editor saves by itself is no end of a rename; a while without typing is, and it is told", async () => {
  vi.useFakeTimers();
  try {
    const edits = new Edits();
    const settled = vi.fn();
    edits.onDidSettle(settled);
    const models = modelsBeside(edits, view("profiled", "Net"), view("profiled", "Ne"));
    await models.read(uri);
    const before = net(models);
    const person = typing();
    person.type();
    person.save(2);
    await models.read(uri);
    expect(net(models)).toBe(before);
    vi.advanceTimersByTime(pause - 1);
    person.type();
    vi.advanceTimersByTime(pause - 1);
    expect(settled).not.toHaveBeenCalled();
    person.save(2);
    vi.advanceTimersByTime(1);
    expect(settled).toHaveBeenCalledOnce();
    await models.read(uri);
    expect(net(models)).toBeUndefined();
    edits.dispose();
  } finally {
    vi.useRealTimers();
  }
});

it("a training script's `model = Net()` is no model of its own; what the script itself defines is", async () => {
  const script = view("any", "Own");
  const source = (name: string, file: string): unknown => ({ kind: "object", name, range, models: [{ file, name: "Net" }] });
  const file = { ...script.file, sources: [source("used", "/elsewhere/net.py"), source("made", script.path)] } as unknown as SourceView["file"];
  const models = modelsOf({ ...script, file });
  await models.read(uri);
  expect(models.of(uri).map(({ name }) => name)).toEqual(["made", "Own"]);
});
