import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { checkGraph, type Graph } from "../src/core/graph";
import { checkPlan, compilePlan, type Plan } from "../src/core/plan";
import { liveRanges, simulate, simulateEager, Simulator } from "../src/core/simulate";
import { indexGraph } from "../src/core/simulate/problem";
import { Schedule } from "../src/core/simulate/schedule";
import { naive } from "./support/naive";
import { randomGraph, randomPlan } from "./support/random_graph";

const cases = fc.record({ seed: fc.integer({ min: 0, max: 1 << 30 }), operators: fc.integer({ min: 1, max: 24 }), exotic: fc.boolean() });

describe("the simulator", () => {
  it("agrees with a reading of docs/format.md that shares no code with it", () => {
    fc.assert(
      fc.property(cases, fc.integer(), (shape, planSeed) => {
        const graph = checkGraph(randomGraph(shape.seed, shape));
        const plan = checkPlan(randomPlan(graph, planSeed), graph);
        const { peak, structurePeak, time } = simulate(graph, plan);
        expect({ peak, structure_peak: structurePeak, time }).toEqual(naive(graph, plan));
      }),
      { seed: 1, numRuns: 3000 },
    );
  });

  it("agrees with it about plans that offload too", () => {
    let offloading = 0;
    let waiting = 0;
    fc.assert(
      fc.property(cases, fc.integer(), (shape, planSeed) => {
        const graph = checkGraph(randomGraph(shape.seed, { ...shape, transfer: true }));
        const plan = checkPlan(randomPlan(graph, planSeed), graph);
        const { peak, structurePeak, time, events } = simulate(graph, plan);
        expect({ peak, structure_peak: structurePeak, time }).toEqual(naive(graph, plan));
        const moved = events.filter(({ kind }) => kind === "offload");
        expect(events.filter(({ kind }) => kind === "fetch")).toHaveLength(moved.length);
        expect(events.at(-1)!.end).toBe(time);
        if (moved.length > 0) offloading++;
        if (moved.length > 0 && events.some(({ start }, k) => k > 0 && start > events[k - 1]!.end)) waiting++;
      }),
      { seed: 4, numRuns: 2000 },
    );
    expect(offloading).toBeGreaterThan(500);
    expect(waiting).toBeGreaterThan(200);
  });

  it("agrees with it about one plan after another of a graph, whatever it remembers of their gradients", () => {
    fc.assert(
      fc.property(cases, (shape) => {
        const graph = checkGraph(randomGraph(shape.seed, { ...shape, exotic: true }));
        const problem = indexGraph(graph);
        const simulator = new Simulator(problem);
        const schedule = new Schedule(problem);
        for (let planSeed = 0; planSeed < 6; planSeed++) {
          const plan = checkPlan(randomPlan(graph, planSeed), graph);
          const { choice, intervals } = compilePlan(plan, problem);
          schedule.fromIntervals(choice, intervals);
          const { peak, structurePeak, time } = simulator.summary(choice, schedule);
          expect({ peak, structure_peak: structurePeak, time }).toEqual(naive(graph, plan));
        }
      }),
      { seed: 5, numRuns: 500 },
    );
  });

  it("tells events that add up: each starts where the last ended, and the largest moment is the peak", () => {
    fc.assert(
      fc.property(cases, fc.integer(), (shape, planSeed) => {
        const graph = checkGraph(randomGraph(shape.seed, { ...shape, transfer: shape.seed % 2 === 0 }));
        const { events, peak } = simulate(graph, checkPlan(randomPlan(graph, planSeed), graph));
        events.forEach((event, k) => {
          if (k > 0) expect(event.before).toBe(events[k - 1]!.after);
          const change = (list: typeof event.allocated): number => list.reduce((sum, tensor) => sum + tensor.bytes, 0);
          expect(event.before + change(event.allocated) - change(event.freed)).toBe(event.after);
        });
        expect(Math.max(...events.map((event) => event.moment))).toBe(peak);
      }),
      { seed: 2, numRuns: 300 },
    );
  });

  it("frees nothing twice and everything that it ever allocated, but what stays to the end", () => {
    fc.assert(
      fc.property(cases, (shape) => {
        const graph = checkGraph(randomGraph(shape.seed, shape));
        const timeline = simulateEager(graph);
        const freed = timeline.events.flatMap((event) => event.freed).length;
        expect(liveRanges(timeline).filter((range) => range.to !== null)).toHaveLength(freed);
      }),
      { seed: 3, numRuns: 200 },
    );
  });
});

describe("an implementation in place of an operator that was not written so", () => {
  const read = (name: string): unknown => JSON.parse(readFileSync(new URL(`fixtures/example.${name}.json`, import.meta.url), "utf8"));
  const written = read("graph") as Graph;
  const plan = read("plan") as Plan;
  const relu = written.operators[2]!;
  const [eager] = relu.implementations;
  const change = (operator: Partial<Graph["operators"][number]>): Graph =>
    ({ ...written, operators: written.operators.map((each) => (each.id === relu.id ? { ...each, ...operator } : each)) });
  const over = { ...eager!, name: "in-place", in_place: true };
  const both = change({ in_place: false, implementations: [eager!, over] });
  const walked = (graph: Graph, implementations: Plan["implementations"]): ReturnType<typeof simulate> =>
    simulate(checkGraph(graph), checkPlan({ ...plan, implementations }, graph));

  it("takes over what an operator that was may, and eager's doesn't", () => {
    const { events, peak, time } = walked(written, {});
    const mine = walked(both, { 2: "in-place" });
    expect(mine.events).toEqual(events);
    expect([mine.peak, mine.time]).toEqual([peak, time]);
    const apart = walked(both, {});
    expect(apart.events.map(({ moment }, k) => moment - events[k]!.moment)).toEqual(
      events.map(({ kind, operator }) => (operator === relu.id && kind !== "backward" ? 64 : 0)),
    );
    expect(simulateEager(checkGraph(both)).peak).toBe(simulateEager(checkGraph(change({ in_place: false }))).peak);
  });

  it("takes its other time where its input is kept", () => {
    const slower = change({ in_place: false, implementations: [eager!, { ...over, forward: { ...over.forward, out_of_place: over.forward.time + 7 } }] });
    const time = (graph: Graph, more: Plan["retain"]): number =>
      simulate(checkGraph(graph), checkPlan({ ...plan, retain: [...plan.retain, ...more].sort((a, b) => a.value! - b.value!), implementations: { 2: "in-place" } }, graph)).time;
    expect(time(slower, [])).toBe(time(both, []));
    const input = { value: 3, intervals: [[1, 7]] } as const;
    expect(time(slower, [input])).toBe(time(both, [input]) + 7);
  });

  it("needs an output of its own", () => {
    const view = written.operators[3]!;
    const [first] = view.implementations;
    const operators = written.operators.map((each) => (each.id === view.id ? { ...view, implementations: [first!, { ...first!, name: "in-place", in_place: true }] } : each));
    expect(() => checkGraph({ ...written, operators })).toThrow("operators[3].implementations[1].in_place: its first output must have a storage of its own");
  });
});
