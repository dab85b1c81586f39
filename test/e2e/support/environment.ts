import { execFileSync, spawnSync } from "node:child_process";
import { readdir, symlink } from "node:fs/promises";
import { join } from "node:path";
import { installation } from "./installation";

const sitePackages = (python: string): string =>
  execFileSync(python, ["-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"], { encoding: "utf8" }).trim();

/** What a person's own shell would run: nothing of this project is on the path. */
export function asAtHome(python: string, code: string, cwd?: string): { status: number | null; output: string } {
  const env = { ...process.env, PYTHONPATH: undefined };
  const { status, stdout, stderr } = spawnSync(python, ["-c", code], { cwd, env, encoding: "utf8" });
  return { status, output: stdout + stderr };
}

/** An environment with the project's torch and pip, but without our runtime. Returns its Python. */
export async function withoutRuntime(folder: string): Promise<string> {
  execFileSync(installation.python, ["-m", "venv", "--without-pip", folder]);
  const python = join(folder, "bin", "python");
  const from = sitePackages(installation.python);
  const to = sitePackages(python);
  for (const name of await readdir(from)) if (!/monet/i.test(name)) await symlink(join(from, name), join(to, name));
  return python;
}
