import { denseBytes, gradientsOf, type Gradient, type Graph, type Implementation, type Operator } from "../graph";
import { int, item } from "./arrays";
import type { Problem } from "./problem";

export interface TensorRef {
  readonly kind: "value" | "internals" | "gradient";
  /** A value's id, an operator's id, or the id of the value whose gradient it is. */
  readonly id: number;
  readonly bytes: number;
}

/** Something that happens to gradients after a backward operator, the rest of it too: live bytes are those of gradients alone. */
export interface GradientEvent {
  readonly kind: "rest" | "sum" | "accumulate";
  readonly before: number;
  readonly moment: number;
  readonly after: number;
  readonly allocated: readonly TensorRef[];
  readonly freed: readonly TensorRef[];
}

/**
 * Gradient memory of a step. It depends on the chosen implementations only, never on what is kept
 * or recomputed, so it is walked once and added to whatever the activations do.
 */
export interface GradientProfile {
  /** Per backward step k: live when it starts. */
  readonly before: Float64Array;
  /** Per implementation that leaves the same gradients as the chosen one: the most live after its step 3 (−∞: nothing summed or copied, and no rest). */
  readonly handing: Float64Array;
  readonly steps: readonly GradientStep[];
}

export interface GradientStep {
  readonly allocated: readonly TensorRef[];
  readonly freed: readonly TensorRef[];
  readonly after: number;
  readonly events: readonly GradientEvent[];
}

interface Storage {
  readonly bytes: number;
  readonly value: number;
  references: number;
}

interface Reference {
  readonly storage: Storage;
  readonly dense: boolean;
  readonly view: boolean;
}

/** Under a tracker of live tensors (structure) PyTorch sums out of place, otherwise in place where it may. */
export function gradientProfile({ graph, implementations, gradientClass, gradientWay }: Problem, choice: Int32Array, structure: boolean): GradientProfile {
  const n = graph.operators.length;
  const chosenOf = ({ id, implementations: all }: Operator): Implementation => item(all, int(choice, id) - int(implementations, id));
  const walk = new GradientWalk(graph, structure, arrivals(graph, chosenOf));
  const before = new Float64Array(n);
  const handing = new Float64Array(gradientClass.length).fill(-Infinity);
  const steps: GradientStep[] = [];
  const most = ({ events }: GradientStep): number => events.reduce((highest, { moment }) => Math.max(highest, moment), -Infinity);
  for (let k = 0; k < n; k++) {
    before[k] = walk.live;
    const operator = item(graph.operators, n - 1 - k);
    const [first, chosen] = [int(implementations, operator.id), int(choice, operator.id)];
    const ways = new Map<number, number>();
    operator.implementations.forEach((other, at) => {
      const [q, way] = [first + at, int(gradientWay, first + at)];
      if (way === int(gradientWay, chosen) || int(gradientClass, q) !== int(gradientClass, chosen)) return;
      ways.set(way, ways.get(way) ?? most(walk.copy().step(operator, other)));
    });
    const step = walk.step(operator, chosenOf(operator));
    ways.set(int(gradientWay, chosen), most(step));
    operator.implementations.forEach((_, at) => {
      handing[first + at] = ways.get(int(gradientWay, first + at)) ?? -Infinity;
    });
    steps.push(step);
  }
  return { before, handing, steps };
}

/** How many gradients each parameter gets. */
function arrivals(graph: Graph, chosenOf: (operator: Operator) => Implementation): Map<number, number> {
  const count = new Map<number, number>();
  for (const operator of graph.operators) {
    for (const { input } of gradientsOf(chosenOf(operator).backward)) {
      const value = item(graph.values, item(operator.inputs, input));
      if (value.kind === "parameter") count.set(value.id, (count.get(value.id) ?? 0) + 1);
    }
  }
  return count;
}

class GradientWalk {
  live: number;
  private freed: TensorRef[] = [];
  private readonly graph: Graph;
  private readonly structure: boolean;
  private readonly awaited: Map<number, number>;
  private readonly buffers: Map<number, Reference>;

  constructor(graph: Graph, structure: boolean, awaited: Map<number, number>, live = 0, buffers = new Map<number, Reference>()) {
    this.graph = graph;
    this.structure = structure;
    this.awaited = awaited;
    this.live = live;
    this.buffers = buffers;
  }

  copy(): GradientWalk {
    const storages = new Map([...this.buffers.values()].map(({ storage }) => [storage, { ...storage }]));
    const buffers = [...this.buffers].map(([id, reference]) => [id, { ...reference, storage: storages.get(reference.storage) ?? reference.storage }] as const);
    return new GradientWalk(this.graph, this.structure, new Map(this.awaited), this.live, new Map(buffers));
  }

  step(operator: Operator, { backward }: Implementation): GradientStep {
    if (backward === null) return { allocated: [], freed: [], after: this.live, events: [] };
    const { rest } = backward;
    const first = this.node(operator, backward.gradients, rest === undefined);
    if (rest === undefined) return first;
    const before = this.live;
    const { allocated, freed, after, events } = this.node(operator, rest.gradients, true);
    const made = allocated.reduce((sum, { bytes }) => sum + bytes, 0);
    const moment = before + rest.holds + (this.structure ? made : rest.peak);
    return { ...first, events: [...first.events, { kind: "rest", before, moment, after, allocated, freed }, ...events] };
  }

  /** A node of autograd's: it makes gradients, and drops those of the outputs if it is the operator's last. */
  private node(operator: Operator, gradients: readonly Gradient[], isLast: boolean): GradientStep {
    this.freed = [];
    const allocated: TensorRef[] = [];
    const arriving = gradients.map((gradient) => {
      const reference = this.arrive(operator, gradient);
      const { storage } = reference;
      if (storage.references === 1) allocated.push({ kind: "gradient", id: storage.value, bytes: storage.bytes });
      return { value: item(operator.inputs, gradient.input), reference };
    });
    if (isLast) for (const output of operator.outputs) {
      const reference = this.buffers.get(output);
      if (reference !== undefined) this.release(reference.storage);
      this.buffers.delete(output);
    }
    const step = { allocated, freed: this.freed, after: this.live };
    const events: GradientEvent[] = [];
    const complete: number[] = [];
    for (const { value, reference } of arriving) {
      this.freed = [];
      const event = this.handOn(value, reference);
      if (event !== null) events.push(event);
      const awaited = this.awaited.get(value);
      if (awaited === undefined) continue;
      this.awaited.set(value, awaited - 1);
      if (awaited === 1) complete.push(value);
    }
    for (const parameter of complete) {
      this.freed = [];
      events.push(this.accumulate(parameter));
    }
    return { ...step, events };
  }

  /** A gradient as the backward operator returns it: a storage of its own, or one more reference to its output's. */
  private arrive(operator: Operator, gradient: Gradient): Reference {
    const aliased = gradient.alias === null ? undefined : this.buffers.get(item(operator.outputs, gradient.alias));
    if (aliased !== undefined) {
      aliased.storage.references++;
      return { storage: aliased.storage, dense: gradient.dense, view: gradient.view || aliased.view };
    }
    return { storage: this.allocate(item(operator.inputs, gradient.input), gradient.bytes), dense: gradient.dense, view: gradient.view };
  }

  private handOn(id: number, incoming: Reference): GradientEvent | null {
    const value = item(this.graph.values, id);
    const before = this.live;
    if (value.kind !== "activation" && value.kind !== "parameter") {
      this.release(incoming.storage);
      return null;
    }
    const buffer = this.buffers.get(id);
    if (buffer === undefined) {
      this.buffers.set(id, incoming);
      return null;
    }
    if (!this.structure && buffer.dense && !buffer.view && buffer.storage.references === 1) {
      this.release(incoming.storage);
      return { kind: "sum", before, moment: before, after: this.live, allocated: [], freed: this.freed };
    }
    const sum = this.allocate(id, denseBytes(value));
    const moment = this.live;
    this.release(buffer.storage);
    this.release(incoming.storage);
    this.buffers.set(id, { storage: sum, dense: true, view: false });
    return { kind: "sum", before, moment, after: this.live, allocated: [{ kind: "gradient", id, bytes: sum.bytes }], freed: this.freed };
  }

  /** A parameter's last gradient has arrived. */
  private accumulate(id: number): GradientEvent {
    const before = this.live;
    const buffer = this.buffers.get(id);
    this.buffers.delete(id);
    const event = { kind: "accumulate", before, moment: before, allocated: [], freed: this.freed } as const;
    if (buffer === undefined) return { ...event, after: before };
    if (this.graph.gradients === "accumulate") {
      this.release(buffer.storage);
      return { ...event, after: this.live };
    }
    if (buffer.dense && buffer.storage.references === 1) return { ...event, after: before };
    const copy = this.allocate(id, denseBytes(item(this.graph.values, id)));
    const moment = this.live;
    this.release(buffer.storage);
    return { ...event, moment, after: this.live, allocated: [{ kind: "gradient", id, bytes: copy.bytes }] };
  }

  private allocate(value: number, bytes: number): Storage {
    this.live += bytes;
    return { bytes, value, references: 1 };
  }

  private release(storage: Storage): void {
    storage.references--;
    if (storage.references > 0) return;
    this.live -= storage.bytes;
    this.freed.push({ kind: "gradient", id: storage.value, bytes: storage.bytes });
  }
}
