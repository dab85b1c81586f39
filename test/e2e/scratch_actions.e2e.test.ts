import { afterAll, beforeAll, test } from "vitest";
import { Editor } from "./support/editor";

let editor: Editor;
beforeAll(async () => { editor = await Editor.start(); });
afterAll(async () => { await editor.close(); });

test("a person", async () => {
  const folder = await editor.folder();
  const window = await editor.open(folder);
  const shot = (name: string) => window.screenshot(`y-${name}`, "../../tmp/shots");
  await window.page.waitForTimeout(3000);
  await window.command("MONeT: Open an example");
  await window.page.waitForTimeout(3000);
  await shot("0-example");
  await window.command("MONeT: Optimize memory");
  await window.quickTitle.waitFor();
  await window.quickInput.fill("float32[4,3,64,64]");
  await window.page.keyboard.press("Enter");
  await window.page.waitForTimeout(700);
  await window.page.keyboard.press("Enter");
  await window.page.waitForTimeout(700);
  await window.page.keyboard.press("Enter");
  await window.page.waitForTimeout(2000);
  for (let k = 0; k < 6; k++) { await window.page.waitForTimeout(3000); await shot(`1-running-${k}`); }
  await window.page.locator(".notification-toast").waitFor({ state: "detached", timeout: 150_000 });
  await window.page.waitForTimeout(500);
  await shot("2-done");
  await window.command("MONeT: Apply plan");
  await window.page.waitForTimeout(1500);
  await shot("3-applied");
  await window.command("MONeT: Install the runtime");
  await window.page.waitForTimeout(5000);
  await shot("4-install");
  await window.command("Notifications: Clear All Notifications");
  await window.command("MONeT: Verify plan on a real step");
  await window.toast("equal").waitFor({ timeout: 150_000 });
  await shot("5-verified");
  await window.toast("equal").getByText("Show Report").click();
  await window.page.waitForTimeout(1500);
  await shot("6-report");
  await window.command("Terminal: Focus Terminal");
  await window.page.waitForTimeout(1500);
  await shot("7-terminal");
  await window.command("MONeT: Open monet.json");
  await window.page.waitForTimeout(1500);
  await shot("8-config");
}, 500_000);
