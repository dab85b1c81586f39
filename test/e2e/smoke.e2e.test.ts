/** A person's first minute, short enough for every run of the tests. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Editor } from "./support/editor";
import { runningHelpers } from "./support/processes";

let editor: Editor;

beforeAll(async () => {
  editor = await Editor.start();
});

afterAll(async () => {
  await editor.close();
});

test("the packed extension shows what can be done with a model, and runs nothing by itself", async () => {
  const folder = await editor.folder("examples/resnet50.py");
  const window = await editor.open(folder);
  await window.openFile("resnet50.py");
  await window.codeLens("Optimize memory");
  await window.activity("MONeT");
  const view = await window.webview("[data-command=optimize]");
  await expect.poll(() => view.locator("body").textContent()).toContain("Not profiled yet");
  await window.screenshot("first-minute");
  expect(runningHelpers(folder)).toEqual([]);
  expect(existsSync(join(folder, ".monet"))).toBe(false);
  await window.close();
});
