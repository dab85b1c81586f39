/** The runtime's installation, in a Python that is a script, and a terminal that is not there. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type * as vscode from "vscode";
import { afterAll, beforeEach, expect, it, vi } from "vitest";
import { installRuntime, withoutRuntime } from "../../src/actions/install";
import type { Context } from "../../src/context";

interface Ended { readonly execution: object; readonly exitCode: number }

const editor = vi.hoisted(() => ({ ended: [] as ((ended: unknown) => void)[], execution: { task: { name: "install the MONeT runtime" } }, said: [] as string[], workspace: { isTrusted: true } }));
vi.mock("vscode", async () => ({
  ...(await import("../editor/english")),
  Task: class { constructor(_: object, __: object, readonly name: string) { /* Named alone. */ } },
  ProcessExecution: class { readonly isOne = true; },
  TaskScope: {}, TaskRevealKind: {}, TaskPanelKind: {},
  window: { activeTextEditor: undefined, showInformationMessage: (text: string) => { editor.said.push(text); return Promise.resolve(undefined); } },
  workspace: editor.workspace,
  tasks: {
    onDidEndTaskProcess: (listener: (ended: unknown) => void) => { editor.ended.push(listener); return { dispose: () => undefined }; },
    onDidEndTask: () => ({ dispose: () => undefined }),
    executeTask: () => Promise.resolve(editor.execution),
  },
}));

const folder = mkdtempSync(join(tmpdir(), "monet install "));
afterAll(() => { rmSync(folder, { recursive: true }); });
mkdirSync(join(folder, "python"));
writeFileSync(join(folder, "python", "monet_torch-0.1.0-py3-none-any.whl"), "");

const end = (ended: Ended): void => { for (const listener of editor.ended) listener(ended); };

/** A Python that answers the probe with this version of the runtime. */
function context(version: string | null, pip = true): { context: Context; model: { left: readonly string[] } } {
  const path = join(folder, `python-${version ?? "bare"}${pip ? "" : "-alone"}.sh`);
  writeFileSync(path, `#!/bin/sh\necho '${JSON.stringify({ version, pip })}'\n`, { mode: 0o755 });
  const model = { uri: { fsPath: "/net.py" }, left: ["script", "runtime"] };
  const models = { active: model, update: (of: object, state: object) => Object.assign(of, state) };
  return { context: { dist: folder, interpreters: { find: () => Promise.resolve({ path, foundBy: "a test" }) }, models } as unknown as Context, model };
}

beforeEach(() => {
  editor.ended.length = 0;
  editor.said.length = 0;
});

it("another task of the same name does not end it, and once it has ended the runtime is nothing that Apply offers", async () => {
  const { context: of, model } = context(null);
  const installed = installRuntime(of);
  await vi.waitFor(() => { expect(editor.ended).toHaveLength(1); });
  await Promise.resolve();
  end({ execution: { task: editor.execution.task }, exitCode: 1 });
  expect(model.left).toEqual(["script", "runtime"]);
  end({ execution: editor.execution, exitCode: 0 });
  await installed;
  expect(model.left).toEqual(["script"]);
  expect(editor.said.join()).toContain("monet-torch 0.1.0 is installed in");
});

it("what keeps it from being installed is said", async () => {
  const { context: of } = context(null);
  await expect(installRuntime({ ...of, models: { active: null } } as unknown as Context)).rejects.toMatchObject({ code: "M802" });
  await expect(installRuntime({ ...of, dist: join(folder, "no build") })).rejects.toMatchObject({ code: "M807" });
  vi.stubEnv("PATH", "/bin-without-uv");
  await expect(installRuntime(context(null, false).context)).rejects.toMatchObject({ code: "M808" });
  vi.unstubAllEnvs();
  editor.workspace.isTrusted = false;
  await expect(installRuntime(of)).rejects.toMatchObject({ code: "M811" });
  editor.workspace.isTrusted = true;
  const installed = installRuntime(of);
  await vi.waitFor(() => { expect(editor.ended).toHaveLength(1); });
  await Promise.resolve();
  end({ execution: editor.execution, exitCode: 1 });
  await expect(installed).rejects.toMatchObject({ code: "M809" });
});

it("an environment that has it already says so", async () => {
  const { context: of, model } = context("0.1.0");
  await installRuntime(of);
  expect(model.left).toEqual(["script"]);
  expect(editor.said.join()).toContain("is installed in");
});

it("an environment without it is known", async () => {
  const uri = { fsPath: "/net.py" } as unknown as vscode.Uri;
  expect((await withoutRuntime(context(null).context, uri))?.path).toContain("bare");
  expect(await withoutRuntime(context("0.1.0").context, uri)).toBeNull();
});
