/** The editor's events are a stand-in that a test fires, and its collection of diagnostics one that a test reads. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { Marks, versionsNow } from "../../src/actions/marks";
import { UserError } from "../../src/helper/user_error";
import type { Model, Models } from "../../src/workspace";

const editor = vi.hoisted(() => ({ shown: new Map<string, { range: { start: { line: number } } }[]>(), documents: [] as unknown[] }));

vi.mock("vscode", async () => ({
  ...(await import("../editor/english")),
  DiagnosticSeverity: { Error: 0 },
  Diagnostic: class { constructor(readonly range: unknown, readonly message: string) {} },
  Range: class {
    readonly start: unknown;
    readonly end: unknown;
    constructor(line: number, from: number, to: number, character: number) {
      this.start = { line, character: from };
      this.end = { line: to, character };
    }
  },
  Uri: { file: (fsPath: string) => ({ fsPath, toString: () => fsPath, with: () => ({ fsPath }) }) },
  languages: { createDiagnosticCollection: () => ({ set: (uri: { toString: () => string }, all: never[]) => editor.shown.set(uri.toString(), all), dispose: () => undefined }) },
  workspace: {
    get textDocuments() { return editor.documents; },
    workspaceFolders: [], asRelativePath: (file: string) => file, getWorkspaceFolder: () => ({}), onDidChangeTextDocument: () => ({ dispose: () => undefined }),
  },
}));

let folder = "";
let file = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "monet-marks-"));
  file = join(folder, "net.py");
  writeFileSync(file, "one\n  two\n");
  editor.shown.clear();
  editor.documents = [];
});
afterEach(() => { rmSync(folder, { recursive: true }); });

const error = (): UserError => new UserError("M201", "input", `${file}:2: no`, { file, line: 2 });
const marked = (): number[] => (editor.shown.get(file) ?? []).map(({ range }) => range.start.line);
const open = (version: number): void => {
  editor.documents = [{ uri: { toString: () => file }, version, lineCount: 2, lineAt: () => ({ text: "  two" }) }];
};

/** One model with a problem, marks, and what the models tell when they change. */
function start(): { model: { id: string; problem: unknown }; known: Map<string, unknown>; marks: Marks; change: () => void } {
  const model = { id: "net.py#Net", problem: {} as unknown };
  const known = new Map<string, unknown>([[model.id, model]]);
  const heard: (() => void)[] = [];
  const models = { get: (id: string) => known.get(id) ?? null, onDidChange: (listener: () => void) => { heard.push(listener); return { dispose: () => undefined }; } };
  return { model, known, marks: new Marks(models as unknown as Models, ""), change: () => { for (const listener of heard) listener(); } };
}

it("a mark stays while its model has the problem, and goes with the problem or with the model", () => {
  for (const end of ["problem", "model"]) {
    const { model, known, marks, change } = start();
    marks.mark(model as unknown as Model, error(), versionsNow());
    change();
    expect(marked()).toEqual([1]);
    if (end === "problem") model.problem = null;
    else known.delete(model.id);
    change();
    expect(marked(), end).toEqual([]);
  }
});

it("a text that was edited since the run began is not marked, one that is as it was is", () => {
  for (const [before, after, expected] of [[3, 3, [1]], [3, 4, []], [null, 1, [1]], [null, 2, []], [3, null, [1]]] as const) {
    editor.shown.clear();
    const { model, marks } = start();
    editor.documents = [];
    if (before !== null) open(before);
    const began = versionsNow();
    editor.documents = [];
    if (after !== null) open(after);
    marks.mark(model as unknown as Model, error(), began);
    expect(marked(), `${before} ${after}`).toEqual(expected);
  }
});
