/** A script that is picked in the system's own dialog, which no test can drive: the dialog alone is a stand-in. */
import { expect, it, vi } from "vitest";
import type { Context } from "../../src/context";
import type { Model } from "../../src/workspace";
import { insertIntoScript } from "../../src/actions/apply";

vi.mock("vscode", async () => ({
  ...(await import("../editor/english")),
  Uri: { file: (fsPath: string) => ({ fsPath }) },
  EventEmitter: class { readonly event = (): void => undefined; },
  window: { showOpenDialog: () => Promise.resolve([{ fsPath: "/w/other.py" }]) },
  workspace: { findFiles: () => Promise.resolve([]), asRelativePath: ({ fsPath }: { fsPath: string }) => fsPath },
}));

it("a script that does not build the model is said", async () => {
  const model = { name: "Net", uri: { fsPath: "/w/net.py" }, profile: null, fileOf: () => "/w/.monet/net.Net.plan.json" } as unknown as Model;
  const context = { models: { view: () => null, read: () => Promise.resolve(null) }, sources: { insertions: () => Promise.resolve([]) } } as unknown as Context;
  await expect(insertIntoScript(context, model)).rejects.toMatchObject({ code: "M805", facts: { file: "/w/other.py", line: 1 } });
});
