/** The table of a hover, as Markdown. */
import { l10n } from "vscode";
import { alternatives, type Alternative } from "../core/alternatives";
import { numbersOf, type Explained, type Numbers } from "../core/numbers";
import { formatBytes, formatDuration } from "../core/units";
import { why } from "../core/why";
import { heaviest } from "./lines";
import { deviceText, whyText } from "./texts";

export interface Subject {
  readonly explained: Explained;
  readonly labels: readonly string[];
  readonly type: string | null;
  readonly numbers: Numbers;
  readonly stale: boolean;
  /** Null where there is no limit. */
  readonly budget: number | null;
  /** Where it leads, as Markdown. */
  readonly links: readonly string[];
}

const mostRows = 12;

export function hoverText(subject: Subject): string {
  const { explained, labels, type, numbers, stale, links } = subject;
  return [
    [`**${labels.map(code).join(" ")}**`, ...(type === null ? [] : [code(type)]), ...links].join(" · "),
    stale ? `$(warning) ${l10n.t("The code has changed since it was profiled: these are the numbers of before.")}` : "",
    reason(subject),
    summary(numbers, explained),
    opaqueText(numbers, explained),
    implementations(alternatives(explained, numbers.operators)),
    operatorTable(explained, numbers.operators),
    plain(deviceText(explained.graph.device)),
  ].filter((part) => part !== "").join("\n\n");
}

function summary(numbers: Numbers, { graph }: Explained): string {
  const { operators, forward, backward, output, saved, workspace, kept, keptByEager, offloaded, recomputed, recomputeTime } = numbers;
  const modules = new Set(operators.map((id) => graph.operators[id]?.module)).size;
  const rows: [string, string][] = [
    [l10n.t("Kept by the plan"), formatBytes(kept)],
    [l10n.t("Kept by eager PyTorch"), formatBytes(keptByEager)],
    ...(offloaded > 0 ? [[l10n.t("Offloaded to host memory"), formatBytes(offloaded)] as [string, string]] : []),
    [l10n.t("Recomputed"), recomputed > 0 || recomputeTime > 0 ? `${formatBytes(recomputed)}, +${formatDuration(recomputeTime)}` : "–"],
    [l10n.t("Output"), formatBytes(output)],
    [l10n.t("Saved for backward"), formatBytes(saved)],
    [l10n.t("Workspace"), formatBytes(workspace)],
    [l10n.t("Forward"), formatDuration(forward)],
    [l10n.t("Backward"), formatDuration(backward)],
  ];
  const heading = operators.length === 1 ? l10n.t("1 operator")
    : modules === 1 ? l10n.t("{0} operators, summed", operators.length)
    : l10n.t("{0} operators in {1} modules, summed", operators.length, modules);
  return table([heading, ""], rows);
}

/** Modules among these that can't be traced. */
function opaqueText({ operators }: Numbers, { graph }: Explained): string {
  const here = new Map(operators.flatMap((id) => {
    const { module = "", opaque } = graph.operators[id] ?? {};
    return opaque === undefined ? [] : [[module, opaque] as const];
  }));
  return [...here].map(([module, reason]) => l10n.t("{0} is an opaque block: it can't be traced, so it runs and is kept as in eager. {1}", code(module), plain(reason))).join("\n\n");
}

/** Why its largest tensor is kept or recomputed. */
function reason({ explained, numbers, budget }: Subject): string {
  const { graph, plan, explanation } = explained;
  const id = heaviest(explained, numbers.operators);
  const row = id === null ? undefined : explanation.operators[id];
  const [tensor] = row?.tensors.filter(({ fate, bytes }) => fate !== "unused" && bytes > 0).sort((a, b) => b.bytes - a.bytes) ?? [];
  if (row === undefined || tensor === undefined) return "";
  const answer = why(graph, plan, explanation, row.id, tensor);
  if (answer === null) return "";
  const made = tensor.kind === "value" ? l10n.t("the output of {0}", code(nameOf(explained, row.id))) : l10n.t("the internals of {0}", code(nameOf(explained, row.id)));
  const does = answer.does === "offloads" ? l10n.t("Largest: {0}, {1}, offloaded to host memory.", made, formatBytes(answer.bytes)) : answer.does === "keeps" ? l10n.t("Largest: {0}, {1}, kept.", made, formatBytes(answer.bytes)) : l10n.t("Largest: {0}, {1}, recomputed.", made, formatBytes(answer.bytes));
  return `${does} ${plain(whyText(answer, graph, budget))}`;
}

function implementations(ways: readonly Alternative[]): string {
  return ways.map(({ name, exactness, used, possible, bytes, time }) => {
    const share = used === possible && possible > 1 ? l10n.t("all {0}", possible) : possible > 1 ? l10n.t("{0} of {1}", used, possible) : used === 1 ? l10n.t("chosen") : "";
    const kind = exactness === "bitwise" ? "" : exactness === "same-kernel" ? l10n.t("equal up to the order of sums") : l10n.t("approximate");
    const heads = [`- ${code(name)}`, share, kind].filter((part) => part !== "").join(" · ");
    if (used === possible) return heads;
    const more = bytes > 0 ? l10n.t("would hold {0} more for backward", formatBytes(bytes)) : bytes < 0 ? l10n.t("would hold {0} less for backward", formatBytes(-bytes)) : l10n.t("would hold as much for backward");
    const slower = time >= 0 ? l10n.t("take {0} more", formatDuration(time)) : l10n.t("take {0} less", formatDuration(-time));
    return l10n.t("{0}: {1} and {2}", heads, more, slower);
  }).join("\n");
}

/** The operators with most memory, in order of execution. */
function operatorTable(explained: Explained, ids: readonly number[]): string {
  if (ids.length < 2) return "";
  const each = ids.map((id) => ({ id, numbers: numbersOf(explained, [id]) }));
  const weight = ({ numbers }: { numbers: Numbers }): number => Math.max(numbers.kept, numbers.keptByEager, numbers.offloaded, numbers.recomputed);
  const shown = [...each].sort((a, b) => weight(b) - weight(a) || a.id - b.id).slice(0, mostRows).sort((a, b) => a.id - b.id);
  const bytes = (count: number): string => (count === 0 ? "–" : formatBytes(count));
  const rows = shown.map(({ id, numbers: { forward, backward, kept, recomputed } }): [string, ...string[]] =>
    [`${code(nameOf(explained, id))} ${plain(shortOp(explained, id))}`, formatDuration(forward), formatDuration(backward), bytes(kept), bytes(recomputed)]);
  const rest = each.length - shown.length;
  const text = table([l10n.t("Operator"), l10n.t("Forward"), l10n.t("Backward"), l10n.t("Kept"), l10n.t("Recomputed")], rows);
  return rest === 0 ? text : `${text}\n\n${l10n.t("and {0} more", rest)}`;
}

function nameOf({ graph }: Explained, id: number): string {
  const module = graph.operators[id]?.module ?? "";
  return module === "" ? shortOp({ graph }, id) : module;
}

const shortOp = ({ graph }: Pick<Explained, "graph">, id: number): string => (graph.operators[id]?.op ?? "").replace(/^(?:aten|monet)\.([^.]+).*$/, "$1");

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map((_, at) => (at === 0 ? ":--" : "--:"))), ...rows.map(line)].join("\n");
}

/** Names come from a file, and nothing of them is read as Markdown. */
const plain = (text: string): string => text.replaceAll(/\s+/g, " ").replaceAll(/[\\`*_[\]<>|$&~#:@]/g, String.raw`\$&`);
const code = (text: string): string => `\`${text.replaceAll(/[`|\n]/g, " ")}\``;
