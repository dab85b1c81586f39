import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { checkGraph, type Graph } from "../src/core/graph";
import { checkPlan } from "../src/core/plan";
import { simulate } from "../src/core/simulate";
import { int } from "../src/core/simulate/arrays";
import { indexGraph } from "../src/core/simulate/problem";
import { drop, keep, retain } from "../src/core/simulate/schedule";
import { boundAt, fastest, lowerBound } from "../src/core/solve/bound";
import { draftOfGenome, eagerSummary, writePlan, type Draft } from "../src/core/solve/draft";
import { exact } from "../src/core/solve/exact";
import { eagerGenome, Evaluator } from "../src/core/solve/genome";
import { greedy, habits, rebuild } from "../src/core/solve/greedy";
import { exactSolver, hierarchicalSolver, searchSolver, solve, type Tools } from "../src/core/solve/solve";
import { leastMemory, polish, search } from "../src/core/solve/search";
import { loadGlpk } from "./support/tools";
import { chain } from "./support/networks";
import { randomGraph, randomPlan } from "./support/random_graph";

const small = fc.record({
  seed: fc.integer({ min: 0, max: 1 << 30 }), operators: fc.integer({ min: 1, max: 6 }), exotic: fc.boolean(), share: fc.double({ min: 0, max: 1, noNaN: true }),
});

const glpk = await loadGlpk();
const tools: Tools = { glpk, seed: 1, iterations: 300 };

/** A budget somewhere between the fixed bytes and eager's peak. */
function budgetOf(graph: Graph, share: number): number {
  const problem = indexGraph(graph);
  return Math.round(problem.fixed + share * (eagerSummary(problem).peak - problem.fixed));
}

/** One that some plan fits, since the search has found it. */
function feasibleBudgetOf(graph: Graph, share: number): number {
  const problem = indexGraph(graph);
  const { peak } = leastMemory(new Evaluator(problem), { seed: 1, iterations: 200, heat: 1 });
  return Math.round(peak + share * (eagerSummary(problem).peak - peak));
}

function expectLegal(graph: Graph, draft: Draft, budget: number): void {
  const problem = indexGraph(graph);
  const plan = checkPlan(JSON.parse(JSON.stringify(writePlan(problem, draft, budget, null, eagerSummary(problem)))), graph);
  const { peak, time, structurePeak } = simulate(graph, plan);
  expect({ peak, time, structurePeak }).toEqual(draft.summary);
  expect(peak).toBeLessThanOrEqual(budget);
}

describe("the exact program", () => {
  it("finds plans that the simulator prices as it does, within the budget", () => {
    fc.assert(
      fc.property(small, (shape) => {
        const graph = checkGraph(randomGraph(shape.seed, shape));
        const budget = budgetOf(graph, shape.share);
        const best = exact(indexGraph(graph), budget);
        if (best !== null) expectLegal(graph, best, budget);
      }),
      { seed: 11, numRuns: 300 },
    );
  });

  it("is never beaten by any plan of the format", () => {
    fc.assert(
      fc.property(small, fc.integer(), (shape, planSeed) => {
        const graph = checkGraph(randomGraph(shape.seed, shape));
        const plan = randomPlan(graph, planSeed);
        const { peak, time } = simulate(graph, plan);
        const best = exact(indexGraph(graph), peak);
        expect(best).not.toBeNull();
        expect(best!.summary.time).toBeLessThanOrEqual(time);
      }),
      { seed: 12, numRuns: 400 },
    );
  });
});

describe("the lower bound", () => {
  it("never exceeds the exact optimum, and calls nothing impossible that is possible", () => {
    let tight = 0;
    let feasible = 0;
    fc.assert(
      fc.property(small, (shape) => {
        const graph = checkGraph(randomGraph(shape.seed, shape));
        const problem = indexGraph(graph);
        const budget = budgetOf(graph, shape.share);
        const best = exact(problem, budget);
        const bound = lowerBound(problem, budget, glpk);
        if (best === null) return;
        feasible++;
        expect(bound.time).toBeLessThanOrEqual(best.summary.time);
        if (bound.time > 0.95 * best.summary.time) tight++;
      }),
      { seed: 13, numRuns: 400 },
    );
    expect(tight / feasible).toBeGreaterThan(0.3);
  });

  it("says something true of every other budget too", () => {
    let useful = 0;
    fc.assert(
      fc.property(small, fc.double({ min: 0, max: 1, noNaN: true }), (shape, other) => {
        const graph = checkGraph(randomGraph(shape.seed, shape));
        const problem = indexGraph(graph);
        const bound = lowerBound(problem, feasibleBudgetOf(graph, shape.share), glpk);
        const budget = feasibleBudgetOf(graph, other);
        const { summary } = exact(problem, budget)!;
        const here = boundAt(bound, budget);
        expect(here).toBeLessThanOrEqual(summary.time);
        if (bound.perByte < 0 && here > fastest(problem)) useful++;
      }),
      { seed: 16, numRuns: 400 },
    );
    expect(useful).toBeGreaterThan(20);
  });

  it("holds for any plan of graphs too large for the exact program", () => {
    fc.assert(
      fc.property(small, fc.integer({ min: 7, max: 24 }), fc.integer(), (shape, operators, planSeed) => {
        const graph = checkGraph(randomGraph(shape.seed, { operators, exotic: shape.exotic }));
        const { peak, time } = simulate(graph, randomPlan(graph, planSeed));
        expect(lowerBound(indexGraph(graph), peak, glpk).time).toBeLessThanOrEqual(time);
      }),
      { seed: 15, numRuns: 300 },
    );
  });
});

describe("the search", () => {
  it("returns legal plans within the budget, never better than the exact optimum and mostly equal to it", () => {
    let feasible = 0;
    let equal = 0;
    fc.assert(
      fc.property(small, (shape) => {
        const graph = checkGraph(randomGraph(shape.seed, shape));
        const problem = indexGraph(graph);
        const budget = budgetOf(graph, shape.share);
        const best = exact(problem, budget);
        const evaluator = new Evaluator(problem);
        const least = leastMemory(evaluator, { seed: 1, iterations: 400, heat: 1 });
        const found = polish(evaluator, budget, search(evaluator, budget, least.peak <= budget ? least : eagerGenome(problem), { seed: 1, iterations: 600, heat: 1 }));
        if (best === null) {
          expect(found.peak).toBeGreaterThan(budget);
          return;
        }
        feasible++;
        if (found.peak > budget) return;
        expect(found.time).toBeGreaterThanOrEqual(best.summary.time);
        const draft = draftOfGenome(problem, found);
        expect({ peak: found.peak, time: found.time }).toEqual({ peak: draft.summary.peak, time: draft.summary.time });
        expectLegal(graph, draft, budget);
        if (found.time === best.summary.time) equal++;
      }),
      { seed: 14, numRuns: 200 },
    );
    expect(equal / feasible).toBeGreaterThan(0.9);
  });
});

describe("greedy plans, taken apart and together again", () => {
  it("are legal, within the budget, and from no genome worse than before", () => {
    let found = 0;
    let better = 0;
    fc.assert(
      fc.property(small, fc.integer({ min: 4, max: 24 }), (shape, operators) => {
        const graph = checkGraph(randomGraph(shape.seed, { operators, exotic: shape.exotic }));
        const problem = indexGraph(graph);
        const budget = feasibleBudgetOf(graph, shape.share);
        const evaluator = new Evaluator(problem);
        for (const habit of habits) {
          const plan = greedy(evaluator, budget, eagerGenome(problem), habit);
          if (plan === null) continue;
          found++;
          expectLegal(graph, draftOfGenome(problem, plan), budget);
          const again = rebuild(evaluator, budget, plan, { seed: 1, rounds: 10 });
          expectLegal(graph, draftOfGenome(problem, again), budget);
          expect(again.time).toBeLessThanOrEqual(plan.time);
          if (again.time < plan.time) better++;
        }
      }),
      { seed: 17, numRuns: 150 },
    );
    expect(found).toBeGreaterThan(30);
    expect(better).toBeGreaterThan(2);
  });
});

describe("genomes", () => {
  it("hold a tensor once more after a gap, and from a later recompute than the first", () => {
    const graph = chain(6);
    const problem = indexGraph(graph);
    const intervals = (gene: number): (readonly [number, number])[] => {
      const genes = new Int32Array(problem.tensors);
      const s = int(problem.makes.data, int(problem.makes.start, 1));
      genes[s] = gene;
      const { first, from, to } = draftOfGenome(problem, { genes, choice: eagerGenome(problem).choice }).intervals;
      return Array.from({ length: int(first, s + 1) - int(first, s) }, (_, k) => [int(from, int(first, s) + k), int(to, int(first, s) + k)] as const);
    };
    const n = problem.operators;
    const last = intervals(keep)[0]![1];
    expect(intervals(drop)).toEqual([]);
    expect(intervals(keep)).toEqual([[1, last]]);
    expect(intervals(retain)).toEqual([[n + 1, last]]); // the last operator saves nothing that needs it
    // Operator 1's result, with operators up to 5 places behind it: from clock 2n − 1 − 6.
    expect(intervals(5)).toEqual([[2 * n - 7, last]]);
    expect(intervals(-5)).toEqual([[1, 2 * n - 8], [2 * n - 7, last]]);
  });
});

describe("solvers of one signature", () => {
  it("agree: none is faster than the exact one, and they find a plan only where it does", () => {
    fc.assert(
      fc.property(small, (shape) => {
        const graph = checkGraph(randomGraph(shape.seed, shape));
        const problem = indexGraph(graph);
        const budget = budgetOf(graph, shape.share);
        const best = exactSolver(problem, budget, tools);
        for (const solver of [hierarchicalSolver, searchSolver]) {
          const found = solver(problem, budget, tools);
          if (found === null) continue;
          expectLegal(graph, found, budget);
          expect(best).not.toBeNull();
          expect(found.summary.time).toBeGreaterThanOrEqual(best!.summary.time);
        }
      }),
      { seed: 16, numRuns: 100 },
    );
  });

  it("reproduce their plan byte for byte", () => {
    fc.assert(
      fc.property(small, fc.integer({ min: 7, max: 20 }), (shape, operators) => {
        const graph = checkGraph(randomGraph(shape.seed, { operators, exotic: shape.exotic }));
        const budget = budgetOf(graph, 0.3 + 0.7 * shape.share);
        expect(JSON.stringify(solve(graph, budget, tools))).toBe(JSON.stringify(solve(graph, budget, tools)));
      }),
      { seed: 17, numRuns: 10 },
    );
  });
});

describe("solve", () => {
  it("answers every budget with a plan within it and its bound, or with the least memory", () => {
    fc.assert(
      fc.property(small, fc.integer({ min: 1, max: 20 }), (shape, operators) => {
        const graph = checkGraph(randomGraph(shape.seed, { operators, exotic: shape.exotic }));
        const budget = budgetOf(graph, shape.share);
        const answer = solve(graph, budget, tools);
        const planned = answer.kind === "plan" ? answer : answer.smallest;
        const plan = checkPlan(JSON.parse(JSON.stringify(planned.plan)), graph);
        const { peak, time } = simulate(graph, plan);
        expect(planned.bound).toBeLessThanOrEqual(time);
        if (answer.kind === "plan") {
          expect(peak).toBeLessThanOrEqual(budget);
          return;
        }
        const { fixed, gradients, activations, running } = answer.dominatedBy;
        expect(fixed + gradients + activations + running).toBe(peak);
        expect(peak).toBeGreaterThan(budget);
        expect(solve(graph, peak, tools).kind).toBe("plan");
      }),
      { seed: 18, numRuns: 80 },
    );
  });

  it("gives small graphs the exact optimum, and the exact least memory where nothing fits", () => {
    fc.assert(
      fc.property(small, (shape) => {
        const graph = checkGraph(randomGraph(shape.seed, { ...shape, operators: Math.min(4, shape.operators) }));
        const problem = indexGraph(graph);
        const budget = budgetOf(graph, shape.share);
        const answer = solve(graph, budget, tools);
        if (answer.kind === "plan") expect(answer.summary.time).toBe(exact(problem, budget)!.summary.time);
        else expect(exact(problem, answer.smallest.summary.peak - 1)).toBeNull();
      }),
      { seed: 19, numRuns: 150 },
    );
  });
});
