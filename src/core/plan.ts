import { activationBytes, opaqueModules, parseJson, type Graph } from "./graph";
import { DocumentError, readDocument } from "./graph_document";
import schema from "./plan.schema.json";
import type { Absence } from "./simulate/offload";
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
  /** Paths of the modules that run as one operator, where there are any. */
  readonly opaque?: readonly string[];
}

export function plannedGraph(graph: Graph): PlannedGraph {
  const opaque = opaqueModules(graph);
  return {
    hash: graph.hash, structure: graph.structure, model: graph.made_from.model, operators: graph.operators.length,
    activation_bytes: activationBytes(graph),
    ...(opaque.size > 0 && { opaque: [...opaque.keys()] }),
  };
}

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
  | {
      readonly value: number; readonly internals?: never; readonly intervals: readonly Interval[];
      /** In host memory alone between these clocks: freed after the step of the first, fetched before that of the second. */
      readonly offload?: Interval;
    }
  /** An offload of internals is refused. */
  | { readonly internals: number; readonly value?: never; readonly offload?: Interval; readonly intervals: readonly Interval[] };

export interface Predicted {
  readonly peak: number;
  readonly structure_peak: number;
  readonly time: number;
  readonly eager_peak: number;
  readonly eager_structure_peak: number;
  readonly eager_time: number;
}

const contradiction = (path: string, problem: string): DocumentError => new DocumentError("M507", path, problem);

/** Reads a plan and checks that it belongs to the graph and is one that the runtime can follow. */
export function parsePlan(text: string, graph: Graph): Plan {
  return checkPlan(parseJson(text, "plan"), graph);
}

export function checkPlan(document: unknown, graph: Graph): Plan {
  const plan = readDocument(document, schema, "plan") as Plan;
  if (plan.graph.hash !== graph.hash) {
    throw new DocumentError("M506", "graph.hash", `this plan was made for another profile (${short(plan.graph.hash)}) than this graph (${short(graph.hash)})`);
  }
  if (plan.graph.structure !== graph.structure || plan.graph.operators !== graph.operators.length) {
    throw new DocumentError("M506", "graph.structure", "this plan was made for a model with other operators");
  }
  checkImplementations(plan, graph);
  checkRetention(plan, graph);
  checkSteps(plan, indexGraph(graph));
  return plan;
}

/** The text of a plan's file. */
export const planText = (plan: Plan): string => `${JSON.stringify(plan)}\n`;

/** A plan as typed arrays: the implementation of every operator, and the intervals of every tensor. */
export function compilePlan(plan: Plan, problem: Problem): { choice: Int32Array; intervals: Intervals; absences: readonly Absence[]; entry: readonly string[] } {
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
  const absences = plan.retain.flatMap(({ value, offload }): Absence[] => {
    const tensor = storageOf[value ?? -1] ?? -1;
    return offload === undefined || tensor < 0 ? [] : [{ tensor, from: offload[0], to: offload[1] }];
  });
  return {
    absences,
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
    if (operator === undefined) throw contradiction(at, `operator ${id} does not exist`);
    if (!operator.implementations.some((implementation) => implementation.name === name)) {
      throw contradiction(at, `operator ${id} has no implementation '${name}'`);
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
      if (value === undefined) throw contradiction(`${at}.value`, `value ${retention.value} does not exist`);
      if (value.kind !== "activation") throw contradiction(`${at}.value`, `value ${value.id} is a ${value.kind}, which is always there`);
      if (value.storage !== value.id) throw contradiction(`${at}.value`, `value ${value.id} is a view; retain its storage ${value.storage}`);
      producer = value.producer ?? 0;
    } else {
      const operator = graph.operators[retention.internals];
      if (operator === undefined) throw contradiction(`${at}.internals`, `operator ${retention.internals} does not exist`);
      producer = operator.id;
    }
    const key = retention.internals === undefined ? `v${retention.value}` : `i${retention.internals}`;
    if (seen.has(key)) throw contradiction(at, "this tensor is listed twice");
    seen.add(key);
    let end = -1;
    retention.intervals.forEach(([from, to], slot) => {
      const here = `${at}.intervals[${slot}]`;
      if (from >= to) throw contradiction(here, `must end after it starts (${from}, ${to})`);
      if (from <= end) throw contradiction(here, `must start after clock ${end}, where the one before it ends`);
      if (from < n && from !== producer) throw contradiction(`${here}[0]`, `in forward it can only start at clock ${producer}, where operator ${producer} makes it`);
      if (to < n) throw contradiction(`${here}[1]`, `clock ${to} is in forward; an interval ends at a backward step`);
      if (to >= 2 * n) throw contradiction(`${here}[1]`, `clock ${to} is past the last step ${2 * n - 1}`);
      end = to;
    });
    if (retention.offload !== undefined) checkOffload(retention, graph, at, producer);
  });
}

/** What the document alone tells; checkSteps sees whether it is used while it is away. */
function checkOffload({ value, internals, intervals, offload }: Retention, graph: Graph, entry: string, producer: number): void {
  if (offload === undefined) return;
  const at = `${entry}.offload`;
  const n = graph.operators.length;
  const [from, to] = offload;
  const { part, pinned } = graph.operators[producer] ?? {};
  if (graph.transfer === undefined) throw contradiction(at, "this graph has no transfer times, so nothing can be offloaded; profile with --offload");
  if (pinned === true) throw contradiction(at, `operator ${producer}, which makes value ${value}, must not run twice: what it makes may be written later, and stays on the device`);
  if (internals !== undefined) throw contradiction(at, "internals can't be offloaded, only values");
  if (graph.outputs.some((id) => graph.values[id]?.storage === value)) throw contradiction(at, `value ${value} is returned by the model, so it stays on the device`);
  const [held] = intervals;
  if (held?.[0] !== producer || to > held[1]) throw contradiction(at, `value ${value} is away within the interval that starts in forward, and [${from}, ${to}] is not within it`);
  const lastUse = Math.max(producer, ...graph.operators.filter(({ inputs }) => inputs.some((id) => graph.values[id]?.storage === value)).map(({ id }) => id));
  if (from < lastUse || from >= n) throw contradiction(`${at}[0]`, `value ${value} can go between clock ${lastUse}, where forward uses it last, and ${n - 1}; not after clock ${from}`);
  if (to < n) throw contradiction(`${at}[1]`, `clock ${to} is in forward; a value comes back in backward`);
  for (const [slot, clock] of [from, to].entries()) {
    const operator = graph.operators[clock < n ? clock : 2 * n - 1 - clock];
    if (operator?.part !== part) throw contradiction(`${at}[${slot}]`, `clock ${clock} belongs to the ${operator?.part ?? "model"}, and value ${value} to the ${part ?? "model"}, which runs by itself`);
  }
}

/** What only the steps tell: starts where it is computed, ends where it is used, nothing pinned runs twice. */
function checkSteps(plan: Plan, problem: Problem): void {
  const { choice, intervals, absences, entry } = compilePlan(plan, problem);
  const schedule = new Schedule(problem);
  const [wrong] = schedule.fromIntervals(choice, intervals, absences);
  if (schedule.conflict >= 0) {
    const once = problem.pinned[schedule.conflict] === 1;
    throw contradiction("retain", once
      ? `operator ${schedule.conflict} must not run twice, but something that it makes is not retained to its last need`
      : `an opaque operator saves what operator ${schedule.conflict} makes, so that is retained from forward`);
  }
  if (wrong === undefined) {
    const rng = schedule.rerunRandom();
    checkAbsences(plan, problem, schedule, choice);
    if (rng.join() !== plan.rng.join()) throw contradiction("rng", `the steps rerun random operators [${rng.join(", ")}], not [${plan.rng.join(", ")}]`);
    return;
  }
  const [from, to] = [intervals.from[wrong] ?? 0, intervals.to[wrong] ?? 0];
  throw contradiction(entry[wrong] ?? "retain", `[${from}, ${to}] must start where the tensor is computed and end where it is used`);
}

function checkAbsences(plan: Plan, problem: Problem, { offloads, always }: Schedule, choice: Int32Array): void {
  for (const { tensor, to } of offloads.absences()) {
    const value = problem.valueOf[tensor] ?? 0;
    const at = `retain[${plan.retain.findIndex((entry) => entry.value === value)}].offload`;
    const need = offloads.need[tensor] ?? 0;
    if (always[tensor] === 1) throw contradiction(at, `value ${value} is saved by an operator without backward, so it stays on the device`);
    if (problem.stays[tensor] === 1) throw contradiction(at, `value ${value} is saved by an opaque operator, so it stays on the device`);
    if (need < to) throw contradiction(at, `value ${value} is used at clock ${need}, before it comes back at clock ${to}`);
    if (!offloads.unpacks(to, choice)) throw contradiction(`${at}[1]`, `the backward step of clock ${to} unpacks nothing, so the runtime can't fetch value ${value} there`);
  }
}

const short = (hash: string): string => (hash.length > 12 ? `${hash.slice(0, 12)}…` : hash);
