import * as l10n from "@vscode/l10n";
import type { Picture } from "../../src/core/picture";
import { button, grid, gridRow } from "../components";
import { el, setText } from "../dom";
import { columnsOf, separated, sortRows, tableRows, type Sorting, type TableRow } from "./table";

const pageSize = 100;

/** One page of rows at a time: a grid of four thousand rows would take seconds to make. */
export class Grid {
  private readonly caption = el("span", { class: "muted", "aria-live": "polite" });
  private readonly holder = el("div", { class: "grid" });
  private readonly previous = button(l10n.t("Previous"), () => { this.turn(-1); });
  private readonly next = button(l10n.t("Next"), () => { this.turn(1); });
  readonly element = el("section", { class: "table", "aria-label": l10n.t("Live ranges as a table") },
    el("div", { class: "row" }, this.caption, this.previous, this.next, button(l10n.t("Copy"), () => { this.copy(separated(this.sorted, "\t")); }, { title: l10n.t("Copy all rows, separated by tabs") })),
    this.holder);
  private rows: readonly TableRow[] = [];
  private sorted: readonly TableRow[] = [];
  private sorting: Sorting | null = null;
  private page = 0;

  constructor(
    private readonly chosen: (bar: number) => void,
    private readonly copy: (text: string) => void,
  ) {}

  show(picture: Picture): void {
    this.rows = tableRows(picture);
    this.sort(this.sorting);
  }

  private sort(sorting: Sorting | null): void {
    this.sorting = sorting;
    this.sorted = sortRows(this.rows, sorting);
    this.page = 0;
    this.draw();
  }

  private turn(by: number): void {
    this.page = Math.min(Math.max(0, this.page + by), this.pages - 1);
    this.draw();
  }

  private get pages(): number {
    return Math.max(1, Math.ceil(this.sorted.length / pageSize));
  }

  private draw(): void {
    const columns = columnsOf();
    const widths = columns.map(({ width }) => width).join(" ");
    const first = this.page * pageSize;
    const shown = this.sorted.slice(first, first + pageSize);
    const header = gridRow(widths, "header", columns.map(({ title }, at) => (this.sorting?.column === at ? `${title} ${this.sorting.descending ? "▾" : "▴"}` : title)));
    [...header.children].forEach((cell, at) => {
      cell.classList.toggle("numeric", columns[at]?.numeric === true);
      cell.setAttribute("aria-sort", this.sorting?.column !== at ? "none" : this.sorting.descending ? "descending" : "ascending");
      onPress(cell, () => {
        this.sort({ column: at, descending: this.sorting?.column === at ? !this.sorting.descending : columns[at]?.numeric === true });
        this.focusHeader(at);
      });
    });
    const body = shown.map(({ bar, cells }) => {
      const row = gridRow(widths, "default", cells.map((value, at) => columns[at]?.show(value) ?? ""));
      [...row.children].forEach((cell, at) => { cell.classList.toggle("numeric", columns[at]?.numeric === true); });
      onPress(row, () => { this.chosen(bar); });
      return row;
    });
    const made = grid(l10n.t("Live ranges"), widths);
    made.append(header, ...body);
    made.setAttribute("aria-rowcount", String(this.sorted.length + 1));
    this.holder.replaceChildren(made);
    this.previous.disabled = this.page === 0;
    this.next.disabled = this.page >= this.pages - 1;
    setText(this.caption, l10n.t("{0} to {1} of {2} tensors", Math.min(first + 1, this.sorted.length), first + shown.length, this.sorted.length));
  }

  private focusHeader(at: number): void {
    const cell = this.holder.querySelectorAll("vscode-data-grid-cell")[at];
    if (cell instanceof HTMLElement) requestAnimationFrame(() => { cell.focus(); });
  }
}

function onPress(element: Element, pressed: () => void): void {
  element.addEventListener("click", pressed);
  element.addEventListener("keydown", (event) => {
    if (!(event instanceof KeyboardEvent) || (event.key !== "Enter" && event.key !== " ")) return;
    event.preventDefault();
    pressed();
  });
}
