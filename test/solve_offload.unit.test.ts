import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { checkGraph, type Graph } from "../src/core/graph";
import { scheduleText } from "../src/cli/schedule";
import { explain } from "../src/core/explain";
import { picture } from "../src/core/picture";
import { checkPlan } from "../src/core/plan";
import { simulate } from "../src/core/simulate";
import { indexGraph } from "../src/core/simulate/problem";
import { drop, keep, offload } from "../src/core/simulate/schedule";
import { fastest, lowerBound } from "../src/core/solve/bound";
import { draftOfGenome, eagerSummary, writePlan } from "../src/core/solve/draft";
import { exact, isSmall } from "../src/core/solve/exact";
import { eagerGenome, Evaluator } from "../src/core/solve/genome";
import { leastMemory, polish, search } from "../src/core/solve/search";
import { solve, withoutOffload, type Tools } from "../src/core/solve/solve";
import { why } from "../src/core/why";
import { resnet50 } from "./support/networks";
import { randomGraph, randomPlan } from "./support/random_graph";
import { loadGlpk } from "./support/tools";

const glpk = await loadGlpk();
const tools: Tools = { glpk, seed: 1, iterations: 300 };
const shapes = fc.record({
  seed: fc.integer({ min: 0, max: 1 << 30 }), operators: fc.integer({ min: 1, max: 12 }), exotic: fc.boolean(), share: fc.double({ min: 0, max: 1, noNaN: true }),
});
const graphOf = (shape: { seed: number; operators: number; exotic: boolean }): Graph => checkGraph(randomGraph(shape.seed, { ...shape, transfer: true }));

/** A link that carries so many of the bytes that a step keeps in a third of its time. */
function linked(graph: Graph, share: number, overlaps: boolean): Graph {
  const problem = indexGraph(graph);
  const kept = problem.bytes.reduce((sum, bytes) => sum + bytes, 0);
  const link = { bytes_per_second: Math.round((share * kept * 3e9) / eagerSummary(problem).time), latency: 10_000 };
  return { ...graph, transfer: { to_host: link, from_host: link, overlaps } };
}

const halfOf = (graph: Graph): number => {
  const problem = indexGraph(graph);
  return Math.round(problem.fixed + 0.5 * (eagerSummary(problem).peak - problem.fixed));
};

describe("the lower bound, where plans may offload", () => {
  it("is not above any plan's time at that plan's own peak", () => {
    let offloading = 0;
    let tight = 0;
    fc.assert(
      fc.property(shapes, fc.integer(), (shape, planSeed) => {
        const graph = graphOf(shape);
        const plan = checkPlan(randomPlan(graph, planSeed), graph);
        if (plan.retain.some((entry) => entry.offload !== undefined)) offloading++;
        const { peak, time } = simulate(graph, plan);
        const bound = lowerBound(indexGraph(graph), peak, glpk).time;
        expect(bound).toBeLessThanOrEqual(time);
        if (bound > fastest(indexGraph(graph))) tight++;
      }),
      { seed: 31, numRuns: 400 },
    );
    expect(offloading).toBeGreaterThan(60);
    expect(tight).toBeGreaterThan(30);
  });

  it("is not above the best that a search finds, and most often near it", () => {
    let feasible = 0;
    let near = 0;
    let offloading = 0;
    fc.assert(
      fc.property(shapes, (shape) => {
        const problem = indexGraph(graphOf(shape));
        const evaluator = new Evaluator(problem);
        const least = leastMemory(evaluator, { seed: 1, iterations: 300, heat: 1 });
        const budget = Math.round(least.peak + shape.share * (eagerSummary(problem).peak - least.peak));
        const found = polish(evaluator, budget, search(evaluator, budget, least, { seed: 1, iterations: 600, heat: 1 }));
        const bound = lowerBound(problem, budget, glpk).time;
        expect(bound).toBeLessThanOrEqual(found.time);
        feasible++;
        if (bound > 0.9 * found.time) near++;
        if (draftOfGenome(problem, found).absences.length > 0) offloading++;
      }),
      { seed: 32, numRuns: 200 },
    );
    expect(offloading).toBeGreaterThan(30);
    expect(near / feasible).toBeGreaterThan(0.5);
  });
});

describe("plans that offload", () => {
  it("are legal wherever a genome says so, and wait for nothing that the links bring in time", () => {
    let waitless = 0;
    let offloading = 0;
    fc.assert(
      fc.property(shapes, (shape) => {
        const graph = graphOf(shape);
        const problem = indexGraph(graph);
        const draft = draftOfGenome(problem, { ...eagerGenome(problem), genes: new Int32Array(problem.tensors).fill(offload) });
        const plan = checkPlan(JSON.parse(JSON.stringify(writePlan(problem, draft, null, null, eagerSummary(problem)))), graph);
        const { peak, time, structurePeak } = simulate(graph, plan);
        expect({ peak, time, structurePeak }).toEqual(draft.summary);
        if (draft.absences.length === 0 || graph.transfer?.overlaps !== true) return;
        offloading++;
        if (time === eagerSummary(problem).time) waitless++;
      }),
      { seed: 33, numRuns: 300 },
    );
    expect(offloading).toBeGreaterThan(70);
    expect(waitless).toBeGreaterThan(5);
  });

  it("are as good as trying every way to drop, keep and offload, and never worse than the best without", () => {
    let [compared, missed, faster] = [0, 0, 0];
    for (let seed = 0; seed < 200; seed++) {
      const graph = checkGraph(randomGraph(7919 * seed, { operators: 5, exotic: false, transfer: true }));
      const plain = indexGraph(withoutOffload(graph));
      const least = leastMemory(new Evaluator(plain), { seed: 1, iterations: 200, heat: 1 });
      const budget = Math.round(least.peak + 0.02 * (seed % 10) * (eagerSummary(plain).peak - least.peak));
      const without = exact(plain, budget)!;
      const problem = indexGraph(graph);
      const evaluator = new Evaluator(problem);
      const { tensors } = evaluator.space;
      if (tensors.length > 7) continue;
      compared++;
      const { genes, choice } = eagerGenome(problem);
      let best = Infinity;
      for (let pattern = 0; pattern < 3 ** tensors.length; pattern++) {
        tensors.forEach((t, at) => {
          genes[t] = [drop, keep, offload][Math.floor(pattern / 3 ** at) % 3]!;
        });
        const { peak, time } = evaluator.evaluate({ genes, choice });
        if (peak <= budget) best = Math.min(best, time);
      }
      const solution = solve(graph, budget, tools);
      if (solution.kind !== "plan") throw new Error("no plan");
      const { time } = solution.summary;
      expect(solution.bound).toBeLessThanOrEqual(time);
      if (isSmall(plain)) expect(time).toBeLessThanOrEqual(without.summary.time);
      if (time < without.summary.time) faster++;
      if (time > best) missed++;
    }
    expect(compared).toBeGreaterThan(150);
    expect(faster).toBeGreaterThan(5);
    expect(missed).toBeLessThanOrEqual(2);
  });

  it("use a fast link alone, a slow one beside recomputing, and copies that stop the step where they cost less", () => {
    const graph = resnet50(8, [1, 1, 1, 1]);
    const budget = halfOf(graph);
    const overhead = (each: Graph): { offloaded: number; recomputed: number; time: number } => {
      const solution = solve(each, budget, { ...tools, iterations: 1000 });
      if (solution.kind !== "plan") throw new Error("no plan");
      const { events } = simulate(each, solution.plan);
      const of = (kind: string): number => events.filter((event) => event.kind === kind).length;
      return { offloaded: of("offload"), recomputed: of("recompute"), time: solution.summary.time };
    };
    const eager = eagerSummary(indexGraph(graph)).time;
    const without = overhead(graph);
    const fast = overhead(linked(graph, 2, true));
    const slow = overhead(linked(graph, 0.1, true));
    const still = overhead(linked(graph, 5, false));
    expect(without.offloaded).toBe(0);
    expect(fast.time).toBeLessThan(1.001 * eager);
    expect(slow.offloaded).toBeGreaterThan(0);
    expect(slow.recomputed).toBeGreaterThan(0);
    expect(slow.time).toBeGreaterThan(fast.time);
    expect(slow.time).toBeLessThan(without.time);
    expect(still.offloaded).toBeGreaterThan(0);
    expect(still.time).toBeLessThan(without.time);
  });
});

describe("a plan that offloads, for people", () => {
  it("says what is in host memory between which operators, and what keeping it on the device would take", () => {
    const graph = linked(resnet50(8, [1, 1, 1, 1]), 2, true);
    const solution = solve(graph, halfOf(graph), tools);
    if (solution.kind !== "plan") throw new Error("no plan");
    const explanation = explain(graph, solution.plan);
    const rows = explanation.operators.flatMap(({ id, tensors }) => tensors.map((tensor) => ({ ...tensor, operator: id }))).filter(({ fate }) => fate === "offloaded");
    const entries = solution.plan.retain.filter(({ offload: away }) => away !== undefined);
    const n = graph.operators.length;
    expect(rows.map(({ id, away }) => [id, away])).toEqual(entries.map(({ value, offload: away }) => [value, [away![0], 2 * n - 1 - away![1]]]));
    expect(explanation.offloaded).toBe(rows.reduce((sum, { bytes }) => sum + bytes, 0));
    expect(why(graph, solution.plan, explanation, rows[0]!.operator, rows[0]!)).toMatchObject({ does: "offloads" });
    const { bars, total } = picture(graph, solution.plan, explanation);
    expect(total).toBe(solution.summary.time);
    const bar = bars.find(({ kind, id }) => kind === "value" && id === rows[0]!.id)!;
    expect(bar.segments.map(({ kind }) => kind)).toEqual(["kept", "kept"]);
    expect(scheduleText(graph, solution.plan)).toContain("Offloaded to host memory");
  });
});

describe("an evaluator", () => {
  it("says of a genome what one says that has seen no other", () => {
    let away = 0;
    fc.assert(
      fc.property(shapes, fc.array(fc.array(fc.constantFrom(drop, keep, offload), { minLength: 40, maxLength: 40 }), { minLength: 3, maxLength: 6 }), (shape, all) => {
        const problem = indexGraph(graphOf({ ...shape, exotic: true }));
        const used = new Evaluator(problem);
        const { choice } = eagerGenome(problem);
        for (const some of all) {
          const genome = { choice, genes: Int32Array.from({ length: problem.tensors }, (_, t) => some[t % some.length]!) };
          const { peak, time } = new Evaluator(problem).candidate(genome);
          expect(used.candidate(genome)).toMatchObject({ peak, time });
          if (used.schedule.offloads.count > 0) away++;
        }
      }),
      { seed: 47, numRuns: 400 },
    );
    expect(away).toBeGreaterThan(100);
  });
});
