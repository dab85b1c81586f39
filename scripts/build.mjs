// Bundles each entry point into dist/. `--watch` rebuilds on change.
import { copyFile, mkdir } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { context } from "esbuild";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const watch = process.argv.includes("--watch");

/** ES modules bundle CommonJS packages that call `require` for Node's own modules. */
const requireShim = 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);';

/** The editor loads CommonJS, in which glpk.js and web-tree-sitter miss the address of their own module. */
const commonJs = {
  format: "cjs",
  external: ["vscode"],
  banner: { js: 'const __moduleUrl = require("node:url").pathToFileURL(__filename).href;' },
  define: { "import.meta.url": "__moduleUrl" },
};

/** The webviews' side: one script and one style sheet each. */
const browser = { platform: "browser", target: "chrome120", format: "iife", banner: {} };

async function bundle(entry, outfile, options = {}) {
  const build = await context({
    absWorkingDir: root,
    entryPoints: [entry],
    outfile,
    bundle: true,
    platform: "node",
    target: "node20",
    format: "esm",
    banner: { js: requireShim },
    sourcemap: true,
    minify: !watch,
    legalComments: "linked",
    logLevel: "warning",
    ...options,
  });
  if (watch) return build.watch();
  await build.rebuild();
  return build.dispose();
}

await mkdir(join(root, "dist"), { recursive: true });
const entries = [
  ["src/cli/main.ts", "dist/cli.mjs", { banner: { js: `#!/usr/bin/env node\n${requireShim}` } }],
  ["src/solver/worker.ts", "dist/solver-worker.mjs"],
  ["src/sources/worker.ts", "dist/source-worker.mjs"],
  ["src/extension.ts", "dist/extension.cjs", commonJs],
  ...["budget", "schedule"].flatMap((view) => [
    [`webview/${view}.ts`, `dist/webview/${view}.js`, browser],
    [`webview/${view}.css`, `dist/webview/${view}.css`, browser],
  ]),
];
for (const [entry, outfile, options] of entries) {
  await bundle(entry, outfile, options);
}
for (const file of ["web-tree-sitter/web-tree-sitter.wasm", "tree-sitter-python/tree-sitter-python.wasm", "glpk.js/dist/glpk.wasm", "highs/build/highs.wasm"]) {
  await copyFile(join(root, "node_modules", file), join(root, "dist", basename(file)));
}
