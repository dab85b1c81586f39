// Bundles each entry point into dist/. `--watch` rebuilds on change.
import { copyFile, mkdir } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { context } from "esbuild";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const watch = process.argv.includes("--watch");

/** ES modules bundle CommonJS packages that call `require` for Node's own modules. */
const requireShim = 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);';

async function bundle(entry, outfile, options = {}) {
  const { banner, ...rest } = options;
  const build = await context({
    absWorkingDir: root,
    entryPoints: [entry],
    outfile,
    bundle: true,
    platform: "node",
    target: "node20",
    format: "esm",
    banner: { js: [banner, requireShim].filter(Boolean).join("\n") },
    sourcemap: true,
    minify: !watch,
    legalComments: "linked",
    logLevel: "warning",
    ...rest,
  });
  if (watch) return build.watch();
  await build.rebuild();
  return build.dispose();
}

await mkdir(join(root, "dist"), { recursive: true });
const entries = [
  ["src/cli/main.ts", "dist/cli.mjs", { banner: "#!/usr/bin/env node" }],
  ["src/solver/worker.ts", "dist/solver-worker.mjs"],
];
for (const [entry, outfile, options] of entries) {
  await bundle(entry, outfile, options);
}
for (const file of ["web-tree-sitter/web-tree-sitter.wasm", "tree-sitter-python/tree-sitter-python.wasm", "glpk.js/dist/glpk.wasm"]) {
  await copyFile(join(root, "node_modules", file), join(root, "dist", basename(file)));
}
