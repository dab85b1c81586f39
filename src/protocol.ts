/**
 * What host and webviews say to each other. A webview gets finished view models and never a graph. Both sides
 * check what arrives, as told below, and the webview takes messages from its own host alone.
 */
import type { Layers, Picture } from "./core/picture";

/** Translations by English text; null where the editor speaks English. */
export type Translations = Readonly<Record<string, string>> | null;

// ---- The budget view ------------------------------------------------------------------------------------------------

/** One plan of the frontier. */
export interface BudgetPoint {
  /** Its predicted peak in bytes: the least budget that it fits. */
  readonly peak: number;
  /** Nanoseconds of a step, and how much more than eager's that is, as a fraction. */
  readonly time: number;
  readonly overhead: number;
  /** Proven: no plan within this peak is slower by less than this fraction. Null where nothing is proven. */
  readonly bound: number | null;
  /** What is live at the peak; adds up to it. `fixed` splits into the graph's own kinds. */
  readonly layers: Layers;
}

/** The plan that a budget buys: the last point whose peak fits; the least one where none does. */
export const chosenPoint = (points: readonly Pick<BudgetPoint, "peak">[], budget: number): number =>
  Math.max(0, points.findLastIndex(({ peak }) => peak <= budget));

export interface BudgetResult {
  readonly device: { readonly name: string; readonly totalBytes: number; readonly estimated: boolean };
  /** Bytes of the device that are not for the taking (the CUDA context, fragmentation). */
  readonly reserve: number;
  readonly torch: string;
  /** What of the model was profiled; null: the whole. */
  readonly part: string | null;
  /** How many modules run as one operator, as they can't be traced. */
  readonly opaque: number;
  /** The size of the first dimension of the first input; null where there is none. */
  readonly batch: number | null;
  readonly fixed: Readonly<Record<"parameters" | "buffers" | "inputs" | "gradients" | "optimizer", number>>;
  /** The largest batch that fits the budget: null where none was asked for, 0 where not even one sample does. */
  readonly largest: { readonly batch: number; readonly overhead: number } | null;
  /** Other batch sizes can be told from this profile. */
  readonly grows: boolean;
  readonly eager: { readonly peak: number; readonly time: number; readonly layers: Layers };
  /** From the least memory to no overhead: peaks ascend, overheads descend. */
  readonly points: readonly BudgetPoint[];
  /** What the person asked for, in bytes of the whole device; the plan is the last point whose peak fits. */
  readonly budget: number;
  /** Points of another batch size or an older profile, while new ones are on their way. */
  readonly outdated: boolean;
  /** Plans were searched for to the end, and not stopped before. */
  readonly complete: boolean;
  /** A better plan for exactly this budget is being searched. */
  readonly refining: boolean;
  readonly applied: boolean;
  /** What Apply still offers to do. */
  readonly left: readonly ApplyStep[];
  readonly verified: Verified | null;
}

/** After the plan is written: its lines in a training script, and what they import in the environment. */
export const applySteps = ["script", "runtime"] as const;
export type ApplyStep = (typeof applySteps)[number];

/** What a real training step gave, for the plan that was applied. */
export interface Verified {
  readonly equal: boolean;
  readonly compared: number;
  readonly withinBudget: boolean;
  readonly peak: number;
  readonly eagerPeak: number;
  readonly overhead: number;
  readonly overheadLow: number;
  readonly overheadHigh: number;
}

export interface BudgetState {
  /** The model that is shown, and all that could be. */
  readonly model: ModelName | null;
  readonly models: readonly ModelName[];
  /** The workspace is trusted, so that Python may run. */
  readonly trusted: boolean;
  readonly stale: boolean;
  /** What runs now for this model: a text, and how far it is (null: unknown). */
  readonly running: { readonly text: string; readonly fraction: number | null } | null;
  /** What went wrong last, as a sentence with what can be done. */
  readonly problem: { readonly text: string; readonly action: { readonly title: string; readonly id: "retry" | "change" | "verify" | "export" | "part" | "log" | "python" } } | null;
  /** Null before the model was profiled. */
  readonly result: BudgetResult | null;
  /** Devices of the estimate table: "fits this card". */
  readonly cards: readonly { readonly name: string; readonly bytes: number }[];
}

export interface ModelName {
  readonly id: string;
  readonly name: string;
  /** Relative to the workspace folder, and with its name where there are several. */
  readonly file: string;
}

export type ToBudget =
  | { readonly kind: "start"; readonly translations: Translations; readonly state: BudgetState }
  | { readonly kind: "state"; readonly state: BudgetState };

export type FromBudget =
  | { readonly kind: "ready" }
  /** The slider moved. The view has answered already; the editor's marks follow. */
  | { readonly kind: "budget"; readonly bytes: number }
  /** A value was typed: search a plan for exactly this budget. Text as parseBudget reads it. */
  | { readonly kind: "exact"; readonly text: string }
  | { readonly kind: "batch"; readonly batch: number }
  /** Search the largest batch within the budget. */
  | { readonly kind: "largest" }
  | { readonly kind: "model"; readonly id: string }
  | { readonly kind: "run"; readonly command: BudgetCommand };

export const budgetCommands = ["optimize", "cancel", "apply", "verify", "export", "part", "schedule", "retry", "change", "log", "python", "trust"] as const;
export type BudgetCommand = (typeof budgetCommands)[number];

// ---- The schedule panel ---------------------------------------------------------------------------------------------

export interface ScheduleState {
  readonly model: ModelName;
  readonly line: number;
  readonly inputs: readonly string[];
  readonly batch: number | null;
  readonly device: { readonly name: string; readonly estimated: boolean };
  readonly stale: boolean;
  readonly budget: number | null;
  readonly peak: number;
  readonly eagerPeak: number;
  /** Nanoseconds; and time / eagerTime − 1. */
  readonly time: number;
  readonly overhead: number;
  readonly recomputeTime: number;
  /** How far from the fastest possible it can be at most, as a fraction; null: nothing proven. */
  readonly gap: number | null;
  /** Counts of activations. */
  readonly kept: number;
  readonly offloaded: number;
  readonly recomputed: number;
  /** Operators that run by another implementation than eager's. */
  readonly changed: number;
  readonly picture: Picture;
}

export type ToSchedule =
  | { readonly kind: "start"; readonly translations: Translations; readonly state: ScheduleState }
  /** The picture is null where it is the one that the panel has. */
  | { readonly kind: "state"; readonly state: Omit<ScheduleState, "picture">; readonly picture: Picture | null }
  /** The editor's cursor is on this operator's line: select its first bar, without asking back. */
  | { readonly kind: "select"; readonly operators: readonly number[] }
  | { readonly kind: "why"; readonly bar: number; readonly text: string };

export type FromSchedule =
  | { readonly kind: "ready" }
  | { readonly kind: "reveal"; readonly operator: number }
  | { readonly kind: "why"; readonly bar: number }
  | { readonly kind: "export"; readonly format: "svg" | "png" | "json" | "csv"; /** Text, or base64 for png. */ readonly data: string }
  | { readonly kind: "copy"; readonly text: string }
  | { readonly kind: "run"; readonly command: "apply" | "verify" | "export" };

// ---- Checks of what a webview sends ------------------------------------------------------------------------------------

type Check = (value: unknown) => boolean;
const text: Check = (value) => typeof value === "string";
const count: Check = (value) => typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
const oneOf = (names: readonly string[]): Check => (value) => typeof value === "string" && names.includes(value);

const fromBudget: Readonly<Record<FromBudget["kind"], Readonly<Record<string, Check>>>> = {
  ready: {},
  budget: { bytes: count },
  exact: { text },
  batch: { batch: (value) => count(value) && value !== 0 },
  largest: {},
  model: { id: text },
  run: { command: oneOf(budgetCommands) },
};

const fromSchedule: Readonly<Record<FromSchedule["kind"], Readonly<Record<string, Check>>>> = {
  ready: {},
  reveal: { operator: count },
  why: { bar: count },
  export: { format: oneOf(["svg", "png", "json", "csv"]), data: text },
  copy: { text },
  run: { command: oneOf(["apply", "verify", "export"]) },
};

function fits(message: unknown, kinds: Readonly<Record<string, Readonly<Record<string, Check>>>>): boolean {
  if (typeof message !== "object" || message === null) return false;
  const fields = message as Readonly<Record<string, unknown>>;
  const kind = fields["kind"];
  if (typeof kind !== "string" || !Object.hasOwn(kinds, kind)) return false;
  return Object.entries(kinds[kind] ?? {}).every(([name, check]) => check(fields[name]));
}

export const isFromBudget = (message: unknown): message is FromBudget => fits(message, fromBudget);
export const isFromSchedule = (message: unknown): message is FromSchedule => fits(message, fromSchedule);

// ---- Checks of what a host sends ------------------------------------------------------------------------------------

const thing: Check = (value) => typeof value === "object" && value !== null;

const toBudget: Readonly<Record<ToBudget["kind"], Readonly<Record<string, Check>>>> = {
  start: { state: thing },
  state: { state: thing },
};

const toSchedule: Readonly<Record<ToSchedule["kind"], Readonly<Record<string, Check>>>> = {
  start: { state: thing },
  state: { state: thing, picture: (value) => value === null || thing(value) },
  select: { operators: (value) => Array.isArray(value) && value.every(count) },
  why: { bar: count, text },
};

export const isToBudget = (message: unknown): message is ToBudget => fits(message, toBudget);
export const isToSchedule = (message: unknown): message is ToSchedule => fits(message, toSchedule);
