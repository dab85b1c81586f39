/** The editor's documents are texts that a test reads. */
import { expect, it, vi } from "vitest";
import { Reports } from "../../src/actions/reports";
import type { Model } from "../../src/workspace";

const editor = vi.hoisted(() => ({ opened: [] as { path: string; query: string }[] }));

vi.mock("vscode", async () => ({
  ...(await import("../editor/english")),
  EventEmitter: class {
    readonly event = (): void => undefined;
    fire(): void { /* Nobody listens. */ }
    dispose(): void { /* Nothing is held. */ }
  },
  Uri: { from: (parts: object) => parts },
  window: { showTextDocument: () => Promise.resolve() },
  workspace: {
    registerTextDocumentContentProvider: () => ({ dispose: () => undefined }),
    openTextDocument: (uri: never) => Promise.resolve(editor.opened.push(uri)),
  },
}));

it("Verify and Export each keep the report of their own last run", async () => {
  const [one, two] = ["Net", "Other"].map((name) => ({ name, uri: { toString: () => "file:///net.py" } }) as unknown as Model);
  if (one === undefined || two === undefined) throw new Error("no models");
  const reports = new Reports();
  reports.set(one, "verify", "first");
  reports.set(one, "verify", "verified");
  reports.set(two, "verify", "another's");
  reports.set(one, "export", "exported");
  await reports.show(one, "verify");
  await reports.show(one, "export");
  expect(editor.opened.map(({ path }) => path)).toEqual(["/Net report.txt", "/Net export report.txt"]);
  expect(editor.opened.map((uri) => reports.provideTextDocumentContent(uri as never))).toEqual(["verified", "exported"]);
});
