/** A model whose forward looks at values: its parts are offered, one is planned, and training runs by that plan. */
import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { asAtHome } from "./support/environment";
import { inEditor } from "./support/in_editor";
import { installation } from "./support/installation";
import { frontierFile } from "./support/small";
import type { Window } from "./support/window";

let window: Window;
let folder: string;

const file = (name: string): string => join(folder, name);
const soon = { timeout: 20_000 };
const solved = { timeout: 200_000 };

const source = `import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(8, 64)
        self.layers = nn.ModuleList(Layer() for _ in range(3))

    def forward(self, x):
        x = self.stem(x)
        for layer in self.layers:
            x = layer(x)
            if x.abs().max() > 1e6:
                x = x.clamp(-1e6, 1e6)
        return x


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(64)
        self.up = nn.Linear(64, 256)
        self.act = nn.Tanh()
        self.down = nn.Linear(256, 64)

    def forward(self, x):
        return x + self.down(self.act(self.up(self.norm(x))))
`;
const config = { models: { "net.py:Net": { inputs: ["float32[512,8]"], threads: 1 } } };

inEditor(async (editor) => {
  folder = await editor.folder();
  await writeFile(file("net.py"), source);
  await writeFile(file("monet.json"), JSON.stringify(config));
  window = await editor.open(folder);
});

test("where the whole can't be captured, the line is marked, and the parts that can be planned are offered", async () => {
  await window.openFile("net.py");
  await window.codeLens("Optimize memory");
  await window.theme("dark");
  await window.command("MONeT: Optimize memory");
  await window.toast(/parts of it can be planned by themselves/).getByRole("button", { name: "Plan layers.*" }).waitFor(solved);
  await window.line("if x.abs().max() > 1e6:").waitFor();
  await window.editor.locator(".squiggly-error").first().waitFor();
  await window.screenshot("parts-offered");
  // The budget view offers it too, once the message is gone.
  await window.toast(/parts of it can be planned/).getByRole("button", { name: /^Clear/ }).click();
});

test("the part that is chosen is planned from then on", async () => {
  await (await window.webview("[data-command=part]")).locator("[data-command=part]").click();
  await expect.poll(() => existsSync(frontierFile(folder)), solved).toBe(true);
  expect(JSON.parse(await readFile(file("monet.json"), "utf8"))).toEqual({ models: { "net.py:Net": { ...config.models["net.py:Net"], part: "layers.*" } } });
  const view = await window.webview("input[type=range]");
  await view.getByText("layers.* alone").waitFor();
  await expect.poll(() => window.toast("Net").count(), soon).toBe(0);
  await window.line("self.act = nn.Tanh()").filter({ hasText: /[◆↻]/ }).waitFor();
  await expect.poll(() => window.editor.locator(".squiggly-error").count(), soon).toBe(0);
  await window.screenshot("parts-planned");
});

test("its lines go into a script, and each of the parts runs by the plan", async () => {
  await window.command("MONeT: Apply plan");
  const toast = window.toast("The plan is written to");
  await toast.waitFor();
  await window.screenshot("parts-applied");
  expect(await toast.getByRole("button", { name: "Insert into Script" }).count()).toBe(0);
  await toast.getByRole("button", { name: "Copy Lines" }).click();
  const clipboard = (): Promise<string> => window.page.evaluate("navigator.clipboard.readText()");
  await expect.poll(clipboard, soon).toContain("monet_torch");
  const lines = await clipboard();
  await writeFile(file("train.py"), `import torch\nfrom net import Net\n\nmodel = Net()\n${lines}\nmodel(torch.randn(512, 8)).sum().backward()\nprint([monet_torch.status(layer)["planned"] for layer in model.layers])\n`);
  expect(asAtHome(installation.python, "import sys; sys.path.insert(0, ''); import train", folder).output.trim()).toBe("[1, 1, 1]");
});

test("verifying runs a real step of the part", async () => {
  await window.command("MONeT: Verify plan on a real step");
  await window.toast(/all \d+ tensors are equal, bit for bit/).waitFor(solved);
  await window.screenshot("parts-verified");
});
