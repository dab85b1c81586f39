import { basename, dirname, join, resolve } from "node:path";
import type { Graph } from "../../core/graph";
import { runHelper } from "../../helper/helper";
import { exitCodes } from "../../helper/exit";
import { readGraph, readPlan } from "../files";
import type { Io } from "../io";
import type { Outcome } from "../outcome";
import { ProgressLine } from "../progress";
import { readTarget, type Target } from "../target";
import { helperOptions } from "./profile";
import { graphOf, helperDocument } from "./verify";

export interface ExportOptions {
  readonly graph?: string;
  readonly out?: string;
  readonly threads?: string;
  readonly python?: string;
  readonly json?: boolean;
}

/** Beside the model's file and under a name that can be imported. */
export function exportFile({ file, model }: Target, part: string | null): string {
  const stem = basename(file).replace(/\.py$/, "");
  const names = [stem, ...(stem === model ? [] : [model]), ...(part === null ? [] : [part]), "checkpoint"];
  return join(dirname(file), `${names.join("_").replaceAll(/[\W_]+/g, "_")}.py`);
}

function partOf({ made_from: madeFrom }: Graph): string | null {
  const options = madeFrom["options"] as { readonly part?: unknown } | undefined;
  return typeof options?.part === "string" ? options.part : null;
}

export async function exportPlan(io: Io, name: string, plan: string, options: ExportOptions): Promise<Outcome> {
  const target = await readTarget(io, name);
  const graphFile = options.graph ?? graphOf(io, target, plan);
  const graph = readGraph(io, graphFile);
  readPlan(io, plan, graph);
  const out = options.out ?? exportFile(target, partOf(graph));
  const args = [
    `${target.file}:${target.model}`, resolve(io.cwd, plan), "--graph", resolve(io.cwd, graphFile), "--out", out,
    ...(options.threads === undefined ? [] : ["--threads", options.threads]),
    ...(options.json === true ? ["--json"] : []),
  ];
  const line = new ProgressLine(io);
  try {
    const result = await runHelper("export", args, helperOptions(io, target.file, options.python, line));
    const use = `Use it: from ${basename(out, ".py")} import apply; apply(model)`;
    return { exit: exitCodes.ok, text: `${result.output}\n\n${use}\n`, json: options.json === true ? helperDocument(result) : null };
  } finally {
    line.clear();
  }
}
