import * as l10n from "@vscode/l10n";
import { formatDuration } from "../../src/core/units";
import type { FromSchedule, ScheduleState } from "../../src/protocol";
import { button } from "../components";
import { el, onThemeChange, perFrame, setAttribute, setText } from "../dom";
import { swatch } from "../swatch";
import { Canvas } from "./canvas";
import { Tooltip, WhyCard } from "./cards";
import { exportScene, jsonOf, svgOf, type Shown } from "./exports";
import { Grid } from "./grid";
import { headlines, subtitleOf, titleOf } from "./headline";
import type { Memory } from "./memory";
import { menuButton } from "./menu";
import { readPalette } from "./palette";
import type { Palette } from "./primitives";
import { blockOf, fittingRow, itemAt, largestRow, layRows, placeOf, step as stepTo, type Item, type Rows } from "./rows";
import { chart, chartScene, frameOf, legendOf, momentAt, overviewScene, peakStep, plotWidth, rowsScene, xOf, yOf, type Frame } from "./scene";
import { between, length, magnification, panned, showing, whole, zoomed, type Span } from "./span";
import { separated, tableRows } from "./table";
import { describeBar, describeStep, groupName, spoken } from "./texts";

type Send = (message: FromSchedule) => void;

const wheelZoom = 1.0018;
const keyZoom = 1.5;
/** A pointer that moved less than this was a click. */
const clickSlack = 4;

export class SchedulePanel {
  readonly element = el("div", { class: "panel" });
  private state: ScheduleState | null = null;
  private palette: Palette = readPalette();
  private span: Span = { from: 0, to: 1 };
  private rows: Rows = { blocks: [], rowHeight: 4, height: 0, labelled: false };
  private compare = true;
  private readonly folded = new Set<number>();
  private selected: number | null = null;
  private marked: ReadonlySet<number> = new Set();
  /** Where the keyboard is in the rows and in the chart. */
  private active: Item = { group: 0, bar: null };
  private step = 0;

  private readonly title = el("h1");
  private readonly subtitle = el("p", { class: "muted" });
  private readonly stale = el("p", { class: "warning", role: "status" }, l10n.t("The model has changed since it was profiled: this schedule is of the older code."));
  private readonly numbers = el("dl", { class: "headlines" });
  private readonly legend = el("ul", { class: "legend" });
  private readonly zoomText = el("span", { class: "muted zoom" });
  private readonly live = el("div", { class: "spoken", "aria-live": "polite" });

  private readonly chartCanvas = new Canvas();
  private readonly chartOption = el("div", { id: "chart-option", role: "option", "aria-selected": "true", class: "spoken" });
  private readonly chart = el("div", { class: "chart", tabindex: 0, role: "listbox", "aria-label": l10n.t("Live memory, step by step"), "aria-activedescendant": "chart-option" }, this.chartCanvas.element, this.chartOption);
  private readonly rowsCanvas = new Canvas();
  private readonly rowsItem = el("div", { id: "rows-item", role: "treeitem", class: "spoken" });
  private readonly spacer = el("div", { class: "spacer" });
  private readonly bars = el("div", { class: "bars", tabindex: 0, role: "tree", "aria-label": l10n.t("Live ranges by module"), "aria-activedescendant": "rows-item" }, this.rowsCanvas.element, this.spacer, this.rowsItem);
  private readonly hair = el("div", { class: "hair", hidden: true });
  private readonly tooltip = new Tooltip();
  private readonly why = new WhyCard(() => { this.close(); }, () => { this.reveal(); });
  private readonly grid = new Grid((bar) => { this.open(bar); }, (text) => { this.send({ kind: "copy", text }); });

  private readonly compareButton = button(l10n.t("Compare: eager"), () => { this.toggleCompare(); }, { "aria-pressed": "true", "data-toggle": "compare" });
  private readonly tableButton = button(l10n.t("Table"), () => { this.showTable(this.grid.element.hidden); }, { "aria-pressed": "false", "data-toggle": "table" });
  private readonly stage = el("div", { class: "stage" });

  private readonly redraw = perFrame(() => { this.draw(); });

  constructor(
    private readonly send: Send,
    private readonly remember: (memory: Memory) => void,
    private readonly memory: Memory | null,
  ) {
    this.stage.append(
      el("div", { class: "chart-area" }, this.chart, this.hair),
      el("div", { class: "row tools" }, this.legend, el("div", { class: "row zooming" },
        this.zoomText,
        button("−", () => { this.zoom(1 / keyZoom); }, { title: l10n.t("Zoom out (−)"), "aria-label": l10n.t("Zoom out"), class: "small" }),
        button("+", () => { this.zoom(keyZoom); }, { title: l10n.t("Zoom in (+)"), "aria-label": l10n.t("Zoom in"), class: "small" }),
        button(l10n.t("Whole step"), () => { this.zoomOut(); }, { title: l10n.t("Show the whole step (0)") }),
        button(l10n.t("Fold all"), () => { this.foldAll(true); }),
        button(l10n.t("Unfold all"), () => { this.foldAll(false); }))),
      el("div", { class: "bars-area" }, this.bars, this.why.element));
    this.grid.element.hidden = true;
    this.element.append(
      el("header", {},
        el("div", {}, this.title, this.subtitle, this.stale),
        el("div", { class: "row actions" }, this.compareButton, this.tableButton, this.exportMenu(),
          button(l10n.t("Verify"), () => { this.send({ kind: "run", command: "verify" }); }, { "data-command": "verify" }),
          button(l10n.t("Apply to Training Script"), () => { this.send({ kind: "run", command: "apply" }); }, { appearance: "primary", "data-command": "apply" }))),
      this.numbers, this.stage, this.grid.element, this.tooltip.element, this.live);
    this.listen();
    onThemeChange(() => {
      this.palette = readPalette();
      this.redraw();
    });
    const sizes = new ResizeObserver(() => { this.redraw(); });
    sizes.observe(this.chart);
    sizes.observe(this.bars);
  }

  show(state: ScheduleState): void {
    const first = this.state === null;
    const before = this.state?.picture;
    const { picture } = state;
    this.state = state;
    if (first) {
      this.restore(state);
    } else if (before !== undefined && before !== picture) {
      // The same part of another step.
      this.span = fittedSpan({ from: (this.span.from / before.total) * picture.total, to: (this.span.to / before.total) * picture.total }, picture.total);
      const old = this.selected === null ? undefined : before.bars[this.selected];
      const again = old === undefined ? -1 : picture.bars.findIndex(({ kind, id }) => kind === old.kind && id === old.id);
      this.selected = again < 0 ? null : again;
      this.active = { group: 0, bar: null };
      if (this.selected === null) this.why.hide();
      else if (this.why.isOpen) this.explain(this.selected);
    }
    this.step = peakStep(picture.steps);
    setText(this.title, titleOf(state));
    setText(this.subtitle, subtitleOf(state));
    this.stale.hidden = !state.stale;
    this.numbers.replaceChildren(...headlines(state).map(({ title, value, note, good }) =>
      el("div", {}, el("dt", {}, title), el("dd", { class: good === true ? "value good" : "value" }, value), el("dd", { class: "muted" }, note))));
    if (!this.grid.element.hidden) this.grid.show(picture);
    this.showLegend();
    this.save();
    this.redraw();
  }

  /** Selects without a word to the host. */
  select(bar: number): void {
    const { picture } = this.state ?? {};
    const block = picture?.bars[bar] === undefined ? undefined : blockOf(this.rows, bar);
    this.selected = picture?.bars[bar] === undefined ? null : bar;
    if (block !== undefined) this.active = { group: block.group, bar: block.folded ? null : bar };
    this.scrollTo(this.active);
    this.redraw();
  }

  /** The editor's cursor is on these operators. */
  mark(operators: readonly number[]): void {
    if (this.state === null) return;
    this.marked = new Set(operators);
    const bar = this.state.picture.bars.findIndex(({ operator }) => this.marked.has(operator));
    if (bar < 0) {
      this.redraw();
      return;
    }
    this.draw();
    this.select(bar);
    if (this.why.isOpen) this.explain(bar);
    this.save();
  }

  answer(bar: number, text: string): void {
    if (bar === this.selected) this.why.explain(text);
  }

  // ---- What is shown ----------------------------------------------------------------------------------------------

  private get frame(): Frame {
    return frameOf(this.bars.clientWidth, this.palette.fontSize, this.palette.contrast);
  }

  private layOut({ picture: { groups, total } }: ScheduleState): Rows {
    const fitting = fittingRow(groups, this.folded, this.bars.clientHeight);
    return layRows(groups, this.folded, Math.min(largestRow, fitting * magnification(this.span, total)));
  }

  private draw(): void {
    const { state, span, palette } = this;
    const width = this.bars.clientWidth;
    if (state === null || width === 0) return;
    const frame = this.frame;
    this.rows = this.layOut(state);
    this.chartCanvas.paint([...chartScene(state, span, frame, { compare: this.compare }), ...overviewScene(state, span, frame)], palette, { width, height: chart.height });
    const height = this.bars.clientHeight;
    this.spacer.style.height = `${Math.max(0, this.rows.height - height)}px`;
    this.rowsCanvas.paint(rowsScene(state.picture, this.rows, span, frame, {
      top: this.bars.scrollTop, height, selected: this.selected, marked: this.marked,
      active: document.activeElement === this.bars ? this.active : null,
    }), palette, { width, height });
    const zoom = magnification(span, state.picture.total);
    setText(this.zoomText, zoom < 1.01 ? "" : l10n.t("{0}× · {1} to {2}", zoom < 10 ? zoom.toFixed(1) : String(Math.round(zoom)), formatDuration(span.from), formatDuration(span.to)));
  }

  private showLegend(): void {
    if (this.state === null) return;
    this.legend.replaceChildren(...legendOf(this.state.picture, this.compare, this.palette.contrast).map((mark) => el("li", {}, swatch(`ink-${mark.ink}`, mark.texture, mark.line === true), mark.text)));
  }

  private restore({ model, picture }: ScheduleState): void {
    const { memory } = this;
    this.span = whole(picture.total);
    if (memory?.model !== model.id) return;
    this.span = fittedSpan(memory, picture.total);
    this.compare = memory.compare;
    memory.folded.filter((group) => group < picture.groups.length).forEach((group) => this.folded.add(group));
    setAttribute(this.compareButton, "aria-pressed", String(this.compare));
    if (memory.selected !== null && memory.selected < picture.bars.length) this.selected = memory.selected;
    if (memory.table) this.showTable(true);
  }

  private save(): void {
    if (this.state === null) return;
    this.remember({ model: this.state.model.id, ...this.span, compare: this.compare, table: !this.grid.element.hidden, folded: [...this.folded], selected: this.selected });
  }

  private setSpan(span: Span, anchor = this.bars.clientHeight / 2): void {
    const { state } = this;
    if (state === null) return;
    const item = itemAt(this.rows, this.bars.scrollTop + anchor);
    const before = item === null ? 0 : placeOf(this.rows, item).top - this.bars.scrollTop;
    this.span = span;
    this.rows = this.layOut(state);
    this.spacer.style.height = `${Math.max(0, this.rows.height - this.bars.clientHeight)}px`;
    if (item !== null) this.bars.scrollTop = placeOf(this.rows, item).top - before;
    this.save();
    this.redraw();
  }

  private zoom(factor: number, at?: number, anchor?: number): void {
    if (this.state === null) return;
    const { from, to } = this.span;
    this.setSpan(zoomed(this.span, this.state.picture.total, factor, at ?? (from + to) / 2), anchor);
    this.say(l10n.t("{0} to {1}", formatDuration(this.span.from), formatDuration(this.span.to)));
  }

  private zoomOut(): void {
    if (this.state !== null) this.setSpan(whole(this.state.picture.total));
  }

  private pan(share: number): void {
    if (this.state !== null) this.setSpan(panned(this.span, this.state.picture.total, share * length(this.span)));
  }

  private toggleCompare(): void {
    this.compare = !this.compare;
    setAttribute(this.compareButton, "aria-pressed", String(this.compare));
    this.showLegend();
    this.save();
    this.redraw();
  }

  private showTable(shown: boolean): void {
    this.grid.element.hidden = !shown;
    this.stage.hidden = shown;
    setAttribute(this.tableButton, "aria-pressed", String(shown));
    if (shown && this.state !== null) this.grid.show(this.state.picture);
    this.save();
    this.redraw();
  }

  private fold(group: number, folded: boolean): void {
    if (folded) this.folded.add(group);
    else this.folded.delete(group);
    this.active = { group, bar: null };
    this.save();
    this.draw();
    this.announce();
  }

  private foldAll(folded: boolean): void {
    this.folded.clear();
    if (folded) this.state?.picture.groups.forEach((_, group) => this.folded.add(group));
    this.active = { group: 0, bar: null };
    this.save();
    this.redraw();
  }

  // ---- Selecting ------------------------------------------------------------------------------------------------------

  /** The person chose this bar: its why, and its line in the editor. */
  private open(bar: number): void {
    this.select(bar);
    this.explain(bar);
    this.reveal();
    this.save();
  }

  private explain(bar: number): void {
    const { picture } = this.state ?? {};
    const found = picture?.bars[bar];
    if (picture === undefined || found === undefined) return;
    this.why.show(describeBar(picture, found));
    this.tooltip.hide();
    this.send({ kind: "why", bar });
  }

  private reveal(): void {
    const bar = this.selected === null ? undefined : this.state?.picture.bars[this.selected];
    if (bar !== undefined) this.send({ kind: "reveal", operator: bar.operator });
  }

  private close(): void {
    this.why.hide();
    this.selected = null;
    this.save();
    this.bars.focus({ preventScroll: true });
    this.redraw();
  }

  /** The person chose this step: its operator's line, and its first bar. */
  private openStep(step: number): void {
    const { picture } = this.state ?? {};
    const operator = picture?.steps.operator[step];
    if (picture === undefined || operator === undefined) return;
    const bar = picture.bars.findIndex((each) => each.operator === operator);
    if (bar < 0) this.send({ kind: "reveal", operator });
    else this.open(bar);
  }

  private scrollTo(item: Item): void {
    const { top, height } = placeOf(this.rows, item);
    const { scrollTop, clientHeight } = this.bars;
    if (top < scrollTop) this.bars.scrollTop = Math.max(0, top - 30);
    else if (top + height > scrollTop + clientHeight) this.bars.scrollTop = top + height - clientHeight + 30;
  }

  private say(text: string): void {
    setText(this.live, text);
  }

  private announce(): void {
    const { state, active } = this;
    if (state === null) return;
    const group = state.picture.groups[active.group];
    const bar = active.bar === null ? undefined : state.picture.bars[active.bar];
    const item = this.rowsItem;
    setAttribute(item, "aria-level", bar === undefined ? 1 : 2);
    setAttribute(item, "aria-expanded", bar === undefined ? String(!this.folded.has(active.group)) : false);
    setAttribute(item, "aria-posinset", bar === undefined ? active.group + 1 : (active.bar ?? 0) - (group?.first ?? 0) + 1);
    setAttribute(item, "aria-setsize", bar === undefined ? state.picture.groups.length : (group?.count ?? 0));
    setText(item, bar === undefined ? l10n.t("{0}, {1} tensors", groupName(group?.module ?? ""), group?.count ?? 0) : spoken(describeBar(state.picture, bar)));
  }

  // ---- Pointer and keyboard ---------------------------------------------------------------------------------------

  private listen(): void {
    const { chart: upper, bars } = this;
    upper.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.wheel(event, !event.shiftKey && Math.abs(event.deltaX) <= Math.abs(event.deltaY));
    }, { passive: false });
    bars.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey && !event.shiftKey && Math.abs(event.deltaX) <= Math.abs(event.deltaY)) return;
      event.preventDefault();
      this.wheel(event, event.ctrlKey || event.metaKey);
    }, { passive: false });
    bars.addEventListener("scroll", this.redraw);
    for (const part of [upper, bars]) {
      part.addEventListener("pointerdown", (event) => { this.press(part, event); });
      part.addEventListener("pointermove", (event) => { this.hover(part, event); });
      part.addEventListener("pointerleave", () => {
        this.tooltip.hide();
        this.hair.hidden = true;
      });
      part.addEventListener("focus", () => {
        if (part === bars) this.announce();
        else this.stepBy(0);
        this.redraw();
      });
      part.addEventListener("blur", () => {
        this.tooltip.hide();
        this.hair.hidden = true;
        this.redraw();
      });
    }
    upper.addEventListener("keydown", (event) => { this.handle(event, this.chartKey(event) || this.anyKey(event)); });
    bars.addEventListener("keydown", (event) => { this.handle(event, this.barsKey(event) || this.anyKey(event)); });
  }

  private handle(event: KeyboardEvent, done: boolean): void {
    if (!done) return;
    event.preventDefault();
    event.stopPropagation();
  }

  private wheel(event: WheelEvent, zooms: boolean): void {
    if (this.state === null) return;
    const amount = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 30 : 1;
    const box = this.bars.getBoundingClientRect();
    if (zooms) this.zoom(wheelZoom ** (-event.deltaY * amount), momentAt(this.frame, this.span, event.clientX - box.left), event.currentTarget === this.bars ? event.clientY - box.top : undefined);
    else this.pan(((event.deltaX === 0 ? event.deltaY : event.deltaX) * amount) / plotWidth(this.frame));
    this.tooltip.hide();
  }

  private anyKey({ key, ctrlKey, metaKey, altKey }: KeyboardEvent): boolean {
    if (ctrlKey || metaKey || altKey) return false;
    switch (key) {
      case "+":
      case "=":
        this.zoom(keyZoom);
        return true;
      case "-":
      case "−":
        this.zoom(1 / keyZoom);
        return true;
      case "0":
        this.zoomOut();
        return true;
      case "Escape":
        if (!this.why.isOpen) return false;
        this.close();
        return true;
      default:
        return false;
    }
  }

  private chartKey({ key, shiftKey }: KeyboardEvent): boolean {
    const count = this.state?.picture.steps.kind.length ?? 0;
    switch (key) {
      case "ArrowRight":
      case "ArrowLeft": {
        const direction = key === "ArrowRight" ? 1 : -1;
        if (shiftKey) this.pan(direction / 8);
        else this.stepBy(direction);
        return true;
      }
      case "PageDown":
      case "PageUp":
        this.stepBy((key === "PageDown" ? 1 : -1) * Math.max(1, Math.round(count / 20)));
        return true;
      case "Home":
      case "End":
        this.stepBy(key === "Home" ? -count : count);
        return true;
      case "p":
        if (this.state !== null) this.stepBy(peakStep(this.state.picture.steps) - this.step);
        return true;
      case "Enter":
      case " ":
        this.openStep(this.step);
        return true;
      default:
        return false;
    }
  }

  private stepBy(by: number): void {
    const { state } = this;
    if (state === null) return;
    const { steps, total } = state.picture;
    this.step = Math.min(Math.max(0, this.step + by), steps.kind.length - 1);
    this.span = showing(this.span, total, steps.start[this.step] ?? 0);
    const description = describeStep(state.picture, this.step);
    setText(this.chartOption, spoken(description));
    setAttribute(this.chartOption, "aria-posinset", this.step + 1);
    setAttribute(this.chartOption, "aria-setsize", steps.kind.length);
    const x = xOf(this.frame, this.span, ((steps.start[this.step] ?? 0) + (steps.end[this.step] ?? 0)) / 2);
    const box = this.chart.getBoundingClientRect();
    this.showHair(x);
    this.tooltip.show(description, box.left + x, box.top + yOf(state, this.compare)(steps.moment[this.step] ?? 0));
    this.redraw();
  }

  private barsKey({ key }: KeyboardEvent): boolean {
    const { rows, active } = this;
    const onGroup = active.bar === null;
    const last = rows.blocks.at(-1);
    switch (key) {
      case "ArrowDown":
      case "ArrowUp":
        this.goTo(stepTo(rows, active, key === "ArrowDown" ? 1 : -1));
        return true;
      case "Home":
        this.goTo({ group: 0, bar: null });
        return true;
      case "End":
        if (last !== undefined) this.goTo({ group: last.group, bar: last.folded ? null : last.first + last.count - 1 });
        return true;
      case "PageDown":
      case "PageUp":
        this.goTo(itemAt(rows, placeOf(rows, active).top + (key === "PageDown" ? 1 : -1) * this.bars.clientHeight * 0.9));
        return true;
      case "ArrowLeft":
      case "ArrowRight":
        if (onGroup) this.fold(active.group, key === "ArrowLeft");
        else this.pan(key === "ArrowLeft" ? -1 / 8 : 1 / 8);
        return true;
      case "Enter":
      case " ":
        if (active.bar === null) this.fold(active.group, !this.folded.has(active.group));
        else this.open(active.bar);
        return true;
      default:
        return false;
    }
  }

  private goTo(item: Item | null): void {
    if (item === null) return;
    this.active = item;
    this.scrollTo(item);
    this.announce();
    this.redraw();
  }

  private showHair(x: number): void {
    const frame = this.frame;
    this.hair.hidden = x < frame.left || x > frame.left + plotWidth(frame);
    this.hair.style.transform = `translateX(${Math.round(x)}px)`;
  }

  private hover(part: HTMLElement, event: PointerEvent): void {
    const { state } = this;
    if (state === null || event.buttons !== 0) return;
    const box = part.getBoundingClientRect();
    const x = event.clientX - box.left;
    const y = event.clientY - box.top;
    this.showHair(x);
    const moment = momentAt(this.frame, this.span, x);
    const inside = moment >= this.span.from && moment <= this.span.to;
    if (part === this.chart) {
      part.classList.toggle("brushing", y >= chart.strip && y < chart.axis);
      const step = y < chart.overview && inside ? this.stepNear(x) : null;
      if (step === null) this.tooltip.hide();
      else this.tooltip.show(describeStep(state.picture, step), event.clientX, event.clientY);
      return;
    }
    const item = itemAt(this.rows, y + this.bars.scrollTop);
    const bar = state.picture.bars[item?.bar ?? -1];
    part.classList.toggle("pointing", bar !== undefined || (item !== null && (x < this.frame.left || this.folded.has(item.group))));
    if (bar === undefined) this.tooltip.hide();
    else this.tooltip.show(describeBar(state.picture, bar), event.clientX, event.clientY);
  }

  /** The step with the highest memory among those of a pixel column, so that a peak of no width can be met. */
  private stepNear(x: number): number | null {
    const { state } = this;
    if (state === null) return null;
    const { steps } = state.picture;
    const from = momentAt(this.frame, this.span, x - 2);
    const to = momentAt(this.frame, this.span, x + 2);
    let best: number | null = null;
    steps.moment.forEach((bytes, step) => {
      if ((steps.end[step] ?? 0) < from || (steps.start[step] ?? 0) > to) return;
      if (best === null || bytes > (steps.moment[best] ?? 0)) best = step;
    });
    return best;
  }

  /** Drag pans; on the strip it chooses what to show; on the overview it moves the window. A press without a move is a click. */
  private press(part: HTMLElement, event: PointerEvent): void {
    const { state } = this;
    if (state === null || event.button !== 0) return;
    const box = part.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    if (x > part.clientWidth) return;
    const { total } = state.picture;
    const { span } = this;
    const frame = this.frame;
    const all = whole(total);
    const scrolled = this.bars.scrollTop;
    const mode = part === this.bars ? "pan" : y >= chart.overview - 4 ? "overview" : y >= chart.strip - 2 && y < chart.axis + 2 ? "brush" : "pan";
    const edges = [xOf(frame, all, span.from), xOf(frame, all, span.to)] as const;
    const grip = mode !== "overview" ? null : Math.abs(x - edges[0]) < 6 ? "from" : Math.abs(x - edges[1]) < 6 ? "to" : null;
    if (mode === "overview" && grip === null && (x < edges[0] || x > edges[1])) this.setSpan(panned(span, total, momentAt(frame, all, x) - (span.from + span.to) / 2));
    const start = this.span;
    let travelled = 0;
    part.setPointerCapture(event.pointerId);
    const move = (moved: PointerEvent): void => {
      const to = moved.clientX - box.left;
      travelled = Math.max(travelled, Math.abs(to - x), Math.abs(moved.clientY - event.clientY));
      if (travelled < clickSlack) return;
      this.tooltip.hide();
      if (mode === "pan") {
        this.setSpan(panned(start, total, ((x - to) / plotWidth(frame)) * length(start)));
        if (part === this.bars) this.bars.scrollTop = scrolled - (moved.clientY - event.clientY);
      } else if (mode === "brush") this.setSpan(between(momentAt(frame, start, x), momentAt(frame, start, to), total));
      else if (grip === null) this.setSpan(panned(start, total, momentAt(frame, all, to) - momentAt(frame, all, x)));
      else this.setSpan(between(grip === "from" ? start.to : start.from, momentAt(frame, all, to), total));
    };
    const end = (): void => {
      part.removeEventListener("pointermove", move);
      if (travelled < clickSlack) this.click(part, x, y);
    };
    part.addEventListener("pointermove", move);
    part.addEventListener("pointerup", end, { once: true });
    part.addEventListener("pointercancel", () => { part.removeEventListener("pointermove", move); }, { once: true });
  }

  private click(part: HTMLElement, x: number, y: number): void {
    if (part === this.chart) {
      const step = y < chart.axis ? this.stepNear(x) : null;
      if (step !== null) {
        this.step = step;
        this.openStep(step);
      }
      return;
    }
    const item = itemAt(this.rows, y + this.bars.scrollTop);
    if (item === null) return;
    const { left } = this.frame;
    const block = this.rows.blocks[item.group];
    const onHeading = block !== undefined && (item.bar === null || (!this.rows.labelled && x < left && y + this.bars.scrollTop < block.top + 16));
    if (onHeading && (x < left || block.folded)) this.fold(item.group, !block.folded);
    else if (item.bar !== null) this.open(item.bar);
  }

  // ---- Export ---------------------------------------------------------------------------------------------------------

  private exportMenu(): HTMLElement {
    return menuButton(l10n.t("Export"), [
      { title: l10n.t("Picture (SVG)"), chosen: () => { this.exportAs((state) => ({ format: "svg", data: svgOf(state, this.shown, this.palette) })); } },
      { title: l10n.t("Picture (PNG)"), chosen: () => { this.exportAs((state) => ({ format: "png", data: this.png(state) })); } },
      { title: l10n.t("Data (JSON)"), chosen: () => { this.exportAs((state) => ({ format: "json", data: jsonOf(state) })); } },
      { title: l10n.t("Table (CSV)"), chosen: () => { this.exportAs(({ picture }) => ({ format: "csv", data: separated(tableRows(picture), ",") })); } },
    ]);
  }

  private get shown(): Shown {
    return { span: this.span, compare: this.compare, folded: this.folded, rowHeight: this.rows.rowHeight };
  }

  private exportAs(make: (state: ScheduleState) => Omit<Extract<FromSchedule, { kind: "export" }>, "kind">): void {
    if (this.state !== null) this.send({ kind: "export", ...make(this.state) });
  }

  private png(state: ScheduleState): string {
    const { primitives, size } = exportScene(state, this.shown, this.palette);
    const canvas = new Canvas();
    // A canvas has a largest side.
    canvas.paint(primitives, this.palette, size, Math.min(2, 16_000 / Math.max(size.width, size.height)));
    return canvas.element.toDataURL("image/png").split(",")[1] ?? "";
  }
}

const fittedSpan = ({ from, to }: Span, total: number): Span => between(Math.min(from, total), Math.min(to, total), total);
