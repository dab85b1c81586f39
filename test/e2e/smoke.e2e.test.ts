/** A person's first minute, short enough for every run of the tests. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { inEditor } from "./support/in_editor";
import { runningHelpers } from "./support/processes";
import type { Window } from "./support/window";

let window: Window;
let folder: string;

inEditor(async (editor) => {
  folder = await editor.folder("examples/resnet50.py");
  window = await editor.open(folder);
});

test("the packed extension shows what can be done with a model, and runs nothing by itself", async () => {
  await window.openFile("resnet50.py");
  await window.codeLens("Optimize memory");
  await window.activity("MONeT");
  const view = await window.webview("[data-command=optimize]");
  await expect.poll(() => view.locator("body").textContent()).toContain("Not profiled yet");
  await window.screenshot("first-minute");
  expect(runningHelpers(folder)).toEqual([]);
  expect(existsSync(join(folder, ".monet"))).toBe(false);
});
