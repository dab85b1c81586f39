// A person's clicks in a real VS Code with the packed extension. Arguments go to vitest: `npm run e2e -- steps`.
import { join } from "node:path";
import { ensureEditor } from "./editor.mjs";
import { environment, main, root, run, say, setup } from "./lib.mjs";
import { pack } from "./package.mjs";

await main(async () => {
  await setup();
  const editor = await ensureEditor();
  await pack();
  say("Tests in the editor (vitest, code-server, Chromium)");
  const vitest = join(root, "node_modules", "vitest", "vitest.mjs");
  return run(process.execPath, [vitest, "run", "--config", "vitest.e2e.config.ts", ...process.argv.slice(2)], { env: environment(editor) });
});
