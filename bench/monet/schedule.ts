import { integers, lists, readDocument } from "./document";
import type { Instance } from "./instance";

/** A schedule in MONeT's variables, laid out as the published ones are: by stage, the indices whose variable is one. */
export interface Schedule {
  /** Computed in the stage. */
  readonly R: readonly (readonly number[])[];
  /** Computed and not overwritten. */
  readonly P: readonly (readonly number[])[];
  /** Stored before the stage. One entry more than there are stages. */
  readonly S: readonly (readonly number[])[];
  /** The path of the stage's backward node; 0 in stage 0. */
  readonly M: readonly number[];
  /** Runs in place. */
  readonly IP: readonly (readonly number[])[];
  /** Algorithms of convolutions, forward and backward; the convolution is a `conv_idx`. Empty in modes that choose none. */
  readonly RF: readonly (readonly [stage: number, convolution: number, algorithm: number])[];
}

export interface PublishedSchedule extends Schedule {
  readonly format: "monet-solution-v1";
  readonly model: string;
  readonly batch_size: number;
  readonly mode: string;
  readonly budget_gb: number;
  readonly objective_10us: number;
}

/** What a solver made of one point. */
export interface Solved {
  /** Null where it found none that fits. */
  readonly schedule: Schedule | null;
  readonly objective: number;
  /** No schedule within the budget is cheaper than this. */
  readonly bound: number | null;
  /** The part of `boundSeconds` until there was a first bound. */
  readonly lpBoundSeconds: number | null;
  readonly searchSeconds: number;
  readonly boundSeconds: number;
}

export type SolveInstance = (instance: Instance, budgetBytes: number, seed: number) => Solved;

const schema = {
  type: "object",
  required: ["format", "model", "batch_size", "mode", "budget_gb", "objective_10us", "R", "P", "S", "M", "IP", "RF"],
  properties: {
    format: { const: "monet-solution-v1" },
    model: { type: "string" }, mode: { type: "string" }, batch_size: { type: "integer" },
    budget_gb: { type: "number" }, objective_10us: { type: "number" },
    R: lists, P: lists, S: lists, M: integers, IP: lists,
    RF: { type: "array", items: { ...integers, minItems: 3, maxItems: 3 } },
  },
};

export function parseSchedule(text: string, file: string): PublishedSchedule {
  return readDocument<PublishedSchedule>(text, file, "MONeT schedule", schema);
}
