/** What the Python helper is told, as words of its command line. */
import { basename, dirname, join } from "node:path";
import type { ModelConfig } from "../core/config";

/** The options of `profile`, as a command line has them. */
export interface ProfileSettings {
  readonly input?: readonly string[];
  readonly target?: readonly string[];
  readonly kwargs?: string;
  readonly loss?: string;
  /** A submodule by its path, `*` for the numbers of several alike. */
  readonly part?: string;
  readonly optimizer?: string;
  readonly autocast?: string;
  readonly device?: string;
  readonly gradients?: string;
  readonly threads?: string;
  readonly offload?: boolean;
  /** A folder; false: measure everything again. */
  readonly cache?: string | boolean;
}

export interface NamedModel {
  readonly file: string;
  readonly model: string;
}

export function settingsOf({ inputs, targets, kwargs, threads, ...rest }: ModelConfig): ProfileSettings {
  return {
    ...rest,
    input: inputs,
    ...(targets !== undefined && { target: targets }),
    ...(kwargs !== undefined && { kwargs: JSON.stringify(kwargs) }),
    ...(threads !== undefined && { threads: String(threads) }),
  };
}

export function profileArguments({ file, model }: NamedModel, out: string, settings: ProfileSettings): string[] {
  const named = (["kwargs", "loss", "part", "optimizer", "autocast", "device", "gradients", "threads"] as const).flatMap((name) => {
    const value = settings[name];
    return value === undefined ? [] : [`--${name}`, value];
  });
  const { cache, input = [], target = [], offload } = settings;
  const cached = cache === false ? ["--no-cache"] : typeof cache === "string" ? ["--cache", cache] : [];
  return [`${file}:${model}`, ...input.flatMap((spec) => ["--input", spec]), ...target.flatMap((spec) => ["--target", spec]), ...named, ...(offload === true ? ["--offload"] : []), ...cached, "--out", out];
}

export interface VerifySettings {
  readonly pairs?: string;
  readonly threads?: string;
  readonly json?: boolean;
  /** Where the helper writes what ran and the bytes that were live, as lines of JSON. */
  readonly trace?: string;
}

export function verifyArguments({ file, model }: NamedModel, plan: string, graph: string, { pairs, threads, json, trace }: VerifySettings): string[] {
  return [
    `${file}:${model}`, plan, "--graph", graph,
    ...(pairs === undefined ? [] : ["--pairs", pairs]),
    ...(threads === undefined ? [] : ["--threads", threads]),
    ...(trace === undefined ? [] : ["--trace", trace]),
    ...(json === true ? ["--json"] : []),
  ];
}

export interface ExportSettings {
  readonly threads?: string;
  readonly json?: boolean;
}

export function exportArguments({ file, model }: NamedModel, plan: string, graph: string, out: string, { threads, json }: ExportSettings): string[] {
  return [`${file}:${model}`, plan, "--graph", graph, "--out", out, ...(threads === undefined ? [] : ["--threads", threads]), ...(json === true ? ["--json"] : [])];
}

/** Where `export` writes: beside the model's file, for each part under a name of its own, and one that can be imported. */
export function exportFile({ file, model }: NamedModel, part: string | null): string {
  const stem = basename(file).replace(/\.py$/, "");
  const whole = stem === model ? model : `${stem}_${model}`;
  const path = (part === null ? whole : `${whole}.${part}`).replaceAll("*", "each").replaceAll(".", "__");
  // An import looks for its name in this normal form.
  const name = `${path}_checkpoint`.normalize("NFKC").replaceAll(/\P{ID_Continue}/gu, "_");
  return join(dirname(file), `${/^[\p{ID_Start}_]/u.test(name) ? "" : "_"}${name}.py`);
}
