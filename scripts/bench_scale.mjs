// How the solver scales. Needs neither Python nor an editor. Takes a family as an argument, or runs all.
import { join } from "node:path";
import { checkNode, ensureNodeModules, main, root, run, say } from "./lib.mjs";

await main(async () => {
  checkNode();
  await ensureNodeModules();
  const { build } = await import("esbuild");
  const folder = join(root, ".vscode-test", "bench", "scale");
  await build({
    entryPoints: [join(root, "bench", "scale", "main.ts")],
    outdir: folder, outExtension: { ".js": ".mjs" }, bundle: true, platform: "node", target: "node20", format: "esm", packages: "external", logLevel: "warning",
  });
  say("Solving graphs of many sizes");
  return run(process.execPath, [join(folder, "main.mjs"), ...process.argv.slice(2)]);
});
