import { afterAll, beforeAll, expect, test } from "vitest";
import { Editor } from "./support/editor";

let editor: Editor;

beforeAll(async () => {
  editor = await Editor.start();
});

afterAll(async () => {
  await editor.close();
});

test("the packed extension opens a Python file and runs nothing", async () => {
  const folder = await editor.folder("examples/resnet50.py");
  const window = await editor.open(folder);
  await window.openFile("resnet50.py");
  await window.theme("light");
  await window.screenshot("smoke");
  expect(await window.line("class Bottleneck").count()).toBe(1);
  await window.close();
});
