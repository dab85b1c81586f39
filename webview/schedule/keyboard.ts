/** Everything that the pointer can do, by keys. */
import type { Actions } from "./actions";
import { itemAt, placeOf, step as next } from "./rows";
import { peakStep } from "./scene";
import { describeStep } from "./texts";
import type { View } from "./view";

const zoomFactor = 1.5;
const panShare = 1 / 8;

type Keys = Readonly<Record<string, (event: KeyboardEvent) => void>>;

export function listenToKeys(view: View, actions: Actions): void {
  attach(view.chart, { ...zoomKeys(view, (factor) => { view.zoomAtStep(factor); }), ...stepKeys(view, actions) }, actions);
  attach(view.bars, { ...zoomKeys(view, (factor) => { view.zoomAtItem(factor); }), ...rowKeys(view, actions) }, actions);
}

const zoomKeys = (view: View, zoom: (factor: number) => void): Keys => ({
  "+": () => { zoom(zoomFactor); },
  "=": () => { zoom(zoomFactor); },
  "-": () => { zoom(1 / zoomFactor); },
  "0": () => { view.showAll(); },
});

function attach(element: HTMLElement, keys: Keys, actions: Actions): void {
  element.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const act = Object.hasOwn(keys, event.key) ? keys[event.key] : undefined;
    if (event.key === "Escape" ? !actions.close() : act === undefined) return;
    act?.(event);
    event.preventDefault();
    event.stopPropagation();
  });
}

function stepKeys(view: View, actions: Actions): Keys {
  const count = (): number => view.picture.steps.kind.length;
  const go = (step: number): void => {
    view.goToStep(step);
    const { x, y } = view.placeOfStep(view.step);
    const box = view.chart.getBoundingClientRect();
    view.showHair(x);
    actions.tell(describeStep(view.picture, view.step), box.left + x, box.top + y);
  };
  view.chart.addEventListener("focus", () => {
    if (view.chart.matches(":focus-visible")) go(view.step);
    else view.goToStep(view.step);
  });
  view.chart.addEventListener("blur", () => {
    view.hair.hidden = true;
    actions.tell(null);
  });
  const sideways = (direction: 1 | -1) => ({ shiftKey }: KeyboardEvent): void => {
    if (shiftKey) view.pan(direction * panShare);
    else go(view.step + direction);
  };
  const page = (): number => Math.max(1, Math.round(count() / 20));
  return {
    ArrowRight: sideways(1),
    ArrowLeft: sideways(-1),
    PageDown: () => { go(view.step + page()); },
    PageUp: () => { go(view.step - page()); },
    Home: () => { go(0); },
    End: () => { go(count() - 1); },
    p: () => { go(peakStep(view.picture.steps)); },
    Enter: () => { actions.openStep(view.step); },
    " ": () => { actions.openStep(view.step); },
  };
}

function rowKeys(view: View, actions: Actions): Keys {
  for (const change of ["focus", "blur"]) {
    view.bars.addEventListener(change, () => {
      view.sayItem();
      view.redraw();
    });
  }
  /** On a group it folds and unfolds, as in every tree; on a bar it pans. */
  const sideways = (direction: 1 | -1) => (): void => {
    if (view.active.bar === null) view.fold(view.active.group, direction < 0);
    else view.pan(direction * panShare);
  };
  const page = (direction: 1 | -1) => (): void => {
    view.goTo(itemAt(view.rows, placeOf(view.rows, view.active).top + direction * view.bars.clientHeight * 0.9));
  };
  const choose = (): void => {
    const { group, bar } = view.active;
    if (bar === null) view.fold(group, !view.folded.has(group));
    else actions.openBar(bar);
  };
  return {
    ArrowDown: () => { view.goTo(next(view.rows, view.active, 1)); },
    ArrowUp: () => { view.goTo(next(view.rows, view.active, -1)); },
    ArrowLeft: sideways(-1),
    ArrowRight: sideways(1),
    PageDown: page(1),
    PageUp: page(-1),
    Home: () => { view.goTo({ group: 0, bar: null }); },
    End: () => {
      const last = view.rows.blocks.at(-1);
      if (last !== undefined) view.goTo({ group: last.group, bar: last.folded ? null : last.first + last.count - 1 });
    },
    Enter: choose,
    " ": choose,
  };
}
