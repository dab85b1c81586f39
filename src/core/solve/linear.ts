import { item } from "../simulate/arrays";

/** What core needs of glpk.js: its Node build fits as it is. */
export interface Glpk {
  readonly GLP_MIN: number;
  readonly GLP_UP: number;
  readonly GLP_FX: number;
  readonly GLP_DB: number;
  readonly GLP_MSG_OFF: number;
  readonly GLP_OPT: number;
  readonly GLP_FEAS: number;
  solve(program: GlpkProgram, options: { msglev: number; presol: boolean; tmlim?: number; mipgap?: number }): GlpkResult;
}

interface GlpkProgram {
  name: string;
  objective: { direction: number; name: string; vars: { name: string; coef: number }[] };
  subjectTo: { name: string; vars: { name: string; coef: number }[]; bnds: { type: number; ub: number; lb: number } }[];
  bounds: { name: string; type: number; ub: number; lb: number }[];
  binaries?: string[];
}

interface GlpkResult {
  result: { status: number; z: number; vars: Record<string, number>; dual?: Record<string, number> };
}

interface Row {
  readonly columns: readonly number[];
  readonly coefficients: readonly number[];
  readonly limit: number;
  readonly equal: boolean;
}

/** minimise c·x + constant subject to A x ≤ b (or = b), 0 ≤ x ≤ 1. */
export class LinearProgram {
  readonly cost: number[] = [];
  /** Per column: whether it is 0 or 1 in every plan, with nothing between. */
  readonly whole: boolean[] = [];
  readonly rows: Row[] = [];
  /** Those whose limit grows with the budget, byte for byte. */
  readonly memory: number[] = [];
  constant = 0;

  column(cost: number, whole = false): number {
    this.whole.push(whole);
    return this.cost.push(cost) - 1;
  }

  /** Terms may name a column twice; column −1 stands for nothing and is skipped. */
  row(terms: readonly (readonly [column: number, coefficient: number])[], limit: number, equal = false): void {
    const merged = new Map<number, number>();
    for (const [column, coefficient] of terms) if (column >= 0 && coefficient !== 0) merged.set(column, (merged.get(column) ?? 0) + coefficient);
    this.rows.push({ columns: [...merged.keys()], coefficients: [...merged.values()], limit, equal });
  }

  /** Adds A x ≤ limit unless no x in the box can break it. */
  cap(terms: readonly (readonly [number, number])[], limit: number): void {
    const most = terms.reduce((sum, [column, coefficient]) => (column >= 0 && coefficient > 0 ? sum + coefficient : sum), 0);
    if (most > limit) this.row(terms, limit);
  }

  /** With a gap, columns are binary and the answer is within it (relative) of the best; without, the relaxation. */
  solve(glpk: Glpk, gap: number | null = null): { status: "solved" | "none"; objective: number; values: Float64Array; duals: Float64Array } {
    // GLPK ends the process over a program of no rows or no columns.
    if (this.rows.length === 0 || this.cost.length === 0) {
      const values = Float64Array.from(this.cost, (cost) => (cost < 0 ? 1 : 0));
      const objective = this.cost.reduce((sum, cost) => sum + Math.min(0, cost), this.constant);
      return { status: "solved", objective, values, duals: new Float64Array(this.rows.length) };
    }
    const integer = gap !== null;
    const name = (column: number): string => `x${column}`;
    const answer = glpk.solve(
      {
        name: "monet",
        objective: { direction: glpk.GLP_MIN, name: "time", vars: this.cost.map((coef, column) => ({ name: name(column), coef })) },
        subjectTo: this.rows.map((row, k) => ({
          name: `r${k}`,
          vars: row.columns.map((column, at) => ({ name: name(column), coef: item(row.coefficients, at) })),
          bnds: { type: row.equal ? glpk.GLP_FX : glpk.GLP_UP, ub: row.limit, lb: row.equal ? row.limit : 0 },
        })),
        bounds: integer ? [] : this.cost.map((_, column) => ({ name: name(column), type: glpk.GLP_DB, lb: 0, ub: 1 })),
        ...(integer ? { binaries: this.cost.map((_, column) => name(column)) } : {}),
      },
      { msglev: glpk.GLP_MSG_OFF, presol: true, ...(integer ? { mipgap: gap } : {}) },
    ).result;
    const solved = answer.status === glpk.GLP_OPT || answer.status === glpk.GLP_FEAS;
    return {
      status: solved ? "solved" : "none",
      objective: answer.z + this.constant,
      values: Float64Array.from(this.cost, (_, column) => answer.vars[name(column)] ?? 0),
      duals: Float64Array.from(this.rows, (_, k) => answer.dual?.[`r${k}`] ?? 0),
    };
  }

  /**
   * A bound that holds whatever the solver's arithmetic did: for every y with y ≤ 0 on inequality rows,
   *   c·x ≥ y·b + Σ_j min(0, c_j − (Aᵀy)_j)   for all feasible x in the unit box.
   */
  dualBound(duals: Float64Array): number {
    const reduced = Float64Array.from(this.cost);
    let bound = this.constant;
    this.rows.forEach((row, k) => {
      const dual = row.equal ? (duals[k] ?? 0) : Math.min(0, duals[k] ?? 0);
      bound += dual * row.limit;
      row.columns.forEach((column, at) => {
        reduced[column] = (reduced[column] ?? 0) - dual * item(row.coefficients, at);
      });
    });
    for (const cost of reduced) bound += Math.min(0, cost);
    return bound;
  }
}
