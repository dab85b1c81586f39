/** Which model a command of the palette means, while the cursor is in some file. */
import type * as vscode from "vscode";
import { beforeEach, expect, it, vi } from "vitest";
import { chooseModel, chooseProfiled } from "../../src/actions/model_choice";
import type { Context } from "../../src/context";
import type { Model } from "../../src/workspace";

const editor = vi.hoisted((): { activeTextEditor: unknown } => ({ activeTextEditor: undefined }));
vi.mock("vscode", async () => ({ ...(await import("../editor/english")), window: editor }));

const model = (file: string, name: string, profile: object | null = null): Model => ({ id: `${file}#${name}`, name, file, profile }) as unknown as Model;
const range = { start: { line: 3, column: 0 }, end: { line: 9, column: 0 } };

function context(all: readonly Model[], active: Model | null): Context {
  const models = {
    all, active,
    of: (uri: vscode.Uri) => all.filter(({ file }) => file === uri.toString()),
    read: (uri: vscode.Uri) => Promise.resolve({ file: { models: all.filter(({ file }) => file === uri.toString()).map(({ name }) => ({ name, range, layers: [] })), sources: [] } }),
  };
  return { models } as unknown as Context;
}

/** The cursor on a line of a Python file. */
function at(file: string, line: number): void {
  editor.activeTextEditor = { document: { languageId: "python", uri: { scheme: "file", toString: () => file } }, selection: { active: { line } } };
}

beforeEach(() => {
  editor.activeTextEditor = undefined;
});

const net = model("net.py", "Net", {});
const other = model("other.py", "Other");
const script = model("train.py", "model");

it("applies, verifies and clears what the side panel shows, though the cursor is in a training script or at another model", async () => {
  for (const file of ["train.py", "other.py", "plain.py"]) {
    at(file, 4);
    expect(await chooseProfiled(context([other, net, script], net), null)).toBe(net);
  }
});

it("takes the only profiled model where the panel shows another, and names that one where none is profiled", async () => {
  expect(await chooseProfiled(context([other, net], other), null)).toBe(net);
  expect(await chooseProfiled(context([other, script], other), null)).toBe(other);
});

it("profiles what the cursor is in, and in a file without a model what the side panel shows", async () => {
  at("other.py", 4);
  expect(await chooseModel(context([net, other], net), null)).toBe(other);
  at("plain.py", 4);
  expect(await chooseModel(context([net, other], net), null)).toBe(net);
  await expect(chooseModel(context([], null), null)).rejects.toMatchObject({ code: "M605", message: expect.stringMatching(/^There is no model here/) as unknown });
});
