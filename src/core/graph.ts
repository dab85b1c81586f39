import schema from "./graph.schema.json";
import { DocumentError, readDocument } from "./graph_document";

/** The training graph: docs/format.md says what every field means. Field names are those of the document. */
export interface Graph {
  readonly format: "monet-graph";
  readonly version: 1;
  readonly hash: string;
  readonly structure: string;
  readonly made_from: {
    readonly model: string;
    readonly sources?: Readonly<Record<string, string>>;
    readonly inputs?: readonly string[];
    readonly [more: string]: unknown;
  };
  readonly device: {
    readonly type: string;
    readonly name: string;
    readonly total_bytes: number;
    readonly estimated: boolean;
    readonly [more: string]: unknown;
  };
  readonly fixed: Readonly<Record<string, number>>;
  readonly gradients: "fresh" | "accumulate";
  /** Bytes above what is fixed at the peak of the optimizer's step; missing in graphs of older releases. */
  readonly optimizer_step?: number;
  readonly rng_state_bytes: number;
  readonly values: readonly Value[];
  readonly operators: readonly Operator[];
  readonly outputs: readonly number[];
  /** What copies between device and host take; without it a plan can't offload. */
  readonly transfer?: Transfer | undefined;
  readonly batch?: Batch;
}

export interface Transfer {
  readonly to_host: Link;
  readonly from_host: Link;
  /** Copies run beside the step, one each way at a time; else the step stands still meanwhile. */
  readonly overlaps: boolean;
}

export interface Link {
  readonly bytes_per_second: number;
  readonly latency: number;
}

/** How the graph grows with the batch; missing in graphs of older releases. */
export interface Batch {
  /** Samples that it was profiled with; null where no input has a batch. */
  readonly size: number | null;
  /** Laid out like the graph: per number that grows, by how much for each sample. */
  readonly slopes?: object;
  /** Why it has no slopes, as a sentence. */
  readonly why_not?: string;
}

export interface Value {
  readonly id: number;
  readonly name: string;
  readonly kind: "input" | "parameter" | "buffer" | "constant" | "activation";
  readonly shape: readonly number[];
  readonly dtype: string;
  readonly bytes: number;
  readonly storage: number;
  readonly producer: number | null;
  readonly requires_grad: boolean;
}

export interface Operator {
  readonly id: number;
  readonly op: string;
  readonly module: string;
  readonly module_type: string;
  readonly part: "model" | "loss";
  readonly source: { readonly file: string; readonly line: number; readonly column: number | null } | null;
  readonly inputs: readonly number[];
  readonly outputs: readonly number[];
  readonly in_place: boolean;
  readonly random: boolean;
  readonly pinned: boolean;
  /** It is a module that can't be traced, and this is why. */
  readonly opaque?: string;
  readonly implementations: readonly Implementation[];
}

export interface Implementation {
  readonly name: string;
  readonly exactness: "bitwise" | "same-kernel" | "approximate";
  readonly saves: readonly number[];
  readonly internal_bytes: number;
  /** It may overwrite its input, though the user didn't write the operator in place. */
  readonly in_place?: boolean;
  readonly forward: Cost & {
    /** Time where it may not overwrite its input, but would. */
    readonly out_of_place?: number;
  };
  readonly recompute: Cost;
  readonly backward: Backward | null;
}

export interface Backward extends Cost {
  readonly gradients: readonly Gradient[];
  /** What autograd runs as a node of its own after that, when what the operator saved is gone but for what this one holds. */
  readonly rest?: { readonly holds: number; readonly peak: number; readonly gradients: readonly Gradient[] };
}

export interface Cost {
  readonly time: number;
  readonly peak: number;
  /** Interquartile range of the measured times, divided by their median. */
  readonly spread?: number;
}

export interface Gradient {
  readonly input: number;
  readonly bytes: number;
  readonly alias: number | null;
  readonly dense: boolean;
  /** A view keeps its base alive, so that nothing is summed into it. */
  readonly view: boolean;
}

/** Those of the rest come last. */
export const gradientsOf = (backward: Backward | null): readonly Gradient[] => [...(backward?.gradients ?? []), ...(backward?.rest?.gradients ?? [])];

const contradiction = (path: string, problem: string): DocumentError => new DocumentError("M505", path, problem);

/** Reads and checks a graph; throws a DocumentError whose sentence names the place in the document. */
export function parseGraph(text: string): Graph {
  return checkGraph(parseJson(text, "graph"));
}

export function checkGraph(document: unknown): Graph {
  const graph = readDocument(document, schema, "training graph") as Graph;
  checkValues(graph);
  checkOperators(graph);
  checkTotals(graph);
  graph.outputs.forEach((id, k) => {
    if (id >= graph.values.length) throw contradiction(`outputs[${k}]`, `value ${id} does not exist`);
  });
  return graph;
}

/** JSON text to an unknown document; a truncated file is told in one sentence. */
export function parseJson(text: string, what: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    const detail = error instanceof Error ? error.message : String(error);
    throw new DocumentError("M501", "", `the ${what} is not complete JSON (${detail})`);
  }
}

const itemSizes: ReadonlyMap<string, number> = new Map([
  ["bool", 1], ["uint8", 1], ["int8", 1], ["float8_e4m3fn", 1], ["float8_e5m2", 1], ["float8_e4m3fnuz", 1], ["float8_e5m2fnuz", 1],
  ["float16", 2], ["bfloat16", 2], ["int16", 2], ["uint16", 2],
  ["float32", 4], ["int32", 4], ["uint32", 4], ["complex32", 4],
  ["float64", 8], ["int64", 8], ["uint64", 8], ["complex64", 8],
  ["complex128", 16],
]);

/** Shape × dtype: the size of a dense tensor like this value, which a gradient of it has. */
export function denseBytes(value: Value): number {
  return value.shape.reduce((product, extent) => product * extent, itemSizes.get(value.dtype) ?? 0);
}

/** All that the model's operators make in a forward, dropped or kept: what tells whether a step is larger than the planned one. */
export function activationBytes({ values, operators }: Graph): number {
  return values.reduce((sum, { bytes, producer }) => (producer !== null && operators[producer]?.part === "model" ? sum + bytes : sum), 0);
}

/** The modules that can't be traced, by path, and why. */
export const opaqueModules = ({ operators }: Graph): ReadonlyMap<string, string> =>
  new Map(operators.flatMap(({ module, opaque }) => (opaque === undefined ? [] : [[module, opaque] as const])));

/** Nanoseconds that a copy of so many bytes takes. */
export const transferTime = ({ latency, bytes_per_second }: Link, bytes: number): number => latency + Math.ceil((bytes / bytes_per_second) * 1e9);

export const fixedBytes = (graph: Graph): number => Object.values(graph.fixed).reduce((sum, bytes) => sum + bytes, 0);

/** The optimizer's step comes when activations are gone: no plan makes it smaller. */
export const optimizerPeak = (graph: Graph): number => fixedBytes(graph) + (graph.optimizer_step ?? 0);

/** Every sum that a simulator or a solver makes of a step stays below what a number holds exactly. */
function checkTotals({ fixed, values, operators, transfer }: Graph): void {
  let bytes = Object.values(fixed).reduce((sum, each) => sum + each, 0);
  let time = 0;
  for (const value of values) {
    bytes += value.bytes;
    if (transfer !== undefined) time += transferTime(transfer.to_host, value.bytes) + transferTime(transfer.from_host, value.bytes);
  }
  for (const { implementations } of operators) {
    const all = implementations.flatMap(({ forward, recompute, backward }) => [forward, recompute, ...(backward === null ? [] : [backward])]);
    const gradients = implementations.map(({ backward }) => gradientsOf(backward).reduce((sum, gradient) => sum + gradient.bytes, (backward?.rest?.holds ?? 0) + (backward?.rest?.peak ?? 0)));
    bytes += Math.max(...implementations.map((each) => each.internal_bytes)) + Math.max(...all.map((run) => run.peak)) + Math.max(...gradients);
    time += all.reduce((sum, run) => sum + run.time, 0) + implementations.reduce((sum, { forward }) => sum + (forward.out_of_place ?? 0), 0);
  }
  if (!Number.isSafeInteger(bytes)) throw contradiction("values", "their bytes, with all that operators take, add up to more than 2^53; were they written in bytes?");
  if (!Number.isSafeInteger(time)) throw contradiction("operators", "their times add up to more than 2^53 ns; were they written in nanoseconds?");
}

function checkValues({ values, operators }: Graph): void {
  values.forEach((value, k) => {
    const at = `values[${k}]`;
    if (value.id !== k) throw contradiction(`${at}.id`, `is ${value.id}, expected ${k}`);
    if (!itemSizes.has(value.dtype)) throw contradiction(`${at}.dtype`, `'${value.dtype}' is not a known element type`);
    const storage = values[value.storage];
    if (storage === undefined) throw contradiction(`${at}.storage`, `value ${value.storage} does not exist`);
    if (value.storage > k) throw contradiction(`${at}.storage`, `value ${value.storage} comes later`);
    if (storage.storage !== storage.id) throw contradiction(`${at}.storage`, `value ${storage.id} is a view itself`);
    if (value.storage !== k && value.bytes !== 0) throw contradiction(`${at}.bytes`, `a view has 0 bytes of its own, not ${value.bytes}`);
    if (value.kind !== "activation") {
      if (value.producer !== null) throw contradiction(`${at}.producer`, `a ${value.kind} has no producer`);
      if (storage.kind === "activation") throw contradiction(`${at}.storage`, `a ${value.kind} can't live in an activation`);
      return;
    }
    if (value.producer === null) throw contradiction(`${at}.producer`, "an activation needs a producer");
    const producer = operators[value.producer];
    if (producer === undefined) throw contradiction(`${at}.producer`, `operator ${value.producer} does not exist`);
    if (!producer.outputs.includes(k)) throw contradiction(`${at}.producer`, `operator ${value.producer} does not list it in its outputs`);
    if (storage.producer !== null && storage.producer > value.producer) {
      throw contradiction(`${at}.storage`, `operator ${storage.producer} makes value ${storage.id} after operator ${value.producer}`);
    }
  });
}

function checkOperators({ values, operators }: Graph): void {
  operators.forEach((operator, k) => {
    const at = `operators[${k}]`;
    if (operator.id !== k) throw contradiction(`${at}.id`, `is ${operator.id}, expected ${k}`);
    operator.inputs.forEach((id, slot) => {
      const value = values[id];
      if (value === undefined) throw contradiction(`${at}.inputs[${slot}]`, `value ${id} does not exist`);
      if (value.producer !== null && value.producer >= k) {
        throw contradiction(`${at}.inputs[${slot}]`, `value ${id} is made by operator ${value.producer}, not before operator ${k}`);
      }
    });
    const seen = new Set<number>();
    operator.outputs.forEach((id, slot) => {
      const value = values[id];
      if (value === undefined) throw contradiction(`${at}.outputs[${slot}]`, `value ${id} does not exist`);
      if (value.producer !== k) throw contradiction(`${at}.outputs[${slot}]`, `value ${id} has another producer (${value.producer ?? "none"})`);
      if (seen.has(id)) throw contradiction(`${at}.outputs[${slot}]`, `value ${id} is listed twice`);
      seen.add(id);
    });
    if (operator.in_place) checkInPlace(operator, values, at);
    checkImplementations(operator, { values, operators }, at);
  });
}

function checkInPlace({ inputs, outputs: [output] }: Operator, values: readonly Value[], at: string): void {
  if (inputs.length === 0) throw contradiction(`${at}.in_place`, "an operator without inputs can't run in place");
  if (output === undefined || values[output]?.storage !== output) {
    throw contradiction(`${at}.in_place`, "its first output must have a storage of its own");
  }
}

/** Does it overwrite its input, where that may go? */
export const isInPlace = (operator: Operator, implementation: Implementation): boolean => operator.in_place || implementation.in_place === true;

/** What `later` makes of an operator's outputs can stand in for them. */
const standsIn = (operator: Operator, later: Operator | undefined, values: readonly Value[]): boolean => {
  const made = new Set(operator.outputs.map((id) => values[id]?.storage));
  return operator.opaque === undefined && later?.part === operator.part && later.inputs.some((id) => made.has(values[id]?.storage));
};

function checkImplementations(operator: Operator, { values, operators }: Pick<Graph, "values" | "operators">, path: string): void {
  const names = new Set<string>();
  operator.implementations.forEach((implementation, k) => {
    const at = `${path}.implementations[${k}]`;
    if (names.has(implementation.name)) throw contradiction(`${at}.name`, `'${implementation.name}' is used twice`);
    names.add(implementation.name);
    if (implementation.in_place === true) checkInPlace(operator, values, at);
    let last = -1;
    implementation.saves.forEach((id, slot) => {
      const here = `${at}.saves[${slot}]`;
      const value = values[id];
      if (value === undefined) throw contradiction(here, `value ${id} does not exist`);
      if (value.storage !== id) throw contradiction(here, `value ${id} is a view; name its storage ${value.storage}`);
      if (value.kind !== "activation") throw contradiction(here, `value ${id} is a ${value.kind}; only activations are listed`);
      if (id <= last) throw contradiction(here, "saves must be ascending, without duplicates");
      if (value.producer !== null && value.producer > operator.id && !standsIn(operator, operators[value.producer], values)) {
        throw contradiction(here, `value ${id} is made by operator ${value.producer}, after operator ${operator.id} and not of what that makes`);
      }
      last = id;
    });
    const { backward } = implementation;
    gradientsOf(backward).forEach((gradient, k) => {
      const first = backward?.gradients.length ?? 0;
      const here = `${at}.backward.${k < first ? `gradients[${k}]` : `rest.gradients[${k - first}]`}`;
      const input = operator.inputs[gradient.input];
      if (input === undefined) throw contradiction(`${here}.input`, `operator ${operator.id} has no input ${gradient.input}`);
      const value = values[input];
      if (value?.requires_grad === false) throw contradiction(`${here}.input`, `value ${input} does not require a gradient`);
      if (gradient.alias !== null && operator.outputs[gradient.alias] === undefined) {
        throw contradiction(`${here}.alias`, `operator ${operator.id} has no output ${gradient.alias}`);
      }
    });
  });
}
