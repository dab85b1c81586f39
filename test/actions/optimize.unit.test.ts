/** A part that can't be profiled: the run itself and the editor's messages are stand-ins, monet.json is a real file. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { planPart } from "../../src/actions/optimize";
import { showProblem } from "../../src/actions/problems";
import type { Context } from "../../src/context";
import { Cancelled, UserError } from "../../src/helper/user_error";
import type { Model } from "../../src/workspace";

/** What was said, and the button that is pressed next. */
const editor = vi.hoisted(() => ({ errors: [] as string[][], status: [] as string[], press: [] as string[] }));

vi.mock("vscode", async () => ({
  ...(await import("../editor/english")),
  EventEmitter: class { readonly event = (): void => undefined; },
  window: {
    showErrorMessage: (...said: string[]) => { editor.errors.push(said); return Promise.resolve(editor.press.shift()); },
    setStatusBarMessage: (said: string) => editor.status.push(said),
  },
  workspace: { isTrusted: true, textDocuments: [], getWorkspaceFolder: () => undefined, asRelativePath: (file: string) => file },
}));

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "monet-part-"));
  writeFileSync(join(folder, "monet.json"), JSON.stringify({ models: { "net.py:Net": before } }));
  for (const list of [editor.errors, editor.status, editor.press]) list.length = 0;
});
afterEach(() => { rmSync(folder, { recursive: true }); });

const before = { inputs: ["float32[1]"], part: "old" };
const entry = (): unknown => (JSON.parse(readFileSync(join(folder, "monet.json"), "utf8")) as { models: Record<string, unknown> }).models["net.py:Net"];
const theModel = (): Model => ({ name: "Net", uri: { fsPath: join(folder, "net.py") }, profile: null }) as unknown as Model;

/** `run` sees the entry of monet.json that a profile would start with. */
function contextOf(run: () => void): Context {
  return {
    log: { error: () => undefined },
    models: { load: () => Promise.resolve(), update: () => undefined },
    tasks: { run: () => new Promise<void>((resolve) => { run(); resolve(); }), onceRested: () => undefined },
  } as unknown as Context;
}

const noPart = new UserError("M203", "input", "no; parts of it can be planned by themselves: --part 'layers.*' (72% of what it keeps)");

it("one that is profiled stays", async () => {
  await planPart(contextOf(() => undefined), theModel(), "new");
  expect([entry(), editor.errors]).toEqual([{ ...before, part: "new" }, []]);
});

it("where it fails, the part before holds again and other parts are offered", async () => {
  const tried: unknown[] = [];
  await planPart(contextOf(() => { tried.push(entry()); throw noPart; }), theModel(), "new");
  expect([tried, entry()]).toEqual([[{ ...before, part: "new" }], before]);
  expect(editor.errors[0]).toContain("Plan layers.*");
});

it("where it is stopped, the part before holds again; a newer entry is left alone", async () => {
  await expect(planPart(contextOf(() => { throw new Cancelled(); }), theModel(), "new")).rejects.toThrow(Cancelled);
  expect(entry()).toEqual(before);
  const newer = { inputs: ["float32[2]"] };
  await expect(planPart(contextOf(() => {
    writeFileSync(join(folder, "monet.json"), JSON.stringify({ models: { "net.py:Net": newer } }));
    throw new Cancelled();
  }), theModel(), "new")).rejects.toThrow(Cancelled);
  expect(entry()).toEqual(newer);
});

it("what goes wrong with an offer that was taken is said like any other problem", async () => {
  const offer = (failure: Error): Promise<void> => showProblem({ log: { error: () => undefined } } as unknown as Context, noPart, undefined, [{ title: "Plan", run: () => Promise.reject(failure) }]);
  editor.press.push("Plan");
  await offer(new UserError("M201", "input", "it failed"));
  await vi.waitFor(() => { expect(editor.errors.at(-1)?.[0]).toBe("it failed [M201]"); });
  editor.press.push("Plan");
  await offer(new Cancelled());
  await vi.waitFor(() => { expect(editor.status).toEqual(["MONeT: stopped"]); });
  expect(editor.errors).toHaveLength(3);
});
