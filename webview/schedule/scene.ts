/** The pictures as primitives: live memory over the step, and a bar per live range on the same time axis. */
import * as l10n from "@vscode/l10n";
import { scaleLinear } from "d3-scale";
import { layers, type Bar, type Layers, type Picture, type Steps } from "../../src/core/picture";
import { formatBytes } from "../../src/core/units";
import type { ScheduleState } from "../../src/protocol";
import type { Texture } from "../textures";
import { byteTicks, columns, runs, timeTicks, type Tick } from "./axes";
import type { Ink, Primitive } from "./primitives";
import { blocksBetween, blockOf, placeOf, type Block, type Item, type Rows } from "./rows";
import { length, whole, type Span } from "./span";
import { groupName, layerName, rowName } from "./texts";

/** The width of the page and of its margins; time lies between them. */
export interface Frame {
  readonly width: number;
  readonly left: number;
  readonly right: number;
  readonly fontSize: number;
  readonly contrast: boolean;
}

export function frameOf(width: number, fontSize: number, contrast: boolean): Frame {
  return { width, left: Math.round(Math.min(168, Math.max(84, width * 0.14))), right: 16, fontSize, contrast };
}

export const plotWidth = ({ width, left, right }: Frame): number => Math.max(1, Math.floor(width - left - right));
export const xOf = (frame: Frame, span: Span, moment: number): number => frame.left + ((moment - span.from) / length(span)) * plotWidth(frame);
export const momentAt = (frame: Frame, span: Span, x: number): number => span.from + ((x - frame.left) / plotWidth(frame)) * length(span);

/** Where the parts of the upper picture lie. */
export const chart = { top: 40, bottom: 216, strip: 222, stripHeight: 10, axis: 232, overview: 254, overviewHeight: 14, height: 272 } as const;

const inkOf: Readonly<Record<keyof Layers, Ink>> = { fixed: "fixed", kept: "kept", working: "working", gradients: "gradients", workspace: "workspace" };
const textureOf: Readonly<Record<keyof Layers, Texture | null>> = { fixed: "cross", kept: null, working: "horizontal", gradients: "vertical", workspace: "dots" };
const stripInk: Readonly<Record<number, Ink>> = { 0: "forward", 1: "recomputed", 2: "backward" };

const crossing = (y: number): number => Math.round(y) + 0.5;

export interface ChartOptions {
  /** Eager's curve beside the plan's. */
  readonly compare: boolean;
}

export function peakStep({ moment }: Steps): number {
  let best = 0;
  moment.forEach((bytes, step) => { if (bytes > (moment[best] ?? 0)) best = step; });
  return best;
}

/** The most that the memory axis shows. A budget far above everything would make the rest flat. */
function mostOf({ picture, peak, budget }: Pick<ScheduleState, "picture" | "peak" | "budget">, compare: boolean): number {
  const highest = Math.max(1, peak, compare ? picture.eager.peak : 0);
  return (budget !== null && budget < 1.6 * highest ? Math.max(highest, budget) : highest) * 1.06;
}

interface MemoryAxis {
  readonly y: (bytes: number) => number;
  readonly unit: string;
  readonly ticks: readonly Tick[];
  /** The fixed part takes less height than its bytes, so that what a plan changes can be seen above it. */
  readonly shortened: boolean;
}

const shortenedFrom = 0.45;
const shortenedHeight = 32;

function memoryAxis(state: Pick<ScheduleState, "picture" | "peak" | "budget">, compare: boolean): MemoryAxis {
  const most = mostOf(state, compare);
  const [fixed = 0] = state.picture.steps.fixed;
  if (fixed < shortenedFrom * most) return { y: scaleLinear([0, most], [chart.bottom, chart.top]), ...byteTicks(0, most, 6), shortened: false };
  const { unit, ticks } = byteTicks(fixed, most, 5);
  return { y: scaleLinear([0, fixed, most], [chart.bottom, chart.bottom - shortenedHeight, chart.top]), unit, ticks: [{ at: 0, text: "0" }, ...ticks], shortened: true };
}

export const yOf = (state: Pick<ScheduleState, "picture" | "peak" | "budget">, compare: boolean): MemoryAxis["y"] => memoryAxis(state, compare).y;

export function chartScene(state: ScheduleState, span: Span, frame: Frame, { compare }: ChartOptions): Primitive[] {
  const { picture, budget } = state;
  const { steps } = picture;
  const { left, fontSize } = frame;
  const width = plotWidth(frame);
  const edge = left + width;
  const { y, unit, ticks, shortened } = memoryAxis(state, compare);
  const scene: Primitive[] = [{ shape: "text", x: left, y: 12, text: shortened ? l10n.t("{0} live, fixed part shortened", unit) : l10n.t("{0} live", unit), ink: "muted" }];
  for (const { at, text } of ticks) {
    const line = crossing(y(at));
    scene.push(
      { shape: "line", points: [left, line, edge, line], stroke: "grid", width: 1, ...(frame.contrast ? { dash: [1, 4] } : {}) },
      { shape: "text", x: left - 8, y: line + fontSize / 3, text, ink: "muted", anchor: "end" },
    );
  }

  const found = runs(columns(steps.start, steps.end, steps.moment, span, width)).filter(({ value }) => value >= 0);
  let below = found.map(() => 0);
  for (const layer of layers) {
    const above = found.map(({ value }, at) => (below[at] ?? 0) + (steps[layer][value] ?? 0));
    if (above.some((bytes, at) => bytes > (below[at] ?? 0))) {
      const upper = found.flatMap(({ from, to }, at) => [left + from, y(above[at] ?? 0), left + to, y(above[at] ?? 0)]);
      const lower = found.map(({ from, to }, at) => [left + to, y(below[at] ?? 0), left + from, y(below[at] ?? 0)]).reverse().flat();
      scene.push({ shape: "area", points: [...upper, ...lower], fill: inkOf[layer], opacity: frame.contrast ? 1 : 0.7, texture: frame.contrast ? textureOf[layer] : null });
    }
    below = above;
  }
  scene.push({ shape: "line", points: found.flatMap(({ from, to }, at) => [left + from, y(below[at] ?? 0), left + to, y(below[at] ?? 0)]), stroke: frame.contrast ? "foreground" : "kept", width: 1.5 });

  if (shortened) scene.push(...breakMark(left, chart.bottom - shortenedHeight / 2));
  if (compare) {
    const { start, live } = picture.eager;
    const end = start.map((_, at) => start[at + 1] ?? picture.eager.total);
    const points = runs(columns(start, end, live, span, width)).flatMap(({ from, to, value }) => (value < 0 ? [] : [left + from, y(live[value] ?? 0), left + to, y(live[value] ?? 0)]));
    scene.push({ shape: "line", points, stroke: "eager", width: 1.25, dash: [4, 3] });
  }

  const turn = xOf(frame, span, picture.forward);
  if (turn >= left && turn <= edge) {
    scene.push(
      { shape: "line", points: [crossing(turn), 16, crossing(turn), chart.strip + chart.stripHeight], stroke: "muted", width: 1 },
      ...(turn - left > 150 ? [{ shape: "text", x: turn - 6, y: 26, text: l10n.t("forward"), ink: "muted", anchor: "end", halo: true } as const] : []),
      { shape: "text", x: turn + 6, y: 26, text: l10n.t("backward"), ink: "muted", halo: true },
    );
  }

  scene.push(...budgetLine(budget, y, left, edge, fontSize));
  scene.push(...peakMark(state, span, frame, y));
  if (compare) scene.push(...eagerLabel(picture, span, frame, y));
  scene.push({ shape: "text", x: left - 8, y: chart.strip + chart.stripHeight / 2 + fontSize / 3, text: l10n.t("runs"), ink: "muted", anchor: "end" }, ...strip(picture, span, frame));
  for (const { at, text } of timeTicks(span, Math.max(2, width / 120))) {
    const x = xOf(frame, span, at);
    scene.push(
      { shape: "line", points: [crossing(x), chart.axis, crossing(x), chart.axis + 4], stroke: "muted", width: 1 },
      { shape: "text", x, y: chart.axis + 6 + fontSize, text, ink: "muted", anchor: x > edge - 20 ? "end" : "middle" },
    );
  }
  return scene;
}

/** Two strokes across the axis: its scale changes here. */
function breakMark(x: number, y: number): Primitive[] {
  return [-3, 3].map((dy): Primitive => ({ shape: "line", points: [x - 6, y + dy + 3, x + 6, y + dy - 3], stroke: "foreground", width: 1.5 }));
}

function budgetLine(budget: number | null, y: (bytes: number) => number, left: number, edge: number, fontSize: number): Primitive[] {
  if (budget === null) return [];
  const line = y(budget);
  if (line < chart.top - 14) return [{ shape: "text", x: edge, y: 12, text: l10n.t("budget {0} ↑", formatBytes(budget)), ink: "budget", anchor: "end" }];
  return [
    { shape: "line", points: [left, crossing(line), edge, crossing(line)], stroke: "budget", width: 1.5 },
    { shape: "text", x: edge - 2, y: line - fontSize / 2, text: l10n.t("budget {0}", formatBytes(budget)), ink: "budget", anchor: "end", halo: true },
  ];
}

function peakMark({ picture: { steps } }: ScheduleState, span: Span, frame: Frame, y: (bytes: number) => number): Primitive[] {
  const step = peakStep(steps);
  const bytes = steps.moment[step] ?? 0;
  const x = xOf(frame, span, ((steps.start[step] ?? 0) + (steps.end[step] ?? 0)) / 2);
  const edge = frame.left + plotWidth(frame);
  if (x < frame.left || x > edge) return [];
  const top = y(bytes);
  const near = x > edge - 110;
  return [
    { shape: "area", points: [x - 5, top - 8, x + 5, top - 8, x, top - 1], fill: "foreground" },
    { shape: "text", x: near ? x - 8 : x + 8, y: top + frame.fontSize + 6, text: l10n.t("peak {0}", formatBytes(bytes)), ink: "foreground", anchor: near ? "end" : "start", halo: true, bold: true },
  ];
}

function eagerLabel({ eager }: Picture, span: Span, frame: Frame, y: (bytes: number) => number): Primitive[] {
  const x = xOf(frame, span, eager.start[eager.live.indexOf(eager.peak)] ?? 0);
  const edge = frame.left + plotWidth(frame);
  if (x < frame.left || x > edge) return [];
  const near = x > edge - 130;
  return [{ shape: "text", x: near ? x - 8 : x + 8, y: y(eager.peak) - 4, text: l10n.t("eager peak {0}", formatBytes(eager.peak)), ink: "eager", anchor: near ? "end" : "start", halo: true }];
}

/** What runs: forward, recomputed, backward; per pixel what takes most of its time. */
function strip({ steps }: Picture, span: Span, frame: Frame): Primitive[] {
  const width = plotWidth(frame);
  const kinds = ["forward", "recompute", "backward"] as const;
  const share = kinds.map(() => new Float64Array(width));
  const scale = width / length(span);
  steps.kind.forEach((kind, step) => {
    const row = share[kinds.indexOf(kind as (typeof kinds)[number])];
    const from = ((steps.start[step] ?? 0) - span.from) * scale;
    const to = ((steps.end[step] ?? 0) - span.from) * scale;
    if (row === undefined || to <= 0 || from >= width || to <= from) return;
    for (let column = Math.max(0, Math.floor(from)); column < Math.min(width, to); column++) {
      row[column] = (row[column] ?? 0) + Math.min(to, column + 1) - Math.max(from, column);
    }
  });
  const most = new Int32Array(width).map((_, column) => {
    const values = share.map((row) => row[column] ?? 0);
    const highest = Math.max(...values);
    return highest > 0 ? values.indexOf(highest) : -1;
  });
  return runs(most).flatMap(({ from, to, value }): Primitive[] => {
    const fill = stripInk[value];
    const texture = fill === "recomputed" ? "diagonal" : fill === "backward" && frame.contrast ? textureOf.working : null;
    return fill === undefined ? [] : [{ shape: "rect", x: frame.left + from, y: chart.strip, width: to - from, height: chart.stripHeight, fill, texture }];
  });
}

/** The whole step, with a window over the part that is shown. */
export function overviewScene(state: ScheduleState, span: Span, frame: Frame): Primitive[] {
  const { picture, peak } = state;
  const { left } = frame;
  const width = plotWidth(frame);
  const all = whole(picture.total);
  const bottom = chart.overview + chart.overviewHeight;
  const found = runs(columns(picture.steps.start, picture.steps.end, picture.steps.moment, all, width)).filter(({ value }) => value >= 0);
  const height = (value: number): number => bottom - ((picture.steps.moment[value] ?? 0) / Math.max(1, peak)) * chart.overviewHeight;
  const [from, to] = [xOf(frame, all, span.from), xOf(frame, all, span.to)];
  return [
    { shape: "area", points: [left, bottom, ...found.flatMap((run) => [left + run.from, height(run.value), left + run.to, height(run.value)]), left + width, bottom], fill: "muted", opacity: 0.35 },
    { shape: "rect", x: left, y: chart.overview, width: from - left, height: chart.overviewHeight, fill: "background", opacity: 0.6 },
    { shape: "rect", x: to, y: chart.overview, width: left + width - to, height: chart.overviewHeight, fill: "background", opacity: 0.6 },
    { shape: "rect", x: crossing(from) - 1, y: chart.overview + 0.5, width: Math.max(4, to - from), height: chart.overviewHeight - 1, fill: null, stroke: frame.contrast ? "foreground" : "muted" },
    ...[from, to].map((x): Primitive => ({ shape: "rect", x: x - 2, y: chart.overview + 3, width: 4, height: chart.overviewHeight - 6, fill: "foreground" })),
  ];
}

export interface RowsOptions {
  readonly top: number;
  readonly height: number;
  readonly selected: number | null;
  /** Where the keyboard is; null while the rows don't have the focus. */
  readonly active: Item | null;
  /** All bars of the operators that the editor's cursor is on. */
  readonly marked: ReadonlySet<number>;
}

export function rowsScene(picture: Picture, rows: Rows, span: Span, frame: Frame, options: RowsOptions): Primitive[] {
  const { top, height } = options;
  const scene: Primitive[] = [];
  const edge = frame.left + plotWidth(frame);
  const turn = xOf(frame, span, picture.forward);
  if (turn > frame.left && turn < edge) scene.push({ shape: "line", points: [crossing(turn), 0, crossing(turn), height], stroke: "grid", width: 1 });
  for (const block of blocksBetween(rows, top, top + height)) {
    scene.push(...blockHeading(picture, block, rows, frame, top));
    if (block.folded) {
      scene.push(...foldedBlock(picture, block, span, frame, block.top - top));
      continue;
    }
    const first = Math.max(0, Math.floor((top - block.bars) / rows.rowHeight));
    const last = Math.min(block.count, Math.ceil((top + height - block.bars) / rows.rowHeight));
    for (let row = first; row < last; row++) {
      const bar = picture.bars[block.first + row];
      if (bar === undefined) continue;
      const y = block.bars + row * rows.rowHeight - top;
      if (options.marked.has(bar.operator)) scene.push({ shape: "rect", x: frame.left, y, width: edge - frame.left, height: rows.rowHeight, fill: "selection", opacity: 0.1 });
      scene.push(...barRow(bar, span, frame, y, rows.rowHeight));
      if (rows.labelled) {
        const group = picture.groups[block.group]?.module ?? "";
        scene.push({ shape: "text", x: 22, y: y + rows.rowHeight / 2 + frame.fontSize / 3, text: cut(rowName(picture, bar, group), frame.left - 28, frame.fontSize), ink: "muted" });
      }
    }
  }
  const outline = (item: Item, stroke: Ink): Primitive => {
    const place = placeOf(rows, item);
    const box = item.bar === null ? { x: 2.5, width: frame.left - 8 } : { x: frame.left - 3.5, width: edge - frame.left + 7 };
    return { shape: "rect", ...box, y: Math.floor(place.top - top) - 0.5, height: Math.ceil(place.height) + 1, fill: null, stroke };
  };
  if (options.active !== null) scene.push(outline(options.active, "focus"));
  const block = options.selected === null ? undefined : blockOf(rows, options.selected);
  if (block !== undefined) scene.push(outline({ group: block.group, bar: options.selected }, "selection"));
  return scene;
}

function blockHeading({ groups }: Picture, { group, top, folded }: Block, rows: Rows, { left, fontSize }: Frame, scrolled: number): Primitive[] {
  const name = groupName(groups[group]?.module ?? "");
  const y = top - scrolled + (folded ? 15 : 11);
  return [
    { shape: "text", x: 6, y, text: folded ? "▸" : "▾", ink: "muted" },
    { shape: "text", x: 20, y, text: cut(name, left - 26, fontSize), ink: "foreground", bold: rows.labelled },
  ];
}

const segmentInk: Readonly<Record<Bar["segments"][number]["kind"], Ink>> = { kept: "kept", recomputed: "recomputed", freed: "freed" };

function barRow({ segments }: Bar, span: Span, frame: Frame, top: number, rowHeight: number): Primitive[] {
  const gap = rowHeight >= 12 ? 4 : rowHeight >= 6 ? 2 : 1;
  const y = Math.round(top + gap / 2);
  const height = Math.max(1, Math.round(rowHeight - gap));
  const edge = frame.left + plotWidth(frame);
  return segments.flatMap(({ from, to, kind }): Primitive[] => {
    if (to < span.from || from > span.to) return [];
    const x = Math.max(frame.left, xOf(frame, span, from));
    const width = Math.max(1, Math.min(edge, xOf(frame, span, to)) - x);
    return [{
      shape: "rect", x, y, width, height, fill: kind === "freed" ? null : segmentInk[kind],
      ...(kind === "recomputed" ? { texture: "diagonal" } : {}),
      ...(kind === "freed" ? { stroke: "freed" } : frame.contrast && rowHeight >= 8 ? { stroke: "border" } : {}),
    }];
  });
}

/** All bars of a block in one row: how many bytes of it are live. */
function foldedBlock({ bars }: Picture, { first, count, height }: Block, span: Span, frame: Frame, top: number): Primitive[] {
  const width = plotWidth(frame);
  const kinds = ["kept", "freed", "recomputed"] as const;
  const change = kinds.map(() => new Float64Array(width + 1));
  const scale = width / length(span);
  for (let at = first; at < first + count; at++) {
    const bar = bars[at];
    for (const { from, to, kind } of bar?.segments ?? []) {
      const row = change[kinds.indexOf(kind)];
      const start = Math.floor((from - span.from) * scale);
      const end = Math.max(start + 1, Math.ceil((to - span.from) * scale));
      if (row === undefined || bar === undefined || end <= 0 || start >= width) continue;
      row[Math.max(0, start)] = (row[Math.max(0, start)] ?? 0) + bar.bytes;
      row[Math.min(width, end)] = (row[Math.min(width, end)] ?? 0) - bar.bytes;
    }
  }
  const sums = change.map((row) => { let sum = 0; return row.slice(0, width).map((value) => (sum += value)); });
  const most = Math.max(1, ...new Float64Array(width).map((_, column) => sums.reduce((sum, row) => sum + (row[column] ?? 0), 0)));
  const bottom = top + height - 3;
  let below = new Float64Array(width);
  return kinds.flatMap((kind, at): Primitive[] => {
    const above = below.map((bytes, column) => bytes + (sums[at]?.[column] ?? 0));
    const y = (bytes: number): number => bottom - (bytes / most) * (height - 6);
    const shown = above.some((bytes, column) => bytes > (below[column] ?? 0));
    const points: number[] = [];
    above.forEach((bytes, column) => points.push(frame.left + column, y(bytes), frame.left + column + 1, y(bytes)));
    for (let column = width - 1; column >= 0; column--) points.push(frame.left + column + 1, y(below[column] ?? 0), frame.left + column, y(below[column] ?? 0));
    below = above;
    return shown ? [{ shape: "area", points, fill: segmentInk[kind], texture: kind === "recomputed" ? "diagonal" : null, ...(kind === "freed" ? { opacity: 0.4 } : {}) }] : [];
  });
}

/** About as much as fits: the exact width is known to the painter alone. */
function cut(text: string, width: number, fontSize: number): string {
  const most = Math.max(3, Math.floor(width / (fontSize * 0.56)));
  return text.length <= most ? text : `${text.slice(0, Math.ceil(most / 2) - 1)}…${text.slice(text.length - Math.floor(most / 2))}`;
}

export interface Mark {
  readonly ink: Ink;
  readonly texture: Texture | null;
  readonly text: string;
  readonly line?: boolean;
  readonly hollow?: boolean;
}

/** What the colours mean, for the legend of the page and of the exported picture. */
export function legendOf(picture: Picture, compare: boolean, contrast: boolean): Mark[] {
  const used = layers.filter((layer) => layer !== "kept" && picture.steps[layer].some((bytes) => bytes > 0));
  return [
    { ink: "kept", texture: null, text: l10n.t("kept") },
    { ink: "recomputed", texture: "diagonal", text: l10n.t("recomputed") },
    { ink: "freed", texture: null, text: l10n.t("freed after use"), hollow: true },
    { ink: "backward", texture: contrast ? textureOf.working : null, text: l10n.t("backward, working set") },
    ...used.filter((layer) => layer !== "working").map((layer): Mark => ({ ink: inkOf[layer], texture: contrast ? textureOf[layer] : null, text: layerName(layer) })),
    ...(compare ? [{ ink: "eager", texture: null, text: l10n.t("eager"), line: true } as const] : []),
  ];
}
