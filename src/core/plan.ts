import { activationBytes, parseJson, type Graph } from "./graph";
import { DocumentError, readDocument } from "./graph_document";
import schema from "./plan.schema.json";
import { indexGraph, type Problem } from "./simulate/problem";
import { Schedule, type Intervals } from "./simulate/schedule";

/** The plan: docs/format.md says what every field means. */
export interface Plan {
  readonly format: "monet-plan";
  readonly version: 1;
  readonly graph: PlannedGraph;
  readonly budget: number | null;
  readonly implementations: Readonly<Record<string, string>>;
  readonly retain: readonly Retention[];
  /** Random operators that run again anywhere, ascending. */
  readonly rng: readonly number[];
  readonly predicted: Predicted;
  readonly bound: Certificate | null;
}

/** What of its graph a plan knows by itself. */
export interface PlannedGraph {
  readonly hash: string;
  readonly structure: string;
  readonly model: string;
  readonly operators: number;
  /** The size of the step that it was made for (may be missing in plans that others wrote). */
  readonly activation_bytes?: number;
}

export const plannedGraph = (graph: Graph): PlannedGraph => ({
  hash: graph.hash, structure: graph.structure, model: graph.made_from.model, operators: graph.operators.length,
  activation_bytes: activationBytes(graph),
});

export interface Certificate {
  /** Nanoseconds that no plan within the budget can go below. */
  readonly time: number;
  /**
   * What memory is worth where it is short: by one byte less at this clock, the bound is so many nanoseconds higher.
   * Clocks that are not listed have memory to spare.
   */
  readonly prices?: readonly Price[];
}

export type Price = readonly [clock: number, perByte: number];

export type Interval = readonly [from: number, to: number];

export type Retention =
  | { readonly value: number; readonly internals?: never; readonly intervals: readonly Interval[] }
  | { readonly internals: number; readonly value?: never; readonly intervals: readonly Interval[] };

export interface Predicted {
  readonly peak: number;
  readonly structure_peak: number;
  readonly time: number;
  readonly eager_peak: number;
  readonly eager_structure_peak: number;
  readonly eager_time: number;
}

/** Reads a plan and checks that it belongs to the graph and is one that the runtime can follow. */
export function parsePlan(text: string, graph: Graph): Plan {
  return checkPlan(parseJson(text, "plan"), graph);
}

export function checkPlan(document: unknown, graph: Graph): Plan {
  const plan = readDocument(document, schema, "plan") as Plan;
  if (plan.graph.hash !== graph.hash) {
    throw new DocumentError("graph.hash", `this plan was made for another profile (${short(plan.graph.hash)}) than this graph (${short(graph.hash)})`);
  }
  if (plan.graph.structure !== graph.structure || plan.graph.operators !== graph.operators.length) {
    throw new DocumentError("graph.structure", "this plan was made for a model with other operators");
  }
  checkImplementations(plan, graph);
  checkRetention(plan, graph);
  checkSteps(plan, indexGraph(graph));
  return plan;
}

/** The text of a plan's file. */
export const planText = (plan: Plan): string => `${JSON.stringify(plan)}\n`;

/** A plan as typed arrays: the implementation of every operator, and the intervals of every tensor. */
export function compilePlan(plan: Plan, problem: Problem): { choice: Int32Array; intervals: Intervals; entry: readonly string[] } {
  const { graph, storages, tensors, storageOf, implementations } = problem;
  const choice = implementations.slice(0, problem.operators);
  for (const [id, name] of Object.entries(plan.implementations)) {
    const offset = graph.operators[Number(id)]?.implementations.findIndex((implementation) => implementation.name === name) ?? 0;
    choice[Number(id)] = (choice[Number(id)] ?? 0) + offset;
  }
  const lists: { interval: Interval; entry: string }[][] = Array.from({ length: tensors }, () => []);
  plan.retain.forEach((retention, k) => {
    const tensor = retention.internals === undefined ? (storageOf[retention.value] ?? -1) : storages + retention.internals;
    retention.intervals.forEach((interval, slot) => lists[tensor]?.push({ interval, entry: `retain[${k}].intervals[${slot}]` }));
  });
  const first = new Int32Array(tensors + 1);
  lists.forEach((list, t) => {
    first[t + 1] = (first[t] ?? 0) + list.length;
  });
  const flat = lists.flat();
  return {
    choice,
    intervals: {
      first,
      from: Int32Array.from(flat, ({ interval }) => interval[0]),
      to: Int32Array.from(flat, ({ interval }) => interval[1]),
    },
    entry: flat.map(({ entry }) => entry),
  };
}

function checkImplementations(plan: Plan, graph: Graph): void {
  for (const [id, name] of Object.entries(plan.implementations)) {
    const at = `implementations.${id}`;
    const operator = /^(0|[1-9]\d*)$/.test(id) ? graph.operators[Number(id)] : undefined;
    if (operator === undefined) throw new DocumentError(at, `operator ${id} does not exist`);
    if (!operator.implementations.some((implementation) => implementation.name === name)) {
      throw new DocumentError(at, `operator ${id} has no implementation '${name}'`);
    }
  }
}

function checkRetention(plan: Plan, graph: Graph): void {
  const n = graph.operators.length;
  const seen = new Set<string>();
  plan.retain.forEach((retention, k) => {
    const at = `retain[${k}]`;
    let producer: number;
    if (retention.internals === undefined) {
      const value = graph.values[retention.value];
      if (value === undefined) throw new DocumentError(`${at}.value`, `value ${retention.value} does not exist`);
      if (value.kind !== "activation") throw new DocumentError(`${at}.value`, `value ${value.id} is a ${value.kind}, which is always there`);
      if (value.storage !== value.id) throw new DocumentError(`${at}.value`, `value ${value.id} is a view; retain its storage ${value.storage}`);
      producer = value.producer ?? 0;
    } else {
      const operator = graph.operators[retention.internals];
      if (operator === undefined) throw new DocumentError(`${at}.internals`, `operator ${retention.internals} does not exist`);
      producer = operator.id;
    }
    const key = retention.internals === undefined ? `v${retention.value}` : `i${retention.internals}`;
    if (seen.has(key)) throw new DocumentError(at, "this tensor is listed twice");
    seen.add(key);
    let end = -1;
    retention.intervals.forEach(([from, to], slot) => {
      const here = `${at}.intervals[${slot}]`;
      if (from >= to) throw new DocumentError(here, `must end after it starts (${from}, ${to})`);
      if (from <= end) throw new DocumentError(here, `must start after clock ${end}, where the one before it ends`);
      if (from < n && from !== producer) throw new DocumentError(`${here}[0]`, `in forward it can only start at clock ${producer}, where operator ${producer} makes it`);
      if (to < n) throw new DocumentError(`${here}[1]`, `clock ${to} is in forward; an interval ends at a backward step`);
      if (to >= 2 * n) throw new DocumentError(`${here}[1]`, `clock ${to} is past the last step ${2 * n - 1}`);
      end = to;
    });
  });
}

/** What only the steps tell: starts where it is computed, ends where it is used, nothing pinned runs twice. */
function checkSteps(plan: Plan, problem: Problem): void {
  const { choice, intervals, entry } = compilePlan(plan, problem);
  const schedule = new Schedule(problem);
  const [wrong] = schedule.fromIntervals(choice, intervals);
  if (schedule.conflict >= 0) {
    throw new DocumentError("retain", `operator ${schedule.conflict} must not run twice, but something that it makes is not retained to its last need`);
  }
  if (wrong === undefined) {
    const rng = schedule.rerunRandom();
    if (rng.join() !== plan.rng.join()) throw new DocumentError("rng", `the steps rerun random operators [${rng.join(", ")}], not [${plan.rng.join(", ")}]`);
    return;
  }
  const [from, to] = [intervals.from[wrong] ?? 0, intervals.to[wrong] ?? 0];
  throw new DocumentError(entry[wrong] ?? "retain", `[${from}, ${to}] must start where the tensor is computed and end where it is used`);
}

const short = (hash: string): string => (hash.length > 12 ? `${hash.slice(0, 12)}…` : hash);
