import type { Graph, Implementation, Operator } from "./graph";
import type { Interval, Plan } from "./plan";
import { simulate, simulateEager, type Event } from "./simulate";

/** What becomes of one tensor between forward and its last use in backward. */
export interface TensorRow {
  readonly kind: "value" | "internals";
  readonly id: number;
  readonly bytes: number;
  /**
   * kept: held from forward; offloaded: so it is, for a while in host memory; retained: recomputed once and held;
   * recomputed: each time it is needed; unused: no step needs it.
   */
  readonly fate: "kept" | "offloaded" | "retained" | "recomputed" | "unused";
  /** The operator after whose forward it goes to host memory, and the one before whose backward it is back; null: it stays. */
  readonly away: readonly [after: number, before: number] | null;
  /** The operators whose backward holds end with, one per interval. */
  readonly until: readonly number[];
  /** The operators before whose backward it is recomputed. */
  readonly recomputedFor: readonly number[];
}

export interface OperatorRow {
  readonly id: number;
  readonly op: string;
  readonly module: string;
  readonly source: Operator["source"];
  readonly implementation: string;
  /** It is not the one that eager PyTorch uses. */
  readonly changed: boolean;
  readonly tensors: readonly TensorRow[];
  readonly recomputes: number;
  /** Nanoseconds that its forward takes. */
  readonly forwardTime: number;
  /** Nanoseconds that its recomputes take. */
  readonly recomputeTime: number;
  /** Nanoseconds that it costs more than in eager: recomputes, a slower or faster implementation, a copy of an input that is kept. */
  readonly extraTime: number;
  /** Bytes that eager holds from its forward to backward and this plan doesn't. */
  readonly savedBytes: number;
}

/** Operators that follow each other in one part of the model: a block of a stack, or a container with its layers. */
export interface Part {
  /** A path in the module tree; "" for the model itself. */
  readonly module: string;
  readonly operators: readonly OperatorRow[];
}

/** A plan as rows for people: per operator what is kept until when, what is recomputed where, and what that costs. */
export interface Explanation {
  readonly operators: readonly OperatorRow[];
  /** Bytes held from forward to backward, by this plan and by eager. */
  readonly kept: number;
  readonly keptByEager: number;
  /** Bytes that are in host memory for a while. */
  readonly offloaded: number;
  /** Runs of operators in backward, and the nanoseconds that they take. */
  readonly recomputes: number;
  readonly recomputeTime: number;
  readonly peak: Pick<Event, "kind" | "operator">;
}

export function explain(graph: Graph, plan: Plan): Explanation {
  const { events, peak } = simulate(graph, plan);
  const runs = new Map<number, number[]>();
  for (const { kind, operator, clock } of events) if (kind === "recompute") runs.set(operator, [...(runs.get(operator) ?? []), clock]);
  const operators = explainOperators(graph, plan, runs, forwardTimes(events), forwardTimes(simulateEager(graph).events));
  const highest = events.find(({ moment }) => moment === peak);
  const total = (measure: (row: OperatorRow) => number): number => operators.reduce((sum, row) => sum + measure(row), 0);
  return {
    operators,
    kept: total(({ tensors }) => keptBytes(tensors)),
    keptByEager: total(({ tensors, savedBytes }) => keptBytes(tensors) + savedBytes),
    offloaded: total(({ tensors }) => offloadedBytes(tensors)),
    recomputes: total((row) => row.recomputes),
    recomputeTime: total((row) => row.recomputeTime),
    peak: { kind: highest?.kind ?? "forward", operator: highest?.operator ?? 0 },
  };
}

/** Per operator. */
const forwardTimes = (events: readonly Event[]): readonly number[] => events.filter(({ kind }) => kind === "forward").map(({ start, end }) => end - start);

export const keptBytes = (tensors: readonly TensorRow[]): number => tensors.reduce((sum, { fate, bytes }) => (fate === "kept" ? sum + bytes : sum), 0);

export const offloadedBytes = (tensors: readonly TensorRow[]): number => tensors.reduce((sum, { fate, bytes }) => (fate === "offloaded" ? sum + bytes : sum), 0);

/** Splits the rows where the model goes on with another block or container. */
export function partsOf(rows: readonly OperatorRow[]): Part[] {
  const containers = new Set(rows.flatMap(({ module }) => pathsAbove(module)));
  const parts: { module: string; operators: OperatorRow[] }[] = [];
  for (const row of rows) {
    const own = containers.has(row.module) ? row.module : (pathsAbove(row.module).at(-1) ?? "");
    const module = /^.*?(?:^|\.)\d+(?=\.|$)/.exec(own)?.[0] ?? own;
    const last = parts.at(-1);
    if (last?.module === module) last.operators.push(row);
    else parts.push({ module, operators: [row] });
  }
  return parts;
}

/** `""`, `layer1` and `layer1.0` for `layer1.0.conv1`. */
function pathsAbove(module: string): string[] {
  if (module === "") return [];
  const names = module.split(".");
  return names.map((_, k) => names.slice(0, k).join("."));
}

function explainOperators(graph: Graph, plan: Plan, runs: ReadonlyMap<number, readonly number[]>, forward: readonly number[], eagerForward: readonly number[]): OperatorRow[] {
  const n = graph.operators.length;
  const held = new Map(plan.retain.map((entry) => [keyOf(entry.internals === undefined ? "value" : "internals", entry.internals ?? entry.value), entry.intervals]));
  const away = new Map(plan.retain.flatMap(({ value, offload }) => (value === undefined || offload === undefined ? [] : [[value, [offload[0], 2 * n - 1 - offload[1]] as const]])));
  const wanted = neededStorages(graph, graph.operators.map((operator) => chosen(operator, plan)));
  const wantedByEager = neededStorages(graph, graph.operators.map((operator) => chosen(operator, null)));
  const read = new Set(graph.operators.filter(({ id }) => runs.has(id)).flatMap(({ inputs }) => inputs.map((id) => graph.values[id]?.storage ?? id)));
  const outputs = new Set(graph.outputs.map((id) => graph.values[id]?.storage ?? id));

  return graph.operators.map((operator): OperatorRow => {
    const implementation = chosen(operator, plan);
    const eager = chosen(operator, null);
    const clocks = runs.get(operator.id) ?? [];
    const tensor = (kind: TensorRow["kind"], id: number, bytes: number, needed: boolean): TensorRow => {
      const intervals = held.get(keyOf(kind, id)) ?? [];
      const gone = kind === "value" ? (away.get(id) ?? null) : null;
      const row = fateOf(intervals, clocks, n, needed, kind === "value" && outputs.has(id));
      return { kind, id, bytes, away: gone, ...row, fate: gone === null ? row.fate : "offloaded" };
    };
    const tensors = operator.outputs.flatMap((id) => {
      const value = graph.values[id];
      return value?.storage === id && value.kind === "activation" ? [tensor("value", id, value.bytes, wanted.has(id) || read.has(id))] : [];
    });
    if (implementation.internal_bytes > 0) tensors.push(tensor("internals", operator.id, implementation.internal_bytes, implementation.backward !== null));
    const keptByEager =
      operator.outputs.reduce((sum, id) => (wantedByEager.has(id) || outputs.has(id) ? sum + (graph.values[id]?.bytes ?? 0) : sum), 0) +
      (eager.backward === null ? 0 : eager.internal_bytes);
    const forwardTime = forward[operator.id] ?? 0;
    const inBackward = (x: Implementation): number => x.backward?.time ?? 0;
    const recomputeTime = clocks.length * implementation.recompute.time;
    return {
      id: operator.id, op: operator.op, module: operator.module, source: operator.source,
      implementation: implementation.name,
      changed: implementation !== eager,
      tensors,
      recomputes: clocks.length,
      forwardTime,
      recomputeTime,
      extraTime: forwardTime - (eagerForward[operator.id] ?? 0) + inBackward(implementation) - inBackward(eager) + recomputeTime,
      savedBytes: keptByEager - keptBytes(tensors),
    };
  });
}

function fateOf(intervals: readonly Interval[], clocks: readonly number[], n: number, needed: boolean, isOutput: boolean): Pick<TensorRow, "fate" | "until" | "recomputedFor"> {
  const until = intervals.map(([, to]) => 2 * n - 1 - to);
  const inside = (clock: number): boolean => intervals.some(([from, to]) => from < clock && clock <= to);
  const recomputedFor = isOutput || !needed ? [] : clocks.filter((clock) => !inside(clock)).map((clock) => 2 * n - 1 - clock);
  if (isOutput || intervals.some(([from]) => from < n)) return { fate: "kept", until, recomputedFor };
  if (intervals.length > 0) return { fate: "retained", until, recomputedFor };
  return { fate: recomputedFor.length > 0 ? "recomputed" : "unused", until, recomputedFor };
}

/** Storages that some backward step unpacks. */
function neededStorages(graph: Graph, implementations: readonly Implementation[]): ReadonlySet<number> {
  return new Set(graph.operators.flatMap(({ id }) => {
    const implementation = implementations[id];
    return implementation === undefined || implementation.backward === null ? [] : implementation.saves;
  }));
}

export function chosen(operator: Operator, plan: Plan | null): Implementation {
  const name = plan?.implementations[String(operator.id)];
  const implementation = name === undefined ? operator.implementations[0] : operator.implementations.find((each) => each.name === name);
  if (implementation === undefined) throw new RangeError(`operator ${operator.id} has no such implementation`);
  return implementation;
}

const keyOf = (kind: TensorRow["kind"], id: number): string => `${kind} ${id}`;
