// The webviews outside the editor: the real bundles on a page as the extension makes it, real view models,
// a stand-in for the host, and the colours of four themes.
import { createServer } from "node:http";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { spawnSync } from "node:child_process";
import { build } from "esbuild";
import { chromium } from "playwright-core";

const here = import.meta.dirname;
const root = join(here, "..", "..", "..");
export const themes = { dark: "vscode-dark", light: "vscode-light", "hc-dark": "vscode-high-contrast", "hc-light": "vscode-high-contrast vscode-high-contrast-light" };
const types = { js: "text/javascript", css: "text/css" };

async function bundle(folder) {
  const entryPoints = ["budget", "schedule"].flatMap((view) => ["ts", "css"].map((suffix) => join(root, "webview", `${view}.${suffix}`)));
  await build({ entryPoints, outdir: folder, bundle: true, platform: "browser", target: "chrome120", format: "iife", minify: true, logLevel: "warning" });
  const banner = { js: 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);' };
  await build({ entryPoints: [join(here, "states.ts")], outfile: join(folder, "states.mjs"), bundle: true, platform: "node", format: "esm", banner, logLevel: "warning" });
}

function page(view, theme) {
  const policy = ["default-src 'none'", "script-src 'nonce-harness'", "style-src 'self' 'nonce-harness'", "font-src 'self'", "img-src 'self' data: blob:"].join("; ");
  return `<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="${policy}">
<meta property="csp-nonce" content="harness"><link rel="icon" href="data:,"><link rel="stylesheet" href="/themes/${theme}.css"><link rel="stylesheet" href="/${view}.css"><title>MONeT</title></head>
<body class="${themes[theme]} ${view}"><main id="root"></main>
<script nonce="harness" src="/host.js"></script><script nonce="harness" src="/${view}.js"></script></body></html>`;
}

function serve(folder) {
  return createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url, "http://harness");
    const name = pathname.slice(1);
    const respond = (type, body) => response.writeHead(200, { "content-type": `${type}; charset=utf-8` }).end(body);
    if (name === "budget" || name === "schedule") return respond("text/html", page(name, searchParams.get("theme")));
    const from = name.startsWith("themes/") || name === "host.js" ? here : folder;
    readFile(join(from, name)).then((body) => respond(types[name.split(".").at(-1)] ?? "text/plain", body), () => response.writeHead(404).end());
  });
}

/** Builds, solves, serves and opens a browser. `graphs` are files of training graphs; without them generated networks stand in. */
export async function open({ graphs = [], browser: executablePath = process.env.MONET_BROWSER ?? "/usr/bin/chromium" } = {}) {
  const folder = mkdtempSync(join(tmpdir(), "monet-webview-"));
  await bundle(folder);
  const made = spawnSync(process.execPath, [join(folder, "states.mjs"), folder, ...graphs], { cwd: root, stdio: ["ignore", "ignore", "inherit"] });
  if (made.status !== 0) throw new Error("The view models could not be made.");
  const server = serve(folder);
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
  return {
    version: browser.version(),
    state: (name) => JSON.parse(readFileSync(join(folder, `${name}.json`), "utf8")),
    async page(view, theme, size, options = {}) {
      const context = await browser.newContext({ viewport: size, ...options });
      const opened = await context.newPage();
      opened.on("console", (message) => process.stderr.write(`console: ${message.text()}\n`));
      opened.on("pageerror", (error) => process.stderr.write(`${error.stack}\n`));
      await opened.goto(`http://127.0.0.1:${server.address().port}/${view}?theme=${theme}`);
      await opened.waitForFunction(() => document.body.dataset.ready === "true");
      return opened;
    },
    async close() {
      await browser.close();
      server.closeAllConnections();
      server.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Tells the view its first state and waits until it is drawn. */
export async function start(page, state, more = {}) {
  await page.evaluate((message) => window.tell(message), { kind: "start", translations: null, state, ...more });
  await page.waitForTimeout(200);
}
