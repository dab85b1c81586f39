/** The frontier behind the slider: what each budget costs, and below it what is provably not possible. */
import * as l10n from "@vscode/l10n";
import { scaleLinear, scaleSymlog, type ScaleContinuousNumeric } from "d3-scale";
import { area, line } from "d3-shape";
import { formatBytes, formatPercent } from "../../src/core/units";
import { chosenPoint, type BudgetPoint } from "../../src/protocol";
import { el, filled, setText, svg } from "../dom";
import { slower } from "./texts";
import { boundStairs, costStairs, extentOf, type Corner } from "./frontier";

/** Half a thumb: the curve and the slider below it share their scale. */
const margin = 8;
const height = 120;
const top = 8;
const bottom = 4;
/** An overhead below this is written as none. */
const free = 0.0005;
/** Below this width the name of the axis would reach into the curve. */
const narrow = 240;

type Scale = ScaleContinuousNumeric<number, number>;

export class Chart {
  private readonly caption = el("p", { class: "caption" });
  private readonly picture = svg("svg", { class: "frontier", role: "img", height });
  private readonly ends = el("p", { class: "ends" }, el("span"), el("span"));
  readonly element = el("div", { class: "curve" }, this.caption, this.picture);
  private points: readonly BudgetPoint[] = [];
  private budget = 0;
  private hovered: number | null = null;
  private x: Scale = scaleLinear();

  constructor(private readonly chosen: (bytes: number) => void) {
    new ResizeObserver(() => { this.draw(); }).observe(this.picture);
    this.picture.addEventListener("pointermove", ({ offsetX }) => {
      this.hovered = this.x.invert(offsetX);
      this.draw();
    });
    this.picture.addEventListener("pointerleave", () => {
      this.hovered = null;
      this.draw();
    });
    this.picture.addEventListener("click", ({ offsetX }) => {
      const { least, most } = extentOf(this.points);
      this.chosen(Math.round(Math.min(most, Math.max(least, this.x.invert(offsetX)))));
    });
  }

  get labels(): HTMLElement {
    return this.ends;
  }

  show(points: readonly BudgetPoint[], budget: number, outdated: boolean): void {
    this.points = points;
    this.budget = budget;
    this.element.classList.toggle("outdated", outdated);
    this.draw();
  }

  private draw(): void {
    const width = this.picture.clientWidth;
    const { points } = this;
    const extent = extentOf(points);
    const here = points[chosenPoint(points, this.budget)];
    if (width === 0 || here === undefined) return;
    const overheads = points.flatMap(({ overhead, bound }) => [overhead, bound ?? 0]);
    this.x = scaleLinear([extent.least, Math.max(extent.most, extent.least + 1)], [margin, width - margin]);
    // Logarithmic above a few percent: the last bytes can cost many times what the others do.
    const y = scaleSymlog([Math.min(0, ...overheads), Math.max(0.01, ...overheads)], [height - bottom, top]).constant(0.05);
    const at = ({ bytes, overhead }: Corner): [number, number] => [this.x(bytes), y(overhead)];
    const bound = boundStairs(points, extent).map(at);

    const marks: Node[] = [];
    const shownTicks = ticks(y);
    marks.push(...shownTicks.map((tick) => svg("line", { class: "grid", x1: 0, x2: width, y1: y(tick), y2: y(tick) })));
    marks.push(
      svg("path", { class: "impossible", d: area().y0(height - bottom)(bound) ?? "" }),
      svg("path", { class: "bound", d: line()(bound) ?? "" }),
      svg("path", { class: "cost", d: line()(costStairs(points, extent).map(at)) ?? "" }),
      ...points.map(({ peak, overhead }) => svg("circle", { class: "point", cx: this.x(peak), cy: y(overhead), r: 1.75 })),
    );
    marks.push(...shownTicks.map((tick) => label(tick, y(tick), tick === 0 && (points[0]?.overhead ?? 0) > free, width)));
    if (width >= narrow) marks.push(svg("text", { class: "tick", x: width - 40, y: top + 10, "text-anchor": "end" }, l10n.t("slower by, logarithmic")));
    const shown = this.hovered === null ? here : points[chosenPoint(points, this.hovered)] ?? here;
    if (this.hovered !== null) {
      const x = Math.min(width - margin, Math.max(margin, this.x(Math.max(this.hovered, extent.least))));
      marks.push(svg("line", { class: "hair", x1: x, x2: x, y1: top, y2: height - bottom }));
    }
    const budget = this.x(Math.min(Math.max(this.budget, extent.least), extent.most));
    marks.push(
      svg("line", { class: "budget", x1: budget, x2: budget, y1: top, y2: height }),
      svg("circle", { class: "chosen", cx: this.x(here.peak), cy: y(here.overhead), r: 5 }),
    );
    if (shown !== here) marks.push(svg("circle", { class: "looked", cx: this.x(shown.peak), cy: y(shown.overhead), r: 4 }));
    this.picture.replaceChildren(...marks);

    const proven = points.some((point) => point.bound !== null);
    setText(this.caption, this.hovered === null
      ? proven ? l10n.t("Dashed: provably not possible below") : l10n.t("Nothing is proven about faster plans")
      : describe(shown));
    filled(this.picture, {
      "aria-label": l10n.t("Frontier of {0} plans, from {1} at {2} to {3} at {4}.", points.length,
        formatBytes(extent.least), slower(points[0]?.overhead ?? 0), formatBytes(extent.most), slower(points.at(-1)?.overhead ?? 0)),
    });
    const [first, last] = this.ends.children;
    if (first !== undefined) setText(first, l10n.t("least {0}", formatBytes(extent.least)));
    if (last !== undefined) setText(last, (points.at(-1)?.overhead ?? 0) < free ? l10n.t("no overhead {0}", formatBytes(extent.most)) : l10n.t("most {0}", formatBytes(extent.most)));
  }
}

function describe({ peak, overhead, bound }: BudgetPoint): string {
  return bound === null || bound <= 0
    ? l10n.t("{0}, {1}", formatBytes(peak), slower(overhead))
    : l10n.t("{0}, {1} (proven: at least {2})", formatBytes(peak), slower(overhead), formatPercent(bound));
}

/** Where the curve is far: it ends low on the right, and begins high on the left unless it is flat. */
function label(tick: number, place: number, isLeft: boolean, width: number): SVGTextElement {
  const text = formatPercent(tick, { sign: tick > 0 }).replace(".0%", "%");
  return isLeft ? svg("text", { class: "tick", x: 0, y: place - 3 }, text) : svg("text", { class: "tick", x: width, y: tick === 0 ? place - 3 : place + 10, "text-anchor": "end" }, text);
}

/** A few round overheads that don't write over each other. */
function ticks(y: (overhead: number) => number): number[] {
  const shown = [0];
  for (const tick of [0.01, 0.05, 0.2, 0.5, 1, 2, 5, 10]) {
    const place = y(tick);
    if (place >= top && place < y(shown.at(-1) ?? 0) - 22) shown.push(tick);
  }
  return shown;
}
