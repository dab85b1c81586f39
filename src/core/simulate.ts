import type { Graph } from "./graph";
import { compilePlan, type Plan } from "./plan";
import { eagerChoice, indexGraph, type Problem } from "./simulate/problem";
import { gradientProfile, type GradientEvent, type GradientProfile, type TensorRef } from "./simulate/gradients";
import { Schedule, keep } from "./simulate/schedule";
import { Walk, type RunKind } from "./simulate/walk";

export type { TensorRef } from "./simulate/gradients";

export interface Event {
  readonly kind: RunKind | GradientEvent["kind"];
  /** The step's clock: sums and accumulations belong to the backward step that hands on the gradient. */
  readonly clock: number;
  readonly operator: number;
  /** Nanoseconds from the start of the step. Sums and accumulations take no time of their own; an event that waits for a transfer starts later than the one before it ended. */
  readonly start: number;
  readonly end: number;
  /** Live bytes before and after, and the most in between. */
  readonly before: number;
  readonly moment: number;
  readonly after: number;
  readonly allocated: readonly TensorRef[];
  readonly freed: readonly TensorRef[];
}

export interface Summary {
  readonly peak: number;
  readonly structurePeak: number;
  readonly time: number;
}

export interface Timeline extends Summary {
  readonly events: readonly Event[];
}

/** What a plan does, event by event, as docs/format.md defines it. The plan must have passed checkPlan. */
export function simulate(graph: Graph, plan: Plan): Timeline {
  const problem = indexGraph(graph);
  const { choice, intervals, absences } = compilePlan(plan, problem);
  const schedule = new Schedule(problem);
  schedule.fromIntervals(choice, intervals, absences);
  return timeline(problem, choice, schedule);
}

export function simulateEager(graph: Graph): Timeline {
  const problem = indexGraph(graph);
  const { choice, schedule } = eager(problem);
  return timeline(problem, choice, schedule);
}

/** Everything that is needed is held from forward to its last use. */
export function eager(problem: Problem): { choice: Int32Array; schedule: Schedule } {
  const choice = eagerChoice(problem);
  const schedule = new Schedule(problem);
  schedule.fromGenes(choice, new Int32Array(problem.tensors).fill(keep));
  return { choice, schedule };
}

/** Peak and time alone, for many schedules of one problem: no objects are made per call. */
export class Simulator {
  readonly walk: Walk;
  private readonly problem: Problem;
  private readonly profiles = new Map<string, { gradients: GradientProfile; structure: GradientProfile }>();

  constructor(problem: Problem) {
    this.problem = problem;
    this.walk = new Walk(problem);
  }

  /** Beyond `most` bytes the peak is infinite: nobody asks how far. */
  run(choice: Int32Array, schedule: Schedule, most = Infinity): Walk {
    this.walk.run(choice, schedule, this.profile(choice).gradients, null, null, most);
    return this.walk;
  }

  summary(choice: Int32Array, schedule: Schedule): Summary {
    const { gradients, structure } = this.profile(choice);
    this.walk.run(choice, schedule, gradients, structure);
    const { peak, structurePeak, time } = this.walk;
    return { peak, structurePeak, time };
  }

  profile(choice: Int32Array): { gradients: GradientProfile; structure: GradientProfile } {
    const { problem } = this;
    const key = this.varied.length === 0 ? "" : this.varied.map((i) => problem.gradientClass[choice[i] ?? 0]).join();
    let profile = this.profiles.get(key);
    if (profile === undefined) {
      profile = profiles(problem, choice);
      if (this.profiles.size > 256) this.profiles.clear();
      this.profiles.set(key, profile);
    }
    return profile;
  }

  /** Operators whose implementations differ in their gradients. */
  private get varied(): readonly number[] {
    this.variedOperators ??= this.problem.graph.operators
      .filter(({ id, implementations }) => {
        const begin = this.problem.implementations[id] ?? 0;
        return implementations.some((_, k) => this.problem.gradientClass[begin + k] !== 0);
      })
      .map(({ id }) => id);
    return this.variedOperators;
  }
  private variedOperators: readonly number[] | undefined;
}

function profiles(problem: Problem, choice: Int32Array): { gradients: GradientProfile; structure: GradientProfile } {
  return { gradients: gradientProfile(problem, choice, false), structure: gradientProfile(problem, choice, true) };
}

export function timeline(problem: Problem, choice: Int32Array, schedule: Schedule): Timeline {
  const { operators: n } = problem;
  const { gradients, structure } = profiles(problem, choice);
  const walk = new Walk(problem);
  const events: Event[] = [];
  let now = 0;
  walk.run(choice, schedule, gradients, structure, {
    until(time) {
      now = time;
    },
    run(kind, clock, operator, before, moment, after, allocated, freed, took) {
      const start = gradients.before[clock - n] ?? 0;
      const step = kind === "backward" ? gradients.steps[clock - n] : undefined;
      events.push({
        kind, clock, operator,
        start: now,
        end: now + took,
        before: before + start,
        moment: moment + start,
        after: after + (step?.after ?? start),
        allocated: step === undefined ? allocated : [...allocated, ...step.allocated],
        freed: step === undefined ? freed : [...freed, ...step.freed],
      });
      now += took;
      for (const event of step?.events ?? []) {
        events.push({ ...event, clock, operator, start: now, end: now, before: event.before + after, moment: event.moment + after, after: event.after + after });
      }
    },
  });
  const saved = walk.restored * problem.rng;
  const shifted = saved === 0 ? events : events.map((event) => ({ ...event, before: event.before + saved, moment: event.moment + saved, after: event.after + saved }));
  return { events: shifted, peak: walk.peak, structurePeak: walk.structurePeak, time: walk.time };
}

export interface LiveRange {
  readonly tensor: TensorRef;
  /** Numbers of the events at which it appears and goes; null: it is there at the end. */
  readonly from: number;
  readonly to: number | null;
}

/** When each tensor is live, by event number: what a picture of the schedule draws. */
export function liveRanges({ events }: Timeline): LiveRange[] {
  const open = new Map<string, { tensor: TensorRef; from: number }[]>();
  const ranges: LiveRange[] = [];
  const key = ({ kind, id }: TensorRef): string => `${kind} ${id}`;
  events.forEach((event, at) => {
    for (const tensor of event.allocated) open.set(key(tensor), [...(open.get(key(tensor)) ?? []), { tensor, from: at }]);
    for (const tensor of event.freed) {
      const started = open.get(key(tensor))?.shift();
      if (started !== undefined) ranges.push({ ...started, to: at });
    }
  });
  for (const list of open.values()) for (const started of list) ranges.push({ ...started, to: null });
  return ranges.sort((a, b) => a.from - b.from);
}
