import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { equalSegments, evict, perBlock } from "../../bench/solvers/classical";
import { Judge, type Wishes } from "../../bench/solvers/judge";
import type { Graph } from "../../src/core/graph";
import type { Interval } from "../../src/core/plan";
import { chain, unet } from "../support/networks";
import { Dice, randomGraph } from "../support/random_graph";

/** What a judged plan says must be what its simulator says: `plan` throws where the format forbids it. */
function judged(graph: Graph, wishes: Wishes): { peak: number; time: number } {
  const judge = new Judge(graph);
  const settled = judge.settle(wishes);
  const { peak, time } = judge.measure(settled);
  const { summary } = judge.plan(settled, peak);
  expect([summary.peak, summary.time]).toEqual([peak, time]);
  return { peak, time };
}

const everywhere = ({ tensors }: Judge["problem"], interval: Interval): Wishes => Array.from({ length: tensors }, () => [interval]);

describe("what a peer wishes", () => {
  it("becomes a plan that the format allows, whatever it is", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1e6 }), fc.integer({ min: 1, max: 14 }), (seed, operators) => {
        const graph = randomGraph(seed, { operators, exotic: true });
        const dice = new Dice(seed);
        const { problem } = new Judge(graph);
        const wishes = Array.from({ length: problem.tensors }, () =>
          Array.from({ length: dice.below(3) }, (): Interval => {
            const from = dice.below(2 * operators);
            return [from, from + dice.below(2 * operators)];
          }),
        );
        judged(graph, wishes);
      }),
      { numRuns: 300 },
    );
  });

  it("is eager where everything is kept, and slower but smaller where nothing is", () => {
    const graph = chain(6);
    const judge = new Judge(graph);
    const kept = judged(graph, everywhere(judge.problem, [0, 2 * judge.problem.operators]));
    expect(kept).toEqual({ peak: judge.eager.peak, time: judge.eager.time });
    const dropped = judged(graph, everywhere(judge.problem, [0, 0]));
    expect(dropped.peak).toBeLessThan(kept.peak);
    expect(dropped.time).toBeGreaterThan(kept.time);
  });
});

describe("the classical peers", () => {
  for (const [name, graph, smallest] of [["a chain", chain(6), 0.75], ["a net with skips", unet(1, 32, 2), 0.97]] as const) {
    const judge = new Judge(graph);

    it(`of blocks and segments save memory on ${name}`, () => {
      for (const plans of [perBlock(judge), equalSegments(judge)]) {
        const measured = plans.map((wishes) => judged(graph, wishes));
        expect(Math.min(...measured.map(({ peak }) => peak))).toBeLessThan(smallest * judge.eager.peak);
      }
    });

    it(`of eviction stay within their budget on ${name}, and do nothing where eager fits`, () => {
      const eager = evict(judge, judge.eager.peak, true);
      expect(eager === null ? null : judged(graph, eager).time).toBe(judge.eager.time);
      const budget = judge.fixed + 0.86 * (judge.eager.peak - judge.fixed);
      for (const staleness of [true, false]) {
        const wishes = evict(judge, budget, staleness);
        expect(wishes).not.toBeNull();
        if (wishes !== null) expect(judged(graph, wishes).peak).toBeLessThanOrEqual(budget);
      }
      expect(evict(judge, judge.fixed, true)).toBeNull();
    });
  }
});
