/** Why each large tensor is kept or made again, as `monet show --why` prints it: by the numbers, names and source lines of the schedule's table. */
import { explain } from "../core/explain";
import type { Graph } from "../core/graph";
import type { Plan } from "../core/plan";
import { formatBytes, formatDuration } from "../core/units";
import { why, type Why } from "../core/why";
import { saidSource, shortName } from "./schedule";
import { count, wrapped } from "./table";

const most = 20;
const columns = 100;

export interface Reason extends Why {
  readonly operator: number;
  readonly kind: "value" | "internals";
  readonly text: string;
}

/** The largest tensors that a backward step needs, largest first. */
export function reasons(graph: Graph, plan: Plan): Reason[] {
  const explanation = explain(graph, plan);
  const tensors = explanation.operators.flatMap(({ id, tensors }) => tensors.map((tensor) => ({ ...tensor, operator: id })));
  const sorted = tensors.filter(({ fate, bytes }) => fate !== "unused" && bytes > 0).sort((a, b) => b.bytes - a.bytes || a.operator - b.operator);
  return sorted.slice(0, most).flatMap((tensor): Reason[] => {
    const answer = why(graph, plan, explanation, tensor.operator, tensor);
    if (answer === null) return [];
    const steps = [...tensor.until, ...tensor.recomputedFor].map((step) => nameOf(graph, step));
    return [{ ...answer, operator: tensor.operator, kind: tensor.kind, text: sentence(graph, plan, tensor.operator, tensor.kind, answer, steps) }];
  });
}

export function reasonsText(graph: Graph, plan: Plan): string {
  const found = reasons(graph, plan);
  return ["", `Why, for the ${count(found.length, "largest tensor")}:`, ...found.map(({ text }) => `\n${wrapped(text, columns, "  ")}`), ""].join("\n");
}

function sentence(graph: Graph, plan: Plan, operator: number, kind: Reason["kind"], { does, bytes, peak, time, otherwise, rent }: Why, steps: readonly string[]): string {
  const tensor = `${kind === "value" ? "the output" : "what is saved"} of ${nameOf(graph, operator)}`;
  const need = steps.length === 0 ? "" : ` for the backward of ${[...new Set(steps)].slice(0, 3).join(", ")}${steps.length > 3 ? ", …" : ""}`;
  const fate = `${formatBytes(bytes)}, ${tensor}, is ${does === "keeps" ? "kept" : does === "offloads" ? "kept, in host memory meanwhile," : "recomputed"}${need}`;
  if (otherwise === null) return `${fate}: the step returns it, or its operator must not run twice.`;
  const place = otherwise.at.kind === "recompute" ? `where ${nameOf(graph, otherwise.at.operator)} is recomputed` : `in the ${otherwise.at.kind} of ${nameOf(graph, otherwise.at.operator)}`;
  const change = otherwise.peak - peak;
  if (does === "keeps") {
    const cost = formatDuration(Math.max(0, otherwise.time - time));
    const effect = change > 0 ? `raise the peak to ${formatBytes(otherwise.peak)}, ${place}` : change === 0 ? "not lower the peak" : `lower the peak by ${formatBytes(-change)}, which this budget does not need`;
    return `${fate}: recomputing it would take ${cost} more and ${effect}${worth(rent, "its memory is")}.`;
  }
  const longer = `take ${formatDuration(otherwise.time - time)} more, as the rest of the plan stands,`;
  const gain = time > otherwise.time ? `take ${formatDuration(time - otherwise.time)} less` : time < otherwise.time ? longer : "save no time";
  const keeping = does === "offloads" ? "keeping it on the device" : "keeping it";
  if (change <= 0) return `${fate}: ${keeping} would ${gain} and not raise the peak${worth(rent, "its memory would be")}.`;
  const over = plan.budget !== null && otherwise.peak > plan.budget ? `, ${formatBytes(otherwise.peak - plan.budget)} over the budget` : "";
  return `${fate}: ${keeping} would ${gain} and raise the peak to ${formatBytes(otherwise.peak)}, ${place}${over}${worth(rent, "its memory would be")}.`;
}

/** By the certificate's prices. */
function worth(rent: number | null, memory: string): string {
  return rent === null ? "" : rent < 1 ? `; ${memory} not short while it is held` : `; ${memory} worth ${formatDuration(rent)} of recomputing elsewhere`;
}

/** `conv2d 12 of layer1.0.conv1 (net.py:31)`. */
function nameOf({ operators }: Graph, id: number): string {
  const operator = operators[id];
  if (operator === undefined) return String(id);
  const { op, module, source } = operator;
  return `${shortName(op)} ${id}${module === "" ? "" : ` of ${module}`}${source === null ? "" : ` (${saidSource(source)})`}`;
}
