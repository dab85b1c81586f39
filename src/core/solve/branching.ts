import type { LinearProgram } from "./linear";

/** What core needs of HiGHS: the npm package fits as it is. */
export interface Highs {
  createModel(model: HighsInput): HighsModel;
}

interface HighsInput {
  readonly numCols: number;
  readonly numRows: number;
  readonly colCost: Float64Array;
  readonly colLower: Float64Array;
  readonly colUpper: Float64Array;
  readonly rowLower: Float64Array;
  readonly rowUpper: Float64Array;
  readonly matrix: { format: "csr"; numRows: number; numCols: number; starts: Int32Array; indices: Int32Array; values: Float64Array };
  readonly integrality: Int32Array;
}

interface HighsModel {
  readonly options: { set(options: Record<string, string | number | boolean>): void };
  readonly info: { get(name: string): number | bigint };
  run(): unknown;
  getModelStatus(): number;
  dispose(): void;
}

export interface Branching {
  /** Nodes of branch and bound: the same number gives the same bound. */
  readonly nodes: number;
  /** The cost of something feasible; no better bound than this is looked for. */
  readonly known: number;
}

const infeasible = 8;

/** Close enough to stop, relative. */
const gap = 1e-4;

/**
 * A lower bound by branch and cut, `whole` columns being 0 or 1.
 *
 * HiGHS leaves out what is within the gap of the best it knows of, and the bound that it states can be that much too
 * high; and it takes a point for feasible that breaks a row by 1e-6. Both are taken off.
 */
export function branchingBound({ cost, rows, whole, constant }: LinearProgram, highs: Highs, { nodes, known }: Branching): number {
  const starts = new Int32Array(rows.length + 1);
  rows.forEach((row, k) => {
    starts[k + 1] = (starts[k] ?? 0) + row.columns.length;
  });
  const model = highs.createModel({
    numCols: cost.length, numRows: rows.length,
    colCost: Float64Array.from(cost),
    colLower: new Float64Array(cost.length),
    colUpper: new Float64Array(cost.length).fill(1),
    rowLower: Float64Array.from(rows, (row) => (row.equal ? row.limit : -Infinity)),
    rowUpper: Float64Array.from(rows, (row) => row.limit),
    matrix: {
      format: "csr", numRows: rows.length, numCols: cost.length, starts,
      indices: Int32Array.from(rows.flatMap((row) => row.columns)),
      values: Float64Array.from(rows.flatMap((row) => row.coefficients)),
    },
    integrality: Int32Array.from(whole, Number),
  });
  try {
    const limit = known - constant;
    model.options.set({ output_flag: false, mip_max_nodes: nodes, mip_rel_gap: gap, objective_bound: limit + 1e-6 * Math.abs(limit), random_seed: 1 });
    model.run();
    const bound = model.getModelStatus() === infeasible ? limit : Math.min(limit, Number(model.info.get("mip_dual_bound")));
    return bound - (gap + 2e-6) * Math.abs(bound) + constant;
  } finally {
    model.dispose();
  }
}
