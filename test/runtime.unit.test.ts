import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { fixedBytes, parseGraph, type Graph } from "../src/core/graph";
import { compare, type Comparison, type Measured, type Stretch } from "../src/core/measured";
import { checkPlan, type Plan } from "../src/core/plan";
import { simulate } from "../src/core/simulate";
import { indexGraph, makerOf } from "../src/core/simulate/problem";
import { drop, keep, offload } from "../src/core/simulate/schedule";
import { draftOfGenome, eagerPlan, eagerSummary, writePlan } from "../src/core/solve/draft";
import { eagerGenome } from "../src/core/solve/genome";
import { restrict, solve } from "../src/core/solve/solve";
import { runHelper } from "../src/helper/helper";
import { findInterpreter } from "../src/helper/interpreter";
import { loadGlpk } from "./support/tools";

const project = fileURLToPath(new URL("..", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "monet runtime "));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

/** The real thing, with the Python that has torch; without one these tests fail. */
async function python(command: "profile" | "verify", ...args: string[]): Promise<string> {
  const { output } = await runHelper(command, [...args, "--threads", "1"], {
    interpreter: findInterpreter({ folders: [project], env: process.env }),
    packages: join(project, "python"),
    cwd: join(project, "test", "fixtures"),
    env: process.env,
    onProgress: () => undefined,
  });
  return output;
}

interface Report {
  readonly equal: boolean;
  readonly eager_peak: number;
  readonly planned_peak: number;
  readonly eager_forwards: Record<string, number>;
  readonly larger_forwards: number;
}

async function verify(target: string, graph: Graph, plan: Plan): Promise<{ report: Report; steps: Measured[] }> {
  const name = (file: string): string => join(folder, file);
  writeFileSync(name("graph.json"), JSON.stringify(graph));
  writeFileSync(name("plan.json"), JSON.stringify(plan));
  const output = await python("verify", target, name("plan.json"), "--graph", name("graph.json"), "--pairs", "0", "--json", "--trace", name("trace"));
  const steps = readFileSync(name("trace"), "utf8").trim().split("\n").map((line) => JSON.parse(line) as Measured);
  return { report: JSON.parse(output) as Report, steps };
}

/**
 * Other events, other bytes before or after one, and more in between. (What was made again goes as soon as it was
 * unpacked: where a backward has its peak later, that is lower than predicted.)
 */
function unforeseen({ stretches, parting }: Comparison): unknown[] {
  const differs = ({ predicted, measured }: Stretch): boolean =>
    measured.before !== predicted.before || measured.after !== predicted.after || measured.moment > predicted.moment;
  return [...stretches.filter(differs), ...(parting?.kind === "event" ? [parting] : [])];
}

/** Times that do not change from run to run, so that neither do the plans. */
function steady(graph: Graph): Graph {
  const cost = <Each extends { peak: number }>(each: Each): Each => ({ ...each, time: 1000 + Math.round(each.peak / 8) });
  const operators = graph.operators.map((operator) => ({
    ...operator,
    implementations: operator.implementations.map((each) => ({
      ...each,
      forward: cost(each.forward), recompute: cost(each.recompute), backward: each.backward === null ? null : cost(each.backward),
    })),
  }));
  return { ...graph, operators };
}

/** Every tensor that can be is away, for as long as links let it that take about as long as the operators do. */
function offloading(graph: Graph): { linked: Graph; plan: Plan } {
  const link = { bytes_per_second: 4e6 * 1e3, latency: 1000 };
  const linked: Graph = { ...graph, transfer: { to_host: link, from_host: link, overlaps: true } };
  const problem = indexGraph(linked);
  const genome = { ...eagerGenome(problem), genes: new Int32Array(problem.tensors).fill(offload) };
  return { linked, plan: writePlan(problem, draftOfGenome(problem, genome), null, null, eagerSummary(problem)) };
}

/** The gradient of the loss itself is a constant that no graph lists. */
const ownGradient = 4;

const models = [
  { target: "conv.py:ConvNet", about: "a skip, ReLU in place, batch norm, dropout", options: ["--input", "float32[4,3,32,32]"] },
  { target: "attention.py:Decoder", about: "attention, dropout, a tied embedding", options: ["--input", "int64[4,32]<97", "--input", "int64[4,32]<97"] },
  { target: "branches.py:Branches", about: "branches, views, a loss outside", options: ["--input", "float32[256,64]", "--loss", "spread", "--target", "float32[256,1]"] },
];

describe.each(models)("the runtime does what the simulator tells, on $target ($about)", ({ target, options }) => {
  let graph: Graph;

  beforeAll(async () => {
    const file = join(folder, "profiled.json");
    await python("profile", target, ...options, "--no-cache", "--out", file);
    graph = steady(parseGraph(readFileSync(file, "utf8")));
  }, 120_000);

  it.each(["eager", 0.65, 0.4])("event by event and byte by byte: %s", async (share) => {
    const eager = eagerPlan(graph);
    let plan = eager;
    if (typeof share === "number") {
      const fixed = fixedBytes(graph);
      const budget = fixed + Math.floor(share * (eager.predicted.peak - fixed));
      const solution = solve(restrict(graph, "bitwise"), budget, { glpk: await loadGlpk(), seed: 1, iterations: 3000 });
      ({ plan } = solution.kind === "plan" ? solution : solution.smallest);
    }
    checkPlan(plan, graph);
    const { report, steps } = await verify(target, graph, plan);
    const comparison = compare(graph, plan, steps);
    if (share === "eager") expect(comparison.parting).toBeNull();
    expect(unforeseen(comparison)).toEqual([]);
    expect(comparison.stretches.length).toBeGreaterThan(graph.operators.length);
    expect(report.equal).toBe(true);
    expect(report.eager_forwards).toEqual({});
    expect(report.larger_forwards).toBe(0);
    expect(report.eager_peak - plan.predicted.eager_peak).toBe(ownGradient);
    expect(report.planned_peak - plan.predicted.peak).toBe(ownGradient);
  }, 120_000);

  it("and knows a step that is larger than the planned one, by a byte", async () => {
    const plan = eagerPlan(graph);
    const bytes = plan.graph.activation_bytes!;
    const { report } = await verify(target, graph, { ...plan, graph: { ...plan.graph, activation_bytes: bytes - 1 } });
    expect(report.larger_forwards).toBe(4);
  }, 120_000);

  it("event by event and byte by byte: what it keeps is offloaded", async () => {
    const { linked, plan } = offloading(graph);
    checkPlan(plan, linked);
    const { report, steps } = await verify(target, linked, plan);
    const { events } = simulate(linked, plan);
    expect(unforeseen(compare(linked, plan, steps))).toEqual([]);
    const clocks = new Set(events.flatMap(({ kind, clock }) => (kind === "fetch" ? [clock] : [])));
    expect(clocks.size).toBeGreaterThan(1);
    expect(report.equal).toBe(true);
    expect(report.eager_forwards).toEqual({});
    expect(plan.predicted.peak).toBeLessThan(plan.predicted.eager_peak);
    expect(report.planned_peak - plan.predicted.peak).toBe(ownGradient);
  }, 120_000);
});

/** A plan by which operators run as `name` wherever that is exact, with everything kept or all that may be made again. */
function running(graph: Graph, name: string, gene: number): { plan: Plan; modules: string[] } {
  const problem = indexGraph(graph);
  const { choice } = eagerGenome(problem);
  const found = graph.operators.filter(({ implementations }, i) => {
    const at = implementations.findIndex((each) => each.name === name && each.exactness === "bitwise");
    if (at > 0) choice[i] = (problem.implementations[i] ?? 0) + at;
    return at > 0;
  });
  const genes = Int32Array.from({ length: problem.tensors }, (_, t) => (problem.random[makerOf(problem, t)] === 1 ? keep : gene));
  const plan = writePlan(problem, draftOfGenome(problem, { choice, genes }), null, null, eagerSummary(problem));
  return { plan: checkPlan(plan, graph), modules: found.map(({ module }) => module) };
}

describe.each([["fresh", []], ["accumulate", []], ["fresh", ["--autocast", "bf16"]]] as const)("a weight's gradient before its input's (gradients %s, %s)", (gradients, options) => {
  let graph: Graph;

  beforeAll(async () => {
    const file = join(folder, "weights.json");
    await python("profile", "conv.py:ConvNet", "--input", "float32[4,3,32,32]", "--gradients", gradients, ...options, "--no-cache", "--out", file);
    graph = steady(parseGraph(readFileSync(file, "utf8")));
  }, 120_000);

  it.each([["kept", keep], ["made again", drop]])("event by event and byte by byte: all is %s", async (_, gene) => {
    const { plan, modules } = running(graph, "weight-first", gene);
    expect(modules).toEqual(["blocks.0.body.0", "blocks.0.body.3", "blocks.2.body.0", "blocks.2.body.3", "blocks.3.body.0", "blocks.3.body.3"]);
    const { report, steps } = await verify("conv.py:ConvNet", graph, plan);
    expect(unforeseen(compare(graph, plan, steps))).toEqual([]);
    expect(report.equal).toBe(true);
    expect(report.eager_forwards).toEqual({});
    const { events, peak } = simulate(graph, plan);
    const inBackward = events.find(({ moment }) => moment === peak)?.kind !== "forward";
    expect(report.planned_peak - plan.predicted.peak).toBe(inBackward ? (options.length === 0 ? ownGradient : ownGradient / 2) : 0);
  }, 120_000);
});

describe.each([[[]], [["--autocast", "bf16"]]])("activations in place that nobody wrote so (%s)", (options) => {
  let graph: Graph;
  const target = "functional.py:Functional";

  beforeAll(async () => {
    const file = join(folder, "functional.json");
    await python("profile", target, "--input", "float32[8,24,32]", ...options, "--no-cache", "--out", file);
    graph = steady(parseGraph(readFileSync(file, "utf8")));
  }, 120_000);

  it.each([
    ["mask", "kept", keep, 4], ["mask", "made again", drop, 4], ["output", "kept", keep, 2], ["output", "made again", drop, 2],
  ])("event by event and byte by byte: by %s, all is %s", async (name, _, gene, count) => {
    const { plan, modules } = running(graph, name, gene);
    expect(modules).toHaveLength(count);
    const { report, steps } = await verify(target, graph, plan);
    expect(unforeseen(compare(graph, plan, steps))).toEqual([]);
    expect(report.equal).toBe(true);
    expect(report.eager_forwards).toEqual({});
    const { events, peak } = simulate(graph, plan);
    const inBackward = events.find(({ moment }) => moment === peak)?.kind !== "forward";
    const own = inBackward ? (options.length === 0 ? ownGradient : ownGradient / 2) : 0;
    const difference = report.planned_peak - plan.predicted.peak;
    // A bias's gradient comes last in a backward, when an input that was made again for it is gone.
    const bias = gene === drop && difference < own ? 4 * 64 : 0;
    expect(difference).toBe(own - bias);
  }, 120_000);
});
