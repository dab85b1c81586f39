import { dirname, resolve } from "node:path";
import { simulateEager } from "../../core/simulate";
import { fixedBytes, type Graph } from "../../core/graph";
import { formatBytes, formatDuration } from "../../core/units";
import { runHelper, type HelperOptions } from "../../helper/helper";
import { findInterpreter } from "../../helper/interpreter";
import { exitCodes } from "../exit";
import { readGraph } from "../files";
import { defaultFile } from "../../helper/files";
import type { Io } from "../io";
import type { Outcome } from "../outcome";
import { ProgressLine } from "../progress";
import { count } from "../table";
import { readTarget, type Target } from "../target";

export interface ProfileOptions {
  readonly input: readonly string[];
  readonly kwargs?: string;
  readonly loss?: string;
  readonly target: readonly string[];
  readonly optimizer?: string;
  readonly autocast?: string;
  readonly device?: string;
  readonly gradients?: string;
  readonly threads?: string;
  readonly cache?: string | boolean;
  readonly python?: string;
  readonly out?: string;
}

export function helperOptions(io: Io, file: string, python: string | undefined, line: ProgressLine): HelperOptions {
  const folders = [dirname(resolve(io.cwd, file)), io.cwd];
  return {
    interpreter: findInterpreter({ explicit: python, folders, env: io.env }),
    packages: io.packages,
    cwd: io.cwd,
    env: io.env,
    signal: io.signal,
    onProgress: line.show,
  };
}

export function profileArguments(target: Target, out: string, options: ProfileOptions): string[] {
  const named = (["kwargs", "loss", "optimizer", "autocast", "device", "gradients", "threads"] as const).flatMap((name) => {
    const value = options[name];
    return value === undefined ? [] : [`--${name}`, value];
  });
  const cache = options.cache === false ? ["--no-cache"] : typeof options.cache === "string" ? ["--cache", options.cache] : [];
  return [`${target.file}:${target.model}`, ...options.input.flatMap((spec) => ["--input", spec]), ...options.target.flatMap((spec) => ["--target", spec]), ...named, ...cache, "--out", out];
}

export async function profileTarget(io: Io, target: Target, out: string, options: ProfileOptions): Promise<Graph> {
  const line = new ProgressLine(io);
  try {
    await runHelper("profile", profileArguments(target, out, options), helperOptions(io, target.file, options.python, line));
  } finally {
    line.clear();
  }
  return readGraph(io, out);
}

export async function profile(io: Io, name: string, options: ProfileOptions): Promise<Outcome> {
  const target = await readTarget(io, name);
  const out = options.out ?? defaultFile(target.file, target.model, "graph");
  const graph = await profileTarget(io, target, out, options);
  const facts = graphFacts(graph);
  const text = [
    `${target.file}:${target.model} on ${graph.device.name}${graph.device.estimated ? " (estimated)" : ""}: ${count(graph.operators.length, "operator")}`,
    `One training step takes ${formatBytes(facts.eager_peak)} at its peak, ${formatBytes(facts.fixed)} of them fixed (parameters, optimizer, inputs), and ${formatDuration(facts.eager_time)}.`,
    `Training graph: ${out}`,
    "",
  ].join("\n");
  return { exit: exitCodes.ok, text, json: { graph: out, ...facts } };
}

export function graphFacts(graph: Graph): { model: string; device: string; estimated: boolean; operators: number; fixed: number; eager_peak: number; eager_time: number } {
  const eager = simulateEager(graph);
  return {
    model: graph.made_from.model,
    device: graph.device.name,
    estimated: graph.device.estimated,
    operators: graph.operators.length,
    fixed: fixedBytes(graph),
    eager_peak: eager.peak,
    eager_time: eager.time,
  };
}
