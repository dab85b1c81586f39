import { expect, it, vi } from "vitest";
import { problemOf } from "../../src/actions/problems";
import { UserError } from "../../src/helper/user_error";

vi.mock("vscode", async () => ({
  ...(await import("../editor/english")),
  workspace: { workspaceFolders: [{ uri: { fsPath: "/my models" } }], asRelativePath: (file: string) => file.replace("/my models/", "") },
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
