import { dirname, resolve } from "node:path";
import { simulateEager } from "../../core/simulate";
import { fixedBytes, optimizerPeak, type Graph } from "../../core/graph";
import { formatBytes, formatDuration } from "../../core/units";
import { profileArguments, type ProfileSettings } from "../../helper/arguments";
import { runHelper, type HelperOptions } from "../../helper/helper";
import { findInterpreter } from "../../helper/interpreter";
import { configured } from "../config";
import { exitCodes } from "../../helper/exit";
import { readGraph } from "../files";
import type { Io } from "../io";
import type { Outcome } from "../outcome";
import { fileOf } from "../parts";
import { ProgressLine } from "../progress";
import { opaqueLines } from "../schedule";
import { count } from "../table";
import { readTarget, type Target } from "../target";

export interface ProfileOptions extends ProfileSettings {
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

export async function profileTarget(io: Io, target: Target, out: string, options: ProfileOptions): Promise<Graph> {
  const line = new ProgressLine(io);
  try {
    await runHelper("profile", profileArguments(target, out, options), helperOptions(io, target.file, options.python, line));
  } finally {
    line.clear();
  }
  return readGraph(io, out);
}

export async function profile(io: Io, name: string, given: ProfileOptions): Promise<Outcome> {
  const target = await readTarget(io, name);
  const options = configured(io, target, given);
  const out = options.out ?? fileOf(target, options.part, "graph");
  const graph = await profileTarget(io, target, out, options);
  const facts = graphFacts(graph);
  const text = [
    `${target.file}:${target.model} on ${graph.device.name}${graph.device.estimated ? " (estimated)" : ""}: ${count(graph.operators.length, "operator")}`,
    `One training step takes ${formatBytes(facts.eager_peak)} at its peak, ${formatBytes(facts.fixed)} of them fixed (parameters, optimizer, inputs), and ${formatDuration(facts.eager_time)}.`,
    ...(graph.optimizer_step === undefined || graph.optimizer_step === 0 ? [] : [`The optimizer's step takes ${formatBytes(facts.optimizer_peak)} at its peak, whatever the plan.`]),
    assumptions(graph),
    ...opaqueLines(graph),
    `Training graph: ${out}`,
    "",
  ].join("\n");
  return { exit: exitCodes.ok, text, json: { graph: out, ...facts } };
}

/** What the profiled step was, in one line: what was forgotten shows here. */
function assumptions({ made_from: { inputs = [], loss, autocast }, gradients }: Graph): string {
  // An entry function brings inputs and loss itself.
  const by = inputs.length === 0 ? "its entry function's loss" : typeof loss === "string" ? `${loss} as its loss` : "the sum of its outputs as its loss (--loss names another)";
  return `The step has ${by}, ${typeof autocast === "string" ? `${autocast} autocast` : "no autocast"}, and gradients that ${gradients === "fresh" ? "appear in backward" : "are there before it"}.`;
}

export function graphFacts(graph: Graph): { model: string; device: string; estimated: boolean; operators: number; fixed: number; eager_peak: number; eager_time: number; optimizer_peak: number } {
  const eager = simulateEager(graph);
  return {
    model: graph.made_from.model,
    device: graph.device.name,
    estimated: graph.device.estimated,
    operators: graph.operators.length,
    fixed: fixedBytes(graph),
    eager_peak: eager.peak,
    eager_time: eager.time,
    optimizer_peak: optimizerPeak(graph),
  };
}
