import { copyFile, mkdtemp, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { build } from "esbuild";

export interface Bundle {
  readonly worker: URL;
  readonly remove: () => Promise<void>;
}

/** The worker as it is packed, with the parser beside it. */
export async function bundleWorker(entry = "src/sources/worker.ts"): Promise<Bundle> {
  const folder = await mkdtemp(join(tmpdir(), "monet sources "));
  const outfile = join(folder, "worker.mjs");
  const banner = { js: 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);' };
  await build({ entryPoints: [entry], outfile, bundle: true, platform: "node", format: "esm", banner, logLevel: "error" });
  const require = createRequire(import.meta.url);
  await copyFile(require.resolve("web-tree-sitter/web-tree-sitter.wasm"), join(folder, "web-tree-sitter.wasm"));
  await copyFile(require.resolve("tree-sitter-python/tree-sitter-python.wasm"), join(folder, "tree-sitter-python.wasm"));
  return { worker: pathToFileURL(outfile), remove: () => rm(folder, { recursive: true, force: true }) };
}
