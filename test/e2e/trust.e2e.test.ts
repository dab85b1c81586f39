/** A folder that is not trusted, and what wakes up once it is. */
import { existsSync } from "node:fs";
import { expect, test } from "vitest";
import { inEditor } from "./support/in_editor";
import { runningHelpers } from "./support/processes";
import { frontierFile, smallFolder } from "./support/small";
import type { Window } from "./support/window";

let window: Window;
let folder: string;

inEditor(async (editor) => {
  folder = await smallFolder(editor);
  window = await editor.open(folder);
}, { trusted: false });

test("before a person trusts the folder, the view says why nothing runs", async () => {
  await window.openFile("net.py");
  await window.activity("MONeT");
  const view = await window.webview("[data-command=trust]");
  expect(await view.locator(".notice").textContent()).toContain("This workspace is not trusted, so MONeT runs none of its Python.");
  expect(await view.locator("[data-command=optimize]:visible").count()).toBe(0);
  await window.focusEditor();
  await window.page.waitForTimeout(1000);
  expect(await window.editor.locator(".codelens-decoration a:visible").count()).toBe(0);
});

test("with trust, lenses and the view wake up in the same window, and the model is profiled", async () => {
  const view = await window.webview("[data-command=trust]");
  await view.locator("[data-command=trust]").click();
  await window.page.getByRole("button", { name: "Trust", exact: true }).click();
  await view.locator("[data-command=optimize]:visible").waitFor();
  expect(await view.locator("[data-command=trust]").count()).toBe(0);
  expect(runningHelpers(folder)).toEqual([]);
  await window.codeLens("Optimize memory");
  await window.command("MONeT: Optimize memory");
  await expect.poll(() => existsSync(frontierFile(folder)), { timeout: 120_000 }).toBe(true);
  await window.codeLens(/peak .* → /);
});
