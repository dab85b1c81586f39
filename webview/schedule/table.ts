/** The bars as a table: the same data for screen readers, for sorting and for copying. */
import * as l10n from "@vscode/l10n";
import type { Picture } from "../../src/core/picture";
import { formatBytes, formatDuration } from "../../src/core/units";
import { barName, fateName, sourceOf } from "./texts";

type Cell = string | number;

export interface Column {
  readonly title: string;
  readonly width: string;
  readonly numeric: boolean;
  readonly show: (value: Cell) => string;
}

export interface TableRow {
  readonly bar: number;
  readonly cells: readonly Cell[];
}

const asIs = String;
const bytes = (value: Cell): string => formatBytes(Number(value));
const time = (value: Cell): string => formatDuration(Number(value));
const nonzeroTime = (value: Cell): string => (value === 0 ? "" : formatDuration(Number(value)));

export const columnsOf = (): readonly Column[] => [
  { title: l10n.t("Tensor"), width: "minmax(180px, 3fr)", numeric: false, show: asIs },
  { title: l10n.t("Plan"), width: "minmax(110px, 1fr)", numeric: false, show: asIs },
  { title: l10n.t("Size"), width: "90px", numeric: true, show: bytes },
  { title: l10n.t("From"), width: "90px", numeric: true, show: time },
  { title: l10n.t("To"), width: "90px", numeric: true, show: time },
  { title: l10n.t("Recomputed"), width: "120px", numeric: true, show: (value) => (value === 0 ? "" : l10n.t("{0}×", value)) },
  { title: l10n.t("Costs"), width: "90px", numeric: true, show: nonzeroTime },
  { title: l10n.t("Source"), width: "minmax(110px, 1fr)", numeric: false, show: asIs },
];

export function tableRows(picture: Picture): TableRow[] {
  return picture.bars.map((bar, at) => ({
    bar: at,
    cells: [
      barName(picture, bar), fateName(bar.fate), bar.bytes, bar.segments[0]?.from ?? 0, bar.segments.at(-1)?.to ?? 0,
      bar.recomputes, bar.recomputeTime, sourceOf(picture, bar.operator),
    ],
  }));
}

export interface Sorting {
  readonly column: number;
  readonly descending: boolean;
}

/** Equal cells stay in the order of the model. */
export function sortRows(rows: readonly TableRow[], sorting: Sorting | null): readonly TableRow[] {
  if (sorting === null) return rows;
  const { column, descending } = sorting;
  const compare = (a: Cell, b: Cell): number => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
  return [...rows].sort((a, b) => (descending ? -1 : 1) * compare(a.cells[column] ?? "", b.cells[column] ?? "") || a.bar - b.bar);
}

/** Plain numbers, in bytes and nanoseconds. */
export function separated(rows: readonly TableRow[], separator: "\t" | ","): string {
  const units = ["", "", " (B)", " (ns)", " (ns)", "", " (ns)", ""];
  const header = columnsOf().map(({ title }, at) => `${title}${units[at] ?? ""}`);
  const field = (value: Cell): string => {
    const text = String(value).replaceAll(/[\t\r\n]+/g, " ");
    return separator === "," && /[",]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [header, ...rows.map(({ cells }) => cells)].map((line) => line.map(field).join(separator)).join("\n") + "\n";
}
