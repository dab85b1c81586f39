import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { alternatives } from "../../src/core/alternatives";
import { chosen } from "../../src/core/explain";
import { checkGraph, type Graph } from "../../src/core/graph";
import { explained } from "../../src/core/numbers";
import type { Plan } from "../../src/core/plan";
import { eagerPlan } from "../../src/core/solve/draft";
import { randomGraph } from "../support/random_graph";

/** All that the operators' backward steps unpack, each storage once. */
function savedBytes(graph: Graph, plan: Plan): number {
  const used = graph.operators.map((operator) => chosen(operator, plan)).filter(({ backward }) => backward !== null);
  const storages = new Set(used.flatMap(({ saves }) => saves));
  return [...storages].reduce((sum, id) => sum + graph.values[id]!.bytes, used.reduce((sum, each) => sum + each.internal_bytes, 0));
}

describe("an operator's other implementation", () => {
  it("changes what is saved by as much as is said, beside the plan as it is", () => {
    let seen = 0;
    fc.assert(fc.property(fc.nat(1e6), fc.integer({ min: 2, max: 14 }), (seed, operators) => {
      const graph = checkGraph(randomGraph(seed, { operators, exotic: true }));
      const plan = eagerPlan(graph);
      for (const { id, implementations } of graph.operators) {
        const found = alternatives(explained(graph, plan), [id]);
        expect(found.map(({ name }) => name)).toEqual(implementations.length > 1 ? implementations.map(({ name }) => name) : []);
        for (const { name, bytes, used } of found) {
          seen += 1 - used;
          expect(bytes).toBe(savedBytes(graph, { ...plan, implementations: { [id]: name } }) - savedBytes(graph, plan));
        }
      }
    }), { seed: 4 });
    expect(seen).toBeGreaterThan(10);
  });
});
