/** The picture as a file of its own, and the same data as text. */
import type { ScheduleState } from "../../src/protocol";
import { headlines, subtitleOf, titleOf } from "./headline";
import { moved, toSvg, type Palette, type Primitive, type Size } from "./primitives";
import { layRows, type Rows } from "./rows";
import { chart, chartScene, frameOf, legendOf, rowsScene } from "./scene";
import type { Span } from "./span";

export interface Shown {
  readonly span: Span;
  readonly compare: boolean;
  readonly folded: ReadonlySet<number>;
  readonly rowHeight: number;
}

const width = 1280;
const margin = 20;

/** Title, numbers, both pictures and the legend, with all rows. */
export function exportScene(state: ScheduleState, shown: Shown, { fontSize, contrast }: Palette): { primitives: Primitive[]; size: Size } {
  const frame = frameOf(width, fontSize, contrast);
  const primitives: Primitive[] = [
    { shape: "text", x: margin, y: 34, text: titleOf(state), ink: "foreground", bold: true, size: fontSize * 1.4 },
    { shape: "text", x: margin, y: 54, text: subtitleOf(state), ink: "muted" },
  ];
  headlines(state).forEach(({ title, value, note }, at) => {
    const x = margin + at * 220;
    primitives.push(
      { shape: "text", x, y: 84, text: title, ink: "muted" },
      { shape: "text", x, y: 106, text: value, ink: "foreground", bold: true, size: fontSize * 1.6 },
      { shape: "text", x, y: 124, text: note, ink: "muted" },
    );
  });
  const chartTop = 136;
  primitives.push(...chartScene(state, shown.span, frame, shown).map((each) => moved(each, chartTop)));
  const legendTop = chartTop + chart.overview + 4;
  let x = frame.left;
  for (const { ink, texture, text, line, hollow } of legendOf(state.picture, shown.compare, contrast)) {
    primitives.push(
      line === true
        ? { shape: "line", points: [x, legendTop + 5, x + 14, legendTop + 5], stroke: ink, width: 1.25, dash: [4, 3] }
        : { shape: "rect", x, y: legendTop, width: 14, height: 10, fill: hollow === true ? null : ink, texture, ...(hollow === true ? { stroke: ink } : {}) },
      { shape: "text", x: x + 20, y: legendTop + 9, text, ink: "muted" },
    );
    x += 44 + text.length * fontSize * 0.58;
  }
  const rowsTop = legendTop + 28;
  const rows: Rows = layRows(state.picture.groups, shown.folded, shown.rowHeight);
  const options = { top: 0, height: rows.height, selected: null, active: null, marked: new Set<number>() };
  for (const each of rowsScene(state.picture, rows, shown.span, frame, options)) primitives.push(moved(each, rowsTop));
  return { primitives, size: { width, height: Math.ceil(rowsTop + rows.height + margin) } };
}

export function svgOf(state: ScheduleState, shown: Shown, palette: Palette): string {
  const { primitives, size } = exportScene(state, shown, palette);
  return toSvg(primitives, palette, size);
}

/** Everything that the panel knows, for other programs. */
export function jsonOf({ picture, ...summary }: ScheduleState): string {
  const { bars, operators, steps, groups, ...times } = picture;
  return `${JSON.stringify({ ...summary, ...times, groups, operators, steps, bars }, null, 1)}\n`;
}
