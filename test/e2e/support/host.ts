/** Runs tests inside the extension host of a window, with the whole `vscode` API. */
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { build } from "esbuild";
import type { Report } from "../../host/support/runner";
import type { Editor } from "./editor";
import { root } from "./installation";

/** Each test has a limit of its own; this one is for a window that never comes. */
const allowed = 600_000;

/** A released VS Code takes tests only with its smoke test driver, an option that the page reads from its own markup. */
const withTestDriver = `
  const read = Element.prototype.getAttribute;
  Element.prototype.getAttribute = function (name) {
    const value = read.call(this, name);
    return name === "data-settings" ? value.replace('"developmentOptions":{', '$&"enableSmokeTestDriver":true,') : value;
  };`;

/** Bundles one file of tests, opens a window that runs them, and returns what became of them. */
export async function runInHost(editor: Editor, file: string, place: string): Promise<Report> {
  const folder = await mkdtemp(join(tmpdir(), "monet-host-"));
  const report = join(folder, "report.json");
  const bundle = join(folder, "index.cjs");
  try {
    await build({
      stdin: {
        contents: `import ${JSON.stringify(file)}; import { run as runAll } from "./support/runner"; export const run = () => runAll(${JSON.stringify(report)});`,
        resolveDir: join(root, "test", "host"),
      },
      outfile: bundle, bundle: true, platform: "node", target: "node20", format: "cjs", external: ["vscode"], sourcemap: "inline", logLevel: "warning",
      // Sources that find a worker beside their bundle are told where by the tests.
      logOverride: { "empty-import-meta": "silent" },
    });
    // VS Code runs tests only where an extension is being developed.
    await writeFile(join(folder, "package.json"), JSON.stringify({ name: "tests", publisher: "monet-vscode", version: "1.0.0", engines: { vscode: "^1.96.0" } }));
    const authority = new URL(editor.server.url).host;
    const remote = (path: string): string => `vscode-remote://${authority}${path}`;
    const payload = [["extensionDevelopmentPath", remote(folder)], ["extensionTestsPath", remote(bundle)]] as const;
    const window = await editor.window();
    const log: string[] = [];
    const ended = new Promise<number>((resolve) => {
      void window.page.exposeFunction("codeAutomationExit", resolve);
    });
    await window.page.exposeFunction("codeAutomationLog", (_level: string, texts: readonly unknown[]) => log.push(texts.join(" ")));
    await window.page.addInitScript(withTestDriver);
    try {
      await window.load(place, payload);
      await Promise.race([ended, sleep(allowed, undefined, { ref: false })]);
      if (!existsSync(report)) throw new Error(`The extension host ran no test of ${file}:\n${log.join("\n")}`);
      return JSON.parse(await readFile(report, "utf8")) as Report;
    } finally {
      await window.close();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
