/** What a person is told and asks for, and a script that is picked in the system's own dialog: what shows these is a stand-in. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, vi } from "vitest";
import type { Context } from "../../src/context";
import type { Model } from "../../src/workspace";
import { applyPlan, insertIntoScript } from "../../src/actions/apply";

const editor = vi.hoisted(() => ({ told: [] as string[], copied: "", said: "" }));

vi.mock("vscode", async () => ({
  ...(await import("../editor/english")),
  Uri: { file: (fsPath: string) => ({ fsPath }), parse: (fsPath: string) => ({ fsPath }) },
  EventEmitter: class { readonly event = (): void => undefined; },
  env: { clipboard: { writeText: (text: string) => { editor.copied = text; return Promise.resolve(); } } },
  window: {
    showOpenDialog: () => Promise.resolve([{ fsPath: "/w/other.py" }]),
    showInformationMessage: (...texts: string[]) => { editor.told = texts; return Promise.resolve("Copy Lines"); },
    setStatusBarMessage: (text: string) => { editor.said = text; },
  },
  workspace: {
    findFiles: () => Promise.resolve([]),
    asRelativePath: (file: string | { fsPath: string }) => (typeof file === "string" ? file.split("/").at(-1) : file.fsPath),
  },
}));

it("a script that does not build the model is said", async () => {
  const model = { name: "Net", uri: { fsPath: "/w/net.py" }, profile: null, fileOf: () => "/w/.monet/net.Net.plan.json" } as unknown as Model;
  const context = { models: { view: () => null, read: () => Promise.resolve(null) }, sources: { insertions: () => Promise.resolve([]) } } as unknown as Context;
  await expect(insertIntoScript(context, model)).rejects.toMatchObject({ code: "M805", facts: { file: "/w/other.py", line: 1 } });
});

it("after Apply, the lines that are told and copied are as many as there are", async () => {
  const folder = mkdtempSync(join(tmpdir(), "monet-apply-"));
  const plan = JSON.parse(readFileSync(join(import.meta.dirname, "..", "fixtures", "example.plan.json"), "utf8")) as unknown;
  const apply = async (part: string | null): Promise<string> => {
    const file = join(folder, "net.Net.plan.json");
    const model = { name: "Net", uri: { fsPath: join(folder, "net.py") }, profile: null, part, planToApply: plan, freshness: "fresh", fileOf: () => file } as unknown as Model;
    const context = { models: { get: () => model, update: () => undefined }, log: { info: () => undefined } } as unknown as Context;
    await applyPlan(context, { uri: "net.py", name: "Net" });
    expect(existsSync(file)).toBe(true);
    await vi.waitFor(() => { expect(editor.said).not.toBe(""); });
    return editor.told[0] ?? "";
  };
  try {
    for (const [part, told, count] of [
      [null, "The plan is written to net.Net.plan.json. Two lines in the training script run it.", 2],
      ["head", "The plan is written to net.Net.plan.json. The 2 lines that run head by it go into the training script, after the model is built.", 2],
      ["layers.*", "The plan is written to net.Net.plan.json. The 3 lines that run layers.* by it go into the training script, after the model is built.", 3],
      ["layers.*.blocks.*", "The plan is written to net.Net.plan.json. The 4 lines that run layers.*.blocks.* by it go into the training script, after the model is built.", 4],
    ] as const) {
      editor.said = "";
      expect(await apply(part)).toBe(told);
      expect(editor.copied.match(/\n/g)).toHaveLength(count);
      expect(editor.said).toBe(`MONeT: ${count} lines are on the clipboard`);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});
