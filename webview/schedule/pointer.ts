/** Wheel, drag, hover and click. */
import type { Actions } from "./actions";
import { itemAt } from "./rows";
import { chart, momentAt, plotWidth, xOf } from "./scene";
import { between, length, panned, whole, type Span } from "./span";
import { describeBar, describeStep } from "./texts";
import type { View } from "./view";

const wheelZoom = 1.0018;
/** Pixels of a line, for wheels that count lines. */
const wheelLine = 30;
/** A pointer that moved less than this was a click. */
const clickSlack = 4;
const gripSlack = 6;

export function listenToPointer(view: View, actions: Actions): void {
  view.chart.addEventListener("wheel", (event) => { wheel(view, event, !event.shiftKey && !isSideways(event)); }, { passive: false });
  view.bars.addEventListener("wheel", (event) => {
    const zooms = event.ctrlKey || event.metaKey;
    if (zooms || event.shiftKey || isSideways(event)) wheel(view, event, zooms);
  }, { passive: false });
  for (const part of [view.chart, view.bars]) {
    part.addEventListener("wheel", () => { actions.tell(null); }, { passive: true });
    part.addEventListener("pointermove", (event) => { hover(view, actions, part, event); });
    part.addEventListener("pointerleave", () => {
      view.hair.hidden = true;
      actions.tell(null);
    });
    part.addEventListener("pointerdown", (event) => { press(view, actions, part, event); });
  }
}

const isSideways = ({ deltaX, deltaY }: WheelEvent): boolean => Math.abs(deltaX) > Math.abs(deltaY);

function wheel(view: View, event: WheelEvent, zooms: boolean): void {
  event.preventDefault();
  const scale = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? wheelLine : 1;
  const box = view.bars.getBoundingClientRect();
  if (!zooms) {
    view.pan(((event.deltaX === 0 ? event.deltaY : event.deltaX) * scale) / plotWidth(view.frame));
    return;
  }
  const moment = momentAt(view.frame, view.span, event.clientX - box.left);
  view.zoom(wheelZoom ** (-event.deltaY * scale), moment, event.currentTarget === view.bars ? { y: event.clientY - box.top } : { moment });
}

function hover(view: View, actions: Actions, part: HTMLElement, { buttons, clientX, clientY }: PointerEvent): void {
  if (buttons !== 0) return;
  const box = part.getBoundingClientRect();
  const [x, y] = [clientX - box.left, clientY - box.top];
  const { picture, frame } = view;
  view.showHair(x);
  if (part === view.chart) {
    part.classList.toggle("brushing", isOnStrip(y));
    const inside = x >= frame.left && x <= frame.left + plotWidth(frame) && y < chart.overview;
    const step = inside ? view.stepNear(x) : null;
    actions.tell(step === null ? null : describeStep(picture, step), clientX, clientY);
    return;
  }
  const item = itemAt(view.rows, y + view.bars.scrollTop);
  const bar = picture.bars[item?.bar ?? -1];
  part.classList.toggle("pointing", bar !== undefined || (item !== null && (x < frame.left || view.folded.has(item.group))));
  actions.tell(bar === undefined ? null : describeBar(picture, bar), clientX, clientY);
}

const isOnStrip = (y: number): boolean => y >= chart.strip - 2 && y < chart.axis + 2;

/** Drag pans; on the strip it chooses what to show; on the overview it moves the window or one of its ends. */
function press(view: View, actions: Actions, part: HTMLElement, event: PointerEvent): void {
  const box = part.getBoundingClientRect();
  const [x, y] = [event.clientX - box.left, event.clientY - box.top];
  if (event.button !== 0 || x > part.clientWidth) return;
  const drag = part === view.bars ? dragRows(view, x) : y >= chart.overview - 4 ? dragOverview(view, x) : isOnStrip(y) ? brush(view, x) : dragChart(view, x);
  let travelled = 0;
  const move = ({ clientX, clientY }: PointerEvent): void => {
    travelled = Math.max(travelled, Math.abs(clientX - event.clientX), Math.abs(clientY - event.clientY));
    if (travelled < clickSlack) return;
    actions.tell(null);
    drag(clientX - box.left, clientY - event.clientY);
  };
  const end = ({ type }: PointerEvent): void => {
    part.removeEventListener("pointermove", move);
    part.removeEventListener("pointerup", end);
    part.removeEventListener("pointercancel", end);
    if (type === "pointerup" && travelled < clickSlack) click(view, actions, part, x, y);
  };
  part.setPointerCapture(event.pointerId);
  part.addEventListener("pointermove", move);
  part.addEventListener("pointerup", end);
  part.addEventListener("pointercancel", end);
}

type Drag = (x: number, dy: number) => void;

function dragChart(view: View, x: number): Drag {
  const { span } = view;
  return (to) => { view.pan((x - to) / plotWidth(view.frame), span); };
}

function dragRows(view: View, x: number): Drag {
  const { span } = view;
  const { scrollTop } = view.bars;
  return (to, dy) => {
    view.pan((x - to) / plotWidth(view.frame), span);
    view.bars.scrollTop = scrollTop - dy;
  };
}

function brush(view: View, x: number): Drag {
  const { span, frame } = view;
  const from = momentAt(frame, span, x);
  return (to) => { show(view, between(from, momentAt(frame, span, to), view.picture.total)); };
}

function dragOverview(view: View, x: number): Drag {
  const { total } = view.picture;
  const { frame } = view;
  const all = whole(total);
  const at = (position: number): number => momentAt(frame, all, position);
  const [left, right] = [xOf(frame, all, view.span.from), xOf(frame, all, view.span.to)];
  const { from, to } = view.span;
  if (Math.abs(x - left) < gripSlack) return (position) => { show(view, between(to, at(position), total)); };
  if (Math.abs(x - right) < gripSlack) return (position) => { show(view, between(from, at(position), total)); };
  if (x < left || x > right) show(view, panned(view.span, total, at(x) - (from + to) / 2));
  const { span } = view;
  return (position) => { show(view, panned(span, total, at(position) - at(x))); };
}

const show = (view: View, span: Span): void => { view.setSpan(span, { moment: span.from + length(span) / 2 }); };

function click(view: View, actions: Actions, part: HTMLElement, x: number, y: number): void {
  if (part === view.chart) {
    const step = y < chart.axis ? view.stepNear(x) : null;
    if (step !== null) actions.openStep(step);
    return;
  }
  const row = y + view.bars.scrollTop;
  const item = itemAt(view.rows, row);
  const block = item === null ? undefined : view.rows.blocks[item.group];
  if (item === null || block === undefined) return;
  const onName = x < view.frame.left && (item.bar === null || (!view.rows.labelled && row < block.top + 16));
  if (onName || block.folded) view.fold(item.group, !block.folded);
  else if (item.bar !== null) actions.openBar(item.bar);
}
