/** A transformer, its answers ready in monet.json, in an environment that doesn't have the runtime yet. */
import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { asAtHome, withoutRuntime } from "./support/environment";
import { inEditor } from "./support/in_editor";
import type { Window } from "./support/window";

let window: Window;
let folder: string;
let python: string;

const file = (name: string): string => join(folder, name);
const soon = { timeout: 20_000 };
const solved = { timeout: 280_000 };

const config = {
  models: {
    "gpt2.py:GPT": {
      inputs: ["int64[2,64]<1000", "int64[2,64]<1000"],
      kwargs: { vocab: 1000, context: 64, layers: 4, heads: 4, width: 128 },
    },
  },
};

const script = `import torch
from gpt2 import GPT

model = GPT(vocab=1000, context=64, layers=4, heads=4, width=128)
tokens = torch.randint(1000, (2, 65))
loss = model(tokens[:, :-1], tokens[:, 1:])
loss.backward()
`;

inEditor(async (editor) => {
  folder = await editor.folder("examples/gpt2.py");
  python = await withoutRuntime(file(".venv"));
  await writeFile(file("monet.json"), JSON.stringify(config, null, 2));
  await writeFile(file("train.py"), script);
  window = await editor.open(folder);
}, { env: { MONET_PYTHON: undefined } });

test("what monet.json says is not asked again", async () => {
  await window.openFile("gpt2.py");
  await window.codeLens("Optimize memory");
  await window.theme("dark");
  await window.command("MONeT: Optimize memory");
  await window.toast("GPT").waitFor();
  await expect.poll(() => existsSync(file(".monet/gpt2.GPT.frontier.json")), solved).toBe(true);
  await expect.poll(() => window.toast("GPT").count(), soon).toBe(0);
});

test("each layer of a block shows the sum over all blocks", async () => {
  await window.goToLine(40);
  await window.line("self.qkv = nn.Linear").filter({ hasText: /[◆↻]/ }).waitFor();
  const hover = await window.hover("qkv", "self.qkv = nn.Linear");
  await expect.poll(() => hover.textContent(), soon).toMatch(/4 operators in 4 modules, summed/);
  await window.screenshot("gpt2-hover");
  await window.page.keyboard.press("Escape");
});

test("the schedule of a transformer", async () => {
  const view = await window.webview("input[type=range]");
  await view.locator('[data-command="schedule"]').click();
  await window.webview(".headlines");
  await window.screenshot("gpt2-schedule");
});

test("the plan goes into the script, the runtime into the environment, and the training runs by it", async () => {
  await window.command("MONeT: Apply plan");
  const toast = window.toast("The plan is written to");
  await toast.waitFor();
  await toast.getByRole("button", { name: "Insert into Script" }).click();
  await window.quickRow("train.py").first().click();
  await expect.poll(() => window.cursorLine(), soon).toMatch(/monet_torch\.apply\(model,/);
  await window.page.keyboard.press("Control+s");
  await expect.poll(() => readFile(file("train.py"), "utf8"), soon).toContain('monet_torch.apply(model, ".monet/gpt2.GPT.plan.json")');
  const missing = window.toast(/train\.py imports monet_torch now, which Python at .* doesn't have yet/);
  await missing.waitFor(soon);
  await window.screenshot("gpt2-inserted");

  const imports = (): number | null => asAtHome(python, "import monet_torch").status;
  expect(imports()).not.toBe(0);
  await missing.getByRole("button", { name: "Install Runtime" }).click();
  await expect.poll(imports, { ...solved, interval: 2000 }).toBe(0);
  const view = await window.webview("input[type=range]");
  await view.getByText("This plan is in the plan file beside the model.").waitFor();
  await expect.poll(() => view.getByText("Apply again").count(), soon).toBe(0);
  await window.screenshot("gpt2-installed");

  const code = `import sys; sys.path.insert(0, ${JSON.stringify(folder)}); import train, monet_torch; status = monet_torch.status(train.model); print(status["planned"], status["eager"])`;
  const { output } = asAtHome(python, code, tmpdir());
  expect(output.split("\n")[0]).toBe("1 {}");
});

test("verifying runs a real step", async () => {
  await window.command("MONeT: Verify plan on a real step");
  await window.toast(/all \d+ tensors are equal, bit for bit/).waitFor(solved);
  await window.screenshot("gpt2-verified");
});
