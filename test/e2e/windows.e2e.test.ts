/** Two windows on one folder, which profile the same model. */
import { readFileSync } from "node:fs";
import { readFile, readdir } from "node:fs/promises";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { parseFrontier } from "../../src/core/frontier_document";
import { parseGraph } from "../../src/core/graph";
import { formatBytes } from "../../src/core/units";
import { inEditor } from "./support/in_editor";
import { frontierFile, graphFile, smallFolder } from "./support/small";
import type { Window } from "./support/window";

let windows: Window[];
let folder: string;

const solved = { timeout: 150_000 };
const text = (file: string): Promise<string | null> => readFile(file, "utf8").catch(() => null);

/** What both windows must show in the end: of the graph and the plans that lie there, which belong together. */
async function eagerPeakOnDisk(): Promise<string> {
  const graph = parseGraph(await readFile(graphFile(folder), "utf8"));
  const [plan] = parseFrontier(await readFile(frontierFile(folder), "utf8"), graph).plans;
  return `eager ${formatBytes(plan?.predicted.eager_peak ?? 0)}`;
}

async function shown(window: Window): Promise<string> {
  const view = await window.webview("input[type=range]", 1000).catch(() => null);
  return (await view?.locator(".numbers .muted").allTextContents())?.find((each) => each.startsWith("eager ")) ?? "";
}

const isBusy = async (window: Window): Promise<boolean> => (await window.toast("MONeT: Net").count()) > 0;

/** Reads what is there again and again; returns whatever was no whole JSON. */
function watch(): () => Promise<string[]> {
  const faults: string[] = [];
  const state = { ended: false };
  const done = (async () => {
    while (!state.ended) {
      for (const file of [graphFile(folder), frontierFile(folder)]) {
        const found = await text(file);
        try {
          if (found !== null) JSON.parse(found);
        } catch (error) {
          faults.push(`${file}: ${String(error)}`);
        }
      }
      await sleep(5);
    }
  })();
  return async () => {
    state.ended = true;
    await done;
    return faults;
  };
}

inEditor(async (editor) => {
  folder = await smallFolder(editor);
  windows = [await editor.open(folder), await editor.open(folder)];
  for (const window of windows) {
    await window.openFile("net.py");
    await window.codeLens("Optimize memory");
  }
});

test("what one window has profiled, the other shows", async () => {
  const [first, second] = windows as [Window, Window];
  await second.activity("MONeT");
  await first.command("MONeT: Optimize memory");
  await expect.poll(() => shown(second), solved).toMatch(/^eager /);
  await expect.poll(async () => (await Promise.all(windows.map(isBusy))).includes(true), solved).toBe(false);
  const expected = await eagerPeakOnDisk();
  for (const window of windows) await expect.poll(() => shown(window), { timeout: 20_000 }).toBe(expected);
});

test("both profile at once: no file is ever cut short, and both show what lies there in the end", async () => {
  const stop = watch();
  for (const window of windows) {
    await window.focusEditor();
    await window.command("MONeT: Profile memory");
  }
  await expect.poll(async () => (await Promise.all(windows.map(isBusy))).includes(true), solved).toBe(false);
  expect(await stop()).toEqual([]);
  const expected = await eagerPeakOnDisk();
  for (const window of windows) await expect.poll(() => shown(window), { timeout: 20_000 }).toBe(expected);
  expect((await readdir(dirname(graphFile(folder)))).sort()).toEqual(["net.Net.frontier.json", "net.Net.graph.json", "net.Net.snapshot.json"]);
});

test("another batch size in one window is the other's too", async () => {
  const [first, second] = windows as [Window, Window];
  const before = await shown(second);
  const batch = (await first.webview("input[type=range]")).locator(".batch input");
  await batch.fill("300");
  await batch.press("Enter");
  await expect.poll(async () => (await (await second.webview("input[type=range]")).locator(".batch input").inputValue()), solved).toBe("300");
  await expect.poll(() => shown(second), solved).not.toBe(before);
  await expect.poll(() => isBusy(first), solved).toBe(false);
  expect(JSON.parse(readFileSync(graphFile(folder), "utf8"))).toMatchObject({ made_from: { inputs: ["float32[300,16]"] } });
  const expected = await eagerPeakOnDisk();
  for (const window of windows) await expect.poll(() => shown(window), { timeout: 20_000 }).toBe(expected);
});
