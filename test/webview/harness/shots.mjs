// Screenshots of both views in four themes, to be looked at: `node test/webview/harness/shots.mjs [--translations l10n/bundle.l10n.ja.json] OUT [GRAPH.json …]`.
import { mkdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { parseArgs } from "node:util";
import { open, start, themes } from "./harness.mjs";

const { values, positionals: [out, ...graphs] } = parseArgs({ allowPositionals: true, options: { translations: { type: "string" } } });
const translations = values.translations === undefined ? null : JSON.parse(readFileSync(values.translations, "utf8"));
mkdirSync(out, { recursive: true });
const harness = await open({ graphs });
try {
  for (const name of graphs.length > 0 ? graphs.map((file) => basename(file, ".json")) : ["generated"]) {
    for (const theme of Object.keys(themes)) {
      for (const [view, width, height] of [["budget", 300, 720], ["budget", 200, 900], ["schedule", 1280, 900], ["schedule", 560, 800]]) {
        const page = await harness.page(view, theme, { width, height });
        await start(page, harness.state(`${name}.${view}`), { translations });
        await page.screenshot({ path: join(out, `${name}-${view}-${theme}-${width}.png`) });
        await page.context().close();
      }
    }
  }
} finally {
  await harness.close();
}
