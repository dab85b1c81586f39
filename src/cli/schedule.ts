/** A plan against its graph, operator by operator: the view that `monet show` prints. */
import type { Graph, Operator } from "../core/graph";
import type { Interval, Plan } from "../core/plan";
import { simulate } from "../core/simulate";
import { formatBytes, formatDuration, formatPercent } from "../core/units";
import { count, table } from "./table";

export interface TensorFate {
  readonly name: string;
  readonly bytes: number;
  /** `kept` from forward until backward needs it, `recomputed` in backward, or not needed there at all. */
  readonly fate: "kept" | "recomputed" | "not needed";
  readonly intervals: readonly Interval[];
}

export interface OperatorView {
  readonly id: number;
  readonly op: string;
  readonly module: string;
  readonly source: string | null;
  readonly implementation: string;
  readonly changed: boolean;
  readonly tensors: readonly TensorFate[];
  readonly recomputed: number;
}

export interface BackwardView {
  readonly operator: number;
  readonly recomputes: readonly number[];
  /** Nanoseconds that the recomputes take. */
  readonly time: number;
}

export interface Schedule {
  readonly operators: readonly OperatorView[];
  /** The backward steps that recompute something, in order. */
  readonly backward: readonly BackwardView[];
}

function implementationOf(operator: Operator, plan: Plan): Operator["implementations"][number] | undefined {
  const name = plan.implementations[operator.id];
  return name === undefined ? operator.implementations[0] : operator.implementations.find((each) => each.name === name);
}

export function scheduleOf(graph: Graph, plan: Plan): Schedule {
  const n = graph.operators.length;
  const times = new Map<number, number>();
  const steps = new Map<number, number[]>();
  for (const event of simulate(graph, plan).events) {
    if (event.kind !== "recompute") continue;
    times.set(event.operator, (times.get(event.operator) ?? 0) + 1);
    steps.set(event.clock, [...(steps.get(event.clock) ?? []), event.operator]);
  }
  const held = new Map<string, readonly Interval[]>();
  for (const entry of plan.retain) {
    held.set(entry.internals === undefined ? `value ${entry.value}` : `internals ${entry.internals}`, entry.intervals);
  }
  const fate = (key: string, name: string, bytes: number, operator: Operator): TensorFate => {
    const intervals = held.get(key) ?? [];
    const kept = intervals.some(([from]) => from < n);
    return { name, bytes, intervals, fate: kept ? "kept" : times.has(operator.id) ? "recomputed" : "not needed" };
  };

  const operators = graph.operators.map((operator): OperatorView => {
    const implementation = implementationOf(operator, plan);
    const outputs = operator.outputs.flatMap((id) => {
      const value = graph.values[id];
      return value?.storage === id ? [fate(`value ${id}`, value.name, value.bytes, operator)] : [];
    });
    const internal = implementation?.internal_bytes ?? 0;
    return {
      id: operator.id,
      op: operator.op,
      module: operator.module,
      source: operator.source === null ? null : `${operator.source.file}:${operator.source.line}`,
      implementation: implementation?.name ?? "",
      changed: implementation !== operator.implementations[0],
      tensors: internal > 0 ? [...outputs, fate(`internals ${operator.id}`, "internals", internal, operator)] : outputs,
      recomputed: times.get(operator.id) ?? 0,
    };
  });
  const backward = [...steps].map(([clock, recomputes]): BackwardView => {
    const time = recomputes.reduce((sum, id) => {
      const operator = graph.operators[id];
      return sum + (operator === undefined ? 0 : (implementationOf(operator, plan)?.recompute.time ?? 0));
    }, 0);
    return { operator: 2 * n - 1 - clock, recomputes, time };
  });
  return { operators, backward };
}

const shortName = (op: string): string => op.replace(/^aten\./, "").replace(/\.default$/, "");

function fateText(operator: OperatorView): string {
  const fates = operator.tensors.map(({ name, bytes, fate }) => `${name === "internals" ? "internals " : ""}${formatBytes(bytes)} ${fate}`);
  const again = operator.recomputed > 1 ? [`${operator.recomputed} times`] : [];
  return [...fates, ...again].join(", ");
}

/** `5, 7–9, 12`. */
export function ranges(ids: readonly number[]): string {
  const runs: [number, number][] = [];
  for (const id of ids) {
    const run = runs.at(-1);
    if (run !== undefined && id === run[1] + 1) run[1] = id;
    else runs.push([id, id]);
  }
  return runs.map(([from, to]) => (from === to ? String(from) : to === from + 1 ? `${from}, ${to}` : `${from}–${to}`)).join(", ");
}

export function scheduleText(graph: Graph, plan: Plan): string {
  const { operators, backward } = scheduleOf(graph, plan);
  const file = (source: string | null): string => source?.replace(/^.*[\\/]/, "") ?? "";
  const forward = table(
    [{ title: "#", right: true }, { title: "operator" }, { title: "module" }, { title: "source" }, { title: "runs as" }, { title: "its output" }],
    operators.map((each) => [
      String(each.id),
      shortName(each.op),
      each.module,
      file(each.source),
      each.changed ? each.implementation : "",
      fateText(each),
    ]),
    "  ",
  );
  const steps = backward.map(({ operator, recomputes, time }) => [
    String(operator),
    shortName(graph.operators[operator]?.op ?? ""),
    graph.operators[operator]?.module ?? "",
    ranges(recomputes),
    formatDuration(time),
  ]);
  const back =
    steps.length === 0
      ? "  Nothing is recomputed."
      : table(
          [{ title: "#", right: true }, { title: "backward of" }, { title: "module" }, { title: "first recomputes" }, { title: "in", right: true }],
          steps,
          "  ",
        );
  return [headline(plan), "", `Forward, ${count(operators.length, "operator")}`, forward, "", "Backward, last operator first", back, ""].join("\n");
}

export function overhead({ predicted }: Plan): number {
  return predicted.eager_time === 0 ? 0 : predicted.time / predicted.eager_time - 1;
}

export function headline(plan: Plan): string {
  const { predicted, budget, graph, bound } = plan;
  const gap = bound === null || bound.time === 0 ? null : predicted.time / bound.time - 1;
  return [
    `Plan for ${graph.model}, budget ${budget === null ? "none" : formatBytes(budget)}`,
    `Predicted peak ${formatBytes(predicted.peak)} (eager ${formatBytes(predicted.eager_peak)}), step ${formatDuration(predicted.time)} (${formatPercent(overhead(plan), { sign: true })})`,
    ...(gap === null || predicted.time === predicted.eager_time ? [] : [`No schedule within this budget can be more than ${formatPercent(1 - 1 / (1 + gap))} faster.`]),
  ].join("\n");
}
