import * as l10n from "@vscode/l10n";
import type { BudgetPoint } from "../../src/protocol";
import { el, setAttribute } from "../dom";
import { clamp, extentOf, neighbour } from "./frontier";

/** Bytes from the least memory to no overhead. Dragging is linear in bytes; an arrow key goes to the next plan. */
export class Slider {
  readonly element = el("input", { type: "range", class: "slider", step: 1, "aria-label": l10n.t("Memory budget") });
  private points: readonly BudgetPoint[] = [];

  constructor(private readonly moved: (bytes: number) => void) {
    this.element.addEventListener("input", () => { moved(Math.round(this.element.valueAsNumber)); });
    this.element.addEventListener("keydown", (event) => { this.press(event); });
  }

  show(points: readonly BudgetPoint[], budget: number, text: string): void {
    this.points = points;
    const { least, most } = extentOf(points);
    setAttribute(this.element, "min", least);
    setAttribute(this.element, "max", most);
    const value = String(clamp(budget, least, most));
    if (this.element.value !== value) this.element.value = value;
    setAttribute(this.element, "aria-valuetext", text);
    this.element.disabled = least === most;
  }

  private press(event: KeyboardEvent): void {
    const direction = event.key === "ArrowRight" || event.key === "ArrowUp" ? 1 : event.key === "ArrowLeft" || event.key === "ArrowDown" ? -1 : null;
    if (direction === null || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const next = neighbour(this.points, this.element.valueAsNumber, direction);
    if (next !== this.element.valueAsNumber) this.moved(next);
  }
}
