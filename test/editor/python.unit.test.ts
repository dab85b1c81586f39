import type * as vscode from "vscode";
import { expect, it, vi } from "vitest";
import { isAside } from "../../src/editor/python";

const folder = "/people/ada/.projects/net";
vi.mock("vscode", () => ({
  workspace: { getWorkspaceFolder: ({ fsPath }: vscode.Uri) => (fsPath.startsWith(`${folder}/`) ? { uri: { fsPath: folder } } : undefined) },
}));

it("files of libraries and hidden folders are not the person's own, wherever the workspace lies", () => {
  const aside = (fsPath: string): boolean => isAside({ fsPath } as unknown as vscode.Uri);
  for (const path of [`${folder}/.venv/lib/python3.12/site-packages/torch/nn/modules/conv.py`, `${folder}/.cache/a.py`, "/usr/lib/python3/dist-packages/torch/nn/modules/conv.py"]) {
    expect([path, aside(path)]).toEqual([path, true]);
  }
  for (const path of [`${folder}/net.py`, `${folder}/models/net.py`, "/people/ada/.scratch/net.py", `C:\\models\\net.py`]) {
    expect([path, aside(path)]).toEqual([path, false]);
  }
});
