/** Writes real view models for the harness, `states.mjs OUT [GRAPH.json …]`: each solved as the extension does, and one of 2,000 operators. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { pathToFileURL } from "node:url";
import { explained } from "../../../src/core/numbers";
import { parseGraph, type Graph } from "../../../src/core/graph";
import { layersAtPeak, picture } from "../../../src/core/picture";
import type { Plan } from "../../../src/core/plan";
import { simulate, simulateEager } from "../../../src/core/simulate";
import { eagerPlan } from "../../../src/core/solve/draft";
import { why } from "../../../src/core/why";
import { formatBytes, formatPercent } from "../../../src/core/units";
import type { BudgetState, ScheduleState } from "../../../src/protocol";
import { solveFrontier } from "../../../src/solver/client";
import { gpt, resnet50 } from "../../support/networks";
import table from "../../../python/monet_torch/cards.json";

const cards = table.map(({ name, gib }) => ({ name, bytes: gib * 2 ** 30 }));

function budgetState(name: string, graph: Graph, plans: readonly Plan[], budget: number): BudgetState {
  const model = { id: `file:///models/${name}.py#Model`, name: "Model", file: `models/${name}.py` };
  const { fixed, device, made_from: madeFrom } = graph;
  const part = (key: string): number => fixed[key] ?? 0;
  const { eager_peak: peak, eager_time: time } = plans[0]!.predicted;
  return {
    model, models: [model, { id: "other", name: "Discriminator", file: "models/gan.py" }],
    trusted: true, stale: false, running: null, problem: null, cards,
    result: {
      device: { name: device.name, totalBytes: device.total_bytes, estimated: device.estimated },
      reserve: Math.round(0.05 * device.total_bytes),
      torch: typeof madeFrom["torch"] === "string" ? madeFrom["torch"] : "",
      part: null, opaque: 0,
      batch: 8,
      largest: { batch: 96, overhead: 0.21 },
      grows: true,
      fixed: { parameters: part("parameters"), buffers: part("buffers"), inputs: part("inputs"), gradients: part("gradients"), optimizer: part("optimizer") },
      eager: { peak, time, layers: layersAtPeak(graph, null) },
      points: plans.map((plan) => ({
        peak: plan.predicted.peak, time: plan.predicted.time, overhead: plan.predicted.time / time - 1,
        bound: plan.bound === null ? null : plan.bound.time / time - 1, layers: layersAtPeak(graph, plan),
      })),
      budget, complete: true, outdated: false, refining: false, applied: false, left: ["script", "runtime"], verified: null,
    },
  };
}

function scheduleState(name: string, graph: Graph, plan: Plan, budget: number | null): ScheduleState {
  const known = explained(graph, plan);
  const { predicted, bound } = plan;
  const tensors = known.explanation.operators.flatMap((row) => row.tensors);
  const inputs = graph.made_from.inputs ?? [];
  return {
    model: { id: `file:///models/${name}.py#Model`, name: "Model", file: `models/${name}.py` },
    line: 42, inputs, batch: 8, device: { name: graph.device.name, estimated: graph.device.estimated }, stale: false,
    budget, peak: predicted.peak, eagerPeak: predicted.eager_peak, time: predicted.time,
    overhead: predicted.time / predicted.eager_time - 1, recomputeTime: known.explanation.recomputeTime,
    gap: bound === null ? null : predicted.time / bound.time - 1,
    kept: tensors.filter(({ fate, bytes }) => fate === "kept" && bytes > 0).length,
    offloaded: 0, recomputed: tensors.filter(({ fate, bytes }) => (fate === "recomputed" || fate === "retained") && bytes > 0).length,
    changed: known.explanation.operators.filter(({ changed }) => changed).length,
    picture: picture(graph, plan, known.explanation),
  };
}

/** Eager with two of three activations dropped: a plan of any size without solving it. */
function dropped(graph: Graph): Plan {
  const eager = eagerPlan(graph);
  const plan: Plan = {
    ...eager,
    retain: eager.retain.filter((entry, k) => k % 3 === 0 || graph.outputs.includes(entry.value ?? -1)),
    rng: graph.operators.filter(({ random }) => random).map(({ id }) => id),
  };
  const { peak, time } = simulate(graph, plan);
  return { ...plan, predicted: { ...plan.predicted, peak, time, eager_peak: simulateEager(graph).peak } };
}

function whyTexts(graph: Graph, plan: Plan, { picture: { bars } }: ScheduleState): string[] {
  const known = explained(graph, plan);
  return bars.slice(0, 400).map((bar) => {
    const answer = why(graph, plan, known.explanation, bar.operator, bar);
    if (!answer?.otherwise) return "No plan can do otherwise here.";
    const { peak, time } = answer.otherwise;
    const verb = answer.does === "keeps" ? "Recomputing" : "Keeping";
    return `${verb} it would make the peak ${formatBytes(peak)} and the step ${formatPercent(time / answer.time - 1, { sign: true })}.`;
  });
}

const [out = "", ...files] = process.argv.slice(2);
mkdirSync(out, { recursive: true });
const save = (name: string, value: unknown): void => { writeFileSync(join(out, `${name}.json`), JSON.stringify(value)); };
const worker = pathToFileURL("dist/solver-worker.mjs");
const graphs = files.length === 0 ? { generated: resnet50() } : Object.fromEntries(files.map((file) => [basename(file, ".json"), parseGraph(readFileSync(file, "utf8"))]));
for (const [name, graph] of Object.entries(graphs)) {
  const { points } = await solveFrontier(graph, { worker, iterations: 3000 });
  const plans = points.map(({ plan }) => plan);
  const chosen = plans[Math.floor(plans.length / 3)]!;
  const budget = Math.round(chosen.predicted.peak * 1.02);
  save(`${name}.budget`, budgetState(name, graph, plans, budget));
  const state = scheduleState(name, graph, chosen, budget);
  save(`${name}.schedule`, state);
  save(`${name}.why`, whyTexts(graph, chosen, state));
  process.stdout.write(`${name}: ${plans.length} plans, ${state.picture.bars.length} bars, ${state.picture.steps.kind.length} steps\n`);
}
const large = gpt(2, 64, 182);
const state = scheduleState("large", large, dropped(large), null);
save("large.schedule", state);
process.stdout.write(`large: ${large.operators.length} operators, ${state.picture.bars.reduce((sum, { segments }) => sum + segments.length, 0)} live ranges\n`);
