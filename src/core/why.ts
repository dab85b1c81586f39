/** Why a tensor is kept or made again: what the step would be if the plan did the other thing with it. */
import type { Explanation, TensorRow } from "./explain";
import type { Graph } from "./graph";
import { compilePlan, type Plan, type Retention } from "./plan";
import { Simulator, type Event, type Summary } from "./simulate";
import { indexGraph, type Problem } from "./simulate/problem";
import { Schedule } from "./simulate/schedule";

export interface Why {
  readonly does: "keeps" | "recomputes" | "offloads";
  readonly bytes: number;
  /** The same plan with this one tensor dropped instead of kept, or kept on the device instead of the rest; null where it can't be. */
  readonly otherwise: {
    readonly peak: number;
    readonly time: number;
    /** What runs at that peak. */
    readonly at: Pick<Event, "kind" | "operator">;
  } | null;
  /**
   * Nanoseconds that a step is longer for want of the memory that it takes from forward to its last use, by the prices
   * of the plan's certificate; null where the plan has none.
   */
  readonly rent: number | null;
  /** The same two numbers of the plan as it is. */
  readonly peak: number;
  readonly time: number;
}

interface Outcome extends Pick<Summary, "peak" | "time"> {
  readonly at: Pick<Event, "kind" | "operator">;
}

/** Peak, time and place of many plans of one graph: a hover asks, so nothing is set up twice. */
class Replay {
  private readonly problem: Problem;
  private readonly simulator: Simulator;
  private readonly schedule: Schedule;
  private readonly known = new WeakMap<Plan, Outcome>();

  constructor(graph: Graph) {
    this.problem = indexGraph(graph);
    this.simulator = new Simulator(this.problem);
    this.schedule = new Schedule(this.problem);
  }

  stays({ kind, id }: Pick<TensorRow, "kind" | "id">): boolean {
    const { storages, storageOf, stays } = this.problem;
    return stays[kind === "value" ? (storageOf[id] ?? -1) : storages + id] === 1;
  }

  of(plan: Plan): Outcome {
    const known = this.known.get(plan);
    if (known !== undefined) return known;
    const { choice, intervals, absences } = compilePlan(plan, this.problem);
    this.schedule.fromIntervals(choice, intervals, absences);
    const { peak, time, moments, recomputing } = this.simulator.run(choice, this.schedule);
    const n = this.problem.operators;
    const clock = moments.indexOf(moments.reduce((most, moment) => Math.max(most, moment)));
    const again = recomputing[clock] ?? -1;
    const outcome: Outcome = {
      peak, time,
      at: clock < n ? { kind: "forward", operator: clock }
        : again < 0 ? { kind: "backward", operator: 2 * n - 1 - clock }
        : { kind: "recompute", operator: again },
    };
    this.known.set(plan, outcome);
    return outcome;
  }
}

const replays = new WeakMap<Graph, Replay>();

function replayOf(graph: Graph): Replay {
  const replay = replays.get(graph) ?? new Replay(graph);
  replays.set(graph, replay);
  return replay;
}

/** Null for a tensor that no backward step needs. */
export function why(graph: Graph, plan: Plan, explanation: Explanation, operator: number, tensor: Pick<TensorRow, "kind" | "id">): Why | null {
  const row = explanation.operators[operator]?.tensors.find(({ kind, id }) => kind === tensor.kind && id === tensor.id);
  if (row === undefined || row.fate === "unused") return null;
  const keeps = row.fate === "kept";
  const replay = replayOf(graph);
  const now = replay.of(plan);
  const isOutput = row.kind === "value" && graph.outputs.some((id) => (graph.values[id]?.storage ?? id) === row.id);
  const fixed = isOutput || (keeps && replay.stays(row));
  return {
    does: keeps ? "keeps" : row.fate === "offloaded" ? "offloads" : "recomputes",
    bytes: row.bytes,
    rent: rentOf(graph, plan, operator, row),
    peak: now.peak,
    time: now.time,
    otherwise: fixed ? null : replay.of({ ...plan, retain: changed(graph, plan, operator, row) }),
  };
}

function rentOf(graph: Graph, plan: Plan, operator: number, row: TensorRow): number | null {
  const prices = plan.bound?.prices;
  if (prices === undefined) return null;
  const last = lastUse(graph, row);
  return row.bytes * prices.reduce((sum, [clock, perByte]) => (clock > operator && clock <= last ? sum + perByte : sum), 0);
}

/** The clock of the last backward step that needs it, or a tensor that is made from it. */
function lastUse({ operators }: Graph, { until, recomputedFor }: TensorRow): number {
  return Math.max(...[...until, ...recomputedFor].map((id) => 2 * operators.length - 1 - id));
}

function changed(graph: Graph, plan: Plan, operator: number, row: TensorRow): Retention[] {
  const rest = plan.retain.filter((entry) => (row.kind === "value" ? entry.value !== row.id : entry.internals !== row.id));
  if (row.fate === "kept") return rest;
  const intervals: [number, number][] = [[operator, lastUse(graph, row)]];
  const entry: Retention = row.kind === "value" ? { value: row.id, intervals } : { internals: row.id, intervals };
  // In the order that the schedule is read in: values first, each kind ascending.
  const order = (each: Retention): number => each.value ?? graph.values.length + each.internals;
  return [...rest, entry].sort((a, b) => order(a) - order(b));
}
