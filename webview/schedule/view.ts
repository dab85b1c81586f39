/** The two pictures and what part of them is shown. It draws itself; what the person does comes from outside. */
import * as l10n from "@vscode/l10n";
import type { Picture } from "../../src/core/picture";
import type { ScheduleState } from "../../src/protocol";
import { el, onThemeChange, perFrame, setAttribute, setText } from "../dom";
import { Canvas } from "./canvas";
import type { Memory } from "./memory";
import { readPalette } from "./palette";
import type { Palette } from "./primitives";
import { blockOf, fittingRow, itemAt, largestRow, layRows, placeOf, type Item, type Rows } from "./rows";
import { chart, chartScene, frameOf, momentAt, overviewScene, peakStep, plotWidth, rowsScene, xOf, yOf, type Frame } from "./scene";
import { between, length, magnification, panned, showing, whole, zoomed, type Span } from "./span";
import { describeBar, describeStep, groupName, spoken } from "./texts";

/** What stays in sight when the scale of the rows changes: the row at a height, or the tensors of a moment. */
export type Anchor = { readonly y: number } | { readonly moment: number };

export class View {
  readonly chartOption = el("div", { id: "chart-option", role: "option", "aria-selected": "true", class: "spoken" });
  readonly rowsItem = el("div", { id: "rows-item", role: "treeitem", class: "spoken" });
  readonly chart: HTMLElement;
  readonly bars: HTMLElement;
  readonly hair = el("div", { class: "hair", hidden: true });
  private readonly chartCanvas = new Canvas();
  private readonly rowsCanvas = new Canvas();
  private readonly spacer = el("div", { class: "spacer" });

  palette: Palette = readPalette();
  span: Span = whole(1);
  rows: Rows = layRows([], new Set(), 1);
  compare = true;
  readonly folded = new Set<number>();
  selected: number | null = null;
  /** Where the keyboard is: in the rows, and in the chart. */
  active: Item = { group: 0, bar: null };
  step = 0;
  private marked: ReadonlySet<number> = new Set();
  private readonly frames = perFrame(() => { this.draw(); });

  /** `changed` is called when something that is worth remembering is another. */
  constructor(
    private current: ScheduleState,
    private readonly changed: () => void,
  ) {
    this.chart = el("div", { class: "chart", tabindex: 0, role: "listbox", "aria-label": l10n.t("Live memory, step by step"), "aria-activedescendant": this.chartOption.id }, this.chartCanvas.element, this.chartOption);
    this.bars = el("div", { class: "bars", tabindex: 0, role: "tree", "aria-label": l10n.t("Live ranges by module"), "aria-activedescendant": this.rowsItem.id }, this.rowsCanvas.element, this.spacer, this.rowsItem);
    this.span = whole(current.picture.total);
    this.step = peakStep(current.picture.steps);
    this.bars.addEventListener("scroll", this.frames);
    const sizes = new ResizeObserver(this.frames);
    sizes.observe(this.chart);
    sizes.observe(this.bars);
    onThemeChange(() => {
      this.palette = readPalette();
      this.frames();
    });
  }

  get state(): ScheduleState {
    return this.current;
  }

  get picture(): Picture {
    return this.current.picture;
  }

  get frame(): Frame {
    return frameOf(this.bars.clientWidth, this.palette.fontSize, this.palette.contrast);
  }

  restore({ from, to, compare, folded, selected }: Memory): void {
    this.span = between(from, to, this.picture.total);
    this.compare = compare;
    folded.filter((group) => group < this.picture.groups.length).forEach((group) => this.folded.add(group));
    this.selected = selected !== null && selected < this.picture.bars.length ? selected : null;
  }

  /** Another plan of the same model: the same part of its step, and the same tensor where it still has a bar. */
  show(state: ScheduleState): void {
    const { picture: before } = this;
    const { picture } = state;
    this.current = state;
    if (before !== picture) {
      const scale = picture.total / whole(before.total).to;
      this.span = between(this.span.from * scale, this.span.to * scale, picture.total);
      const old = this.selected === null ? undefined : before.bars[this.selected];
      const again = old === undefined ? -1 : picture.bars.findIndex(({ kind, id }) => kind === old.kind && id === old.id);
      this.selected = again < 0 ? null : again;
      this.active = { group: 0, bar: null };
      this.step = peakStep(picture.steps);
    }
    this.frames();
  }

  redraw(): void {
    this.frames();
  }

  private layOut(): void {
    const { groups, total } = this.picture;
    const fitting = fittingRow(groups, this.folded, this.bars.clientHeight);
    this.rows = layRows(groups, this.folded, Math.min(largestRow, fitting * magnification(this.span, total)));
    this.spacer.style.height = `${Math.max(0, this.rows.height - this.bars.clientHeight)}px`;
  }

  private draw(): void {
    const { current: state, span, palette, frame } = this;
    const { clientWidth: width, clientHeight: height } = this.bars;
    if (width === 0) return;
    this.layOut();
    const scene = [...chartScene(state, span, frame, { compare: this.compare }), ...overviewScene(state, span, frame)];
    this.chartCanvas.paint(scene, palette, { width, height: chart.height });
    this.rowsCanvas.paint(rowsScene(state.picture, this.rows, span, frame, {
      top: this.bars.scrollTop, height, selected: this.selected, marked: this.marked,
      active: document.activeElement === this.bars ? this.active : null,
    }), palette, { width, height });
  }

  // ---- Zoom and pan ---------------------------------------------------------------------------------------------------

  setSpan(span: Span, anchor: Anchor): void {
    const { bars } = this;
    const item = "y" in anchor ? itemAt(this.rows, bars.scrollTop + anchor.y) : this.itemNear(anchor.moment);
    const before = "y" in anchor && item !== null ? placeOf(this.rows, item).top - bars.scrollTop : bars.clientHeight / 2;
    this.span = span;
    this.layOut();
    if (item !== null) bars.scrollTop = placeOf(this.rows, item).top - before;
    this.changed();
    this.frames();
  }

  zoom(factor: number, at = this.middle, anchor: Anchor = { moment: at }): void {
    this.setSpan(zoomed(this.span, this.picture.total, factor, at), anchor);
  }

  zoomAtStep(factor: number): void {
    this.zoom(factor, this.picture.steps.start[this.step]);
  }

  /** Around the end of the active bar that is nearest to what is shown. */
  zoomAtItem(factor: number): void {
    const { active, middle } = this;
    const ends = this.picture.bars[active.bar ?? -1]?.segments.flatMap(({ from, to }) => [from, to]) ?? [];
    const [nearest = middle] = ends.sort((a, b) => Math.abs(a - middle) - Math.abs(b - middle));
    this.zoom(factor, nearest, { y: placeOf(this.rows, active).top - this.bars.scrollTop });
  }

  /** By a share of what is shown. */
  pan(share: number, from = this.span): void {
    const span = panned(from, this.picture.total, share * length(from));
    this.setSpan(span, { y: this.bars.clientHeight / 2 });
  }

  showAll(): void {
    this.setSpan(whole(this.picture.total), { y: this.bars.clientHeight / 2 });
  }

  private get middle(): number {
    return (this.span.from + this.span.to) / 2;
  }

  /** The bar that appears or goes next to a moment. */
  private itemNear(moment: number): Item | null {
    let best = -1;
    let distance = Number.POSITIVE_INFINITY;
    this.picture.bars.forEach(({ segments }, bar) => {
      for (const { from, to } of segments) {
        const away = Math.min(Math.abs(from - moment), Math.abs(to - moment));
        if (away < distance) [best, distance] = [bar, away];
      }
    });
    const block = blockOf(this.rows, best);
    return block === undefined ? null : { group: block.group, bar: best };
  }

  toggleCompare(): void {
    this.compare = !this.compare;
    this.changed();
    this.frames();
  }

  // ---- Rows -------------------------------------------------------------------------------------------------------------

  fold(group: number, folded: boolean): void {
    if (folded) this.folded.add(group);
    else this.folded.delete(group);
    this.refold({ group, bar: null });
  }

  foldAll(folded: boolean): void {
    this.folded.clear();
    if (folded) this.picture.groups.forEach((_, group) => this.folded.add(group));
    this.refold({ group: 0, bar: null });
  }

  private refold(active: Item): void {
    this.layOut();
    this.goTo(active);
    this.changed();
  }

  goTo(item: Item | null): void {
    if (item === null) return;
    this.active = item;
    this.reach(item);
    this.sayItem();
    this.frames();
  }

  select(bar: number | null): void {
    const block = bar === null ? undefined : blockOf(this.rows, bar);
    this.selected = bar;
    if (block !== undefined) this.goTo({ group: block.group, bar: block.folded ? null : bar });
    this.changed();
    this.frames();
  }

  /** Lights up all bars of these operators, and selects the first. */
  mark(operators: readonly number[]): void {
    this.marked = new Set(operators);
    this.layOut();
    const first = this.picture.bars.findIndex(({ operator }) => this.marked.has(operator));
    if (first >= 0) this.select(first);
    else this.frames();
  }

  private reach(item: Item): void {
    const { top, height } = placeOf(this.rows, item);
    const { scrollTop, clientHeight } = this.bars;
    const margin = Math.min(30, clientHeight / 4);
    if (top < scrollTop + margin) this.bars.scrollTop = Math.max(0, top - margin);
    else if (top + height > scrollTop + clientHeight - margin) this.bars.scrollTop = top + height - clientHeight + margin;
  }

  sayItem(): void {
    const { active: { group, bar }, picture, rowsItem } = this;
    const { module = "", first = 0, count = 0 } = picture.groups[group] ?? {};
    const found = bar === null ? undefined : picture.bars[bar];
    setAttribute(rowsItem, "aria-level", found === undefined ? 1 : 2);
    setAttribute(rowsItem, "aria-expanded", found === undefined ? String(!this.folded.has(group)) : false);
    setAttribute(rowsItem, "aria-posinset", bar === null ? group + 1 : bar - first + 1);
    setAttribute(rowsItem, "aria-setsize", bar === null ? picture.groups.length : count);
    const name = groupName(module);
    setText(rowsItem, found !== undefined ? spoken(describeBar(picture, found)) : count === 1 ? l10n.t("{0}, 1 tensor", name) : l10n.t("{0}, {1} tensors", name, count));
  }

  // ---- Steps ------------------------------------------------------------------------------------------------------------

  goToStep(step: number): void {
    const { steps, total } = this.picture;
    this.step = Math.min(Math.max(0, step), steps.kind.length - 1);
    this.span = showing(this.span, total, steps.start[this.step] ?? 0);
    setText(this.chartOption, spoken(describeStep(this.picture, this.step)));
    setAttribute(this.chartOption, "aria-posinset", this.step + 1);
    setAttribute(this.chartOption, "aria-setsize", steps.kind.length);
    this.frames();
  }

  /** Where the step is in the chart. */
  placeOfStep(step: number): { readonly x: number; readonly y: number } {
    const { start, end, moment } = this.picture.steps;
    return { x: xOf(this.frame, this.span, ((start[step] ?? 0) + (end[step] ?? 0)) / 2), y: yOf(this.state, this.compare)(moment[step] ?? 0) };
  }

  /** The step with the most memory within two pixels, so that a peak of no width can be met. */
  stepNear(x: number): number | null {
    const { start, end, moment } = this.picture.steps;
    const [from, to] = [momentAt(this.frame, this.span, x - 2), momentAt(this.frame, this.span, x + 2)];
    let best: number | null = null;
    moment.forEach((bytes, step) => {
      if ((end[step] ?? 0) < from || (start[step] ?? 0) > to) return;
      if (best === null || bytes > (moment[best] ?? 0)) best = step;
    });
    return best;
  }

  showHair(x: number): void {
    const { left } = this.frame;
    this.hair.hidden = x < left || x > left + plotWidth(this.frame);
    this.hair.style.transform = `translateX(${Math.round(x)}px)`;
  }
}
