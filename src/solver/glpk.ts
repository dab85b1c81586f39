import GLPK from "glpk.js/node";
import type { Glpk } from "../core/solve/linear";

/** The Node build: synchronous, so for worker threads only. It looks for glpk.wasm beside the bundle. */
export const loadGlpk = async (): Promise<Glpk> => GLPK();
