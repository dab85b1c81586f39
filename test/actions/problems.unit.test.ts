import { expect, it, vi } from "vitest";
import { problemOf } from "../../src/actions/problems";
import { UserError } from "../../src/helper/user_error";

vi.mock("vscode", () => import("../editor/english"));

it("what failed is what is tried again, and the unexpected leads to the log", () => {
  const action = (error: unknown, again: "retry" | "verify"): string => problemOf(error, again).action.id;
  expect(action(new UserError("M000", "input", "net.py:3: no"), "verify")).toBe("verify");
  expect(action(new UserError("M000", "input", "net.py:3: no"), "retry")).toBe("change");
  expect(action(new UserError("M000", "environment", "no Python"), "verify")).toBe("python");
  expect(problemOf(new TypeError("x is undefined"), "retry")).toEqual({ text: "Something unexpected went wrong; the log tells more. [M709]", action: { title: "Show Log", id: "log" } });
});
