import { button } from "../components";
import { el } from "../dom";

export interface Entry {
  readonly title: string;
  readonly chosen: () => void;
}

/** A button that opens a short list of actions. */
export function menuButton(label: string, entries: readonly Entry[]): HTMLElement {
  const list = el("div", { class: "menu", role: "menu", "aria-label": label, hidden: true });
  const opener = button(`${label} ▾`, () => { toggle(list.hidden); }, { "aria-haspopup": "menu", "aria-expanded": "false" });
  const items = entries.map(({ title, chosen }) => {
    const item = el("button", { type: "button", role: "menuitem", tabindex: -1 }, title);
    item.addEventListener("click", () => {
      toggle(false);
      opener.focus();
      chosen();
    });
    return item;
  });
  list.append(...items);
  const holder = el("div", { class: "menu-holder" }, opener, list);

  function toggle(open: boolean): void {
    list.hidden = !open;
    opener.setAttribute("aria-expanded", String(open));
    if (open) items[0]?.focus();
  }
  holder.addEventListener("keydown", (event) => {
    if (list.hidden) return;
    const at = items.findIndex((item) => item === document.activeElement);
    const go: Readonly<Record<string, number>> = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: items.length - 1 };
    const to = go[event.key];
    if (to !== undefined) items[(to + items.length) % items.length]?.focus();
    else if (event.key === "Escape") {
      toggle(false);
      opener.focus();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  });
  holder.addEventListener("focusout", ({ relatedTarget }) => {
    if (!(relatedTarget instanceof Node) || !holder.contains(relatedTarget)) toggle(false);
  });
  return holder;
}
