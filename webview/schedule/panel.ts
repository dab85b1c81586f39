import * as l10n from "@vscode/l10n";
import { formatDuration } from "../../src/core/units";
import type { FromSchedule, ScheduleState } from "../../src/protocol";
import { button } from "../components";
import { el, onThemeChange, setAttribute, setText } from "../dom";
import { swatch } from "../swatch";
import type { Actions } from "./actions";
import { Canvas } from "./canvas";
import { Tooltip, WhyCard } from "./cards";
import { exportScene, jsonOf, svgOf, type Shown } from "./exports";
import { Grid } from "./grid";
import { headlines, subtitleOf, titleOf } from "./headline";
import { listenToKeys } from "./keyboard";
import type { Memory } from "./memory";
import { menuButton } from "./menu";
import { listenToPointer } from "./pointer";
import { legendOf } from "./scene";
import { magnification } from "./span";
import { separated, tableRows } from "./table";
import { describeBar, type Description } from "./texts";
import { View } from "./view";

type Send = (message: FromSchedule) => void;

/** Chromium's largest canvas has sides of 16,384 pixels. */
const largestSide = 16_000;
const buttonZoom = 1.5;

export class SchedulePanel implements Actions {
  readonly element = el("div", { class: "panel" });
  private readonly view: View;

  private readonly title = el("h1");
  private readonly subtitle = el("p", { class: "muted" });
  private readonly stale = el("p", { class: "warning", role: "status" }, l10n.t("The model has changed since it was profiled: this is the schedule of the older code."));
  private readonly numbers = el("dl", { class: "headlines" });
  private readonly legend = el("ul", { class: "legend" });
  private readonly zoomText = el("span", { class: "muted zoom", "aria-live": "polite" });
  private readonly tooltip = new Tooltip();
  private readonly why = new WhyCard(() => { this.close(); }, () => { this.reveal(); });
  private readonly grid = new Grid((bar) => { this.openBar(bar); }, (text) => { this.send({ kind: "copy", text }); });
  private readonly compareButton = button(l10n.t("Compare: eager"), () => { this.toggleCompare(); }, { "data-toggle": "compare" });
  private readonly tableButton = button(l10n.t("Table"), () => { this.showTable(this.grid.element.hidden); }, { "data-toggle": "table" });
  private readonly stage: HTMLElement;

  constructor(
    private readonly send: Send,
    private readonly remember: (memory: Memory) => void,
    memory: Memory | null,
    state: ScheduleState,
  ) {
    const view = new View(state, () => { this.changed(); });
    this.view = view;
    if (memory?.model === state.model.id) view.restore(memory);
    const zooming = el("div", { class: "row zooming" },
      this.zoomText,
      button("−", () => { view.zoom(1 / buttonZoom); }, { title: l10n.t("Zoom out (−)"), "aria-label": l10n.t("Zoom out") }),
      button("+", () => { view.zoom(buttonZoom); }, { title: l10n.t("Zoom in (+)"), "aria-label": l10n.t("Zoom in") }),
      button(l10n.t("Whole step"), () => { view.showAll(); }, { title: l10n.t("Show the whole step (0)") }),
      button(l10n.t("Fold all"), () => { view.foldAll(true); }),
      button(l10n.t("Unfold all"), () => { view.foldAll(false); }));
    this.stage = el("div", { class: "stage" },
      el("div", { class: "chart-area" }, view.chart, view.hair),
      el("div", { class: "row tools" }, this.legend, zooming),
      el("div", { class: "bars-area" }, view.bars));
    const actions = el("div", { class: "row actions" }, this.compareButton, this.tableButton, this.exportMenu(),
      button(l10n.t("Verify"), () => { send({ kind: "run", command: "verify" }); }, { "data-command": "verify" }),
      button(l10n.t("Apply to Training Script"), () => { send({ kind: "run", command: "apply" }); }, { appearance: "primary", "data-command": "apply" }));
    this.element.append(
      el("header", {}, el("div", {}, this.title, this.subtitle, this.stale), actions),
      this.numbers,
      el("div", { class: "content" }, this.stage, this.grid.element, this.why.element),
      this.tooltip.element);
    listenToPointer(view, this);
    listenToKeys(view, this);
    onThemeChange(() => { this.showLegend(); });
    setAttribute(this.compareButton, "aria-pressed", String(view.compare));
    this.showTable(memory?.model === state.model.id && memory.table);
    this.show(state);
  }

  show(state: ScheduleState): void {
    const { view } = this;
    const isOther = view.picture !== state.picture;
    view.show(state);
    if (isOther) this.tooltip.hide();
    setText(this.title, titleOf(state));
    setText(this.subtitle, subtitleOf(state));
    this.stale.hidden = !state.stale;
    this.numbers.replaceChildren(...headlines(state).map(({ title, value, note, good }) =>
      el("div", {}, el("dt", {}, title), el("dd", { class: good === true ? "value good" : "value" }, value), el("dd", { class: "muted" }, note))));
    this.showLegend();
    if (isOther && !this.grid.element.hidden) this.grid.show(state.picture);
    if (isOther && this.why.isOpen) {
      if (view.selected === null) this.why.hide();
      else this.explain(view.selected);
    }
    this.changed();
  }

  /** Without a picture, what is drawn stays as it is, with the keyboard where it is. */
  follow(state: Omit<ScheduleState, "picture">, picture: ScheduleState["picture"] | null): void {
    this.show({ ...state, picture: picture ?? this.view.picture });
  }

  /** The editor's cursor is on these operators. An open card follows. */
  mark(operators: readonly number[]): void {
    this.view.mark(operators);
    if (this.why.isOpen && this.view.selected !== null) this.explain(this.view.selected);
  }

  answer(bar: number, text: string): void {
    if (bar === this.view.selected) this.why.explain(text);
  }

  openBar(bar: number): void {
    this.view.select(bar);
    this.explain(bar);
    this.reveal();
  }

  openStep(step: number): void {
    const { bars, steps } = this.view.picture;
    const operator = steps.operator[step];
    if (operator === undefined) return;
    this.view.goToStep(step);
    const bar = bars.findIndex((each) => each.operator === operator);
    if (bar < 0) this.send({ kind: "reveal", operator });
    else this.openBar(bar);
  }

  close(): boolean {
    if (!this.why.isOpen) return false;
    this.why.hide();
    this.view.select(null);
    if (this.grid.element.hidden) this.view.bars.focus({ preventScroll: true });
    return true;
  }

  tell(description: Description | null, x = 0, y = 0): void {
    if (description === null) this.tooltip.hide();
    else this.tooltip.show(description, x, y);
  }

  private explain(bar: number): void {
    const { picture } = this.view;
    const found = picture.bars[bar];
    if (found === undefined) return;
    this.tooltip.hide();
    this.why.show(describeBar(picture, found));
    this.send({ kind: "why", bar });
  }

  private reveal(): void {
    const bar = this.view.picture.bars[this.view.selected ?? -1];
    if (bar !== undefined) this.send({ kind: "reveal", operator: bar.operator });
  }

  private toggleCompare(): void {
    this.view.toggleCompare();
    setAttribute(this.compareButton, "aria-pressed", String(this.view.compare));
    this.showLegend();
  }

  private showTable(shown: boolean): void {
    this.grid.element.hidden = !shown;
    this.stage.hidden = shown;
    setAttribute(this.tableButton, "aria-pressed", String(shown));
    if (shown) this.grid.show(this.view.picture);
    this.changed();
  }

  private showLegend(): void {
    const { picture, compare, palette } = this.view;
    this.legend.replaceChildren(...legendOf(picture, compare, palette.contrast).map(({ ink, texture, text, line, hollow }) =>
      el("li", {}, swatch(`ink-${ink}${hollow === true ? " hollow" : ""}`, texture, line === true), text)));
  }

  private changed(): void {
    const { span, state, compare, folded, selected } = this.view;
    const zoom = magnification(span, state.picture.total);
    this.zoomText.hidden = zoom < 1.01;
    setText(this.zoomText, zoom < 1.01 ? "" : l10n.t("{0}×: {1} to {2}", zoom < 10 ? zoom.toFixed(1) : Math.round(zoom), formatDuration(span.from), formatDuration(span.to)));
    this.remember({ model: state.model.id, ...span, compare, table: !this.grid.element.hidden, folded: [...folded], selected });
  }

  private exportMenu(): HTMLElement {
    const { view, send } = this;
    return menuButton(l10n.t("Export"), [
      { title: l10n.t("Picture (SVG)"), chosen: () => { send({ kind: "export", format: "svg", data: svgOf(view.state, this.shown, view.palette) }); } },
      { title: l10n.t("Picture (PNG)"), chosen: () => { send({ kind: "export", format: "png", data: this.png() }); } },
      { title: l10n.t("Data (JSON)"), chosen: () => { send({ kind: "export", format: "json", data: jsonOf(view.state) }); } },
      { title: l10n.t("Table (CSV)"), chosen: () => { send({ kind: "export", format: "csv", data: separated(tableRows(view.picture), ",") }); } },
      { title: l10n.t("Checkpoint policies (Python)"), chosen: () => { send({ kind: "run", command: "export" }); } },
    ]);
  }

  private get shown(): Shown {
    const { span, compare, folded, rows } = this.view;
    return { span, compare, folded, rowHeight: rows.rowHeight };
  }

  private png(): string {
    const { state, palette } = this.view;
    const { primitives, size } = exportScene(state, this.shown, palette);
    const canvas = new Canvas();
    canvas.paint(primitives, palette, size, Math.min(2, largestSide / Math.max(size.width, size.height)));
    return canvas.element.toDataURL("image/png").split(",")[1] ?? "";
  }
}
