import { expect, it, vi } from "vitest";
import { Jobs } from "../../src/actions/jobs";
import { problemOf, showProblem } from "../../src/actions/problems";
import { UserError } from "../../src/helper/user_error";
import type { Model, Models } from "../../src/workspace";

const editor = vi.hoisted(() => ({ shown: [] as string[], chosen: undefined as string | undefined, run: [] as unknown[][] }));

vi.mock("vscode", async () => ({
  ...(await import("../editor/english")),
  window: { showErrorMessage: (...texts: string[]) => { editor.shown = texts; return Promise.resolve(editor.chosen); }, withProgress: (_: unknown, work: (...words: unknown[]) => unknown) => work({ report: () => undefined }, { onCancellationRequested: () => undefined }) },
  commands: { executeCommand: (...words: unknown[]) => { editor.run.push(words); } },
  languages: { createDiagnosticCollection: () => ({ dispose: () => undefined }) },
  ProgressLocation: { Notification: 15 },
  workspace: { textDocuments: [], onDidChangeTextDocument: () => ({ dispose: () => undefined }), workspaceFolders: [{ uri: { fsPath: "/my models" } }], asRelativePath: (file: string) => file.replace("/my models/", "") },
}));

it("what failed is what is tried again, and the unexpected leads to the log", () => {
  const action = (error: unknown, again: "retry" | "verify"): string => problemOf(error, again).action.id;
  expect(action(new UserError("M000", "input", "net.py:3: no"), "verify")).toBe("verify");
  expect(action(new UserError("M000", "input", "net.py:3: no"), "retry")).toBe("change");
  expect(action(new UserError("M000", "environment", "no Python"), "verify")).toBe("python");
  expect(problemOf(new TypeError("x is undefined"), "retry")).toEqual({ text: "Something unexpected went wrong; the log tells more. [M709]", action: { title: "Show Log", id: "log" } });
});

it("a place is said from the workspace on, and a part that can be planned is what is offered", () => {
  const error = new UserError("M000", "input", "/my models/net.py:3: no; parts of it can be planned by themselves: --part 'layers.*' (72% of what it keeps)", { file: "/my models/net.py", line: 3 });
  expect(problemOf(error, "retry")).toEqual({
    text: "net.py:3: no; parts of it can be planned by themselves: 'layers.*' (72% of what it keeps) [M000]", part: "layers.*", action: { title: "Plan layers.*", id: "part" },
  });
});

it("what is offered helps: another input for what the input did, and for what export refuses something else", async () => {
  const shown = async (code: string, message: string): Promise<string[]> => {
    await showProblem({ log: { error: () => undefined } as never }, new UserError(code, "input", message), () => undefined);
    return editor.shown;
  };
  expect(await shown("M113", "what does Net take?")).toEqual(["what does Net take? [M113]", "Change Input", "Try Again"]);
  expect(await shown("M201", "net.py has no line: RuntimeError: no (given --input 'float32[2,5]' --target 'bool[2]')")).toEqual([
    "net.py has no line: RuntimeError: no (given 'float32[2,5]' 'bool[2]') [M201]", "Change Input", "Try Again",
  ]);
  expect(await shown("M324", "net.py is there and was not written by export; move it away, or name another file with --out")).toEqual([
    "net.py is there and was not written by export; move it away [M324]", "Try Again",
  ]);
  expect((await shown("M325", "nothing that this plan drops")).slice(1)).toEqual(["Show memory budget", "Try Again"]);
  expect((await shown("M326", "Net computed again by modules gives another result")).slice(1)).toEqual(["Apply", "Try Again"]);
});

it.each([
  ["M326", "input", "Apply", "monet.apply"], ["M325", "input", "Show memory budget", "monet.focusBudget"],
  ["M113", "input", "Change Input", "monet.changeInput"], ["M612", "infeasible", "Show memory budget", "monet.focusBudget"],
] as const)("what is offered for %s is for the model that failed, whichever is shown by then", async (code, kind, title, id) => {
  const models = { onDidChange: () => ({ dispose: () => undefined }), update: () => undefined } as unknown as Models;
  const model = { id: "file:///my models/net.py#Net", name: "Net", uri: { toString: () => "file:///my models/net.py" } } as unknown as Model;
  const jobs = new Jobs(models, "");
  const error: unknown = await jobs.run(model, null, () => Promise.reject(new UserError(code, kind, "no"))).catch((failed: unknown) => failed);
  editor.run = [];
  editor.chosen = title;
  await showProblem({ log: { error: () => undefined } as never }, error);
  await vi.waitFor(() => { expect(editor.run).toEqual([[id, { uri: "file:///my models/net.py", name: "Net" }]]); });
  jobs.dispose();
});
