import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { findInterpreter } from "../../src/helper/interpreter";
import { UserError } from "../../src/helper/user_error";

let root = "";
const touch = (...parts: string[]): string => {
  const file = join(root, ...parts);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, "");
  return file;
};

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "monet-python-"));
});
afterEach(() => {
  rmSync(root, { recursive: true });
});

describe("the interpreter is the first of", () => {
  it("--python, MONET_PYTHON, .venv in the folder or above, VIRTUAL_ENV, python3, python", () => {
    const platform = "linux";
    const explicit = touch("a", "python");
    const fromEnv = touch("b", "python");
    const venv = touch("project", ".venv", "bin", "python");
    const active = touch("active", "bin", "python");
    const python3 = touch("path", "python3");
    const python = touch("old", "python");
    const folders = [join(root, "project", "models", "deep")];
    const env = { MONET_PYTHON: fromEnv, VIRTUAL_ENV: join(root, "active"), PATH: `${join(root, "path")}:${join(root, "old")}` };
    expect(findInterpreter({ explicit, folders, env, platform }).path).toBe(explicit);
    expect(findInterpreter({ folders, env, platform }).path).toBe(fromEnv);
    expect(findInterpreter({ folders, env: { ...env, MONET_PYTHON: "" }, platform }).path).toBe(venv);
    const without = { VIRTUAL_ENV: env.VIRTUAL_ENV, PATH: env.PATH };
    expect(findInterpreter({ folders: [], env: without, platform }).path).toBe(active);
    expect(findInterpreter({ folders: [], env: { PATH: env.PATH }, platform }).path).toBe(python3);
    expect(findInterpreter({ folders: [], env: { PATH: join(root, "old") }, platform }).path).toBe(python);
  });

  it("a name is looked up on the search path", () => {
    const file = touch("path", "python3.12");
    expect(findInterpreter({ explicit: "python3.12", folders: [], env: { PATH: join(root, "path") }, platform: "linux" }).path).toBe(file);
  });

  it("nothing that was named is ignored silently", () => {
    const search = { explicit: join(root, "nothing"), folders: [], env: { PATH: "" } };
    expect(() => findInterpreter(search)).toThrow(UserError);
    expect(() => findInterpreter(search)).toThrow(/--python names/);
    expect(() => findInterpreter({ folders: [], env: { PATH: "" }, platform: "linux" })).toThrow(expect.objectContaining({ code: "M702", message: expect.stringMatching(/^No Python was found/) as unknown }) as Error);
  });
});
