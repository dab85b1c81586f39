import fc from "fast-check";
import { afterEach, describe, expect, it } from "vitest";
import { checkGraph, denseBytes, gradientsOf, type Gradient, type Graph, type Implementation, type Operator } from "../src/core/graph";
import { explain } from "../src/core/explain";
import { why } from "../src/core/why";
import { checkPlan } from "../src/core/plan";
import { simulate } from "../src/core/simulate";
import { int } from "../src/core/simulate/arrays";
import { indexGraph, makerOf } from "../src/core/simulate/problem";
import { drop, keep, retain } from "../src/core/simulate/schedule";
import { boundAt, fastest, lowerBound } from "../src/core/solve/bound";
import { draftOfGenome, eagerSummary, writePlan, type Draft } from "../src/core/solve/draft";
import { exact } from "../src/core/solve/exact";
import { better, eagerGenome, Evaluator, workOf } from "../src/core/solve/genome";
import { cross, greedy, habits, rebuild } from "../src/core/solve/greedy";
import { exactSolver, hierarchicalSolver, searchSolver, solve, Workshop, type Tools } from "../src/core/solve/solve";
import { Random } from "../src/core/solve/random";
import { leastMemory, polish, search } from "../src/core/solve/search";
import { loadGlpk } from "./support/tools";
import { chain, resnet50 } from "./support/networks";
import { randomGraph, randomPlan, withoutCopies } from "./support/random_graph";

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

// They run for a minute without a pause, after which vitest takes its worker for dead.
afterEach(() => new Promise((done) => setImmediate(done)));

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

/** Eager's implementation alone, whose gradients are new storages of the size of their values. */
function withOwnGradients(graph: Graph): Graph {
  const own = ({ inputs }: Operator, { input }: Gradient): Gradient => ({ input, bytes: denseBytes(graph.values[inputs[input]!]!), alias: null, dense: true, view: false });
  const operators = graph.operators.map((operator) => {
    const [{ backward, ...eager }] = operator.implementations as readonly [Implementation];
    if (backward === null) return { ...operator, implementations: [{ ...eager, backward }] };
    const made = new Map(gradientsOf(backward).map((gradient) => [operator.inputs[gradient.input], own(operator, gradient)]));
    return { ...operator, implementations: [{ ...eager, backward: { time: backward.time, peak: backward.peak, gradients: [...made.values()] } }] };
  });
  return checkGraph({ ...graph, operators });
}

function inTwoForFree(implementation: Implementation): Implementation[] {
  const { backward } = implementation;
  if (backward === null || backward.gradients.length < 2) return [];
  const [input, ...others] = backward.gradients;
  return [{ ...implementation, name: `${implementation.name} in two`, backward: { ...backward, gradients: others, rest: { holds: 0, peak: 0, gradients: [input!] } } }];
}

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

  it("is made of prices of memory, each at a clock of the step", () => {
    let priced = 0;
    fc.assert(
      fc.property(small, (shape) => {
        const graph = checkGraph(randomGraph(shape.seed, shape));
        const { prices, perByte } = lowerBound(indexGraph(graph), feasibleBudgetOf(graph, shape.share), glpk);
        for (const [clock, price] of prices) {
          expect(Number.isInteger(clock) && clock >= 0 && clock < 2 * graph.operators.length).toBe(true);
          expect(price).toBeGreaterThan(0);
        }
        const sum = prices.reduce((total, [, price]) => total + price, 0);
        expect(Math.abs(sum + perByte)).toBeLessThanOrEqual(1e-5 * sum);
        if (prices.length > 0) priced++;
      }),
      { seed: 17, numRuns: 200 },
    );
    expect(priced).toBeGreaterThan(20);
  });

  it("is no worse where gradients may be made in two nodes that take as much", () => {
    let useful = 0;
    fc.assert(
      fc.property(small, (shape) => {
        const graph = withOwnGradients(checkGraph(randomGraph(shape.seed, shape)));
        const budget = feasibleBudgetOf(graph, shape.share);
        const bound = lowerBound(indexGraph(graph), budget, glpk).time;
        const either = { ...graph, operators: graph.operators.map((operator) => ({ ...operator, implementations: [...operator.implementations, ...operator.implementations.flatMap(inTwoForFree)] })) };
        expect(Math.abs(lowerBound(indexGraph(checkGraph(either)), budget, glpk).time - bound)).toBeLessThanOrEqual(1);
        if (either.operators.some(({ implementations }) => implementations.length > 1) && bound > fastest(indexGraph(graph))) useful++;
      }),
      { seed: 18, numRuns: 200 },
    );
    expect(useful).toBeGreaterThan(20);
  });

  it("counts the copy that an operator in place takes where its input is kept", () => {
    let counted = 0;
    fc.assert(
      fc.property(small, (shape) => {
        const graph = checkGraph(randomGraph(shape.seed, shape));
        const budget = feasibleBudgetOf(graph, shape.share);
        const copying = lowerBound(indexGraph(graph), budget, glpk).time;
        const free = lowerBound(indexGraph(withoutCopies(graph)), budget, glpk).time;
        expect(copying).toBeGreaterThanOrEqual(free - 1);
        if (copying > free + 1) counted++;
      }),
      { seed: 19, numRuns: 400 },
    );
    expect(counted).toBeGreaterThan(10);
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
          const again = rebuild(evaluator, budget, plan, { seed: 1, work: 50 * workOf(problem), elites: [eagerGenome(problem)] });
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

  it("take over what another plan decides about a stretch of operators, or about all but a stretch", () => {
    const graph = chain(6);
    const problem = indexGraph(graph);
    const { choice } = eagerGenome(problem);
    const [a, b] = [keep, drop].map((gene, k) => ({ genes: new Int32Array(problem.tensors).fill(gene), choice: choice.map((q) => q + k) }));
    const random = new Random(1);
    const inner = new Set<number>();
    for (let times = 0; times < 200; times++) {
      const child = cross(problem, a!, b!, random);
      const from = Array.from(child.choice, (q, i) => q - int(choice, i));
      const changes = from.slice(1).filter((which, i) => which !== from[i]).length;
      expect(changes).toBeLessThanOrEqual(2);
      if (changes === 2) inner.add(from[from.indexOf(1 - from[0]!)]!);
      child.genes.forEach((gene, t) => {
        expect(gene).toBe(from[makerOf(problem, t)] === 0 ? keep : drop);
      });
    }
    expect(inner).toEqual(new Set([0, 1]));
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

describe("an evaluation that ends at the first moment over a budget", () => {
  it("says the same as a whole one of all before it, and of whether there is one", () => {
    let ended = 0;
    fc.assert(
      fc.property(small, fc.integer({ min: 2, max: 24 }), (shape, operators) => {
        const problem = indexGraph(checkGraph(randomGraph(shape.seed, { operators, exotic: shape.exotic })));
        const evaluator = new Evaluator(problem);
        const random = new Random(shape.seed);
        for (let k = 0; k < 10; k++) {
          const { genes, choice } = eagerGenome(problem);
          for (const t of evaluator.space.tensors) genes[t] = random.gene(problem.operators);
          const whole = evaluator.evaluate({ genes, choice });
          const { peak, time, restored } = whole;
          if (peak === Infinity) continue; // it reruns what must not run twice
          const moments = whole.moments.slice();
          const most = Math.round(problem.fixed + shape.share * 1.2 * (peak - problem.fixed));
          const first = moments.findIndex((bytes) => bytes + restored * problem.rng > most);
          const part = evaluator.evaluate({ genes, choice }, most);
          expect(part.restored).toBe(restored);
          expect(part.moments.slice(0, first < 0 ? undefined : first + 1)).toEqual(moments.slice(0, first < 0 ? undefined : first + 1));
          expect(part.peak).toBe(first < 0 ? peak : Infinity);
          if (first < 0) expect(part.time).toBe(time);
          else ended++;
        }
      }),
      { seed: 23, numRuns: 150 },
    );
    expect(ended).toBeGreaterThan(300);
  });
});

describe("greedy plans of large graphs", () => {
  it("evict as much as it takes, however many tensors that are", () => {
    const graph = resnet50(8, [3, 4, 500, 3]);
    const problem = indexGraph(graph);
    const budget = budgetOf(graph, 0.3);
    const plan = greedy(new Evaluator(problem), budget, eagerGenome(problem), { moment: "first", staleness: true });
    expect(plan?.peak).toBeLessThanOrEqual(budget);
  });
});

describe("the least memory", () => {
  it("is never more than annealing finds alone, nor slower there, and now and then less or faster", () => {
    let gained = 0;
    fc.assert(
      fc.property(small, fc.integer({ min: 8, max: 24 }), (shape, operators) => {
        const problem = indexGraph(checkGraph(randomGraph(shape.seed, { operators, exotic: shape.exotic })));
        const twice = 2 * 500; // what a graph as small as these gets
        const alone = leastMemory(new Evaluator(problem), { seed: 1, iterations: 3 * twice, heat: 1 });
        const { least } = new Workshop(problem, { glpk, seed: 1, iterations: 500 });
        expect(better(alone, least, 0)).toBe(false);
        if (better(least, alone, 0)) gained++;
        expectLegal(problem.graph, draftOfGenome(problem, least), least.peak);
      }),
      { seed: 39, numRuns: 60 },
    );
    expect(gained).toBeGreaterThan(3);
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

describe("the price of memory", () => {
  it("says of what is kept that it is worth its memory, where keeping and recomputing are one choice each", () => {
    // In a chain with room for half, what is recomputed saves more time elsewhere than it costs, and what is kept costs more than its memory.
    const graph = checkGraph(JSON.parse(JSON.stringify(chain(30))));
    const solution = solve(graph, feasibleBudgetOf(graph, 0.5), tools);
    if (solution.kind !== "plan") throw new Error("no plan");
    const explanation = explain(graph, solution.plan);
    const rents = { keeps: [] as number[], offloads: [] as number[], recomputes: [] as number[] };
    for (const { id, tensors } of explanation.operators) {
      for (const tensor of tensors) {
        const answer = why(graph, solution.plan, explanation, id, tensor);
        if (!answer?.otherwise) continue;
        expect(answer.rent).not.toBeNull();
        const cost = Math.abs(answer.otherwise.time - answer.time);
        if (cost > 0) rents[answer.does].push((answer.rent ?? 0) / cost);
      }
    }
    const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1] ?? NaN;
    expect(rents.keeps.length).toBeGreaterThan(5);
    expect(rents.recomputes.length).toBeGreaterThan(5);
    expect(median(rents.keeps)).toBeLessThan(median(rents.recomputes));
    // Without a certificate there is no price.
    const plain = { ...solution.plan, bound: null };
    const [first] = explanation.operators.flatMap(({ id, tensors }) => tensors.map((tensor) => why(graph, plain, explanation, id, tensor))).filter((answer) => answer !== null);
    expect(first?.rent).toBeNull();
  });
});

describe("odd graphs", () => {
  /** A chain in which every number is what `change` makes of it. */
  const changed = (length: number, change: (graph: Graph) => Graph): Graph => checkGraph(JSON.parse(JSON.stringify(change(chain(length)))));
  const scaled = (graph: Graph, time: number, bytes: number): Graph => ({
    ...graph,
    fixed: Object.fromEntries(Object.entries(graph.fixed).map(([name, each]) => [name, bytes * each])),
    values: graph.values.map((value) => ({ ...value, bytes: bytes * value.bytes })),
    operators: graph.operators.map((operator) => ({
      ...operator,
      implementations: operator.implementations.map((one) => ({
        ...one,
        internal_bytes: bytes * one.internal_bytes,
        forward: { time: time * one.forward.time, peak: bytes * one.forward.peak },
        recompute: { time: time * one.recompute.time, peak: bytes * one.recompute.peak },
        backward: one.backward && {
          time: time * one.backward.time, peak: bytes * one.backward.peak,
          gradients: one.backward.gradients.map((gradient) => ({ ...gradient, bytes: bytes * gradient.bytes })),
        },
      })),
    })),
  });
  /** Small ones go through the exact program, large ones through the search. */
  const lengths = [1, 2, 5, 30];

  it("without times cost nothing at any budget", () => {
    for (const length of lengths) {
      const graph = changed(length, (plain) => scaled(plain, 0, 1));
      const solution = solve(graph, feasibleBudgetOf(graph, 0.3), tools);
      expect(solution).toMatchObject({ kind: "plan", gap: 0, summary: { time: 0 } });
    }
  });

  it("without bytes fit into nothing, at eager's speed", () => {
    for (const length of lengths) {
      const graph = changed(length, (plain) => scaled(plain, 1, 0));
      const solution = solve(graph, 0, tools);
      expect(solution).toMatchObject({ kind: "plan", gap: 0, summary: { peak: 0 } });
      if (solution.kind === "plan") expect(solution.summary.time).toBe(solution.eager.time);
    }
  });

  it("of one operator have one plan", () => {
    const graph = changed(1, (plain) => plain);
    const { peak, time } = eagerSummary(indexGraph(graph));
    expect(solve(graph, peak, tools)).toMatchObject({ kind: "plan", gap: 0, summary: { peak, time } });
    expect(solve(graph, indexGraph(graph).fixed, tools)).toMatchObject({ kind: "infeasible", proven: true });
  });

  it("in two parts that share nothing are planned as one step", () => {
    for (const length of [2, 20]) {
      const graph = changed(length, two);
      const part = chain(length);
      expect(graph.operators).toHaveLength(2 * part.operators.length);
      expect(eagerSummary(indexGraph(graph)).time).toBe(2 * eagerSummary(indexGraph(checkGraph(part))).time);
      const budget = feasibleBudgetOf(graph, 0.5);
      const solution = solve(graph, budget, tools);
      expect(solution.kind).toBe("plan");
      if (solution.kind !== "plan") continue;
      expect(solution.summary.peak).toBeLessThanOrEqual(budget);
      expect(solution.bound).toBeLessThanOrEqual(solution.summary.time);
      expect(solution.summary.time).toBeGreaterThanOrEqual(solution.eager.time);
    }
  });

  it("whose values no backward reads have nothing to plan, and are told so", () => {
    for (const length of lengths) {
      const graph = changed(length, (plain) => ({
        ...plain,
        operators: plain.operators.map((operator) => ({ ...operator, implementations: operator.implementations.map((one) => ({ ...one, saves: [], internal_bytes: 0 })) })),
      }));
      const { peak, time } = eagerSummary(indexGraph(graph));
      expect(solve(graph, peak, tools)).toMatchObject({ kind: "plan", gap: 0, summary: { peak, time } });
      expect(solve(graph, peak - 1, tools)).toMatchObject({ kind: "infeasible", smallest: { summary: { peak } } });
    }
  });

  it("near 2^53 bytes are planned as exactly as small ones, and beyond it are one sentence", () => {
    for (const length of [5, 30]) {
      const small = changed(length, (plain) => plain);
      const total = small.values.reduce((sum, { bytes }) => sum + bytes, 0);
      const factor = 2 ** Math.floor(Math.log2(2 ** 53 / total) - 3);
      const large = changed(length, (plain) => scaled(plain, 1, factor));
      const budget = feasibleBudgetOf(small, 0.5);
      const [a, b] = [solve(small, budget, tools), solve(large, factor * budget, tools)];
      expect(a.kind).toBe("plan");
      if (a.kind !== "plan" || b.kind !== "plan") throw new Error("no plan");
      expect(b.summary).toEqual({ ...a.summary, peak: factor * a.summary.peak, structurePeak: factor * a.summary.structurePeak });
      expect(() => changed(length, (plain) => scaled(plain, 1, 64 * factor))).toThrow(/add up to more than 2\^53; were they written in bytes/);
    }
  });
});

/** The same graph twice, side by side. */
function two(graph: Graph): Graph {
  const [values, operators] = [graph.values.length, graph.operators.length];
  return {
    ...graph,
    values: [...graph.values, ...graph.values.map((value) => ({ ...value, id: value.id + values, storage: value.storage + values, producer: value.producer === null ? null : value.producer + operators }))],
    operators: [...graph.operators, ...graph.operators.map((operator) => ({
      ...operator,
      id: operator.id + operators,
      inputs: operator.inputs.map((id) => id + values),
      outputs: operator.outputs.map((id) => id + values),
      implementations: operator.implementations.map((one) => ({ ...one, saves: one.saves.map((id) => id + values) })),
    }))],
    outputs: [...graph.outputs, ...graph.outputs.map((id) => id + values)],
  };
}
