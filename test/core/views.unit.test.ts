import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { explain } from "../../src/core/explain";
import { frontierDocument, ordered, parseFrontier } from "../../src/core/frontier_document";
import { checkGraph, parseGraph } from "../../src/core/graph";
import { explained, moduleTree, numbersOf } from "../../src/core/numbers";
import { layers, layersAtPeak, picture } from "../../src/core/picture";
import { checkPlan, parsePlan, type Plan } from "../../src/core/plan";
import { simulate, simulateEager } from "../../src/core/simulate";
import { eagerPlan } from "../../src/core/solve/draft";
import { why } from "../../src/core/why";
import { isFromBudget, isFromSchedule } from "../../src/protocol";
import { randomGraph, randomPlan, withoutCopies } from "../support/random_graph";

const read = (name: string): string => readFileSync(new URL(`../fixtures/example.${name}`, import.meta.url), "utf8");
const graph = parseGraph(read("graph.json"));
const plan = parsePlan(read("plan.json"), graph);
const anyCase = fc.record({ seed: fc.nat(1e6), planSeed: fc.nat(1e6), operators: fc.integer({ min: 1, max: 14 }) });
const cases = ({ seed, planSeed, operators }: { seed: number; planSeed: number; operators: number }): { graph: ReturnType<typeof checkGraph>; plan: Plan } => {
  const random = checkGraph(randomGraph(seed, { operators, exotic: true }));
  return { graph: random, plan: checkPlan(randomPlan(random, planSeed), random) };
};

describe("a picture of a plan", () => {
  it("has layers that add up to each event's moment and are never negative", () => {
    fc.assert(fc.property(anyCase, (each) => {
      const { graph, plan } = cases(each);
      const { steps } = picture(graph, plan, explain(graph, plan));
      const { events } = simulate(graph, plan);
      expect(steps.moment).toEqual(events.map(({ moment }) => moment));
      steps.moment.forEach((moment, at) => {
        expect(layers.reduce((sum, layer) => sum + steps[layer][at]!, 0)).toBe(moment);
        for (const layer of layers) expect(steps[layer][at]).toBeGreaterThanOrEqual(0);
      });
    }));
  });

  it("takes as long as the plan's time", () => {
    fc.assert(fc.property(anyCase, (each) => {
      const { graph, plan } = cases(each);
      const { total, eager } = picture(graph, plan, explain(graph, plan));
      expect(total).toBe(simulate(graph, plan).time);
      expect(eager.total).toBe(simulateEager(graph).time);
    }));
  });

  it("splits the peak of plan and eager into what is live there", () => {
    fc.assert(fc.property(anyCase, (each) => {
      const { graph, plan } = cases(each);
      const sum = (of: Plan | null): number => Object.values(layersAtPeak(graph, of)).reduce((a, b) => a + b, 0);
      expect(sum(plan)).toBe(simulate(graph, plan).peak);
      expect(sum(null)).toBe(simulateEager(graph).peak);
    }));
  });

  it("draws the worked example: h kept to its last use, norm made again twice, relu once and held", () => {
    const { bars, forward, total, groups } = picture(graph, plan, explain(graph, plan));
    const of = (kind: string, id: number): unknown => bars.find((bar) => bar.kind === kind && bar.id === id)?.segments.map((segment) => segment.kind);
    expect(of("value", 2)).toEqual(["kept"]);
    expect(of("value", 3)).toEqual(["freed", "recomputed", "recomputed"]);
    expect(of("value", 4)).toEqual(["freed", "recomputed"]);
    expect(of("internals", 1)).toEqual(["freed", "recomputed"]);
    expect(forward).toBeGreaterThan(0);
    expect(forward).toBeLessThan(total);
    expect(groups.reduce((sum, { count }) => sum + count, 0)).toBe(bars.length);
  });
});

describe("numbers of a place", () => {
  it("of the whole model are the plan's totals", () => {
    fc.assert(fc.property(anyCase, (each) => {
      const { graph, plan } = cases(each);
      const all = explained(graph, plan);
      const numbers = numbersOf(all, graph.operators.map(({ id }) => id));
      expect(numbers.kept).toBe(all.explanation.kept);
      expect(numbers.keptByEager).toBe(all.explanation.keptByEager);
      expect(numbers.recomputeTime).toBe(all.explanation.recomputeTime);
      expect(numbers.forward + numbers.backward + numbers.recomputeTime).toBe(simulate(graph, plan).time);
      expect(numbers.extraTime).toBe(simulate(graph, plan).time - simulateEager(graph).time);
    }));
  });

  it("add up over the parts that make up a place", () => {
    fc.assert(fc.property(anyCase, (each) => {
      const { graph, plan } = cases(each);
      const all = explained(graph, plan);
      const ids = graph.operators.map(({ id }) => id);
      const half = Math.floor(ids.length / 2);
      const [whole, a, b] = [ids, ids.slice(0, half), ids.slice(half)].map((some) => numbersOf(all, some));
      for (const key of ["forward", "backward", "output", "kept", "keptByEager", "recomputed", "recomputeTime", "extraTime"] as const) expect(whole![key]).toBe(a![key] + b![key]);
      expect(whole!.workspace).toBe(Math.max(a!.workspace, b!.workspace));
      // A storage that both halves unpack is saved once.
      expect(whole!.saved).toBeLessThanOrEqual(a!.saved + b!.saved);
    }));
  });

  it("stand in a module tree in which every operator is in its module and all above it", () => {
    const tree = moduleTree(graph);
    expect(tree.operators).toEqual([0, 1, 2, 3, 4, 5]);
    expect(tree.children.map(({ path, operators }) => [path, operators])).toEqual([["scale", [0]], ["norm", [1]], ["act", [2]]]);
  });
});

describe("why", () => {
  it("says what the step would be if the plan did the other thing with one tensor", () => {
    const answer = why(graph, plan, explain(graph, plan), 1, { kind: "value", id: 3 });
    // Kept from forward, the norm's output is there for both of its uses; its internals are still made again.
    const kept: Plan = { ...plan, retain: [plan.retain[0]!, { value: 3, intervals: [[1, 10]] }, ...plan.retain.slice(1)] };
    const { peak, time } = simulate(graph, kept);
    expect(answer).toMatchObject({ does: "recomputes", bytes: 64, peak: 452, time: 370, otherwise: { peak, time } });
    expect(peak).not.toBe(452);
  });

  it("of a kept tensor is what recomputing it would take", () => {
    const answer = why(graph, plan, explain(graph, plan), 0, { kind: "value", id: 2 });
    expect(answer).toMatchObject({ does: "keeps", otherwise: { peak: simulate(graph, { ...plan, retain: plan.retain.filter(({ value }) => value !== 2) }).peak } });
  });

  it("has no other way for the model's outputs, and nothing to say of what no step needs", () => {
    const explanation = explain(graph, plan);
    expect(why(graph, plan, explanation, 5, { kind: "value", id: 7 })).toMatchObject({ does: "keeps", otherwise: null });
    expect(why(graph, plan, explanation, 4, { kind: "value", id: 6 })).toBeNull();
  });

  /** (What is dropped may be overwritten, and that spares a copy: here nothing is copied.) */
  it("never gives a plan that is as cheap and needs less, for plans that hold all that is needed", () => {
    fc.assert(fc.property(anyCase, (each) => {
      const graph = withoutCopies(cases(each).graph);
      const all = eagerPlan(graph);
      const explanation = explain(graph, all);
      for (const row of explanation.operators) {
        for (const tensor of row.tensors) {
          const answer = why(graph, all, explanation, row.id, tensor);
          if (answer?.otherwise) expect(answer.otherwise.time).toBeGreaterThanOrEqual(answer.time);
        }
      }
    }));
  });
});

describe("a frontier on disk", () => {
  const eager = eagerPlan(graph);

  it("comes back as it was, in order of peaks", () => {
    const plans = ordered([eager, plan]);
    const document = frontierDocument(graph, { plans, exactness: "same-kernel" });
    expect(parseFrontier(JSON.stringify(document), graph)).toEqual(document);
    expect(plans.map(({ predicted }) => predicted.peak)).toEqual([452, 460]);
  });

  it("leaves out what another plan beats in both", () => {
    const worse: Plan = { ...plan, predicted: { ...plan.predicted, peak: 470, time: 400 } };
    expect(ordered([worse, eager, plan])).toEqual([plan, eager]);
  });

  it("is refused for another graph, and when it is cut off", () => {
    const text = JSON.stringify(frontierDocument(graph, { plans: [plan], exactness: "bitwise" }));
    expect(() => parseFrontier(text, { ...graph, hash: "other" })).toThrow("another profile");
    expect(() => parseFrontier(text.slice(0, 40), graph)).toThrow("not complete JSON");
    expect(() => parseFrontier("null", graph)).toThrow("not a frontier");
  });
});

describe("messages of the webviews", () => {
  it("are let in by their shape alone", () => {
    expect(isFromBudget({ kind: "budget", bytes: 12 })).toBe(true);
    expect(isFromBudget({ kind: "run", command: "apply" })).toBe(true);
    expect(isFromSchedule({ kind: "export", format: "svg", data: "" })).toBe(true);
    for (const wrong of [null, 1, "ready", {}, { kind: "toString" }, { kind: "budget" }, { kind: "budget", bytes: -1 }, { kind: "budget", bytes: 0.5 }, { kind: "run", command: "rm" }, { kind: "batch", batch: 0 }]) {
      expect(isFromBudget(wrong)).toBe(false);
    }
    expect(isFromSchedule({ kind: "export", format: "exe", data: "" })).toBe(false);
  });
});
