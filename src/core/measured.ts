/** What the runtime was seen to do in a step, laid beside what the simulator tells. */
import type { Graph } from "./graph";
import { chosen } from "./explain";
import type { Plan } from "./plan";
import { simulate, type Event } from "./simulate";
import type { RunKind } from "./simulate/walk";

/** An event of the runtime, which lasts until its next: live bytes of the device before, at their most, and after. */
export interface Measured extends Bytes {
  readonly kind: RunKind;
  readonly clock: number;
  readonly operator: number;
}

export interface Bytes {
  readonly before: number;
  readonly moment: number;
  readonly after: number;
}

/** An event that the runtime told, with what the simulator tells from there to the next. */
export interface Stretch {
  readonly kind: RunKind;
  readonly clock: number;
  readonly operator: number;
  readonly predicted: Bytes;
  readonly measured: Bytes;
}

export interface Comparison {
  /** Up to where both did other things, if they did. */
  readonly stretches: readonly Stretch[];
  readonly parting: Parting | null;
}

/** The first event where they part: by bytes, or because something else was done. */
export type Parting =
  | { readonly kind: "bytes"; readonly at: number; readonly which: "before" | "moment" | "after" }
  | { readonly kind: "event"; readonly foreseen: Step | null; readonly done: Step | null };

export type Step = Pick<Event, "kind" | "clock" | "operator">;

export const whichBytes = ["before", "moment", "after"] as const;

export function compare(graph: Graph, plan: Plan, measured: readonly Measured[]): Comparison {
  const { events } = simulate(graph, plan);
  const starts: number[] = [];
  let end = events.length;
  let parting: Parting | null = null;
  for (const done of [...measured, undefined]) {
    const from = (starts.at(-1) ?? -1) + 1;
    const at = events.findIndex((event, k) => k >= from && (isSame(event, done) || mustTell(graph, plan, event)));
    const foreseen = events[at];
    if (foreseen === undefined ? done !== undefined : !isSame(foreseen, done)) {
      parting = { kind: "event", foreseen: stepOf(foreseen), done: stepOf(done) };
      if (at >= 0) end = at;
      break;
    }
    if (foreseen !== undefined) starts.push(at);
  }
  const bytes = asDrawn(graph, plan, events);
  const stretches = starts.flatMap((at, k): Stretch[] => {
    const done = measured[k];
    if (done === undefined) return [];
    const { kind, clock, operator, before, moment, after } = done;
    return [{ kind, clock, operator, predicted: together(bytes.slice(at, starts[k + 1] ?? end)), measured: { before, moment, after } }];
  });
  const at = stretches.findIndex(isParted);
  const which = whichBytes.find((each) => stretches[at]?.predicted[each] !== stretches[at]?.measured[each]);
  return { stretches, parting: which === undefined ? parting : { kind: "bytes", at, which } };
}

export const isParted = ({ predicted, measured }: Stretch): boolean => whichBytes.some((which) => predicted[which] !== measured[which]);

/** The most bytes that are live in a step. */
export const peakOf = (stretches: readonly Stretch[], which: "predicted" | "measured"): number =>
  stretches.reduce((peak, stretch) => Math.max(peak, stretch[which].moment), 0);

/** Gradients, a backward that unpacks no activation, and a loss that is a plain sum may go by in silence. */
function mustTell(graph: Graph, plan: Plan, { kind, operator: id }: Event): boolean {
  const operator = graph.operators[id];
  if (operator === undefined || (operator.part === "loss" && (graph.made_from["loss"] ?? null) === null)) return false;
  if (kind !== "backward") return kind !== "rest" && kind !== "sum" && kind !== "accumulate";
  const { saves, internal_bytes } = chosen(operator, plan);
  return saves.length > 0 || internal_bytes > 0;
}

const isSame = (event: Event, done: Measured | undefined): boolean => event.kind === done?.kind && event.clock === done.clock && event.operator === done.operator;

const stepOf = (event: Event | Measured | undefined): Step | null =>
  event === undefined ? null : { kind: event.kind, clock: event.clock, operator: event.operator };

/** Live bytes of each event. States of random numbers are counted from the start on, and drawn as their operators run. */
function asDrawn(graph: Graph, plan: Plan, events: readonly Event[]): Bytes[] {
  const isDrawn = new Set(plan.rng);
  let waiting = isDrawn.size * graph.rng_state_bytes;
  return events.map(({ kind, operator, before, moment, after }) => {
    const was = waiting;
    if (kind === "forward" && isDrawn.has(operator)) waiting -= graph.rng_state_bytes;
    return { before: before - was, moment: moment - waiting, after: after - waiting };
  });
}

function together(events: readonly Bytes[]): Bytes {
  return { before: events[0]?.before ?? 0, moment: Math.max(...events.map(({ moment }) => moment)), after: events.at(-1)?.after ?? 0 };
}
