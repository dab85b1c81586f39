/** `monet.json`: what a model takes and how it is trained. docs/monet-json.md describes it for people. */
import schema from "../../media/monet.schema.json";
import type { Graph } from "./graph";
import { checkShape, DocumentError } from "./graph_document";

export const optimizers = ["none", "sgd", "momentum", "adam", "adamw", "adafactor", "adam8bit"] as const;
export const autocasts = ["bf16", "fp16"] as const;

export interface ModelConfig {
  readonly inputs: readonly string[];
  readonly kwargs?: Readonly<Record<string, unknown>>;
  readonly loss?: string;
  readonly targets?: readonly string[];
  readonly optimizer?: (typeof optimizers)[number];
  readonly autocast?: (typeof autocasts)[number];
  readonly device?: string;
  readonly gradients?: "accumulate" | "fresh";
  readonly threads?: number;
  readonly offload?: boolean;
  /** A submodule by its path, `*` for the numbers of several alike: that alone is planned. */
  readonly part?: string;
}

export interface Config {
  readonly models: Readonly<Record<string, ModelConfig>>;
}

/** A mistake in monet.json, as a sentence, with the line (from 1) that it is on; `code` is its row in docs/errors.md. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";

  constructor(
    readonly code: string,
    readonly line: number,
    message: string,
  ) {
    super(message);
  }
}

export function readConfig(text: string): Config {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const position = /position (\d+)/.exec(message)?.[1];
    throw new ConfigError("M508", lineAt(text, Math.min(text.trimEnd().length, Number(position ?? text.length))), `this is no JSON (${message})`);
  }
  try {
    const config = checkShape(document, schema, "monet.json") as Config;
    for (const [key, { loss, targets }] of Object.entries(config.models)) {
      if (targets !== undefined && targets.length > 0 && loss === undefined) {
        throw new DocumentError("M504", `models.${key}.targets`, "targets are what a loss takes besides the output: name it as loss", ["models", key, "targets"]);
      }
    }
    return config;
  } catch (error) {
    if (error instanceof DocumentError) throw new ConfigError("M509", lineAt(text, offsetOf(text, error.steps)), error.message);
    throw error;
  }
}

const lineAt = (text: string, offset: number): number => text.slice(0, offset).split("\n").length;

/** The text of monet.json with one model's entry changed and all else as it was. */
export function withModel(text: string | null, key: string, entry: ModelConfig): string {
  const before = text === null || text.trim() === "" ? { models: {} } : readConfig(text);
  return `${JSON.stringify({ ...before, models: { ...before.models, [key]: entry } }, null, 2)}\n`;
}

/** Where the value at these steps of a valid JSON text begins; of the innermost that exists. */
function offsetOf(text: string, steps: readonly string[]): number {
  let at = 0;
  const token = /\s*("(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+)/y;
  const next = (): string => {
    token.lastIndex = at;
    const found = token.exec(text);
    at = found === null ? text.length : token.lastIndex;
    return found?.[1] ?? "";
  };
  const peek = (): string => {
    const before = at;
    const found = next();
    at = before;
    return found;
  };
  const start = (): number => {
    while (at < text.length && /\s/.test(text.charAt(at))) at += 1;
    return at;
  };
  const skip = (): void => {
    let depth = 0;
    do {
      const found = next();
      if (found === "") return;
      depth += found === "{" || found === "[" ? 1 : found === "}" || found === "]" ? -1 : 0;
    } while (depth > 0);
  };
  const find = (rest: readonly string[]): number => {
    const here = start();
    const [step, ...deeper] = rest;
    const opening = step === undefined ? "" : next();
    if (step === undefined || (opening !== "{" && opening !== "[")) return here;
    for (let index = 0; peek() !== "}" && peek() !== "]" && peek() !== ""; index += 1) {
      const entry = start();
      const name = opening === "{" ? (JSON.parse(next()) as string) : String(index);
      if (opening === "{") next();
      if (name === step) return deeper.length === 0 ? entry : find(deeper);
      skip();
      if (peek() === ",") next();
    }
    return here;
  };
  return find(steps);
}

// ---- Input specifications -----------------------------------------------------------------------------------------------

const dtypes = [
  "float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool", "complex64", "complex128",
] as const;
const specPattern = /^(?:\w+(?:\.\w+)*=)?(\w+)\[((?:\s*\d+\s*,)*\s*\d*\s*)\](<\d+)?$/;

/** What is wrong with an input as it is typed; null where it can be made. */
export function specProblem(text: string): "syntax" | "dtype" | "zero" | "range" | null {
  const [, dtype, sizes = "", below] = specPattern.exec(text.trim()) ?? [];
  if (dtype === undefined) return "syntax";
  if (!dtypes.some((each) => each === dtype)) return "dtype";
  if (sizes.split(",").some((size) => size.trim() !== "" && Number(size) === 0)) return "zero";
  return below !== undefined && (!/^u?int/.test(dtype) || Number(below.slice(1)) === 0) ? "range" : null;
}

const firstExtent = /\[\s*(\d+)/;

/** The first extent of the first input that has one. */
export function batchOf(inputs: readonly string[]): number | null {
  for (const spec of inputs) {
    const first = firstExtent.exec(spec)?.[1];
    if (first !== undefined) return Number(first);
  }
  return null;
}

/** Another batch size, for all inputs and targets that share the old one. */
export function withBatch(config: ModelConfig, batch: number): ModelConfig {
  const old = batchOf(config.inputs);
  const change = (specs: readonly string[]): string[] => specs.map((spec) => (batchOf([spec]) === old ? spec.replace(firstExtent, `[${batch}`) : spec));
  return { ...config, inputs: change(config.inputs), ...(config.targets === undefined ? {} : { targets: change(config.targets) }) };
}

// ---- What a graph was made from -------------------------------------------------------------------------------------------

/** The entry that would make this graph again. */
export function configOf({ made_from: madeFrom, gradients }: Graph): ModelConfig {
  const options = (madeFrom["options"] ?? {}) as Readonly<Record<string, unknown>>;
  const text = (value: unknown): string | null => (typeof value === "string" && value !== "" ? value : null);
  const { loss, autocast } = madeFrom;
  const kwargs = text(options["kwargs"]);
  const targets = Array.isArray(options["targets"]) ? options["targets"].filter((each) => typeof each === "string") : [];
  return plain({
    inputs: madeFrom.inputs ?? [],
    kwargs: kwargs === null ? {} : (JSON.parse(kwargs) as Record<string, unknown>),
    loss: text(loss) ?? undefined,
    targets,
    optimizer: optimizers.find((each) => each === options["optimizer"]),
    autocast: autocasts.find((each) => each === autocast),
    device: text(options["device"]) ?? undefined,
    gradients,
    offload: options["offload"] === true,
    part: text(options["part"]) ?? undefined,
  });
}

/** Whether a profile with this entry would measure what the graph holds already. */
export function madeBy(graph: Graph, config: ModelConfig): boolean {
  const { threads } = config;
  if (threads !== undefined && threads !== graph.device["threads"]) return false;
  return canonical(plain(config)) === canonical(configOf(graph));
}

/** Without what says nothing but the default. */
function plain(config: { readonly [Key in keyof ModelConfig]?: ModelConfig[Key] | undefined }): ModelConfig {
  const { inputs = [], kwargs, loss, targets, optimizer, autocast, device, gradients, offload, part } = config;
  return {
    inputs: inputs.map((spec) => spec.replaceAll(/\s/g, "")),
    ...(kwargs !== undefined && Object.keys(kwargs).length > 0 && { kwargs }),
    ...(loss !== undefined && { loss }),
    ...(targets !== undefined && targets.length > 0 && { targets: targets.map((spec) => spec.replaceAll(/\s/g, "")) }),
    ...(optimizer !== undefined && optimizer !== "none" && { optimizer }),
    ...(autocast !== undefined && { autocast }),
    ...(device !== undefined && device !== "auto" && { device }),
    ...(gradients === "fresh" && { gradients }),
    ...(offload === true && { offload }),
    ...(part !== undefined && { part }),
  };
}

function canonical(value: unknown): string {
  return JSON.stringify(value, (_, each: unknown) =>
    typeof each === "object" && each !== null && !Array.isArray(each) ? Object.fromEntries(Object.entries(each).sort(([a], [b]) => (a < b ? -1 : 1))) : each,
  );
}
