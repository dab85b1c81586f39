import type { Backward, Gradient, Graph, Implementation, Operator, Transfer, Value } from "../../src/core/graph";
import type { Plan, Retention } from "../../src/core/plan";
import { Random } from "../../src/core/solve/random";

/** The same seed makes the same graph on every machine. */
export class Dice extends Random {
  chance(p: number): boolean {
    return this.next() < p;
  }
  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }
}

export interface Shape {
  readonly operators: number;
  /** Several implementations, random, pinned and opaque operators, views, and operators without backward. */
  readonly exotic: boolean;
  /** Tensors can be offloaded, over links that take about as long as operators do. */
  readonly transfer?: boolean;
}

/** The same graph with links, and at times a loss that runs by itself. */
function withTransfer(graph: Graph, seed: number): Graph {
  const dice = new Dice(seed ^ 0x2545f491);
  const link = (): Transfer["to_host"] => ({ bytes_per_second: dice.pick([300_000_000, 1_000_000_000, 7_000_000_000]), latency: dice.below(4) });
  const loss = dice.chance(0.3) ? dice.below(graph.operators.length) + 1 : graph.operators.length;
  return {
    ...graph,
    operators: graph.operators.map((operator, i) => (i < loss ? operator : { ...operator, part: "loss" })),
    transfer: { to_host: link(), from_host: link(), overlaps: dice.chance(0.7) },
  };
}

/** The same graph with some of its pinned operators opaque. */
function withOpaque(graph: Graph, seed: number): Graph {
  const dice = new Dice(seed ^ 0x3c6ef372);
  return { ...graph, operators: graph.operators.map((operator) => (operator.pinned && operator.implementations.length === 1 && dice.chance(0.6) ? { ...operator, opaque: "it looks at values" } : operator)) };
}

/** The same graph with some implementations that save what an operator makes of theirs, in place of some that they save. */
function withStandIns(graph: Graph, seed: number): Graph {
  const dice = new Dice(seed ^ 0x7f4a7c15);
  const { values, operators } = graph;
  const storageOf = (id: number): number => values[id]!.storage;
  const fresh = (operator: Operator): number[] => operator.outputs.filter((id) => storageOf(id) === id);
  return {
    ...graph,
    operators: operators.map((operator) => {
      const made = new Set(operator.outputs.map(storageOf));
      const later = operators.filter(({ id, part, inputs }) => id > operator.id && part === operator.part && inputs.some((input) => made.has(storageOf(input))));
      const candidates = operator.opaque === undefined ? later.flatMap(fresh) : [];
      return {
        ...operator,
        implementations: operator.implementations.map((each) => {
          if (candidates.length === 0 || !dice.chance(0.3)) return each;
          const saves = new Set(each.saves.filter(() => dice.chance(0.5))).add(dice.pick(candidates));
          return { ...each, saves: [...saves].sort((a, b) => a - b) };
        }),
      };
    }),
  };
}

/** Some operators that were not written in place, and could be, have an implementation that is. */
function withOverwriting(graph: Graph, seed: number): Graph {
  const dice = new Dice(seed ^ 0x51ed270b);
  const { values, operators } = graph;
  return {
    ...graph,
    operators: operators.map((operator) => {
      const [input, output] = [values[operator.inputs[0]!], values[operator.outputs[0]!]];
      const [eager] = operator.implementations;
      const own = [input, output].every((value) => value?.kind === "activation" && value.storage === value.id);
      if (operator.in_place || operator.opaque !== undefined || !own || input!.bytes !== output!.bytes || dice.chance(0.2)) return operator;
      const cost = { time: 1 + dice.below(20), peak: eager!.forward.peak };
      const saves = eager!.saves.filter((id) => id !== input!.id || dice.chance(0.3));
      return { ...operator, implementations: [...operator.implementations, { ...eager!, name: "in place", in_place: true, saves, forward: copying(cost, true) }] };
    }),
  };
}

/** What is held from forward to its last need, whatever the plan: as `v3`, and `i3` for internals. */
function stayingIn({ values, operators }: Graph): ReadonlySet<string> {
  return new Set(operators.flatMap(({ id, pinned, opaque, outputs, implementations }) => [
    ...(pinned ? [`i${id}`, ...outputs.map((output) => `v${values[output]!.storage}`)] : []),
    ...(opaque === undefined ? [] : implementations[0]!.saves.map((saved) => `v${saved}`)),
  ]));
}

/** The plan with some of what it keeps away for a while, at any clocks that the format allows. */
function withOffloads(graph: Graph, plan: Plan, firstUse: ReadonlyMap<string, number>, stays: ReadonlySet<string>, seed: number): Plan {
  const dice = new Dice(seed ^ 0x1b873593);
  const n = graph.operators.length;
  const rate = dice.pick([0.2, 0.6, 1]);
  const staying = stayingIn(graph);
  const chosen = (i: number): Implementation => {
    const { implementations } = graph.operators[i]!;
    return implementations.find(({ name }) => name === plan.implementations[String(i)]) ?? implementations[0]!;
  };
  const retain = plan.retain.map((entry): Retention => {
    const { value, intervals } = entry;
    if (value === undefined || intervals[0]![0] >= n || stays.has(`v${value}`) || !dice.chance(rate)) return entry;
    const producer = graph.values[value]!.producer!;
    const { part } = graph.operators[producer]!;
    if (staying.has(`v${value}`)) return entry;
    const within = (i: number): boolean => graph.operators[i]!.part === part;
    const last = Math.max(producer, ...graph.operators.filter(({ inputs }) => inputs.some((id) => graph.values[id]!.storage === value)).map(({ id }) => id));
    const goes = graph.operators.map(({ id }) => id).filter((i) => i >= last && within(i));
    const back = graph.operators.map(({ id }) => id).filter((i) => {
      const { backward, saves, internal_bytes } = chosen(i);
      return 2 * n - 1 - i <= firstUse.get(`v${value}`)! && within(i) && backward !== null && (saves.length > 0 || internal_bytes > 0);
    });
    if (goes.length === 0 || back.length === 0) return entry;
    return { value, intervals, offload: [dice.pick(goes), 2 * n - 1 - dice.pick(back)] };
  });
  return { ...plan, retain };
}

/** A random graph of the format: branches, skips, views, in place, internals, tied parameters, aliased and expanded gradients. */
export function randomGraph(seed: number, { operators: n, exotic, transfer = false }: Shape): Graph {
  const dice = new Dice(seed);
  const values: Value[] = [];
  const operators: Operator[] = [];
  const make = (kind: Value["kind"], producer: number | null, elements: number, requiresGrad: boolean, storage?: number): number => {
    const id = values.length;
    values.push({
      id, name: `v${id}`, kind, shape: [elements], dtype: "float32", bytes: storage === undefined ? 4 * elements : 0,
      storage: storage ?? id, producer, requires_grad: requiresGrad,
    });
    return id;
  };
  const size = (): number => 1 + dice.below(8);
  make("input", null, size(), false);
  const parameters = [make("parameter", null, size(), true), make("parameter", null, size(), true)];
  for (let i = 0; i < n; i++) {
    const recent = values.filter((value) => value.kind === "activation").map((value) => value.id);
    const activation = (): number => (recent.length === 0 ? 0 : dice.chance(0.7) ? recent.at(-1 - dice.below(Math.min(2, recent.length)))! : dice.pick(recent));
    const view = exotic && recent.length > 0 && dice.chance(0.12);
    const inputs = i === 0 ? [0] : [activation()];
    if (!view && i > 0 && dice.chance(0.35)) inputs.push(activation());
    const owner = values[inputs[0]!]!;
    const inPlace = !view && owner.kind === "activation" && owner.storage === owner.id && dice.chance(0.35);
    if (!view && !inPlace && dice.chance(0.5)) inputs.push(dice.pick(parameters));
    const elements = inPlace || view ? owner.shape[0]! : size();
    const outputs = [make("activation", i, elements, true, view ? owner.storage : undefined)];
    if (!view && exotic && dice.chance(0.12)) outputs.push(make("activation", i, size(), dice.chance(0.8)));
    if (!view && exotic && dice.chance(0.08)) outputs.push(make("activation", i, elements, true, outputs[0]));
    const savable = [...new Set([...inputs, ...outputs].map((id) => values[id]!.storage))].filter((id) => values[id]!.kind === "activation");
    const variants = exotic && !view && dice.chance(0.25) ? 2 : 1;
    const strands = exotic && dice.chance(0.06);
    const fresh = outputs.filter((id) => values[id]!.storage === id).reduce((sum, id) => sum + values[id]!.bytes, 0);
    const implementations = Array.from({ length: variants }, (_, k): Implementation => {
      const internal = view || dice.chance(0.6) ? 0 : 4 * size();
      const cost = (): { time: number; peak: number } => ({ time: view ? 0 : 1 + dice.below(20), peak: fresh + internal + (view ? 0 : 4 * dice.below(6)) });
      const gradients: Gradient[] = [];
      inputs.forEach((id, input) => {
        const value = values[id]!;
        if (!value.requires_grad) return;
        const alias = value.kind === "activation" && dice.chance(view ? 1 : 0.25) ? 0 : null;
        gradients.push({ input, alias, bytes: alias === null ? 4 * value.shape[0]! : 0, dense: dice.chance(0.85), view: dice.chance(view ? 0.5 : 0.1) });
      });
      if (dice.chance(0.3)) gradients.reverse();
      const own = gradients.reduce((sum, gradient) => sum + gradient.bytes, 0);
      return {
        name: k === 0 ? "eager" : "other",
        exactness: "bitwise",
        saves: savable.filter((id) => !(inPlace && id === inputs[0] && k === 0) && dice.chance(view ? 0 : 0.5)).sort((a, b) => a - b),
        internal_bytes: internal,
        forward: copying(cost(), inPlace),
        recompute: cost(),
        backward: strands ? null : inNodes({ time: view ? 0 : 1 + dice.below(20), peak: own + (view ? 0 : 4 * dice.below(6)), gradients }),
      };
    });
    operators.push({
      id: i, op: view ? "aten.view" : inPlace ? "aten.relu_" : "aten.op", module: `m${i}`, module_type: "Module", part: "model", source: null,
      inputs, outputs, in_place: inPlace, random: exotic && !view && dice.chance(0.1), pinned: exotic && !view && dice.chance(0.05),
      implementations: exotic && i % 3 === 0 ? [...implementations, ...implementations.slice(0, 1).flatMap(inTwo)] : implementations,
    });
  }
  const used = new Set(operators.flatMap((operator) => operator.inputs));
  const ends = values.filter((value) => value.kind === "activation" && !used.has(value.id)).map((value) => value.id);
  const graph: Graph = {
    format: "monet-graph", version: 1, hash: `random-${seed}`, structure: "random",
    made_from: { model: "random" },
    device: { type: "cpu", name: "test", total_bytes: 1 << 30, estimated: false },
    fixed: { parameters: 64, buffers: 0, inputs: 32, gradients: 0, optimizer: 0 },
    gradients: dice.chance(0.5) ? "fresh" : "accumulate",
    rng_state_bytes: 8,
    values, operators,
    outputs: ends.length > 1 && dice.chance(0.3) ? ends.slice(-2) : ends.slice(-1),
  };
  const whole = withOpaque(graph, seed);
  const linked = transfer ? withTransfer(whole, seed) : whole;
  return exotic ? withOverwriting(withStandIns(linked, seed), seed) : linked;
}

/** In place, half of them take longer where they may not overwrite their input. */
function copying(cost: { time: number; peak: number }, inPlace: boolean): Implementation["forward"] {
  return inPlace && cost.time % 2 === 0 ? { ...cost, out_of_place: cost.time + 1 + (cost.peak % 7) } : cost;
}

/** The same with operators in place that take no longer where they have to leave their input. */
export function withoutCopies(graph: Graph): Graph {
  const without = (implementation: Implementation): Implementation => ({ ...implementation, forward: { time: implementation.forward.time, peak: implementation.forward.peak } });
  return { ...graph, operators: graph.operators.map((operator) => ({ ...operator, implementations: operator.implementations.map(without) })) };
}

/** A third of backwards with several gradients leave some of them to a node of its own. */
function inNodes(backward: Backward): Backward {
  const { gradients } = backward;
  const dice = new Dice(gradients.reduce((seed, { input, bytes, dense }) => 31 * seed + 7 * input + bytes + Number(dense), backward.time + 1));
  return gradients.length < 2 || dice.chance(0.67) ? backward : split(backward, dice);
}

/** The same with its gradients one after another, and slower. */
function inTwo(implementation: Implementation): Implementation[] {
  const { backward } = implementation;
  if (backward === null || backward.gradients.length < 2 || backward.rest !== undefined) return [];
  const dice = new Dice(backward.time + backward.peak);
  return [{ ...implementation, name: "in two", backward: { ...split({ ...backward, gradients: [...backward.gradients].reverse() }, dice), time: backward.time + 1 } }];
}

function split(backward: Backward, dice: Dice): Backward {
  const { gradients } = backward;
  const first = gradients.slice(0, 1 + dice.below(gradients.length - 1));
  const rest = gradients.slice(first.length);
  const bytes = (some: readonly Gradient[]): number => some.reduce((sum, gradient) => sum + gradient.bytes, 0);
  return { ...backward, peak: backward.peak - bytes(rest), gradients: first, rest: { holds: 4 * dice.below(3), peak: bytes(rest) + 4 * dice.below(6), gradients: rest } };
}

/**
 * A random legal plan: an arbitrary choice is thrown at every clock for what to hold next, by the rules of
 * docs/format.md alone. What has to stay is held.
 */
export function randomPlan(graph: Graph, seed: number): Plan {
  const dice = new Dice(seed ^ 0x5bd1e995);
  const n = graph.operators.length;
  const chosen = graph.operators.map((operator) => dice.pick(operator.implementations));
  const keys = new Map<string, [number, number][]>();
  const outputs = new Set(graph.outputs.map((id) => graph.values[id]!.storage));
  const storages = (ids: readonly number[]): number[] => ids.map((id) => graph.values[id]!.storage).filter((id) => graph.values[id]!.kind === "activation");
  const forever = new Set<string>([...outputs].map((id) => `v${id}`));
  graph.operators.forEach((_, i) => {
    if (chosen[i]!.backward !== null) return;
    forever.add(`i${i}`);
    for (const id of chosen[i]!.saves) forever.add(`v${id}`);
  });
  // held: key -> [from, last use so far]
  const held = new Map<string, [number, number]>();
  const firstUse = new Map<string, number>();
  const rerun = new Set<number>();
  const rate = dice.pick([0.1, 0.4, 0.7, 1]);
  const staying = stayingIn(graph);
  graph.operators.forEach((operator, i) => {
    for (const id of operator.outputs) {
      if (graph.values[id]!.storage === id && (staying.has(`v${id}`) || dice.chance(rate))) held.set(`v${id}`, [i, -1]);
    }
    if (chosen[i]!.internal_bytes > 0 && (staying.has(`i${i}`) || dice.chance(rate))) held.set(`i${i}`, [i, -1]);
  });
  const close = (key: string): void => {
    const entry = held.get(key);
    held.delete(key);
    if (entry === undefined || entry[1] <= entry[0] || forever.has(key)) return;
    keys.set(key, [...(keys.get(key) ?? []), [entry[0], entry[1]]]);
  };
  for (let c = n; c < 2 * n; c++) {
    const i = 2 * n - 1 - c;
    if (chosen[i]!.backward === null) continue;
    const isHeld = (key: string): boolean => forever.has(key) || held.has(key);
    const touch = (key: string): void => {
      const entry = held.get(key);
      if (entry === undefined) return;
      entry[1] = c;
      if (!firstUse.has(key)) firstUse.set(key, c);
    };
    const closure = new Set<number>();
    const queue: number[] = [];
    const require = (key: string, producer: number): void => {
      if (isHeld(key)) touch(key);
      else if (!closure.has(producer)) {
        closure.add(producer);
        queue.push(producer);
      }
    };
    for (const id of chosen[i]!.saves) require(`v${id}`, graph.values[id]!.producer!);
    if (chosen[i]!.internal_bytes > 0) require(`i${i}`, i);
    while (queue.length > 0) for (const id of storages(graph.operators[queue.pop()!]!.inputs)) require(`v${id}`, graph.values[id]!.producer!);
    for (const j of closure) if (graph.operators[j]!.random) rerun.add(j);
    for (const key of [...held.keys()]) {
      if (!staying.has(key) && dice.chance(0.15)) close(key);
    }
    for (const j of closure) {
      for (const id of graph.operators[j]!.outputs) {
        if (graph.values[id]!.storage === id && !isHeld(`v${id}`) && !(keys.get(`v${id}`)?.some(([, to]) => to >= c) ?? false) && dice.chance(0.4)) held.set(`v${id}`, [c, -1]);
      }
      if (j < i && chosen[j]!.internal_bytes > 0 && !isHeld(`i${j}`) && !(keys.get(`i${j}`)?.some(([, to]) => to >= c) ?? false) && dice.chance(0.4)) held.set(`i${j}`, [c, -1]);
    }
  }
  for (const key of [...held.keys()]) close(key);
  const retain = [...keys].map(([key, intervals]): Retention =>
    key.startsWith("v") ? { value: Number(key.slice(1)), intervals } : { internals: Number(key.slice(1)), intervals });
  const plan: Plan = {
    format: "monet-plan", version: 1,
    graph: { hash: graph.hash, structure: graph.structure, model: "random", operators: graph.operators.length },
    budget: null,
    implementations: Object.fromEntries(graph.operators.flatMap((operator, i) => (chosen[i] === operator.implementations[0] ? [] : [[String(i), chosen[i]!.name]]))),
    retain,
    rng: [...rerun].sort((a, b) => a - b),
    predicted: { peak: 0, structure_peak: 0, time: 0, eager_peak: 0, eager_structure_peak: 0, eager_time: 0 },
    bound: null,
  };
  return graph.transfer === undefined ? plan : withOffloads(graph, plan, firstUse, forever, seed);
}

/** The graph as if profiled with `size` samples, to which all that activations take is proportional. */
export function growing(graph: Graph, size: number): Graph {
  const numbered = (rows: readonly object[]): object => Object.fromEntries(rows.map((row, k) => [k, row]));
  const of = (numbers: Readonly<Record<string, number>>): object => Object.fromEntries(Object.entries(numbers).map(([name, each]) => [name, each / size]));
  const run = ({ time, peak }: { time: number; peak: number }): object => of({ time, peak });
  const activation = (id: number): boolean => graph.values[id]?.kind === "activation";
  const slopes = {
    values: numbered(graph.values.map(({ id, bytes, shape: [extent = 0] }) => (activation(id) ? { ...of({ bytes }), shape: of({ 0: extent }) } : {}))),
    operators: numbered(graph.operators.map(({ inputs, implementations }) => ({
      implementations: numbered(implementations.map(({ internal_bytes, forward, recompute, backward }) => ({
        ...of({ internal_bytes }), forward: run(forward), recompute: run(recompute),
        ...(backward !== null && { backward: { ...run(backward), gradients: numbered(backward.gradients.map(({ input, bytes }) => (activation(inputs[input] ?? 0) ? of({ bytes }) : {}))) } }),
      }))),
    }))),
  };
  return { ...graph, batch: { size, slopes } };
}
