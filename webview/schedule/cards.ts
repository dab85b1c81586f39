/** The small windows: numbers under the pointer, and why a tensor is kept or recomputed. */
import * as l10n from "@vscode/l10n";
import { button } from "../components";
import { el, setText } from "../dom";
import type { Description } from "./texts";

const rowsOf = ({ rows }: Description): HTMLElement[] => rows.flatMap(([label, value]) => [el("dt", {}, label), el("dd", {}, value)]);

export class Tooltip {
  readonly element = el("div", { class: "tooltip", "aria-hidden": "true", hidden: true });

  show(description: Description, x: number, y: number): void {
    const { element } = this;
    element.replaceChildren(el("p", {}, el("b", {}, description.title), ...(description.place === "" ? [] : [` · ${description.place}`])), el("dl", {}, ...rowsOf(description)));
    element.hidden = false;
    const { offsetWidth, offsetHeight } = element;
    const left = x + 16 + offsetWidth > window.innerWidth ? x - 12 - offsetWidth : x + 16;
    const top = y + 16 + offsetHeight > window.innerHeight ? y - 12 - offsetHeight : y + 16;
    element.style.left = `${Math.max(4, left)}px`;
    element.style.top = `${Math.max(4, top)}px`;
  }

  hide(): void {
    this.element.hidden = true;
  }
}

export class WhyCard {
  private readonly title = el("h2");
  private readonly source: HTMLElement;
  private readonly facts = el("dl");
  private readonly text = el("p", { class: "reason", "aria-live": "polite" });
  readonly element: HTMLElement;

  constructor(close: () => void, reveal: () => void) {
    this.source = button("", reveal, { appearance: "secondary", class: "source" });
    this.element = el("aside", { class: "why", "aria-label": l10n.t("Why"), hidden: true },
      el("div", { class: "row" }, this.title, button("×", close, { appearance: "icon", "aria-label": l10n.t("Close"), class: "close" })),
      this.facts, this.text, this.source);
    this.element.addEventListener("keydown", ({ key }) => {
      if (key === "Escape") close();
    });
  }

  get isOpen(): boolean {
    return !this.element.hidden;
  }

  show(description: Description): void {
    setText(this.title, description.title);
    setText(this.source, l10n.t("Go to {0}", description.place));
    this.source.hidden = description.place === "";
    this.facts.replaceChildren(...rowsOf(description));
    setText(this.text, "");
    this.element.hidden = false;
  }

  explain(text: string): void {
    setText(this.text, text);
  }

  hide(): void {
    this.element.hidden = true;
  }
}
