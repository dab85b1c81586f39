/** The pictures of README and walkthrough, taken on a ResNet-50 at its full size: `npm run pictures`. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { inEditor } from "./support/in_editor";
import { root } from "./support/installation";
import type { Window } from "./support/window";

const script = `import torch
from torch import nn

from resnet50 import resnet50

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
model = resnet50().to(device)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
loss_fn = nn.CrossEntropyLoss()

for step in range(1000):
    images = torch.randn(8, 3, 224, 224, device=device)
    labels = torch.randint(0, 1000, (8,), device=device)
    loss = loss_fn(model(images), labels)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
`;

interface Box {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

let window: Window;

inEditor(async (editor) => {
  const folder = await editor.folder("examples/resnet50.py");
  await writeFile(join(folder, "train.py"), script);
  await writeFile(join(folder, "monet.json"), JSON.stringify({ models: { "resnet50.py:resnet50": { inputs: ["float32[8,3,224,224]"] } } }));
  window = await editor.open(folder);
});

async function picture(path: string, clip?: Box): Promise<void> {
  const file = join(root, path);
  await mkdir(join(file, ".."), { recursive: true });
  await window.page.mouse.move(0, 0);
  await window.page.waitForTimeout(300);
  await window.page.screenshot({ path: file, ...(clip !== undefined && { clip }) });
}

const boxOf = async (selector: string): Promise<Box> => {
  const box = await window.page.locator(selector).first().boundingBox();
  if (box === null) throw new Error(`${selector} is not shown`);
  return box;
};

test.skipIf(process.env["MONET_PICTURES"] === undefined)("pictures of the whole way", async () => {
  const { page } = window;
  await window.openFile("resnet50.py");
  await window.theme("dark");
  await window.goToLine(52);
  await window.codeLens("Profile memory");
  await picture("media/walkthrough/open.png", { x: 50, y: 35, width: 900, height: 600 });

  await window.command("MONeT: Optimize memory");
  const view = await window.webview("input[type=range]", 300_000);
  await view.locator(".exact input").waitFor({ timeout: 300_000 });
  await expect.poll(() => window.toast(/resnet50/).count(), { timeout: 300_000 }).toBe(0);
  await view.locator(".exact input").fill("50%");
  await view.locator(".exact input").press("Enter");
  await view.locator(".refining").waitFor();
  await expect.poll(() => view.locator(".refining").count(), { timeout: 60_000 }).toBe(0);
  // The budget view gets the room that it needs, as a person would drag it.
  const sash = await boxOf('.pane:has-text("Layers")');
  await page.mouse.move(sash.x + 100, sash.y);
  await page.mouse.down();
  await page.mouse.move(sash.x + 100, sash.y + 260, { steps: 5 });
  await page.mouse.up();
  await window.goToLine(60);
  await window.codeLens(/peak/);
  await view.evaluate("scrollTo(0, 0)");
  await picture("docs/images/editor.png");
  await picture("media/walkthrough/optimize.png", { x: 350, y: 35, width: 900, height: 600 });
  const side = await boxOf(".part.sidebar");
  await picture("docs/images/budget.png", side);
  await picture("media/walkthrough/tune.png", { ...side, height: 600 });
  await window.theme("light");
  await picture("docs/images/editor-light.png");

  const hover = await window.hover("bn1", /self\.bn1 = nn\.BatchNorm2d\(64\)/);
  await expect.poll(() => hover.textContent()).toMatch(/Saved for backward/);
  await page.waitForTimeout(500);
  await page.screenshot({ path: join(root, "docs/images/hover.png") });
  await page.keyboard.press("Escape");

  await window.theme("dark");
  await view.locator('[data-command="schedule"]:visible').click();
  const panel = await window.webview(".headlines");
  await expect.poll(() => panel.locator(".headlines").textContent()).toMatch(/Peak memory/);
  await picture("docs/images/overview.png");
  await window.command("View: Toggle Primary Side Bar Visibility");
  await window.command("View: Maximize Editor Group");
  await panel.locator(".bars").focus();
  for (let down = 0; down < 12; down++) await panel.locator(".bars").press("ArrowDown");
  const box = await boxOf(".part.editor");
  await picture("docs/images/schedule.png", box);
  await picture("media/walkthrough/schedule.png", { ...box, height: 640 });
  await window.theme("hc-dark");
  await picture("docs/images/schedule-high-contrast.png", box);
  await window.theme("dark");

  await window.command("View: Reset Editor Group Sizes");
  await window.command("View: Close All Editors");
  await window.command("View: Show Explorer");
  await window.openFile("train.py");
  await window.command("MONeT: Apply plan");
  const toast = window.toast("The plan is written to");
  await toast.getByRole("button", { name: "Insert into Script" }).click();
  await window.quickRow("train.py").first().click();
  await expect.poll(() => window.cursorLine()).toMatch(/monet_torch\.apply/);
  await picture("media/walkthrough/apply.png", { x: 350, y: 35, width: 900, height: 600 });
}, 600_000);
