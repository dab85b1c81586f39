// How fast the editor's surfaces are. Prints measured numbers beside their targets; only what breaks is an error.
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { ensureEditor } from "./editor.mjs";
import { environment, main, root, say, setup } from "./lib.mjs";
import { pack } from "./package.mjs";

await main(async () => {
  await setup();
  const editor = await ensureEditor();
  await pack();
  Object.assign(process.env, environment(editor));
  const { build } = await import("esbuild");
  // As deep in the project as its sources are, which find the project by their own place.
  const bundle = join(root, ".vscode-test", "bench", "editor", "main.mjs");
  await build({ entryPoints: [join(root, "bench", "editor", "main.ts")], outfile: bundle, bundle: true, platform: "node", target: "node20", format: "esm", packages: "external", logLevel: "warning" });
  say("Measuring in the editor");
  const { benchEditor } = await import(pathToFileURL(bundle).href);
  await benchEditor();
});
