/** A plan against its graph as `monet show` prints it: part by part, operator by operator. */
import { explain, keptBytes, partsOf, type Explanation, type OperatorRow, type Part, type TensorRow } from "../core/explain";
import { fixedBytes, opaqueModules, type Graph } from "../core/graph";
import type { Plan } from "../core/plan";
import { gapOf } from "../core/solve/solution";
import { formatBytes, formatDuration, formatPercent } from "../core/units";
import { count, table, type Column } from "./table";

const columns: readonly Column[] = [
  { title: "#", right: true },
  { title: "operator" },
  { title: "layer" },
  { title: "source" },
  { title: "runs as" },
  { title: "makes", right: true },
  { title: "made again for", right: true },
  { title: "kept until", right: true },
  { title: "costs", right: true },
];

export function scheduleText(graph: Graph, plan: Plan): string {
  const explanation = explain(graph, plan);
  const worthTelling = 0.001 * (plan.predicted.eager_peak - fixedBytes(graph));
  const parts = partsOf(explanation.operators).map((part) => ({ part, lines: linesOf(part, worthTelling) })).filter(({ lines }) => lines.length > 0);
  // All parts are one table, so that the columns of each stand below those of the one before.
  const [title = "", ...body] = table(columns, parts.flatMap(({ lines }) => lines)).split("\n");
  const text: string[] = [];
  for (const { part, lines } of parts) text.push("", partLine(part, graph), ...body.splice(0, lines.length));
  return [headline(plan), ...summary(graph, explanation), "", ...legend, ...(explanation.offloaded === 0 ? [] : [legendOfHost]), "", title, ...text, ""].join("\n");
}

const legend = [
  "Numbers are operators: a tensor is kept until the backward of one (from forward, or from where it is made again",
  "for another); without either it is gone after its last use. `own` is what an operator saves beside its output.",
  "Left out are views, and tensors of less than a thousandth of what eager takes.",
];

const legendOfHost = "`host 12–40`: it is in host memory alone from after the forward of 12 until before the backward of 40.";

function summary(graph: Graph, { operators, kept, keptByEager, offloaded, recomputes, recomputeTime, peak }: Explanation): string[] {
  const changed = operators.filter((row) => row.changed).length;
  const again = operators.filter((row) => row.recomputes > 0).length;
  const where = graph.operators[peak.operator];
  const moment = peak.kind === "forward" ? "forward" : "backward";
  return [
    `Kept from forward to backward: ${formatBytes(kept)}, where eager keeps ${formatBytes(keptByEager)}`,
    ...(offloaded === 0 ? [] : [`Offloaded to host memory: ${formatBytes(offloaded)}`]),
    again === 0
      ? "Nothing is recomputed"
      : `Recomputed: ${count(again, "operator")} of ${operators.length}, in ${count(recomputes, "run")} that take ${formatDuration(recomputeTime)}`,
    ...opaqueLines(graph),
    ...(changed === 0 ? [] : [`Run otherwise than in eager: ${count(changed, "operator")}`]),
    ...(where === undefined ? [] : [`The peak comes in ${moment} at ${peak.operator}, ${[shortName(where.op), where.module].filter((each) => each !== "").join(" of ")}`]),
  ];
}

/** The modules that can't be traced, each with the reason. */
export function opaqueLines(graph: Graph): string[] {
  const opaque = opaqueModules(graph);
  if (opaque.size === 0) return [];
  return [`Opaque, so run and kept as in eager: ${count(opaque.size, "module")}`, ...[...opaque].map(([module, reason]) => `  ${module}: ${reason}`)];
}

function partLine({ module, operators }: Part, graph: Graph): string {
  const kept = operators.reduce((sum, row) => sum + keptBytes(row.tensors), 0);
  const byEager = operators.reduce((sum, row) => sum + row.savedBytes, kept);
  const extra = operators.reduce((sum, row) => sum + row.extraTime, 0);
  const own = graph.operators.find((operator) => operator.module === module)?.module_type.split(".").at(-1);
  const name = module === "" ? "the model" : module;
  const costs = extra === 0 ? "" : `, ${costOf(extra)}`;
  return `${name}${own === undefined || own === "" ? "" : `, ${own}`}: keeps ${formatBytes(kept)} of ${formatBytes(byEager)}${costs}`;
}

/** One line per operator with a tensor that counts; a second for what it alone makes and saves. */
function linesOf({ module, operators }: Part, worthTelling: number): string[][] {
  return operators.flatMap((row) => {
    const tensors = row.tensors.filter(({ bytes }) => bytes >= worthTelling);
    if (tensors.length === 0 && row.extraTime === 0 && !row.changed) return [];
    const rest = tensors.length === 0 ? [["", "", ""]] : tensors.map(fateCells);
    return rest.map((cells, k) => (k === 0 ? [...operatorCells(row, module), ...cells, row.extraTime === 0 ? "" : costOf(row.extraTime)] : ["", "", "", "", "", ...cells, ""]));
  });
}

function operatorCells(row: OperatorRow, part: string): string[] {
  const layer = part === "" ? row.module : row.module.slice(part.length + 1);
  return [String(row.id), shortName(row.op), layer, saidSource(row.source), row.changed ? row.implementation : ""];
}

function fateCells({ kind, bytes, fate, until, recomputedFor, away }: TensorRow): string[] {
  const held = fate === "kept" && until.length === 0 ? "end" : until.join(", ");
  const end = away === null ? held : `${held}, host ${away.join("–")}`;
  return [`${kind === "internals" ? "own " : ""}${formatBytes(bytes)}`, ranges(recomputedFor), end];
}

const costOf = (nanoseconds: number): string => `${nanoseconds > 0 ? "+" : ""}${formatDuration(nanoseconds)}`;

export const saidSource = (source: OperatorRow["source"]): string => (source === null ? "" : `${source.file.replace(/^.*[\\/]/, "")}:${source.line}`);

export const shortName = (op: string): string => op.replace(/^(?:aten|monet)\./, "").replace(/\.(default|Tensor|int)$/, "");

/** `12, 9–7, 5`: as they come, in either direction. */
export function ranges(ids: readonly number[]): string {
  const runs: [number, number][] = [];
  for (const id of ids) {
    const run = runs.at(-1);
    const step = run === undefined ? 0 : id - run[1];
    const direction = run === undefined ? 0 : Math.sign(run[1] - run[0]);
    if (run !== undefined && Math.abs(step) === 1 && (direction === 0 || direction === step)) run[1] = id;
    else runs.push([id, id]);
  }
  return runs.map(([from, to]) => (from === to ? String(from) : Math.abs(to - from) === 1 ? `${from}, ${to}` : `${from}–${to}`)).join(", ");
}

export function overhead({ predicted }: Plan): number {
  return predicted.eager_time === 0 ? 0 : predicted.time / predicted.eager_time - 1;
}

export function headline(plan: Plan): string {
  const { predicted, budget, graph, bound } = plan;
  const gap = bound === null || bound.time === 0 ? null : gapOf(predicted.time, bound.time);
  return [
    `Plan for ${graph.model}, budget ${budget === null ? "none" : formatBytes(budget)}`,
    `Predicted peak ${formatBytes(predicted.peak)} (eager ${formatBytes(predicted.eager_peak)}), step ${formatDuration(predicted.time)} (${formatPercent(overhead(plan), { sign: true })})`,
    ...(gap === null || predicted.time === predicted.eager_time ? [] : [`No schedule within this budget can be more than ${formatPercent(1 - 1 / (1 + gap))} faster.`]),
  ].join("\n");
}
