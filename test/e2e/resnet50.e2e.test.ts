/** The person's whole way, on a ResNet-50 at a small batch: one window, step by step. */
import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Frame, Locator } from "playwright-core";
import { expect, test } from "vitest";
import { inEditor } from "./support/in_editor";
import { runningHelpers } from "./support/processes";
import { themes, type Theme, type Window } from "./support/window";

let window: Window;
let folder: string;

const file = (name: string): string => join(folder, name);
const soon = { timeout: 20_000 };
const solved = { timeout: 280_000 };

const budgetView = (): Promise<Frame> => window.webview("input[type=range]", 170_000);
const button = (frame: Frame, command: string): Locator => frame.locator(`[data-command="${command}"]:visible`);
const peak = (frame: Frame): Promise<string | null> => frame.locator(".numbers b").first().textContent();

const script = `import torch
from resnet50 import resnet50

model = resnet50()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
`;

inEditor(async (editor) => {
  folder = await editor.folder("examples/resnet50.py");
  await writeFile(file("train.py"), script);
  window = await editor.open(folder);
});

test("1. opening a file shows what can be done above each model, and runs nothing", async () => {
  await window.openFile("resnet50.py");
  await window.codeLens("Profile memory");
  await expect.poll(() => window.editor.locator(".codelens-decoration").first().textContent()).toMatch(/Profile memory.*Optimize memory/);
  await window.screenshot("1-open");
  expect(runningHelpers(folder)).toEqual([]);
  expect(existsSync(file(".monet"))).toBe(false);
});

test("2. optimizing asks once what it can't know, with a guess ready, and keeps the answer", async () => {
  await window.command("MONeT: Optimize memory");
  await expect.poll(() => window.quickTitle.textContent(), soon).toContain("resnet50");
  await expect.poll(() => window.quickInput.inputValue(), soon).toMatch(/^float32\[\d+,3,224,224\]$/);
  await window.quickInput.fill("float32[8,3,");
  await window.page.locator(".quick-input-widget:visible .quick-input-message").filter({ hasText: /\w/ }).waitFor();
  await window.screenshot("2-ask");
  await window.quickInput.fill("float32[8,3,128,128]");
  await window.page.keyboard.press("Enter");
  await expect.poll(() => window.quickInput.inputValue(), soon).toBe("8");
  await window.page.keyboard.press("Enter");
  await window.quickRow("Go on").waitFor();
  await window.page.keyboard.press("Enter");
  await expect.poll(() => existsSync(file("monet.json")), soon).toBe(true);
  expect(JSON.parse(await readFile(file("monet.json"), "utf8"))).toEqual({ models: { "resnet50.py:resnet50": { inputs: ["float32[8,3,128,128]"] } } });
});

test("3. a task runs the helper with a notification, and stops at once", async () => {
  const toast = window.toast(/resnet50/);
  await toast.waitFor();
  await expect.poll(() => runningHelpers(folder).length, soon).toBeGreaterThan(0);
  await window.screenshot("3-running");
  await toast.hover();
  await toast.getByRole("button", { name: "Cancel" }).click();
  await expect.poll(() => runningHelpers(folder), { timeout: 2000 }).toEqual([]);
  await expect.poll(() => window.toast(/resnet50/).count(), soon).toBe(0);

  const view = await window.webview("[data-command=optimize]");
  await button(view, "optimize").click();
  await window.toast(/Profiling operator \d+ of \d+, \d+%/).waitFor(solved);
  await window.screenshot("3-profiling");
  await expect.poll(() => existsSync(file(".monet/resnet50.frontier.json")), solved).toBe(true);
  await expect.poll(() => window.toast(/resnet50/).count(), soon).toBe(0);
}, 360_000);

test("4. the text shows what each line keeps and recomputes, and why", async () => {
  await window.goToLine(86);
  await window.codeLens(/peak .* MiB → .* MiB \(\+\d/);
  await window.goToLine(60);
  await window.line(/self\.conv1 = nn\.Conv2d\(3, 64/).filter({ hasText: /[◆↻]/ }).waitFor();
  const texts = (await window.editor.locator(".view-line").allTextContents()).join("\n");
  expect(texts).toMatch(/◆\s[\d.]+\s[KM]iB\skept/);
  const hover = await window.hover("conv1", /self\.conv1 = nn\.Conv2d\(3, 64/);
  await expect.poll(() => hover.textContent(), soon).toMatch(/Saved for backward/);
  await window.screenshot("4-hover");
  await window.page.keyboard.press("Escape");
  await window.goToLine(40);
  await window.line(/self\.relu\(self\.bn1\(self\.conv1\(x\)\)\)/).filter({ hasText: /[◆↻]/ }).waitFor();
  for (const theme of Object.keys(themes) as Theme[]) {
    await window.theme(theme);
    await window.screenshot(`4-editor-${theme}`);
  }
});

test("4. an edit that touches the model makes its marks stale, and undoing it makes them fresh again", async () => {
  await window.goToLine(60);
  await window.line(/self\.conv1 = nn\.Conv2d\(3, 64/).click({ position: { x: 100, y: 8 } });
  await window.page.keyboard.press("End");
  await window.page.keyboard.press("ArrowLeft");
  await window.page.keyboard.type(", dilation=1");
  await window.line(/dilation=1/).filter({ hasText: /stale\s·/ }).waitFor();
  await window.screenshot("4-stale");
  const view = await budgetView();
  await expect.poll(() => view.locator(".freshness").textContent(), soon).toContain("stale");
  for (let undo = 0; undo < 12 && (await window.line(/3,\s64.*bias=False,/).count()) > 0; undo++) await window.page.keyboard.press("Control+z");
  await expect.poll(() => window.editor.locator(".view-line").filter({ hasText: /stale\s·/ }).count(), soon).toBe(0);
  await expect.poll(() => view.locator(".freshness").textContent(), soon).toContain("fresh");
});

test("5. the slider answers at once, and an exact budget is searched for", async () => {
  const view = await budgetView();
  const before = await peak(view);
  const slider = view.locator("input[type=range]");
  await slider.focus();
  await slider.press("End");
  await expect.poll(() => peak(view)).not.toBe(before);
  await expect.poll(() => slider.getAttribute("aria-valuetext")).toMatch(/^[\d.]+ MiB, .*(slower|faster)$/);
  await window.goToLine(86);
  await expect.poll(async () => (await window.codeLens(/peak/)).textContent(), soon).toContain(`→ ${await peak(view)}`);

  const exact = view.locator(".exact input");
  await exact.fill("nonsense");
  await exact.press("Enter");
  await view.getByText("is no budget").waitFor();
  await exact.fill("50%");
  await exact.press("Enter");
  await view.locator(".refining").waitFor();
  await expect.poll(() => view.locator(".refining").count(), solved).toBe(0);
  for (const theme of Object.keys(themes) as Theme[]) {
    await window.theme(theme);
    await window.screenshot(`5-budget-${theme}`);
  }
});

test("5. the tree of layers and the source lead to each other", async () => {
  const rows = window.page.locator('.pane:has-text("Layers") .monaco-list-row');
  await rows.filter({ hasText: "layer2" }).first().click();
  await expect.poll(() => window.cursorLine()).toContain("self.layer2");
  await window.goToLine(50);
  await window.line(/self\.bn1 = nn\.BatchNorm2d\(64\)/).click({ position: { x: 100, y: 8 } });
  await expect.poll(() => window.page.locator('.pane:has-text("Layers") .monaco-list-row.selected').textContent(), soon).toContain("bn1");
});

test("6. the schedule shows the training step; bars and source lead to each other", async () => {
  const view = await budgetView();
  await button(view, "schedule").click();
  const panel = await window.webview(".headlines");
  await expect.poll(() => panel.locator(".headlines").textContent(), soon).toMatch(/Peak memory.*Saved.*Step time/s);
  await window.command("View: Toggle Primary Side Bar Visibility");
  for (const theme of Object.keys(themes) as Theme[]) {
    await window.theme(theme);
    await window.screenshot(`6-schedule-${theme}`);
  }
  await window.theme("dark");
  const bars = panel.locator(".bars");
  await bars.focus();
  await bars.press("Home");
  await bars.press("ArrowDown");
  await bars.press("Enter");
  await panel.locator(".why").waitFor();
  await expect.poll(() => panel.locator(".why .reason").textContent(), soon).toMatch(/peak/);
  await expect.poll(() => window.cursorLine(), soon).toMatch(/self\.conv1/);
  await window.screenshot("6-why");

  await panel.locator("[data-toggle=table]").click();
  await panel.locator("vscode-data-grid-row").nth(3).waitFor();
  await window.screenshot("6-table");
  await panel.locator("[data-toggle=table]").click();

  await panel.getByText("Export").click();
  await panel.getByText("Data (JSON)").click();
  await expect.poll(() => window.quickInput.inputValue(), soon).toContain("schedule.json");
  await window.page.keyboard.press("Enter");
  await expect.poll(() => existsSync(file("resnet50.resnet50.schedule.json")), soon).toBe(true);
});

test("7. applying writes the plan and the two lines, as an edit that can be undone", async () => {
  await window.command("MONeT: Apply plan");
  const toast = window.toast("The plan is written to");
  await toast.waitFor();
  expect(existsSync(file(".monet/resnet50.plan.json"))).toBe(true);
  await window.screenshot("7-applied");
  await toast.getByRole("button", { name: "Insert into Script" }).click();
  await window.quickRow("train.py").first().click();
  await expect.poll(() => window.cursorLine(), soon).toMatch(/monet_torch\.apply\(model,\s"\.monet\/resnet50\.plan\.json"\)/);
  await window.screenshot("7-inserted");
});

test("7. verifying runs a real step and shows the comparison", async () => {
  await window.command("MONeT: Verify plan on a real step");
  const toast = window.toast(/all \d+ tensors are equal, bit for bit/);
  await toast.waitFor(solved);
  await window.screenshot("7-verified");
  await toast.getByRole("button", { name: "Show Report" }).click();
  await expect.poll(() => window.editor.textContent(), soon).toMatch(/predicted\s+measured/);
  expect(await window.editor.textContent()).not.toMatch(/has\schanged\ssince/);
  await window.screenshot("7-report");
});
