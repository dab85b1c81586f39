import { fixedBytes, gradientsOf, isInPlace, transferTime, type Gradient, type Graph, type Implementation, type Operator } from "../graph";
import { int, rows, type Rows } from "./arrays";

/**
 * A graph as typed arrays, for the inner loops of simulator and solver.
 *
 * A *tensor* is what a plan keeps, drops and recomputes: tensor t < storages is an activation's storage,
 * tensor storages + i the internals of operator i. An implementation has an id of its own, counted through
 * all operators; a *choice* is an Int32Array with one of them per operator.
 */
export interface Problem {
  readonly graph: Graph;
  readonly operators: number;
  readonly storages: number;
  readonly tensors: number;
  readonly fixed: number;
  readonly rng: number;

  /** Per storage. */
  readonly valueOf: Int32Array;
  readonly bytes: Float64Array;
  readonly producer: Int32Array;
  readonly lastUse: Int32Array;
  readonly isOutput: Uint8Array;
  /** Per value: its storage's tensor, or −1 where it is a constant. */
  readonly storageOf: Int32Array;

  /** Per operator. Reads and makes are storages; dies are the storages whose last forward use it is. */
  readonly reads: Rows;
  readonly makes: Rows;
  readonly dies: Rows;
  readonly madeBytes: Float64Array;
  /** The storage that its first output may take over when recomputed, by some implementation (−1: none), and the same in forward. */
  readonly takes: Int32Array;
  readonly takesForward: Int32Array;
  /** Operators that may take over a storage in forward, ascending. */
  readonly overwriting: Int32Array;
  /** Bytes of the output that takes over. */
  readonly takenBytes: Float64Array;
  readonly random: Uint8Array;
  readonly pinned: Uint8Array;
  /** It is a module that can't be traced: its backward recomputes nothing. */
  readonly opaque: Uint8Array;
  /** Per tensor: what a pinned operator makes and what an opaque one saves, held from forward to the last need. */
  readonly stays: Uint8Array;

  /** Implementations of operator i are implementations[i] … implementations[i+1]. The rest is per implementation. */
  readonly implementations: Int32Array;
  readonly saves: Rows;
  /** Bytes of outputs that its backward makes again of what stands in for them: of what it saves that is made later. */
  readonly restoredBytes: Float64Array;
  /** Some implementation saves what is made later. */
  readonly standsIn: boolean;
  /** It leaves what others might take over: since it saves that, or doesn't run in place. */
  readonly leaves: Uint8Array;
  readonly internal: Float64Array;
  readonly forwardTime: Float64Array;
  /** Nanoseconds more where it leaves what it may take over. */
  readonly copyTime: Float64Array;
  readonly forwardPeak: Float64Array;
  readonly recomputeTime: Float64Array;
  readonly recomputePeak: Float64Array;
  /** Of a recompute that makes internals, too. */
  readonly remakePeak: Float64Array;
  readonly backwardTime: Float64Array;
  readonly backwardPeak: Float64Array;
  readonly hasBackward: Uint8Array;
  /** Gradients that are a storage of their own. This and the peak are without the rest, which comes when saves are gone: gradient profiles tell of it. */
  readonly gradientBytes: Float64Array;
  /**
   * Equal for implementations of one operator that leave the same gradients: those of other steps depend on nothing else.
   * And equal for those of them that come to it in the same way.
   */
  readonly gradientClass: Int32Array;
  readonly gradientWay: Int32Array;
  /** Some implementation without backward saves something, which is then held to the end. */
  readonly strands: boolean;

  /** Nanoseconds that a storage's copy to the host and back takes; null where nothing can be offloaded. */
  readonly transfer: { readonly out: Float64Array; readonly back: Float64Array; readonly overlaps: boolean } | null;
  /** Per storage: the last operator of its part, model or loss. Each part runs by itself, and knows its own clocks alone. */
  readonly partEnd: Int32Array;
  /** Storages that may be offloaded, but for what operators without backward save. */
  readonly offloadable: Uint8Array;
}

export function indexGraph(graph: Graph): Problem {
  const { values, operators } = graph;
  const owned = values.filter((value) => value.kind === "activation" && value.storage === value.id);
  const tensorOf = new Map(owned.map((value, s) => [value.id, s]));
  const storageOf = Int32Array.from(values, (value) => tensorOf.get(value.storage) ?? -1);
  const storagesOf = (ids: readonly number[]): number[] => {
    const found = ids.map((id) => storageOf[id] ?? -1).filter((s) => s >= 0);
    return [...new Set(found)].sort((a, b) => a - b);
  };

  const reads = operators.map((operator) => storagesOf(operator.inputs));
  const makes = operators.map((operator) => operator.outputs.map((id) => tensorOf.get(id) ?? -1).filter((s) => s >= 0));
  const producer = Int32Array.from(owned, (value) => value.producer ?? 0);
  const lastUse = Int32Array.from(producer);
  reads.forEach((storages, i) => {
    for (const s of storages) lastUse[s] = i;
  });
  const dies: number[][] = operators.map(() => []);
  lastUse.forEach((i, s) => dies[i]?.push(s));
  const isOutput = new Uint8Array(owned.length);
  for (const s of storagesOf(graph.outputs)) isOutput[s] = 1;

  const takes = Int32Array.from(operators, (operator) => {
    const [input] = operator.inputs;
    const over = operator.implementations.some((implementation) => isInPlace(operator, implementation));
    return over && input !== undefined ? (tensorOf.get(input) ?? -1) : -1;
  });
  const takesForward = takes.map((s, i) => (s >= 0 && lastUse[s] === i && isOutput[s] === 0 ? s : -1));
  const bytes = Float64Array.from(owned, (value) => value.bytes);

  const flat = operators.flatMap((operator) => operator.implementations.map((implementation) => ({ operator, implementation })));
  const implementations = new Int32Array(operators.length + 1);
  operators.forEach((operator, i) => {
    implementations[i + 1] = (implementations[i] ?? 0) + operator.implementations.length;
  });
  const saves = flat.map(({ implementation }) => storagesOf(implementation.saves));
  const restoredBytes = Float64Array.from(flat, ({ operator }, q) =>
    (saves[q] ?? []).reduce((sum, s) => ((producer[s] ?? 0) > operator.id ? sum + (bytes[s] ?? 0) : sum), 0));
  const per = (measure: (implementation: Implementation) => number): Float64Array =>
    Float64Array.from(flat, ({ implementation }) => measure(implementation));
  const firstAlike = (told: (implementation: Implementation, operator: Operator) => string): Int32Array =>
    Int32Array.from(flat, ({ operator, implementation }) => operator.implementations.findIndex((other) => told(other, operator) === told(implementation, operator)));

  const partEnd = new Map<string | undefined, number>(operators.map(({ part, id }) => [part, id]));
  const lastOfPart = producer.map((i) => partEnd.get(operators[i]?.part) ?? 0);
  const { transfer } = graph;
  const stays = Uint8Array.from([...producer, ...operators.keys()], (i) => Number(operators[i]?.pinned ?? false));
  flat.forEach(({ operator }, q) => {
    if (operator.opaque !== undefined) for (const s of saves[q] ?? []) stays[s] = 1;
  });

  return {
    graph,
    operators: operators.length,
    storages: owned.length,
    tensors: owned.length + operators.length,
    fixed: fixedBytes(graph),
    rng: graph.rng_state_bytes,
    valueOf: Int32Array.from(owned, (value) => value.id),
    bytes, producer, lastUse, isOutput, storageOf,
    reads: rows(reads), makes: rows(makes), dies: rows(dies),
    madeBytes: Float64Array.from(makes, (storages) => storages.reduce((sum, s) => sum + (bytes[s] ?? 0), 0)),
    takes, takesForward,
    overwriting: Int32Array.from(operators.keys()).filter((i) => int(takesForward, i) >= 0),
    takenBytes: Float64Array.from(operators, (operator, i) => ((takes[i] ?? -1) < 0 ? 0 : (values[operator.outputs[0] ?? 0]?.bytes ?? 0))),
    random: Uint8Array.from(operators, (operator) => Number(operator.random)),
    pinned: Uint8Array.from(operators, (operator) => Number(operator.pinned)),
    opaque: Uint8Array.from(operators, (operator) => Number(operator.opaque !== undefined)),
    stays,
    implementations,
    saves: rows(saves),
    restoredBytes,
    standsIn: restoredBytes.some((each) => each > 0),
    leaves: Uint8Array.from(flat, ({ operator, implementation }, q) =>
      Number(!isInPlace(operator, implementation) || (saves[q]?.includes(takes[operator.id] ?? -1) ?? false))),
    internal: per((x) => x.internal_bytes),
    forwardTime: per((x) => x.forward.time),
    copyTime: Float64Array.from(flat, ({ operator, implementation }) =>
      isInPlace(operator, implementation) ? Math.max(0, (implementation.forward.out_of_place ?? 0) - implementation.forward.time) : 0),
    forwardPeak: per((x) => x.forward.peak),
    recomputeTime: per((x) => x.recompute.time),
    recomputePeak: per((x) => x.recompute.peak),
    remakePeak: per((x) => Math.max(x.forward.peak, x.recompute.peak)),
    backwardTime: per((x) => x.backward?.time ?? 0),
    backwardPeak: per((x) => x.backward?.peak ?? 0),
    hasBackward: Uint8Array.from(flat, ({ implementation }) => Number(implementation.backward !== null)),
    gradientBytes: per((x) => x.backward?.gradients.reduce((sum, g) => sum + (g.alias === null ? g.bytes : 0), 0) ?? 0),
    gradientClass: firstAlike(({ backward }, { inputs }) => JSON.stringify(backward && leftBy(gradientsOf(backward), inputs))),
    gradientWay: firstAlike(({ backward }) => JSON.stringify([backward?.gradients, backward?.rest])),
    transfer: transfer === undefined ? null : {
      out: bytes.map((each) => transferTime(transfer.to_host, each)),
      back: bytes.map((each) => transferTime(transfer.from_host, each)),
      overlaps: transfer.overlaps,
    },
    partEnd: lastOfPart,
    offloadable: isOutput.map((output, s) => Number(transfer !== undefined && output === 0 && stays[s] === 0 && (bytes[s] ?? 0) > 0 && (lastUse[s] ?? 0) <= (lastOfPart[s] ?? 0))),
    strands: flat.some(({ implementation: x }) => x.backward === null && (x.saves.length > 0 || x.internal_bytes > 0)),
  };
}

/** Gradients that are each a storage of their own for another value leave the same, in whatever order they come. */
function leftBy(gradients: readonly Gradient[], inputs: readonly number[]): readonly Gradient[] {
  const apart = new Set(gradients.map(({ input }) => inputs[input])).size === gradients.length && gradients.every(({ alias }) => alias === null);
  return apart ? [...gradients].sort((a, b) => a.input - b.input) : gradients;
}

/** The operator whose result or internals tensor t is. */
export const makerOf = ({ storages, producer }: Problem, t: number): number => (t < storages ? int(producer, t) : t - storages);

/** The first implementation everywhere: what eager PyTorch does. */
export const eagerChoice = (problem: Problem): Int32Array => problem.implementations.slice(0, problem.operators);

