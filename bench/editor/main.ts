/** How fast the editor's surfaces are, in a real VS Code with the packed extension. Targets stand beside what was measured. */
import { execFileSync } from "node:child_process";
import { statSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { cpus } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Editor } from "../../test/e2e/support/editor";
import { runInHost } from "../../test/e2e/support/host";
import { installation, root, vsix } from "../../test/e2e/support/installation";
import { largeFile } from "./large_file";
import type { Measurement } from "./measure.host";

interface Row {
  readonly what: string;
  readonly measured: string;
  readonly target: string;
}

const milliseconds = (value: number): string => `${value < 10 ? value.toFixed(1) : value.toFixed(0)} ms`;

/** In a window at rest, and in one that starts, where everything else starts too: medians of five. */
async function activations(editor: Editor): Promise<Row[]> {
  const middle = async (rest: number): Promise<string> => {
    const seen: number[] = [];
    for (let window = 0; window < 5; window++) seen.push(await activation(editor, rest));
    return `${seen.sort((a, b) => a - b)[2] ?? NaN} ms (${seen[0] ?? NaN} to ${seen.at(-1) ?? NaN})`;
  };
  return [
    { what: "activation in a window at rest, as VS Code tells it, median of 5", measured: await middle(8000), target: "100 ms" },
    { what: "activation while a window starts, as VS Code tells it, median of 5", measured: await middle(0), target: "" },
  ];
}

/** Loading the code and calling it, from the page that lists the running extensions. */
async function activation(editor: Editor, rest: number): Promise<number> {
  const window = await editor.open(await editor.folder("examples/resnet50.py"));
  await sleep(rest);
  await window.openFile("resnet50.py");
  await window.codeLens("Optimize memory");
  await window.command("Developer: Show Running Extensions");
  const text = await window.page.locator(".runtime-extensions-editor .extension").filter({ hasText: "MONeT" }).locator(".activation-time").textContent();
  await window.close();
  return Number(/([\d.]+)\s*ms/.exec(text ?? "")?.[1] ?? NaN);
}

async function inTheHost(): Promise<{ rows: Row[]; about: string }> {
  const editor = await Editor.start();
  try {
    const folder = await editor.folder();
    const text = largeFile();
    await writeFile(join(folder, "large.py"), text);
    await writeFile(join(folder, "large.txt"), text);
    execFileSync(process.execPath, [join(root, "dist", "cli.mjs"), "profile", join(folder, "large.py:Net"), "--input", "float32[16,32]"], { stdio: "ignore" });
    const { outcomes, notes } = await runInHost(editor, join(root, "bench", "editor", "measure.host.ts"), folder);
    const failed = outcomes.find(({ error }) => error !== null);
    if (failed !== undefined) throw new Error(`${failed.title}: ${failed.error ?? ""}`);
    const measured = notes.map((line) => JSON.parse(line) as { name: Measurement; value: number });
    const of = (name: Measurement): number => measured.find((each) => each.name === name)?.value ?? NaN;
    const beyond = (what: string, name: Measurement, empty: Measurement, target: string): Row => ({
      what: `${what} (and ${milliseconds(of(empty))} that VS Code takes without us)`,
      measured: milliseconds(of(name) - of(empty)),
      target,
    });
    return {
      about: `${text.split("\n").length - 1} lines, 50 models, ${of("operators")} operators profiled, ${of("marks")} places marked`,
      rows: [
        ...(await activations(editor)),
        beyond("hover, median of 60", "hover", "emptyHover", "10 ms"),
        beyond("hover while 10,000 operators are solved, median of 60", "busyHover", "emptyHover", "10 ms"),
        beyond("inlay hints of 50 lines, median of 60", "hints", "emptyHints", "10 ms"),
        beyond("extension host per keystroke, mean of 100", "keystroke", "plainKeystroke", "5 ms"),
      ],
    };
  } finally {
    await editor.close();
  }
}

interface Webviews {
  readonly operators: number;
  readonly liveRanges: number;
  readonly drawMs: number;
  readonly framesPerSecond: Readonly<Record<string, { readonly median: number; readonly slowest: number }>>;
  readonly sliderMs: { readonly median: number; readonly slowest: number };
}

async function inTheWebviews(): Promise<Row[]> {
  const file = join(root, "bench", "webview.mjs");
  const { measureWebviews } = (await import(file)) as { measureWebviews: (options: { browser: string }) => Promise<Webviews> };
  const { operators, liveRanges, drawMs, framesPerSecond, sliderMs } = await measureWebviews({ browser: installation.browser });
  return [
    { what: "slider to updated view, median of 60", measured: milliseconds(sliderMs.median), target: "50 ms" },
    { what: `schedule panel draws ${operators} operators, ${liveRanges} live ranges`, measured: milliseconds(drawMs), target: "500 ms" },
    ...Object.entries(framesPerSecond).map(([zoom, { median, slowest }]) => ({
      what: `schedule panel pans at ${zoom}, median (95% at least ${slowest.toFixed(0)})`,
      measured: `${median.toFixed(0)} frames/s`,
      target: "30 frames/s",
    })),
  ];
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

const version = (program: string): string => execFileSync(program, ["--version"], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();

export async function benchEditor(): Promise<void> {
  const { about, rows } = await inTheHost();
  rows.push(...(await inTheWebviews()));
  rows.push({ what: "VSIX", measured: `${(statSync(vsix).size / 1024 ** 2).toFixed(2)} MiB`, target: "4 MiB" });
  const wide = Math.max(...rows.map(({ what }) => what.length));
  print(`${cpus()[0]?.model ?? "?"}, ${cpus().length} cores; code-server 4.139.1, ${version(installation.browser)}, Node ${process.version}`);
  print(about);
  print(`${"".padEnd(wide)}  ${"measured".padStart(12)}  ${"at most".padStart(12)}`);
  for (const { what, measured, target } of rows) print(`${what.padEnd(wide)}  ${measured.padStart(12)}  ${target.padStart(12)}`);
}
