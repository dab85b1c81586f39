/** A plan as a picture: what the schedule panel draws. Finished numbers in parallel arrays, cheap to post and to draw. */
import { chosen, partsOf, type Explanation, type TensorRow } from "./explain";
import { fixedBytes, type Graph, type Operator } from "./graph";
import type { Plan } from "./plan";
import { liveRanges, simulate, simulateEager, type Event, type LiveRange, type Timeline } from "./simulate";

export interface Picture {
  /** Nanoseconds of the whole step, and of its forward part. */
  readonly total: number;
  readonly forward: number;
  readonly steps: Steps;
  readonly eager: { readonly total: number; readonly peak: number; readonly start: readonly number[]; readonly live: readonly number[] };
  readonly operators: readonly PictureOperator[];
  /** One per activation or operator's internals, in order of creation. */
  readonly bars: readonly Bar[];
  /** Runs of bars that belong to one part of the model, in order. */
  readonly groups: readonly { readonly module: string; readonly first: number; readonly count: number }[];
}

/** One entry per event. The five layers add up to `moment`, the most bytes that are live while it runs. */
export interface Steps {
  readonly kind: readonly Event["kind"][];
  readonly operator: readonly number[];
  readonly start: readonly number[];
  readonly end: readonly number[];
  readonly moment: readonly number[];
  readonly fixed: readonly number[];
  readonly kept: readonly number[];
  readonly working: readonly number[];
  readonly gradients: readonly number[];
  readonly workspace: readonly number[];
}

export interface PictureOperator {
  readonly op: string;
  readonly module: string;
  readonly source: Operator["source"];
  readonly implementation: string;
  /** Why the module can't be traced that it stands for. */
  readonly opaque?: string;
}

export interface Bar {
  readonly kind: "value" | "internals";
  readonly id: number;
  /** The operator that makes it. */
  readonly operator: number;
  readonly bytes: number;
  readonly fate: TensorRow["fate"];
  /** Nanoseconds that all recomputes of its operator take, and how often that runs again. */
  readonly recomputeTime: number;
  readonly recomputes: number;
  /** In nanoseconds from the start of the step. */
  readonly segments: readonly { readonly from: number; readonly to: number; readonly kind: "kept" | "recomputed" | "freed" }[];
}

/** The layers of a picture's area, bottom up. */
export const layers = ["fixed", "kept", "working", "gradients", "workspace"] as const;

export type Layers = Readonly<Record<(typeof layers)[number], number>>;

export function picture(graph: Graph, plan: Plan, explanation: Explanation): Picture {
  const timeline = simulate(graph, plan);
  const start = timeline.events.map((event) => event.start);
  const end = timeline.events.map((event) => event.end);
  const total = timeline.time;
  const firstBackward = timeline.events.findIndex(({ clock }) => clock >= graph.operators.length);
  const ranges = liveRanges(timeline);
  const held = heldOf(timeline, ranges);
  const composition = layersOf(graph, timeline, held);

  const segments = new Map<string, Bar["segments"][number][]>();
  for (const { tensor, from, to } of ranges) {
    if (tensor.kind === "gradient") continue;
    const key = `${tensor.kind} ${tensor.id}`;
    const made = timeline.events[from]?.kind;
    const kind = made === "recompute" ? "recomputed" : made === "fetch" || (to !== null && timeline.events[to]?.kind === "offload") || held.has(`${key} ${from}`) ? "kept" : "freed";
    segments.set(key, [...(segments.get(key) ?? []), { kind, from: start[from] ?? 0, to: to === null ? total : (end[to] ?? total) }]);
  }
  const groups: { module: string; first: number; count: number }[] = [];
  const bars: Bar[] = [];
  for (const { module, operators } of partsOf(explanation.operators)) {
    const first = bars.length;
    for (const row of operators) {
      for (const { kind, id, bytes, fate } of row.tensors) {
        const own = segments.get(`${kind} ${id}`);
        if (bytes === 0 || own === undefined) continue;
        bars.push({ kind, id, operator: row.id, bytes, fate, recomputes: row.recomputes, recomputeTime: row.recomputeTime, segments: own });
      }
    }
    if (bars.length > first) groups.push({ module, first, count: bars.length - first });
  }

  const eager = simulateEager(graph);
  return {
    total,
    forward: firstBackward < 0 ? total : (start[firstBackward] ?? total),
    steps: { kind: timeline.events.map(({ kind }) => kind), operator: timeline.events.map(({ operator }) => operator), start, end, moment: timeline.events.map(({ moment }) => moment), ...composition },
    eager: { total: eager.time, peak: eager.peak, start: eager.events.map((event) => event.start), live: eager.events.map(({ moment }) => moment) },
    operators: graph.operators.map((operator) => ({ op: operator.op, module: operator.module, source: operator.source, implementation: chosen(operator, plan).name, ...(operator.opaque !== undefined && { opaque: operator.opaque }) })),
    bars, groups,
  };
}

/** What is live at the peak of a plan (null: of eager), layer by layer. They add up to the peak. */
export function layersAtPeak(graph: Graph, plan: Plan | null): Layers {
  const timeline = plan === null ? simulateEager(graph) : simulate(graph, plan);
  const composition = layersOf(graph, timeline, heldOf(timeline, liveRanges(timeline)));
  const at = timeline.events.findIndex(({ moment }) => moment === timeline.peak);
  return Object.fromEntries(layers.map((layer) => [layer, composition[layer][at] ?? 0])) as Layers;
}

/** Keys, with the event at which it appears, of what is held from forward to backward. */
function heldOf({ events }: Timeline, ranges: readonly LiveRange[]): ReadonlySet<string> {
  const isForward = (at: number): boolean => events[at]?.kind === "forward" || events[at]?.kind === "offload";
  return new Set(ranges.filter(({ from, to }) => isForward(from) && (to === null || !isForward(to))).map(({ tensor, from }) => `${tensor.kind} ${tensor.id} ${from}`));
}

/** Splits each event's moment. */
function layersOf(graph: Graph, { events }: Timeline, held: ReadonlySet<string>): Record<(typeof layers)[number], number[]> {
  const series: Record<(typeof layers)[number], number[]> = { fixed: [], kept: [], working: [], gradients: [], workspace: [] };
  // RNG states that a plan holds are there from the start, like what is fixed.
  const fixed = events[0]?.before ?? fixedBytes(graph);
  const live = new Map<string, { layer: "kept" | "working" | "gradients"; bytes: number }[]>();
  const sum = { kept: 0, working: 0, gradients: 0 };
  events.forEach(({ moment, allocated, freed }, at) => {
    for (const { kind, id, bytes } of allocated) {
      const key = `${kind} ${id}`;
      const layer = kind === "gradient" ? "gradients" : held.has(`${key} ${at}`) ? "kept" : "working";
      live.set(key, [...(live.get(key) ?? []), { layer, bytes }]);
      sum[layer] += bytes;
    }
    // An output that takes over its input's storage is counted with it for this one moment.
    let excess = Math.max(0, fixed + sum.kept + sum.working + sum.gradients - moment);
    const cut = (bytes: number): number => {
      const taken = Math.min(excess, bytes);
      excess -= taken;
      return bytes - taken;
    };
    const working = cut(sum.working);
    const gradients = cut(sum.gradients);
    const kept = cut(sum.kept);
    series.fixed.push(fixed);
    series.kept.push(kept);
    series.working.push(working);
    series.gradients.push(gradients);
    series.workspace.push(moment - fixed - kept - working - gradients);
    for (const { kind, id } of freed) {
      const gone = live.get(`${kind} ${id}`)?.shift();
      if (gone !== undefined) sum[gone.layer] -= gone.bytes;
    }
  });
  return series;
}
