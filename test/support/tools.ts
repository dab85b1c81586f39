import GLPK from "glpk.js/node";
import type { Glpk } from "../../src/core/solve/linear";

export const loadGlpk = async (): Promise<Glpk> => GLPK();
