/** What bars and steps are called and what is said of them. */
import * as l10n from "@vscode/l10n";
import { layers, type Bar, type Layers, type Picture, type Steps } from "../../src/core/picture";
import { formatBytes, formatDuration } from "../../src/core/units";

export interface Description {
  readonly title: string;
  readonly place: string;
  readonly rows: readonly (readonly [label: string, value: string])[];
}

/** `aten.add_.Tensor` is `add_` to people. */
export function shortOperator(op: string): string {
  const parts = op.split(".");
  return (parts.length > 1 ? parts[1] : parts[0]) ?? op;
}

export function operatorName({ operators }: Picture, id: number): string {
  const operator = operators[id];
  if (operator === undefined) return String(id);
  const op = shortOperator(operator.op);
  return operator.module === "" ? op : `${operator.module} · ${op}`;
}

/** The name within its group: what the group says already is left out. */
export function rowName(picture: Picture, { operator, kind }: Bar, group: string): string {
  const name = operatorName(picture, operator);
  const own = group !== "" && name.startsWith(`${group}.`) ? name.slice(group.length + 1) : group !== "" && name.startsWith(`${group} · `) ? name.slice(group.length + 3) : name;
  return kind === "internals" ? l10n.t("{0}, internals", own) : own;
}

export const groupName = (module: string): string => (module === "" ? l10n.t("(model)") : module);

export function sourceOf({ operators }: Picture, id: number): string {
  const source = operators[id]?.source;
  return source === null || source === undefined ? "" : `${source.file}:${source.line}`;
}

export function barName(picture: Picture, { operator, kind }: Bar): string {
  const name = operatorName(picture, operator);
  return kind === "internals" ? l10n.t("{0}, internals", name) : name;
}

export function fateName(fate: Bar["fate"]): string {
  switch (fate) {
    case "kept": return l10n.t("kept");
    case "offloaded": return l10n.t("offloaded to host memory");
    case "retained": return l10n.t("recomputed once");
    case "recomputed": return l10n.t("recomputed each time");
    case "unused": return l10n.t("freed after use");
  }
}

export function kindName(kind: Steps["kind"][number]): string {
  switch (kind) {
    case "forward": return l10n.t("forward");
    case "recompute": return l10n.t("recomputed");
    case "backward": return l10n.t("backward");
    case "offload": return l10n.t("moved to host memory");
    case "fetch": return l10n.t("fetched from host memory");
    case "rest": return l10n.t("backward, input's gradient");
    case "sum": return l10n.t("sum of gradients");
    case "accumulate": return l10n.t("gradient accumulated");
  }
}

export function layerName(layer: keyof Layers): string {
  switch (layer) {
    case "fixed": return l10n.t("fixed");
    case "kept": return l10n.t("kept");
    case "working": return l10n.t("working set");
    case "gradients": return l10n.t("gradients");
    case "workspace": return l10n.t("workspace");
  }
}

export function describeBar(picture: Picture, bar: Bar): Description {
  const rows: [string, string][] = [[bar.kind === "internals" ? l10n.t("internals") : l10n.t("output"), formatBytes(bar.bytes)]];
  const again = bar.segments.filter(({ kind }) => kind === "recomputed");
  const [first] = bar.segments;
  switch (bar.fate) {
    case "kept":
      rows.push([l10n.t("kept"), l10n.t("yes, from {0} to {1}", formatDuration(first?.from ?? 0), formatDuration(bar.segments.at(-1)?.to ?? 0))]);
      break;
    case "offloaded":
      rows.push([l10n.t("kept"), l10n.t("in host memory from {0} to {1}", formatDuration(first?.to ?? 0), formatDuration(bar.segments[1]?.from ?? 0))]);
      break;
    case "unused":
      rows.push([l10n.t("kept"), l10n.t("no, backward does not need it")]);
      break;
    case "retained":
    case "recomputed":
      rows.push([l10n.t("kept"), again.length === 1
        ? l10n.t("no, recomputed once at {0}", formatDuration(again[0]?.from ?? 0))
        : l10n.t("no, recomputed {0} times, first at {1}", again.length, formatDuration(again[0]?.from ?? 0))]);
  }
  if (bar.recomputes > 0) rows.push([l10n.t("costs"), l10n.t("+{0}", formatDuration(bar.recomputeTime))]);
  const opaque = picture.operators[bar.operator]?.opaque;
  if (opaque !== undefined) rows.push([l10n.t("opaque"), opaque]);
  const between = freedBetween(bar);
  if (between !== null) rows.push([l10n.t("frees"), l10n.t("{0} for {1}", formatBytes(bar.bytes), formatDuration(between))]);
  return { title: barName(picture, bar), place: sourceOf(picture, bar.operator), rows };
}

/** How long a tensor is gone between its use in forward and its first recompute. */
function freedBetween({ segments }: Bar): number | null {
  const at = segments.findIndex(({ kind }) => kind === "recomputed");
  const [before, again] = [segments[at - 1], segments[at]];
  return before === undefined || again === undefined ? null : Math.max(0, again.from - before.to);
}

const largestShown = 3;

export function describeStep(picture: Picture, step: number): Description {
  const { steps, bars } = picture;
  const operator = steps.operator[step] ?? 0;
  const kind = steps.kind[step] ?? "forward";
  const [start, end] = [steps.start[step] ?? 0, steps.end[step] ?? 0];
  const live = bars
    .filter(({ segments }) => segments.some(({ from, to }) => from <= start && end <= to))
    .sort((a, b) => b.bytes - a.bytes)
    .slice(0, largestShown);
  return {
    title: operatorName(picture, operator),
    place: `${kindName(kind)}, ${l10n.t("{0} at {1}", formatDuration(end - start), formatDuration(start))}`,
    rows: [
      [l10n.t("live"), formatBytes(steps.moment[step] ?? 0)],
      ...[...layers].reverse().flatMap((layer): [string, string][] => (steps[layer][step] ? [[layerName(layer), formatBytes(steps[layer][step])]] : [])),
      ...live.map((bar, at): [string, string] => [at === 0 ? l10n.t("largest") : "", `${barName(picture, bar)}, ${formatBytes(bar.bytes)}`]),
    ],
  };
}

export const spoken = ({ title, place, rows }: Description): string =>
  [title, place, ...rows.map(([label, value]) => (label === "" ? value : `${label} ${value}`))].filter((part) => part !== "").join(", ");
