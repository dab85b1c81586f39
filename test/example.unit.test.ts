import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { explain } from "../src/core/explain";
import { parseGraph } from "../src/core/graph";
import { parsePlan } from "../src/core/plan";
import { simulate, simulateEager, type TensorRef } from "../src/core/simulate";
import { naive } from "./support/naive";

const read = (name: string): string => readFileSync(new URL(`fixtures/example.${name}`, import.meta.url), "utf8");
const graph = parseGraph(read("graph.json"));
const plan = parsePlan(read("plan.json"), graph);

/** One line per event; values, internals and gradients as v4, i1 and g4. */
function text(): string {
  const { events, peak, structurePeak, time } = simulate(graph, plan);
  const names = (sign: string, tensors: readonly TensorRef[]): string[] => tensors.map(({ kind, id }) => `${sign}${kind.charAt(0)}${id}`);
  const lines = events.map(({ clock, kind, operator, before, moment, after, allocated, freed }) =>
    [String(clock).padStart(5), kind.padEnd(10), String(operator).padStart(8), ...[before, moment, after].map((x) => String(x).padStart(7)), " " + [...names("+", allocated), ...names("-", freed)].join(" ")]
      .join(" ").trimEnd());
  return ["clock kind       operator  before  moment   after", ...lines, `peak ${peak}, structure_peak ${structurePeak}, time ${time}`, ""].join("\n");
}

describe("the worked example of docs/format.md", () => {
  it("runs as its golden timeline says", () => {
    expect(text()).toBe(read("timeline.txt"));
  });

  it("stands on the page, line for line", () => {
    const page = readFileSync(new URL("../docs/format.md", import.meta.url), "utf8");
    expect(page).toContain(read("timeline.txt"));
  });

  it("predicts what it does", () => {
    const summary = simulate(graph, plan);
    const eager = simulateEager(graph);
    expect(plan.predicted).toEqual({
      peak: summary.peak, structure_peak: summary.structurePeak, time: summary.time,
      eager_peak: eager.peak, eager_structure_peak: eager.structurePeak, eager_time: eager.time,
    });
    expect(naive(graph, plan)).toEqual({ peak: summary.peak, structure_peak: summary.structurePeak, time: summary.time });
  });

  it("reads as rows", () => {
    const fates = explain(graph, plan).operators.map(({ id, tensors }) => [id, ...tensors.map(({ kind, fate, until, recomputedFor }) => ({ kind, fate, until, recomputedFor }))]);
    expect(fates).toEqual([
      [0, { kind: "value", fate: "kept", until: [1], recomputedFor: [] }],
      [1, { kind: "value", fate: "recomputed", until: [], recomputedFor: [4, 1] }, { kind: "internals", fate: "recomputed", until: [], recomputedFor: [4, 1] }],
      [2, { kind: "value", fate: "retained", until: [2], recomputedFor: [4] }],
      [3],
      [4, { kind: "value", fate: "unused", until: [], recomputedFor: [] }],
      [5, { kind: "value", fate: "kept", until: [], recomputedFor: [] }],
    ]);
    expect(explain(graph, plan).operators.map(({ extraTime }) => extraTime)).toEqual([0, 40, 10, 0, 0, 0]);
    expect(explain(graph, plan)).toMatchObject({ recomputes: 3, recomputeTime: 50, peak: { kind: "backward", operator: 2 } });
  });
});
