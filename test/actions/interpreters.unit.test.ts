/** The setting, with real files and no other extension. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type * as vscode from "vscode";
import { afterAll, expect, it, vi } from "vitest";
import { Interpreters } from "../../src/actions/interpreters";

const editor = vi.hoisted(() => ({ setting: "", folder: "" }));
vi.mock("vscode", () => ({
  extensions: { getExtension: () => undefined },
  workspace: {
    getConfiguration: () => ({ get: () => editor.setting }),
    getWorkspaceFolder: () => ({ uri: { fsPath: editor.folder } }),
  },
}));

const folder = mkdtempSync(join(tmpdir(), "monet setting "));
afterAll(() => { rmSync(folder, { recursive: true }); });

it("a path in monet.pythonPath is relative to the workspace folder, wherever the editor was started", async () => {
  mkdirSync(join(folder, "env", "bin"), { recursive: true });
  writeFileSync(join(folder, "env", "bin", "python"), "");
  Object.assign(editor, { folder, setting: "env/bin/python" });
  const found = await new Interpreters({ info: vi.fn() } as unknown as vscode.LogOutputChannel).find({ fsPath: join(folder, "models", "net.py") } as unknown as vscode.Uri);
  expect(found).toEqual({ path: join(folder, "env", "bin", "python"), foundBy: "monet.pythonPath" });
});
