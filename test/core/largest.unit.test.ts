import { describe, expect, it } from "vitest";
import { atBatch } from "../../src/core/batch";
import { checkGraph, type Graph } from "../../src/core/graph";
import { checkPlan } from "../../src/core/plan";
import { simulate, simulateEager } from "../../src/core/simulate";
import { indexGraph } from "../../src/core/simulate/problem";
import { eagerPlan } from "../../src/core/solve/draft";
import { exact } from "../../src/core/solve/exact";
import { largestBatch, plansAt, type Limits } from "../../src/core/solve/largest";
import { growing, randomGraph } from "../support/random_graph";
import { loadGlpk } from "../support/tools";

const graphs = Array.from({ length: 5 }, (_, seed) => growing(randomGraph(seed, { operators: 6, exotic: seed % 2 === 1 }), 8));
const tools = async (): Promise<Parameters<typeof largestBatch>[3]> => ({ glpk: await loadGlpk(), seed: 1, iterations: 500 });

/** By trying every size with the exact solver. */
function tried(graph: Graph, { budget, overhead }: Limits): number {
  let largest = 0;
  for (let batch = 1; batch <= 48; batch++) {
    const at = atBatch(graph, batch);
    const draft = exact(indexGraph(at), budget);
    if (draft !== null && draft.summary.time <= (1 + overhead) * simulateEager(at).time) largest = batch;
  }
  return largest;
}

describe("the largest batch", () => {
  for (const overhead of [0, 0.2, Infinity]) {
    it(`is what trying every size finds (or just below), with at most ${overhead} overhead`, async () => {
      const limits = graphs.map((graph) => ({ budget: simulateEager(atBatch(graph, 20)).peak, overhead }));
      const found = await Promise.all(graphs.map(async (graph, k) => largestBatch(graph, limits[k]!, "bitwise", await tools())));
      found.forEach((largest, k) => {
        const { batch, solution: { plan } } = largest!;
        const at = atBatch(graphs[k]!, batch);
        expect(checkPlan(plan, at)).toBe(plan);
        expect(simulate(at, plan).peak).toBeLessThanOrEqual(limits[k]!.budget);
        expect(plan.predicted.time).toBeLessThanOrEqual((1 + overhead) * plan.predicted.eager_time);
      });
      found.forEach((largest, k) => {
        const most = tried(graphs[k]!, limits[k]!);
        expect(largest!.batch).toBeLessThanOrEqual(most);
        // A search may miss the last plan that fits.
        expect(largest!.batch).toBeGreaterThanOrEqual(0.9 * most);
      });
    });
  }

  it("is none where a single sample is too much, and ends where nothing grows", async () => {
    const [graph] = graphs;
    expect(largestBatch(graph!, { budget: 1, overhead: Infinity }, "bitwise", await tools())).toBeNull();
    const still = { ...graph!, batch: { size: 8, slopes: {} } };
    expect(largestBatch(still, { budget: 1e9, overhead: Infinity }, "bitwise", await tools())?.batch).toBe(2 ** 24);
  });
});

describe("a graph at another batch size", () => {
  it("has the sizes of its line, the same structure, a hash of its own and the way back", () => {
    for (const graph of graphs) {
      const at = checkGraph(atBatch(graph, 12));
      expect(at.hash).toBe(`${graph.hash}@12`);
      expect(at.structure).toBe(graph.structure);
      at.values.forEach(({ kind, bytes, shape: [extent] }, k) => {
        const before = graph.values[k]!;
        const factor = kind === "activation" ? 1.5 : 1;
        expect([bytes, extent]).toEqual([Math.ceil(factor * before.bytes), Math.ceil(factor * before.shape[0]!)]);
      });
      expect(atBatch(graph, 8)).toBe(graph);
    }
  });

  it("asks for inputs of that batch", () => {
    const [graph] = graphs;
    const made_from = { ...graph!.made_from, inputs: ["float32[8,3]", "mask=bool[8,4]", "int64[5]"], options: { targets: ["int64[8]"], optimizer: "adam" } };
    const at = atBatch({ ...graph!, made_from }, 3).made_from;
    expect(at.inputs).toEqual(["float32[3,3]", "mask=bool[3,4]", "int64[5]"]);
    expect(at["options"]).toEqual({ targets: ["int64[3]"], optimizer: "adam" });
  });

  it("takes over plans with its own numbers", () => {
    for (const graph of graphs) {
      const at = atBatch(graph, 12);
      const [moved] = plansAt(at, [eagerPlan(graph)]);
      expect(moved).toEqual({ ...eagerPlan(at), budget: eagerPlan(at).predicted.peak });
    }
  });
});
