/** How the runtime gets into an environment. Pure. */

/** Prints one line of JSON: which monet-torch is there, and whether pip is. Python 3.10 doesn't know PYTHONSAFEPATH: a stray `json.py` where it runs must not stand in for Python's own. */
export const probe = [
  "import sys; sys.path = [folder for folder in sys.path if folder]",
  "import importlib.metadata as m, importlib.util as u, json",
  "try: v = m.version('monet-torch')",
  "except m.PackageNotFoundError: v = None",
  "print(json.dumps({'version': v, 'pip': u.find_spec('pip') is not None}))",
].join("\n");

export function readProbe(lines: readonly string[]): { version: string | null; pip: boolean } {
  try {
    const { version, pip } = JSON.parse(lines.at(-1) ?? "") as { version?: unknown; pip?: unknown };
    return { version: typeof version === "string" ? version : null, pip: pip === true };
  } catch {
    return { version: null, pip: false };
  }
}

export function wheelVersion(files: readonly string[]): string | null {
  return files.map((file) => /^monet_torch-([^-]+)-.*\.whl$/.exec(file)?.[1]).find((version) => version !== undefined) ?? null;
}

/** From our folder alone and without its dependency: torch is the person's own, and nothing is fetched. */
export function installCommand({ python, uv, wheels, again }: { python: string; uv: string | null; wheels: string; again: boolean }): [program: string, ...args: string[]] {
  const offline = ["--no-index", "--no-deps", "--find-links", wheels];
  if (uv !== null) return [uv, "pip", "install", "--python", python, ...offline, ...(again ? ["--reinstall"] : []), "monet-torch"];
  return [python, "-m", "pip", "install", ...offline, ...(again ? ["--force-reinstall"] : []), "monet-torch"];
}
