import loadHighs from "highs";
import { describe, expect, it } from "vitest";
import { branchingBound } from "../src/core/solve/branching";
import { LinearProgram } from "../src/core/solve/linear";
import { Random } from "../src/core/solve/random";

const highs = await loadHighs();
const columns = 14;

/** A covering program of two rows, and its optimum by looking at every choice. */
function covering(random: Random): { program: LinearProgram; optimum: number } {
  const program = new LinearProgram();
  const cost = Array.from({ length: columns }, () => 100 + random.below(40));
  const rows = [0, 1].map(() => Array.from({ length: columns }, () => 20 + random.below(60)));
  const limits = rows.map((row) => Math.floor(0.4 * row.reduce((sum, x) => sum + x, 0)));
  cost.forEach((each) => program.column(each, true));
  rows.forEach((row, k) => { program.row(row.map((x, column) => [column, -x] as const), -limits[k]!); });
  let optimum = Infinity;
  for (let choice = 0; choice < 1 << columns; choice++) {
    const sum = (values: readonly number[]): number => values.reduce((total, x, column) => ((choice >> column) & 1 ? total + x : total), 0);
    if (rows.every((row, k) => sum(row) >= limits[k]!)) optimum = Math.min(optimum, sum(cost));
  }
  return { program, optimum };
}

describe("branch and cut", () => {
  it("never bounds more than the optimum, however close to it what is known may be", () => {
    const random = new Random(5);
    let tight = 0;
    for (let times = 0; times < 40; times++) {
      const { program, optimum } = covering(random);
      for (const above of [0, 5e-5, 2e-4, 2e-3, 1e-2]) {
        const bound = branchingBound(program, highs, { nodes: 1000, known: optimum * (1 + above) });
        expect(bound).toBeLessThanOrEqual(optimum + 1e-9);
        if (bound > optimum * (1 - 3e-4)) tight++;
      }
    }
    expect(tight).toBeGreaterThan(150);
  });
});
