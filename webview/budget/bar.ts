/** The stacked bar over the device's memory, with its legend. */
import * as l10n from "@vscode/l10n";
import { formatBytes } from "../../src/core/units";
import type { BudgetPoint, BudgetResult } from "../../src/protocol";
import { el, setText, svg } from "../dom";
import { swatch, textureFill } from "../swatch";
import type { Texture } from "../textures";
import { barEnd, partsOf, type PartName } from "./frontier";

const textureOf: Readonly<Record<PartName | "reserve", Texture | null>> = {
  parameters: null, buffers: "dots", gradients: "vertical", optimizer: "horizontal", inputs: "dots",
  kept: null, working: "diagonal", workspace: "cross", reserve: "diagonal",
};

function nameOf(part: PartName): string {
  switch (part) {
    case "parameters": return l10n.t("parameters");
    case "buffers": return l10n.t("buffers");
    case "gradients": return l10n.t("gradients");
    case "optimizer": return l10n.t("optimizer");
    case "inputs": return l10n.t("inputs");
    case "kept": return l10n.t("kept activations");
    case "working": return l10n.t("working set");
    case "workspace": return l10n.t("workspace");
  }
}

const height = 18;

export class Bar {
  private readonly picture = svg("svg", { class: "bar", role: "img", height: height + 6 });
  private readonly note = el("p", { class: "note" });
  private readonly legend = el("ul", { class: "legend" });
  readonly element = el("section", { class: "memory" }, this.picture, this.note, this.legend);
  private shown: { result: BudgetResult; point: BudgetPoint; budget: number } | null = null;

  constructor() {
    new ResizeObserver(() => { this.draw(); }).observe(this.picture);
  }

  show(result: BudgetResult, point: BudgetPoint, budget: number): void {
    this.shown = { result, point, budget };
    this.draw();
    const parts = partsOf(result, point);
    const entry = (mark: Node, name: string, bytes: number): HTMLElement => el("li", {}, mark, el("span", {}, name), el("b", {}, formatBytes(bytes)));
    this.legend.replaceChildren(
      ...parts.map(({ name, bytes }) => entry(swatch(name, textureOf[name]), nameOf(name), bytes)),
      ...(budget < result.eager.peak ? [entry(swatch("budget", null, true), l10n.t("budget"), budget)] : []),
      entry(swatch("eager", null, true), l10n.t("eager peak"), result.eager.peak));
    const end = barEnd(result, point.peak);
    const total = formatBytes(result.device.totalBytes);
    setText(this.note, end.whole ? l10n.t("Of {0}, {1} in reserve", total, formatBytes(result.reserve)) : l10n.t("{0} of {1} shown", formatBytes(end.bytes), total));
    this.picture.setAttribute("aria-label", l10n.t("Memory at the peak: {0}", parts.map(({ name, bytes }) => `${nameOf(name)} ${formatBytes(bytes)}`).join(", ")));
  }

  private draw(): void {
    const width = this.picture.clientWidth;
    if (this.shown === null || width === 0) return;
    const { result, point, budget } = this.shown;
    const end = barEnd(result, point.peak);
    const at = (bytes: number): number => (Math.min(bytes, end.bytes) / end.bytes) * width;
    const marks: Node[] = [svg("rect", { class: "track", x: 0, y: 3, width, height })];
    let from = 0;
    for (const { name, bytes } of partsOf(result, point)) {
      const box = { x: at(from), y: 3, width: Math.max(0, at(from + bytes) - at(from)), height };
      marks.push(svg("rect", { class: `part ${name}`, ...box }), ...textured(name, box));
      from += bytes;
    }
    if (end.whole) {
      const box = { x: at(result.device.totalBytes - result.reserve), y: 3, width: at(result.reserve), height };
      marks.push(svg("rect", { class: "reserve", ...box, fill: textureFill("diagonal") }));
    }
    const line = (name: string, bytes: number): SVGLineElement => {
      const x = Math.min(width - 1, Math.max(1, at(bytes)));
      return svg("line", { class: name, x1: x, x2: x, y1: 0, y2: height + 6 });
    };
    marks.push(line("eager", result.eager.peak));
    if (budget <= end.bytes) marks.push(line("budget", budget));
    this.picture.replaceChildren(...marks);
  }
}

interface Box {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

/** Shown by the style sheet in high contrast alone. */
function textured(name: PartName, box: Box): Node[] {
  const texture = textureOf[name];
  return texture === null ? [] : [svg("rect", { class: "texture", ...box, fill: textureFill(texture) })];
}
