import { basename, resolve } from "node:path";
import { configOf } from "../../core/config";
import { callLines } from "../../core/part";
import { exportArguments, exportFile, type ExportSettings } from "../../helper/arguments";
import { runHelper } from "../../helper/helper";
import { exitCodes } from "../../helper/exit";
import { readGraph, readPlan } from "../files";
import type { Io } from "../io";
import type { Outcome } from "../outcome";
import { ProgressLine } from "../progress";
import { readTarget } from "../target";
import { helperOptions } from "./profile";
import { graphOf, helperDocument } from "./verify";

export interface ExportOptions extends ExportSettings {
  readonly graph?: string;
  readonly out?: string;
  readonly python?: string;
}

export async function exportPlan(io: Io, name: string, plan: string, options: ExportOptions): Promise<Outcome> {
  const target = await readTarget(io, name);
  const graphFile = options.graph ?? graphOf(io, target, plan);
  const graph = readGraph(io, graphFile);
  readPlan(io, plan, graph);
  const { part = null } = configOf(graph);
  const out = options.out ?? exportFile(target, part);
  const args = exportArguments(target, resolve(io.cwd, plan), resolve(io.cwd, graphFile), out, options);
  const line = new ProgressLine(io);
  try {
    const result = await runHelper("export", args, helperOptions(io, target.file, options.python, line));
    const use = `Use it: from ${basename(out, ".py")} import apply${part === null ? "; " : "\n"}${callLines(part, (at) => `apply(${at})`)}`;
    return { exit: exitCodes.ok, text: `${result.output}\n\n${use}\n`, json: options.json === true ? helperDocument(result) : null };
  } finally {
    line.clear();
  }
}
