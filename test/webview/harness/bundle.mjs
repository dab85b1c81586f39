// Only the webviews' bundles, into a folder of its own: `bundle.mjs OUT`.
import { build } from "esbuild";

for (const view of ["budget", "schedule"]) {
  for (const suffix of ["ts", "css"]) {
    await build({ entryPoints: [`webview/${view}.${suffix}`], outdir: process.argv[2], bundle: true, platform: "browser", target: "chrome120", format: "iife", logLevel: "warning", minify: true });
  }
}
