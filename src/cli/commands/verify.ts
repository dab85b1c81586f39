import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { parseJson, type Graph } from "../../core/graph";
import type { Measured } from "../../core/measured";
import { verifyArguments, type VerifySettings } from "../../helper/arguments";
import { runHelper, type HelperResult } from "../../helper/helper";
import { UserError } from "../../helper/user_error";
import { exitCodes } from "../../helper/exit";
import { readGraph, readPlan, readText, writeJson, writeText } from "../files";
import { defaultFile } from "../../helper/files";
import type { Io } from "../io";
import type { Outcome } from "../outcome";
import { ProgressLine } from "../progress";
import { readTarget, type Target } from "../target";
import { timelineDocument, timelinePage, timelineReport } from "../timeline";
import { helperOptions } from "./profile";

export interface VerifyOptions extends VerifySettings {
  readonly graph?: string;
  readonly python?: string;
  /** A file for the measured timeline over the predicted one, HTML or JSON. */
  readonly timeline?: string;
}

/** `NAME.plan.json` was made from `NAME.graph.json`, unless it is said otherwise. */
export function graphBeside(plan: string): string | null {
  return plan.endsWith(".plan.json") ? plan.replace(/\.plan\.json$/, ".graph.json") : null;
}

/** The graph of the plan's name, or else the one in its folder that it was made from; null: there is none. */
export function graphNear(io: Io, plan: string): string | null {
  const beside = graphBeside(plan);
  if (beside !== null && existsSync(resolve(io.cwd, beside))) return beside;
  const folder = dirname(plan);
  const at = (file: string): { readonly hash?: string; readonly graph?: { readonly hash?: string } } => {
    try {
      return parseJson(readText(io, file, "file"), "file") as object;
    } catch {
      return {}; // whoever reads it says what is wrong with it
    }
  };
  const made = at(plan).graph?.hash;
  if (made === undefined) return null;
  const graphs = readdirSync(resolve(io.cwd, folder)).filter((name) => name.endsWith(".graph.json")).sort();
  return graphs.map((name) => join(folder, name)).find((file) => at(file).hash === made) ?? null;
}

/** The graph near the plan; without one (the plan went elsewhere with `--out`), where `profile` and `optimize` put the model's. */
export function graphOf(io: Io, target: Target, plan: string): string {
  const beside = graphBeside(plan);
  const usual = defaultFile(target.file, target.model, "graph");
  const found = graphNear(io, plan) ?? (existsSync(resolve(io.cwd, usual)) ? usual : null);
  if (found !== null) return found;
  const looked = [...new Set([beside ?? usual, usual])].map((file) => `'${file}'`).join(" and ");
  throw new UserError("M620", "input", `There is no training graph for the plan '${plan}' (looked for ${looked}): name it with --graph.`);
}

export async function runVerify(io: Io, target: Target, plan: string, graph: string, options: VerifyOptions): Promise<HelperResult> {
  const line = new ProgressLine(io);
  const args = verifyArguments(target, plan, graph, options);
  try {
    return await runHelper("verify", args, helperOptions(io, target.file, options.python, line));
  } finally {
    line.clear();
  }
}

export async function verify(io: Io, name: string, plan: string, options: VerifyOptions): Promise<Outcome> {
  const target = await readTarget(io, name);
  const graphFile = options.graph ?? graphOf(io, target, plan);
  const graph: Graph = readGraph(io, graphFile);
  const document = readPlan(io, plan, graph);
  const run = (settings: VerifyOptions): Promise<HelperResult> => runVerify(io, target, resolve(io.cwd, plan), resolve(io.cwd, graphFile), settings);
  const out = options.timeline;
  if (out === undefined) return outcomeOf(await run(options), options, null);
  if (!/\.(html|json)$/.test(out)) throw new UserError("M621", "input", `--timeline ${out}: name a file that ends in .html (a page) or .json.`);
  const folder = mkdtempSync(join(tmpdir(), "monet-"));
  try {
    const trace = join(folder, "trace");
    const result = await run({ ...options, trace });
    const measured = readText(io, trace, "trace").trimEnd().split("\n").map((line) => JSON.parse(line) as Measured);
    const report = timelineReport(graph, document, measured);
    if (out.endsWith(".json")) writeJson(io, out, timelineDocument(graph, report));
    else writeText(io, out, timelinePage(graph, report));
    return outcomeOf(result, options, { file: out, verdict: report.verdict, parting: report.comparison.parting });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

interface TimelineFacts {
  readonly file: string;
  readonly verdict: string;
  readonly parting: unknown;
}

function outcomeOf(result: HelperResult, options: VerifyOptions, timeline: TimelineFacts | null): Outcome {
  return {
    exit: result.differs ? exitCodes.differs : exitCodes.ok,
    text: `${result.output}\n${timeline === null ? "" : `  timeline: ${timeline.verdict}\n  (${timeline.file})\n`}`,
    json: options.json === true ? Object.assign({}, helperDocument(result), timeline === null ? {} : { timeline }) : null,
  };
}

export function helperDocument(result: HelperResult): unknown {
  try {
    return JSON.parse(result.output);
  } catch {
    throw new UserError("M706", "crash", "The Python helper did not answer with a JSON document; run the same command without --json to see what it prints.");
  }
}
