import { fileURLToPath } from "node:url";
import load from "highs";
import type { Highs } from "../core/solve/branching";

/** For worker threads only, as GLPK. It looks for highs.wasm beside the bundle. */
export const loadHighs = async (): Promise<Highs> =>
  load({ locateFile: (file: string) => fileURLToPath(new URL(file, import.meta.url)) });
