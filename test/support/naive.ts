import type { Gradient, Graph } from "../../src/core/graph";
import type { Plan } from "../../src/core/plan";

/**
 * docs/format.md, "What happens in a step", read aloud: sets and maps, every rule looked up when it is
 * needed, no code of the simulator. Slow and plain on purpose.
 */
export function naive(graph: Graph, plan: Plan): { peak: number; structure_peak: number; time: number } {
  const [peak, time] = walk(graph, plan, false);
  const [structurePeak] = walk(graph, plan, true);
  return { peak, structure_peak: structurePeak, time };
}

const sizes: Record<string, number> = { float32: 4, float16: 2, bfloat16: 2, float64: 8, int64: 8, bool: 1 };

function walk(graph: Graph, plan: Plan, structure: boolean): [peak: number, time: number] {
  const n = graph.operators.length;
  const { values, operators } = graph;
  const impl = operators.map((o) => {
    const name = plan.implementations[String(o.id)];
    return name === undefined ? o.implementations[0]! : o.implementations.find((x) => x.name === name)!;
  });
  const storageOf = (id: number): number => values[id]!.storage;
  const activation = (id: number): boolean => values[storageOf(id)]!.kind === "activation";
  const inputStorages = (j: number): Set<number> => new Set(operators[j]!.inputs.filter(activation).map(storageOf));
  const fresh = (j: number): number[] => operators[j]!.outputs.filter((id) => storageOf(id) === id);
  const outputs = new Set(graph.outputs.map(storageOf));
  const awayOf = (s: number): readonly [number, number] | undefined => plan.retain.find((r) => r.value === s)?.offload;
  const valueIntervals = (s: number): readonly (readonly [number, number])[] => plan.retain.find((r) => r.value === s)?.intervals ?? [];
  const internalIntervals = (i: number): readonly (readonly [number, number])[] => plan.retain.find((r) => r.internals === i)?.intervals ?? [];
  const stranded = (s: number): boolean => operators.some((o) => impl[o.id]!.backward === null && impl[o.id]!.saves.includes(s));
  const heldValue = (s: number, c: number): boolean => outputs.has(s) || stranded(s) || valueIntervals(s).some(([f, t]) => f < c && c <= t);
  const heldInternals = (i: number, c: number): boolean => impl[i]!.backward === null || internalIntervals(i).some(([f, t]) => f < c && c <= t);
  const usesOf = (s: number): number[] => operators.filter((o) => inputStorages(o.id).has(s)).map((o) => o.id);
  const producer = (s: number): number => values[s]!.producer!;

  const closureOf = (i: number, c: number): number[] => {
    const found = new Set<number>();
    const visit = (j: number): void => {
      if (found.has(j)) return;
      found.add(j);
      for (const s of inputStorages(j)) if (!heldValue(s, c)) visit(producer(s));
    };
    for (const s of impl[i]!.saves) if (!heldValue(s, c)) visit(producer(s));
    if (impl[i]!.internal_bytes > 0 && !heldInternals(i, c)) visit(i);
    return [...found].sort((a, b) => a - b);
  };

  const rerun = new Set<number>();
  for (let i = n - 1; i >= 0; i--) {
    if (impl[i]!.backward === null) continue;
    for (const j of closureOf(i, 2 * n - 1 - i)) if (operators[j]!.random) rerun.add(j);
  }

  let live = Object.values(graph.fixed).reduce((a, b) => a + b, 0) + graph.rng_state_bytes * rerun.size;
  let peak = 0;
  let time = 0;
  const moment = (x: number): void => {
    peak = Math.max(peak, x);
  };
  // Everything that can be live, by name, with its bytes; a name is there at most once.
  const there = new Map<string, number>();
  const add = (key: string, bytes: number): void => {
    if (there.has(key)) throw new Error(`${key} is there already`);
    there.set(key, bytes);
    live += bytes;
  };
  const remove = (key: string): void => {
    const bytes = there.get(key);
    if (bytes === undefined) throw new Error(`${key} is not there`);
    there.delete(key);
    live -= bytes;
  };

  // Transfers. Both queues start empty; a copy ends when its queue has come to it.
  const copyTime = (link: { latency: number; bytes_per_second: number }, s: number): number =>
    link.latency + Math.ceil((values[s]!.bytes / link.bytes_per_second) * 1e9);
  const copied = new Map<number, number>();
  let outQueue = 0;
  let backQueue = 0;

  // Forward
  for (let i = 0; i < n; i++) {
    const o = operators[i]!;
    const x = impl[i]!;
    time += x.forward.time;
    const s = o.inputs[0];
    let minus = 0;
    if ((o.in_place || x.in_place) && s !== undefined && activation(s) && storageOf(s) === s && !outputs.has(s) && usesOf(s).every((j) => j <= i)) {
      if (valueIntervals(s).some(([f]) => f === producer(s)) || stranded(s) || x.saves.includes(s)) time += Math.max(0, (x.forward.out_of_place ?? 0) - x.forward.time);
      else minus = values[o.outputs[0]!]!.bytes;
    }
    const stays = fresh(i).reduce((sum, id) => sum + values[id]!.bytes, 0) + x.internal_bytes;
    moment(live + (structure ? stays : x.forward.peak) - minus);
    for (const id of fresh(i)) add(`v${id}`, values[id]!.bytes);
    add(`i${i}`, x.internal_bytes);
    for (const key of [...there.keys()]) {
      if (!key.startsWith("v")) continue;
      const id = Number(key.slice(1));
      const last = Math.max(producer(id), ...usesOf(id));
      const held = outputs.has(id) || stranded(id) || valueIntervals(id).some(([f]) => f === producer(id));
      if (last <= i && !held) remove(key);
    }
    if (x.backward !== null && !internalIntervals(i).some(([f]) => f === i)) remove(`i${i}`);
    for (const id of fresh(i)) {
      if (awayOf(id) === undefined) continue;
      outQueue = Math.max(outQueue, time) + copyTime(graph.transfer!.to_host, id);
      copied.set(id, outQueue);
      if (!graph.transfer!.overlaps) time = outQueue;
    }
    for (const { value } of plan.retain) {
      if (value === undefined || awayOf(value)?.[0] !== i) continue;
      time = Math.max(time, copied.get(value)!);
      remove(`v${value}`);
    }
  }

  // Backward. A gradient storage has a number; a buffer points at one.
  let made = 0;
  const referencesOf = new Map<number, number>();
  const buffers = new Map<number, { storage: number; dense: boolean; view: boolean }>();
  const newStorage = (bytes: number): number => {
    made++;
    add(`g${made}`, bytes);
    referencesOf.set(made, 1);
    return made;
  };
  const releaseReference = (storage: number): void => {
    const left = referencesOf.get(storage)! - 1;
    referencesOf.set(storage, left);
    if (left === 0) remove(`g${storage}`);
  };
  const dense = (id: number): number => values[id]!.shape.reduce((a, b) => a * b, 1) * sizes[values[id]!.dtype]!;
  const arrivals = (p: number, fromOperator: number): number =>
    operators.filter((o) => o.id <= fromOperator).reduce((sum, o) => sum + ([...(impl[o.id]!.backward?.gradients ?? []), ...(impl[o.id]!.backward?.rest?.gradients ?? [])].filter((g) => o.inputs[g.input] === p).length), 0);

  for (let i = n - 1; i >= 0; i--) {
    const o = operators[i]!;
    const x = impl[i]!;
    if (x.backward === null) continue;
    const c = 2 * n - 1 - i;
    const closure = closureOf(i, c);
    const returning = plan.retain.flatMap(({ value }) => (value !== undefined && awayOf(value)?.[1] === c ? [value] : []));
    for (const s of returning.sort((a, b) => b - a)) {
      add(`v${s}`, values[s]!.bytes);
      backQueue = Math.max(backQueue, time) + copyTime(graph.transfer!.from_host, s);
      copied.set(s, backQueue);
      if (!graph.transfer!.overlaps) time = backQueue;
    }
    moment(live);
    for (const s of new Set([...x.saves, ...closure.flatMap((j) => [...inputStorages(j)])])) {
      if (awayOf(s) === undefined) continue;
      if (!there.has(`v${s}`)) {
        // Recomputed in this closure: then it was never away at this clock.
        if (!closure.includes(producer(s))) throw new Error(`v${s} is used while it is away`);
        continue;
      }
      time = Math.max(time, copied.get(s)!);
    }
    const computed = new Set<number>();
    closure.forEach((j, at) => {
      const y = impl[j]!;
      const later = closure.slice(at + 1);
      const startsNow = (s: number): boolean => valueIntervals(s).some(([f]) => f === c);
      time += y.recompute.time;
      const s = operators[j]!.inputs[0];
      const wanted = y.internal_bytes > 0 && ((j === i && !heldInternals(i, c)) || internalIntervals(j).some(([f]) => f === c));
      let minus = 0;
      if (
        !wanted && (operators[j]!.in_place || y.in_place) && s !== undefined && activation(s) && storageOf(s) === s && computed.has(s) && !startsNow(s) && !x.saves.includes(s) &&
        later.every((l) => !inputStorages(l).has(s)) && !y.saves.includes(s)
      ) {
        minus = values[operators[j]!.outputs[0]!]!.bytes;
      }
      const stays = fresh(j).reduce((sum, id) => sum + values[id]!.bytes, 0) + y.internal_bytes;
      moment(live + (structure ? stays : wanted ? Math.max(y.forward.peak, y.recompute.peak) : y.recompute.peak) - minus);
      for (const id of fresh(j)) {
        if (heldValue(id, c)) continue;
        add(`v${id}`, values[id]!.bytes);
        computed.add(id);
      }
      if (wanted) add(`i${j}`, y.internal_bytes);
      for (const id of [...computed]) {
        if (later.some((l) => inputStorages(l).has(id)) || x.saves.includes(id) || startsNow(id)) continue;
        computed.delete(id);
        remove(`v${id}`);
      }
    });
    time += x.backward.time;
    const own = (gradients: readonly Gradient[]): number => gradients.reduce((sum, g) => sum + (g.alias === null ? g.bytes : 0), 0);
    const restored = x.saves.filter((s) => producer(s) > i).reduce((sum, s) => sum + values[s]!.bytes, 0);
    moment(live + (structure ? own(x.backward.gradients) + restored : x.backward.peak));
    const arrive = (g: Gradient): { id: number; storage: number; dense: boolean; view: boolean } => {
      const aliased = g.alias === null ? undefined : buffers.get(o.outputs[g.alias]!);
      if (aliased === undefined) return { id: o.inputs[g.input]!, storage: newStorage(g.bytes), dense: g.dense, view: g.view };
      referencesOf.set(aliased.storage, referencesOf.get(aliased.storage)! + 1);
      return { id: o.inputs[g.input]!, storage: aliased.storage, dense: g.dense, view: g.view || aliased.view };
    };
    const arriving = x.backward.gradients.map(arrive);
    // 3
    const dropGradientsOfOutputs = (): void => {
      for (const id of o.outputs) {
        const buffer = buffers.get(id);
        if (buffer === undefined) continue;
        buffers.delete(id);
        releaseReference(buffer.storage);
      }
    };
    if (x.backward.rest === undefined) dropGradientsOfOutputs();
    if (x.internal_bytes > 0) remove(`i${i}`);
    const heldAfter = (s: number): boolean => outputs.has(s) || stranded(s) || valueIntervals(s).some(([f, t]) => f <= c && c < t);
    for (const key of [...there.keys()]) {
      if (!key.startsWith("v")) continue;
      const s = Number(key.slice(1));
      const ends = valueIntervals(s).some(([, t]) => t === c) && !outputs.has(s) && !stranded(s);
      if ((x.saves.includes(s) && !heldAfter(s)) || ends) remove(key);
    }
    handOn(arriving, i, x.backward.rest?.gradients ?? []);
    if (x.backward.rest === undefined) continue;
    // 6
    moment(live + x.backward.rest.holds + (structure ? own(x.backward.rest.gradients) : x.backward.rest.peak));
    const later = x.backward.rest.gradients.map(arrive);
    dropGradientsOfOutputs();
    handOn(later, i, []);
  }
  return [peak, time];

  function handOn(arriving: readonly { id: number; storage: number; dense: boolean; view: boolean }[], i: number, stillToCome: readonly Gradient[]): void {
    // 4
    for (const { id, storage, dense: isDense, view } of arriving) {
      if (values[id]!.kind !== "activation" && values[id]!.kind !== "parameter") {
        releaseReference(storage);
        continue;
      }
      const buffer = buffers.get(id);
      if (buffer === undefined) buffers.set(id, { storage, dense: isDense, view });
      else if (!structure && buffer.dense && !buffer.view && referencesOf.get(buffer.storage) === 1) releaseReference(storage);
      else {
        const sum = newStorage(dense(id));
        moment(live);
        releaseReference(buffer.storage);
        releaseReference(storage);
        buffers.set(id, { storage: sum, dense: true, view: false });
      }
    }
    // 5
    const last = new Set(arriving.map(({ id }) => id).reverse());
    for (const id of [...last].reverse()) {
      const coming = stillToCome.some((g) => operators[i]!.inputs[g.input] === id);
      if (values[id]!.kind !== "parameter" || coming || arrivals(id, i - 1) > 0) continue;
      const buffer = buffers.get(id)!;
      buffers.delete(id);
      if (graph.gradients === "accumulate") releaseReference(buffer.storage);
      else if (!buffer.dense || referencesOf.get(buffer.storage) !== 1) {
        newStorage(dense(id));
        moment(live);
        releaseReference(buffer.storage);
      }
    }
  }
}
