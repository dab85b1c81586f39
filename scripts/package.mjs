// Packs the extension as people get it: bundles, the runtime's wheel, then monet.vsix in the root.
import { cpSync, mkdtempSync, renameSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative, sep } from "node:path";
import { ensureNodeModules, ensurePython, isMain, main, must, root, SetupError, say, venvPython } from "./lib.mjs";

export const vsix = join(root, "monet.vsix");
const mostBytes = 4 * 1024 * 1024;

/** The date in the archive is fixed, so that the same sources give the same file. */
const env = { ...process.env, SOURCE_DATE_EPOCH: "315532800" };

/** Built from a copy: setuptools leaves its own folders beside the sources. */
async function wheel() {
  const sources = mkdtempSync(join(tmpdir(), "monet-wheel-"));
  const wheels = join(root, "dist", "python");
  try {
    for (const name of ["monet_torch", "pyproject.toml", "README.md", "LICENSE"]) {
      cpSync(join(root, "python", name), join(sources, name), { recursive: true, filter: (file) => !file.endsWith(`${sep}__pycache__`) });
    }
    rmSync(wheels, { recursive: true, force: true });
    const pip = ["-m", "pip", "wheel", "-q", "--disable-pip-version-check", "--no-deps", "--no-build-isolation"];
    await must("Building the runtime's wheel", venvPython, [...pip, "--wheel-dir", wheels, sources], { env });
  } finally {
    rmSync(sources, { recursive: true, force: true });
  }
}

export async function pack() {
  say("Packing the extension");
  await must("The build", process.execPath, [join(root, "scripts", "build.mjs")]);
  await wheel();
  const part = join(root, "dist", "monet.vsix");
  const vsce = join(root, "node_modules", "@vscode", "vsce", "vsce");
  await must("Packing", process.execPath, [vsce, "package", "--no-dependencies", "--allow-missing-repository", "--no-rewrite-relative-links", "--out", part], { env });
  renameSync(part, vsix);
  const { size } = statSync(vsix);
  if (size > mostBytes) throw new SetupError(`${relative(root, vsix)} takes ${(size / 1024 ** 2).toFixed(1)} MiB, more than 4 MiB: see what it lists above and .vscodeignore.`);
}

if (isMain(import.meta.url)) {
  await main(async () => {
    await ensureNodeModules();
    await ensurePython();
    await pack();
  });
}
