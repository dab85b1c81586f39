import { describe, expect, it } from "vitest";
import type * as vscode from "vscode";
import { firstPython, FoundPython, PythonEnvironments, PythonExtension, type Extensions, type PythonSource } from "../../src/actions/python_sources";
import { UserError } from "../../src/helper/user_error";

const uri = { fsPath: "/w/net.py" } as unknown as vscode.Uri;
const envs = "ms-python.vscode-python-envs";
const python = "ms-python.python";

/** What the two extensions export, as far as it is asked. */
const envsApi = (executable: string | undefined): object => ({ getEnvironment: (scope: vscode.Uri) => Promise.resolve(scope === uri && executable !== undefined ? { execInfo: { run: { executable } } } : undefined) });
const pythonApi = (path: string | null): object => ({
  environments: {
    getActiveEnvironmentPath: (scope: vscode.Uri) => ({ id: scope.fsPath, path: "raw" }),
    resolveEnvironment: ({ id }: { id: string }) => Promise.resolve(id === uri.fsPath && path !== null ? { executable: { uri: { fsPath: path } } } : undefined),
  },
});

function sources(apis: Readonly<Record<string, object | (() => never)>>, setting: string | null = null): PythonSource[] {
  const extensions: Extensions = {
    has: (id) => id in apis,
    api: (id) => {
      const api = apis[id] ?? null;
      return typeof api === "function" ? Promise.resolve().then(api as () => never) : Promise.resolve(api);
    },
  };
  return [
    new PythonEnvironments(extensions),
    new PythonExtension(extensions),
    new FoundPython("the setting", () => (setting === null ? null : { path: setting, foundBy: "the setting" })),
    new FoundPython("the workspace", () => ({ path: "python3", foundBy: "the search path" })),
  ];
}

const failures: string[] = [];
const find = async (each: PythonSource[]): Promise<string> => (await firstPython(each, uri, ({ name }) => failures.push(name))).path;

describe("the Python is the first that answers:", () => {
  it("Python Environments, the Python extension, the setting, the workspace", async () => {
    expect(await find(sources({ [envs]: envsApi("/envs"), [python]: pythonApi("/ext") }, "/set"))).toBe("/envs");
    expect(await find(sources({ [python]: pythonApi("/ext") }, "/set"))).toBe("/ext");
    expect(await find(sources({}, "/set"))).toBe("/set");
    expect(await find(sources({}))).toBe("python3");
  });

  it("one that has selected nothing is passed over", async () => {
    expect(await find(sources({ [envs]: envsApi(undefined), [python]: pythonApi("/ext") }))).toBe("/ext");
    expect(await find(sources({ [envs]: envsApi(""), [python]: pythonApi(null) }))).toBe("python3");
    expect(await find(sources({ [envs]: {}, [python]: { environments: {} } }))).toBe("python3");
  });

  it("one that fails is passed over, and told", async () => {
    const fails = (): never => { throw new Error("not today"); };
    expect(await find(sources({ [envs]: fails, [python]: { environments: { getActiveEnvironmentPath: fails } } }))).toBe("python3");
    expect(failures.splice(0)).toEqual(["the Python Environments extension", "the Python extension"]);
  });

  it("what the person named and is not there is not passed over in silence", async () => {
    const wrong = new FoundPython("the setting", () => { throw new UserError("M000", "environment", "There is no Python at '/x'."); });
    await expect(find([wrong, ...sources({})])).rejects.toThrow("There is no Python at '/x'.");
  });
});

describe("choosing another", () => {
  it("opens the picker of an extension that is installed", () => {
    const pickers = (apis: Readonly<Record<string, object>>): (string | null)[] => sources(apis).map(({ picker }) => picker);
    expect(pickers({ [envs]: {}, [python]: {} })).toEqual(["python-envs.set", "python.setInterpreter", null, null]);
    expect(pickers({ [python]: {} })).toEqual([null, "python.setInterpreter", null, null]);
  });
});
