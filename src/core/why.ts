/** Why a tensor is kept or made again: what the step would be if the plan did the other thing with it. */
import type { Explanation, TensorRow } from "./explain";
import type { Graph } from "./graph";
import type { Plan, Retention } from "./plan";
import { simulate, type Event, type Summary, type Timeline } from "./simulate";

export interface Why {
  readonly does: "keeps" | "recomputes";
  readonly bytes: number;
  /** The same plan with this one tensor dropped instead of kept, or kept instead of dropped; null where it can't be. */
  readonly otherwise: {
    readonly peak: number;
    readonly time: number;
    /** What runs at that peak. */
    readonly at: Pick<Event, "kind" | "operator">;
  } | null;
  /** The same two numbers of the plan as it is. */
  readonly peak: number;
  readonly time: number;
}

type Now = Pick<Summary, "peak" | "time">;
const known = new WeakMap<Plan, Now>();

/** One tensor after another is asked for: the plan as it is needs to be simulated once. */
function asItIs(graph: Graph, plan: Plan): Now {
  let now = known.get(plan);
  if (now === undefined) {
    const { peak, time } = simulate(graph, plan);
    now = { peak, time };
    known.set(plan, now);
  }
  return now;
}

/** Null for a tensor that no backward step needs. */
export function why(graph: Graph, plan: Plan, explanation: Explanation, operator: number, tensor: Pick<TensorRow, "kind" | "id">): Why | null {
  const row = explanation.operators[operator]?.tensors.find(({ kind, id }) => kind === tensor.kind && id === tensor.id);
  if (row === undefined || row.fate === "unused") return null;
  const keeps = row.fate === "kept";
  const now = asItIs(graph, plan);
  const isOutput = row.kind === "value" && graph.outputs.some((id) => (graph.values[id]?.storage ?? id) === row.id);
  const fixed = isOutput || (keeps && graph.operators[operator]?.pinned === true);
  const other = fixed ? null : simulate(graph, { ...plan, retain: changed(graph, plan, operator, row) });
  return {
    does: keeps ? "keeps" : "recomputes",
    bytes: row.bytes,
    peak: now.peak,
    time: now.time,
    otherwise: other === null ? null : { peak: other.peak, time: other.time, at: highest(other) },
  };
}

function changed(graph: Graph, plan: Plan, operator: number, row: TensorRow): Retention[] {
  const rest = plan.retain.filter((entry) => (row.kind === "value" ? entry.value !== row.id : entry.internals !== row.id));
  if (row.fate === "kept") return rest;
  const n = graph.operators.length;
  const last = Math.max(...[...row.until, ...row.recomputedFor].map((id) => 2 * n - 1 - id));
  const intervals: [number, number][] = [[operator, last]];
  const entry: Retention = row.kind === "value" ? { value: row.id, intervals } : { internals: row.id, intervals };
  // In the order that the schedule is read in: values first, each kind ascending.
  const order = (each: Retention): number => each.value ?? graph.values.length + each.internals;
  return [...rest, entry].sort((a, b) => order(a) - order(b));
}

function highest({ events, peak }: Timeline): Pick<Event, "kind" | "operator"> {
  const event = events.find(({ moment }) => moment === peak);
  return { kind: event?.kind ?? "forward", operator: event?.operator ?? 0 };
}
