/** What the views do besides the person's straight way, on a model that is profiled in seconds. */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Frame } from "playwright-core";
import { expect, test } from "vitest";
import { parseFrontier } from "../../src/core/frontier_document";
import { parseGraph } from "../../src/core/graph";
import { explained } from "../../src/core/numbers";
import { picture } from "../../src/core/picture";
import { formatBytes } from "../../src/core/units";
import { inEditor } from "./support/in_editor";
import { frontierFile, graphFile, smallFolder } from "./support/small";
import { themes, type Window } from "./support/window";

let window: Window;
let folder: string;

const soon = { timeout: 20_000 };
const solved = { timeout: 120_000 };

const budgetView = (): Promise<Frame> => window.webview("input[type=range]", 60_000);
const panel = (): Promise<Frame> => window.webview(".headlines", 60_000);
const inputs = async (): Promise<unknown> => parseGraph(await readFile(graphFile(folder), "utf8")).made_from.inputs;
/** What the language status says, with what it offers. */
async function statusText(): Promise<string> {
  // Forced: while something runs, the icon turns, and a person doesn't wait for it to stand still.
  await window.page.locator("#status\\.languageStatus").hover({ force: true });
  const text = await window.page.locator(".hover-language-status:visible").textContent({ timeout: 3000 }).catch(() => null);
  await window.page.mouse.move(0, 0);
  await window.page.locator(".hover-language-status:visible").waitFor({ state: "hidden" });
  return text ?? "";
}

/** What the page itself runs: these tests are compiled without the types of a browser. */
const inPage = {
  heat: `(() => {
    const lines = [...document.querySelectorAll(".monaco-editor .view-line")];
    const found = {};
    for (const mark of document.querySelectorAll(".monaco-editor .view-overlays .cdr")) {
      const { borderLeftWidth, borderLeftStyle, borderLeftColor } = getComputedStyle(mark);
      if (borderLeftWidth !== "3px" || borderLeftStyle !== "solid") continue;
      const { top } = mark.getBoundingClientRect();
      const line = lines.find((each) => Math.abs(each.getBoundingClientRect().top - top) < 2);
      const name = /self\\.(hot|warm|cool)\\(/.exec(line?.textContent ?? "")?.[1];
      if (name !== undefined) found[name] = borderLeftColor;
    }
    return found;
  })()`,
  /** Each message below the buttons, and whether a person sees the whole of it. */
  messages: `[...document.querySelectorAll(".outcome p")].map((each) => {
    const { top, bottom } = each.getBoundingClientRect();
    return [each.textContent, top >= 0 && bottom <= innerHeight && each.contains(document.elementFromPoint(20, (top + bottom) / 2))];
  })`,
  curve: `(() => {
    const { opacity, filter } = getComputedStyle(document.querySelector(".curve .frontier"));
    return [opacity, filter];
  })()`,
  svg: (text: string): string => `(() => {
    const parsed = new DOMParser().parseFromString(${JSON.stringify(text)}, "image/svg+xml");
    const svg = parsed.documentElement;
    const rowsFrom = Number([...parsed.querySelectorAll("text")].find((each) => each.textContent === "(model)")?.getAttribute("y"));
    return {
      tag: svg.tagName, faults: parsed.querySelectorAll("parsererror").length,
      width: Number(svg.getAttribute("width")), height: Number(svg.getAttribute("height")),
      texts: [...parsed.querySelectorAll("text")].map((each) => each.textContent),
      rows: [...parsed.querySelectorAll("rect[y]")].filter((each) => Number(each.getAttribute("y")) > rowsFrom - 14).length,
    };
  })()`,
};

interface Drawn {
  readonly tag: string;
  readonly faults: number;
  readonly width: number;
  readonly height: number;
  readonly texts: readonly string[];
  /** Rectangles in the lower picture. */
  readonly rows: number;
}

/** Colours of the bars before lines, by the layer that the line calls. */
const heat = (): Promise<Record<string, string>> => window.page.evaluate(inPage.heat);

inEditor(async (editor) => {
  folder = await smallFolder(editor);
  window = await editor.open(folder);
  await window.openFile("net.py");
}, { settings: { "workbench.colorTheme": themes.dark } });

test("the language status says what runs, and then the peak", async () => {
  await expect.poll(statusText, soon).toContain("Net: memory not profiled");
  await window.command("MONeT: Optimize memory");
  // What a screen reader is told is there at once; a hover takes longer to come than some stages last.
  const told = (): Promise<string | null> => window.page.locator("#status\\.languageStatus [aria-label]").first().getAttribute("aria-label");
  await expect.poll(told, { ...soon, interval: 50 }).toMatch(/Starting|Tracing the model|Profiling operator|Finding/);
  await expect.poll(statusText, solved).toMatch(/Net: peak [\d.]+ [KM]iB/);
  expect(existsSync(frontierFile(folder))).toBe(true);
});

test("lines are as warm as what they keep, and all grey once the code has changed", async () => {
  const view = await budgetView();
  await view.locator("input[type=range]").press("End");
  await expect.poll(heat, soon).toEqual({ hot: "rgb(241, 76, 76)", warm: "rgb(204, 167, 0)", cool: "rgba(204, 167, 0, 0.33)" });
  await window.goToLine(13);
  await window.page.keyboard.press("End");
  await window.page.keyboard.type("; self.more = 1");
  const grey = "rgba(128, 128, 128, 0.33)";
  await expect.poll(heat, soon).toEqual({ hot: grey, warm: grey, cool: grey });
  await expect.poll(statusText, soon).toMatch(/Net: numbers are stale.*Profile again/);
  await window.focusEditor();
  for (let undo = 0; undo < 20 && (await window.line(/Tanh\(\);/).count()) > 0; undo++) await window.page.keyboard.press("Control+z");
  await expect.poll(statusText, soon).toContain("Net: peak");
});

test("the button in a layer's row leads to its line", async () => {
  await window.goToLine(1);
  const row = window.page.locator('.pane:has-text("Layers") .monaco-list-row').filter({ hasText: "third" }).first();
  await row.hover();
  await row.locator(".actions .action-label").first().click();
  await expect.poll(() => window.cursorLine(), soon).toContain("self.third");
});

test("a budget that is too small offers the least that can be had", async () => {
  const view = await budgetView();
  const exact = view.locator(".exact input");
  await exact.fill("1 KiB");
  await exact.press("Enter");
  const toast = window.toast("No schedule of Net fits 1.00 KiB");
  await toast.waitFor(solved);
  await view.getByText("No plan is known below").waitFor();
  expect(await view.evaluate(inPage.messages)).toEqual([[expect.stringContaining("No plan is known below"), true]]);
  await window.screenshot("views-too-small");
  const use = toast.getByRole("button", { name: /^Use / });
  const least = ((await use.textContent()) ?? "").replace("Use ", "");
  await use.click();
  await expect.poll(() => exact.inputValue(), soon).toBe(least);
  await expect.poll(() => view.getByText("No plan is known below").count(), soon).toBe(0);
  const [plan] = parseFrontier(await readFile(frontierFile(folder), "utf8"), parseGraph(await readFile(graphFile(folder), "utf8"))).plans;
  expect(least).toBe(formatBytes(plan?.predicted.peak ?? 0));
  expect(await view.locator(".numbers b").first().textContent()).toBe(least);
});

test("another batch size greys the old curve until new numbers are there", async () => {
  const view = await budgetView();
  const before = await view.locator(".numbers").textContent();
  const batch = view.locator(".batch input");
  await batch.fill("many");
  await batch.press("Enter");
  await view.getByText("“many” is no batch size. Write a number from 1 up.").waitFor();
  expect(await batch.inputValue()).toBe("many");
  await batch.fill("1024");
  await batch.press("Enter");
  await view.locator(".result.outdated").waitFor();
  const looks = (): Promise<string[]> => view.evaluate(inPage.curve);
  expect(await looks()).toEqual(["0.45", "grayscale(1)"]);
  await view.getByText("These numbers are of another batch size").waitFor();
  await window.screenshot("views-outdated");
  await expect.poll(() => view.locator(".result.outdated").count(), solved).toBe(0);
  expect(await inputs()).toEqual(["float32[1024,16]"]);
  await expect.poll(() => view.locator(".numbers").textContent(), soon).not.toBe(before);
  expect(await batch.inputValue()).toBe("1024");
  expect(await looks()).toEqual(["1", "none"]);
});

test("another input is asked for with the last answers ready, kept in monet.json, and profiled", async () => {
  await window.focusEditor();
  await window.command("MONeT: Change input");
  await expect.poll(() => window.quickInput.inputValue(), soon).toBe("float32[1024,16]");
  await window.quickInput.fill("float64[1024,16]");
  await window.page.keyboard.press("Enter");
  await expect.poll(() => window.quickInput.inputValue(), soon).toBe("1024");
  await window.quickInput.fill("768");
  await window.page.keyboard.press("Enter");
  await window.quickRow("Loss").click();
  await expect.poll(() => window.quickTitle.textContent(), soon).toBe("Net: Loss");
  await window.screenshot("views-loss");
  await window.page.keyboard.press("Escape");
  await window.quickRow("Go on").waitFor();
  await window.page.keyboard.press("Enter");
  const config = async (): Promise<unknown> => JSON.parse(await readFile(join(folder, "monet.json"), "utf8"));
  await expect.poll(config, soon).toEqual({ models: { "net.py:Net": { inputs: ["float64[768,16]"], threads: 1 } } });
  const view = await budgetView();
  await view.locator(".notice.error").waitFor(solved);
  expect(await view.locator(".notice.error").textContent()).toMatch(/net\.py:1[5-8]: RuntimeError: .*Double and Float/);
  await view.locator(".notice.error [data-command=change]").click();
  await expect.poll(() => window.quickInput.inputValue(), soon).toBe("float64[768,16]");
  await window.quickInput.fill("float32[768,16]");
  for (const title of ["768", "Go on"]) {
    await window.page.keyboard.press("Enter");
    if (title === "768") await expect.poll(() => window.quickInput.inputValue(), soon).toBe("768");
    else await window.quickRow("Go on").waitFor();
  }
  await window.page.keyboard.press("Enter");
  await expect.poll(inputs, solved).toEqual(["float32[768,16]"]);
  await expect.poll(() => view.locator(".batch input").inputValue(), solved).toBe("768");
  await expect.poll(() => window.toast("MONeT: Net").count(), solved).toBe(0);
  expect(await view.locator(".notice.error").count()).toBe(0);
});

test("the schedule is exported as a picture and as data, with every live range", async () => {
  await (await budgetView()).locator("[data-command=schedule]").click();
  const shown = await panel();
  const save = async (title: string, format: string): Promise<Buffer> => {
    const file = join(folder, `net.Net.schedule.${format}`);
    await shown.getByText("Export").click();
    await shown.getByText(title).click();
    await expect.poll(() => window.quickInput.inputValue(), soon).toContain(`schedule.${format}`);
    await window.page.keyboard.press("Enter");
    await window.toast(`Saved net.Net.schedule.${format}`).waitFor();
    return readFile(file);
  };
  const graph = parseGraph(await readFile(graphFile(folder), "utf8"));
  const { plans } = parseFrontier(await readFile(frontierFile(folder), "utf8"), graph);

  const data = JSON.parse((await save("Data (JSON)", "json")).toString()) as { peak: number; time: number; bars: { bytes: number }[] };
  const plan = plans.find(({ predicted }) => predicted.peak === data.peak && predicted.time === data.time);
  if (plan === undefined) throw new Error(`No plan has a peak of ${data.peak} B.`);
  const { bars } = picture(graph, plan, explained(graph, plan).explanation);
  expect(bars.length).toBeGreaterThan(3);
  expect(data.bars).toEqual(JSON.parse(JSON.stringify(bars)));

  const [header = "", ...rows] = (await save("Table (CSV)", "csv")).toString().trimEnd().split("\n");
  expect(header).toBe("Tensor,Plan,Size (B),From (ns),To (ns),Recomputed,Costs (ns),Source");
  expect(rows.map((row) => Number(row.split(",")[2]))).toEqual(bars.map(({ bytes }) => bytes));

  const svg = (await save("Picture (SVG)", "svg")).toString();
  const drawn = await window.page.evaluate<Drawn>(inPage.svg(svg));
  expect([drawn.tag, drawn.faults]).toEqual(["svg", 0]);
  expect(drawn.texts).toContain("Net · training step");
  expect(drawn.texts).toContain(formatBytes(plan.predicted.peak));
  expect(drawn.rows).toBeGreaterThanOrEqual(bars.flatMap(({ segments }) => segments).length);

  const png = await save("Picture (PNG)", "png");
  expect(png.subarray(0, 8).toString("latin1")).toBe("\x89PNG\r\n\x1a\n");
  expect([png.readUInt32BE(16), png.readUInt32BE(20)]).toEqual([2 * drawn.width, 2 * drawn.height]);
});

test("a window that is loaded again shows the schedule again, as it was left", async () => {
  const before = await panel();
  const compared = (frame: Frame): Promise<string | null> => frame.locator("[data-toggle=compare]").getAttribute("aria-pressed");
  const first = await compared(before);
  await before.locator("[data-toggle=compare]").click();
  await expect.poll(() => compared(before)).not.toBe(first);
  await before.locator("[data-toggle=table]").click();
  await before.locator("vscode-data-grid-row").nth(1).waitFor();
  const headlines = await before.locator(".headlines").textContent();
  // A window in a browser keeps what is open every five seconds: nothing can be kept while it goes.
  await window.page.waitForTimeout(11_000);
  await window.reload();
  const after = await panel();
  await expect.poll(() => after.locator(".headlines").textContent(), soon).toBe(headlines);
  expect(await compared(after)).not.toBe(first);
  await after.locator("vscode-data-grid-row").nth(1).waitFor();
  await after.locator("[data-toggle=table]").click();
  await after.locator(".bars").press("Home");
  // Past what backward doesn't need, to what is kept for it.
  for (let down = 0; down < 2; down++) await after.locator(".bars").press("ArrowDown");
  await after.locator(".bars").press("Enter");
  await expect.poll(() => after.locator(".why .reason").textContent(), soon).toMatch(/\w/);
});
