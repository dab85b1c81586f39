// Screenshots of both views in four themes, to be looked at: `node test/webview/harness/shots.mjs OUT [GRAPH.json …]`.
import { mkdirSync } from "node:fs";
import { basename, join } from "node:path";
import { open, start, themes } from "./harness.mjs";

const [out, ...graphs] = process.argv.slice(2);
mkdirSync(out, { recursive: true });
const harness = await open({ graphs });
try {
  for (const name of graphs.length > 0 ? graphs.map((file) => basename(file, ".json")) : ["generated"]) {
    for (const theme of Object.keys(themes)) {
      for (const [view, width, height] of [["budget", 300, 720], ["budget", 200, 900], ["schedule", 1280, 900], ["schedule", 560, 800]]) {
        const page = await harness.page(view, theme, { width, height });
        await start(page, harness.state(`${name}.${view}`), { selected: null });
        await page.screenshot({ path: join(out, `${name}-${view}-${theme}-${width}.png`) });
        await page.context().close();
      }
    }
  }
} finally {
  await harness.close();
}
