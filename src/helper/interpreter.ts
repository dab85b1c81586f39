/** Finds the Python that has the person's torch. Each source is asked in turn; the first that answers is used. */
import { existsSync } from "node:fs";
import { delimiter, dirname, join, resolve } from "node:path";
import { UserError } from "./user_error";

export interface Search {
  /** What the person named outright (`--python`, a setting). */
  readonly explicit?: string | undefined;
  /** How they named it; `--python` unless said. */
  readonly explicitBy?: string | undefined;
  /** Folders to look for a `.venv` in, and above. */
  readonly folders: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly platform?: NodeJS.Platform;
}

export interface Interpreter {
  readonly path: string;
  /** How it was found, to say it when it turns out not to work. */
  readonly foundBy: string;
}

type Source = (search: Search) => Interpreter | null;

const executable = (search: Search, environment: string): string =>
  (search.platform ?? process.platform) === "win32" ? join(environment, "Scripts", "python.exe") : join(environment, "bin", "python");

/** A program on the search path. */
export function onPath(name: string, env: Search["env"], platform: NodeJS.Platform = process.platform): string | null {
  const windows = platform === "win32";
  for (const folder of (env["PATH"] ?? env["Path"] ?? "").split(delimiter)) {
    const file = join(folder, windows ? `${name}.exe` : name);
    if (folder !== "" && existsSync(file)) return file;
  }
  return null;
}

function named(value: string | undefined, foundBy: string, search: Search): Interpreter | null {
  if (value === undefined || value === "") return null;
  const path = /[\\/]/.test(value) ? (existsSync(value) ? value : null) : onPath(value, search.env, search.platform);
  if (path === null) throw new UserError("M701", "environment", `There is no Python at '${value}', which ${foundBy} names: correct it or leave it out.`, { known: { id: "no-such-python", path: value, namedBy: foundBy } });
  return { path, foundBy };
}

const fromVenvFolder: Source = (search) => {
  for (const start of search.folders) {
    let folder = resolve(start);
    for (;;) {
      const path = executable(search, join(folder, ".venv"));
      if (existsSync(path)) return { path, foundBy: `the environment ${join(folder, ".venv")}` };
      const parent = dirname(folder);
      if (parent === folder) break;
      folder = parent;
    }
  }
  return null;
};

const fromActiveVenv: Source = (search) => {
  const active = search.env["VIRTUAL_ENV"];
  if (active === undefined || active === "") return null;
  const path = executable(search, active);
  return existsSync(path) ? { path, foundBy: "VIRTUAL_ENV" } : null;
};

const fromPath: Source = (search) => {
  for (const name of ["python3", "python"]) {
    const path = onPath(name, search.env, search.platform);
    if (path !== null) return { path, foundBy: "the search path" };
  }
  return null;
};

const sources: readonly Source[] = [
  (search) => named(search.explicit, search.explicitBy ?? "--python", search),
  (search) => named(search.env["MONET_PYTHON"], "MONET_PYTHON", search),
  fromVenvFolder,
  fromActiveVenv,
  fromPath,
];

export function findInterpreter(search: Search): Interpreter {
  for (const source of sources) {
    const found = source(search);
    if (found !== null) return found;
  }
  throw new UserError("M702", "environment", `No Python was found: install Python 3.10 or newer with torch, or name one with ${search.explicitBy ?? "--python"}.`, { known: { id: "no-python" } });
}
