// What our solver makes of MONeT's published instances, beside Gurobi. Needs neither Python nor an editor.
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { checkNode, ensureNodeModules, main, root, say } from "./lib.mjs";

await main(async () => {
  checkNode();
  await ensureNodeModules();
  const { build } = await import("esbuild");
  const folder = join(root, ".vscode-test", "bench", "monet");
  await build({
    entryPoints: ["main", "worker"].map((name) => join(root, "bench", "monet", `${name}.ts`)),
    outdir: folder, outExtension: { ".js": ".mjs" }, bundle: true, platform: "node", target: "node20", format: "esm", packages: "external", logLevel: "warning",
  });
  say("Solving MONeT's instances");
  const { benchMonet } = await import(pathToFileURL(join(folder, "main.mjs")).href);
  return benchMonet(process.argv.slice(2), root);
});
