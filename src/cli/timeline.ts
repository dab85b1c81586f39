/** The measured timeline of a step over the predicted one: in words, as JSON, and as a page that needs nothing else. */
import type { Graph } from "../core/graph";
import { compare, isParted, peakOf, whichBytes, type Bytes, type Comparison, type Measured, type Step, type Stretch } from "../core/measured";
import type { Plan } from "../core/plan";
import { formatBytes } from "../core/units";
import { count } from "./table";

export interface TimelineReport {
  readonly model: string;
  readonly device: string;
  readonly budget: number | null;
  readonly peak: Readonly<Record<"predicted" | "measured", number>>;
  /** One sentence. */
  readonly verdict: string;
  readonly comparison: Comparison;
}

export function timelineReport(graph: Graph, plan: Plan, measured: readonly Measured[]): TimelineReport {
  const comparison = compare(graph, plan, measured);
  const peak = { predicted: peakOf(comparison.stretches, "predicted"), measured: peakOf(comparison.stretches, "measured") };
  return { model: graph.made_from.model, device: graph.device.name, budget: plan.budget, peak, verdict: verdict(graph, comparison), comparison };
}

const what: Readonly<Record<keyof Bytes, string>> = { before: "as it starts", moment: "at most", after: "once it is over" };

function verdict(graph: Graph, { stretches, parting }: Comparison): string {
  if (parting === null) return `Measured and predicted live bytes are equal in all ${count(stretches.length, "event")} of the step.`;
  if (parting.kind === "event") {
    const [foreseen, done] = [parting.foreseen, parting.done].map((step) => (step === null ? "the end of the step" : stepName(graph, step)));
    return `They part at event ${stretches.length + 1}: predicted was ${foreseen}, and what ran is ${done}.`;
  }
  const first = stretches[parting.at];
  if (first === undefined) return "";
  const [predicted, measured] = [first.predicted[parting.which], first.measured[parting.which]];
  const isAbove = stretches.some((stretch) => whichBytes.some((which) => stretch.measured[which] > stretch.predicted[which]));
  const largest = stretches
    .flatMap((stretch, at) => whichBytes.map((which) => ({ at, stretch, off: stretch.measured[which] - stretch.predicted[which] })))
    .reduce((most, each) => (Math.abs(each.off) > Math.abs(most.off) ? each : most));
  return (
    `They first part at event ${parting.at + 1}, ${stepName(graph, first)}: ${what[parting.which]}, ${formatBytes(measured)} were live ` +
    `and ${formatBytes(predicted)} predicted (${difference(measured - predicted)}). ` +
    `${stretches.filter(isParted).length} of ${count(stretches.length, "event")} differ${isAbove ? "" : "; none takes more than predicted"}, ` +
    `by at most ${formatBytes(Math.abs(largest.off))}: at event ${largest.at + 1}, ${stepName(graph, largest.stretch)} (${difference(largest.off)}).`
  );
}

export const difference = (bytes: number): string => (bytes === 0 ? "equal" : `${bytes > 0 ? "+" : "−"}${Math.abs(bytes).toLocaleString("en")} B`);

/** `backward of layer1.0.conv1 (aten.conv2d.default, resnet50.py:34)`. */
export function stepName(graph: Graph, { kind, operator }: Step): string {
  const found = graph.operators[operator];
  const source = found?.source ?? null;
  const place = source === null ? "" : `, ${source.file.replace(/^.*[\\/]/, "")}:${source.line}`;
  return `${kind} of ${found === undefined || found.module === "" ? `operator ${operator}` : found.module} (${found?.op ?? "?"}${place})`;
}

export function timelineDocument(graph: Graph, { comparison, ...report }: TimelineReport): unknown {
  const events = comparison.stretches.map((stretch) => ({ ...stretch, name: stepName(graph, stretch) }));
  return { format: "monet-timeline", version: 1, ...report, parting: comparison.parting, events };
}

const [width, height, left, bottom] = [1200, 360, 80, 24];

/** Predicted as an area, measured as a line over it; where they first part, a mark. */
export function timelinePage(graph: Graph, report: TimelineReport): string {
  const { comparison: { stretches, parting }, budget, peak } = report;
  const top = Math.max(peak.predicted, peak.measured, budget ?? 0, 1) * 1.05;
  const x = (at: number): number => round(left + (at * (width - left)) / Math.max(1, stretches.length));
  const y = (bytes: number): number => round((height - bottom) * (1 - bytes / top));
  const line = (which: "predicted" | "measured"): string => stretches.map((stretch, at) => `${x(at)},${y(stretch[which].moment)} ${x(at + 1)},${y(stretch[which].moment)}`).join(" ");
  const backward = stretches.findIndex(({ kind }) => kind !== "forward");
  const at = parting === null ? -1 : parting.kind === "bytes" ? parting.at : stretches.length;
  const grid = [0, 0.25, 0.5, 0.75, 1].map((share) => share * top);
  const marks = [
    ...grid.map((bytes) => `<line class="grid" x1="${left}" x2="${width}" y1="${y(bytes)}" y2="${y(bytes)}"/><text x="${left - 8}" y="${y(bytes) + 4}" text-anchor="end">${formatBytes(bytes)}</text>`),
    `<polygon class="predicted" points="${x(0)},${y(0)} ${line("predicted")} ${x(stretches.length)},${y(0)}"/>`,
    `<polyline class="measured" points="${line("measured")}"/>`,
    ...(budget === null ? [] : [`<line class="budget" x1="${left}" x2="${width}" y1="${y(budget)}" y2="${y(budget)}"/>`]),
    ...(backward < 0 ? [] : [`<line class="grid" x1="${x(backward)}" x2="${x(backward)}" y1="0" y2="${y(0)}"/><text x="${x(backward) + 4}" y="${height - 6}">backward</text>`]),
    ...(at < 0 ? [] : [`<line class="parting" x1="${x(at + 0.5)}" x2="${x(at + 0.5)}" y1="0" y2="${y(0)}"/><text x="${x(at + 0.5) + 4}" y="14">first part here</text>`]),
    ...stretches.map((stretch, k) => `<rect class="hit" x="${x(k)}" y="0" width="${round(x(k + 1) - x(k))}" height="${y(0)}"><title>${text(tip(graph, stretch, k))}</title></rect>`),
  ];
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>${text(report.model)}: measured and predicted memory of a step</title>
<style>
  :root { color-scheme: light dark; --ink: light-dark(#1f2328, #e6edf3); --soft: light-dark(#d0d7de, #3d444d); --area: light-dark(#9ec5f2, #1f4f86); --line: light-dark(#b35900, #ffa657); --mark: light-dark(#cf222e, #ff7b72); }
  body { font: 14px/1.5 system-ui, sans-serif; color: var(--ink); margin: 2em auto; max-width: ${width}px; padding: 0 1em; }
  svg { width: 100%; height: auto; overflow: visible; } svg text { font-size: 12px; fill: var(--ink); }
  .grid { stroke: var(--soft); } .predicted { fill: var(--area); } .measured { fill: none; stroke: var(--line); stroke-width: 1.5; }
  .budget { stroke: var(--ink); stroke-dasharray: 6 4; } .parting { stroke: var(--mark); stroke-width: 1.5; } .hit { fill: transparent; } .hit:hover { fill: var(--soft); fill-opacity: .5; }
  table { border-collapse: collapse; } td, th { padding: 2px 12px 2px 0; text-align: right; font-variant-numeric: tabular-nums; } td:first-child, th:first-child, td:nth-child(2), th:nth-child(2) { text-align: left; }
  .key { display: inline-block; width: 14px; height: 10px; margin: 0 4px 0 12px; }
</style>
<h1>${text(report.model)}</h1>
<p>${text(report.device)}. Peak of the step: predicted ${formatBytes(peak.predicted)}, measured ${formatBytes(peak.measured)} (${difference(peak.measured - peak.predicted)})${budget === null ? "" : `, budget ${formatBytes(budget)}`}.</p>
<p><strong>${text(report.verdict)}</strong></p>
<p><span class="key" style="background: var(--area)"></span>predicted <span class="key" style="background: var(--line); height: 2px"></span>measured: the most bytes live during each event, in the order in which they run${budget === null ? "" : "; dashed: the budget"}.</p>
<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${text(report.verdict)}">
${marks.join("\n")}
</svg>
${tableOfPartings(graph, stretches)}
</html>
`;
}

const mostRows = 100;

function tableOfPartings(graph: Graph, stretches: readonly Stretch[]): string {
  const rows = [...stretches.entries()].filter(([, stretch]) => isParted(stretch));
  if (rows.length === 0) return "";
  const cells = rows.slice(0, mostRows).map(([k, stretch]) => {
    const { predicted, measured } = stretch;
    const columns = whichBytes.map((which) => difference(measured[which] - predicted[which]));
    return `<tr><td>${k + 1}</td><td>${text(stepName(graph, stretch))}</td>${columns.map((each) => `<td>${each}</td>`).join("")}<td>${formatBytes(predicted.moment)}</td></tr>`;
  });
  const more = rows.length > mostRows ? `<p>… and ${rows.length - mostRows} more.</p>` : "";
  return `<h2>Where they differ</h2>
<table><tr><th>event</th><th>what runs</th><th>as it starts</th><th>at most</th><th>once over</th><th>predicted at most</th></tr>
${cells.join("\n")}
</table>${more}`;
}

const tip = (graph: Graph, stretch: Stretch, k: number): string =>
  `${k + 1}: ${stepName(graph, stretch)}\npredicted ${formatBytes(stretch.predicted.moment)}, measured ${formatBytes(stretch.measured.moment)} (${difference(stretch.measured.moment - stretch.predicted.moment)})`;

const round = (n: number): number => Math.round(n * 100) / 100;

const text = (raw: string): string => raw.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
