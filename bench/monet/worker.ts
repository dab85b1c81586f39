import { readFileSync } from "node:fs";
import { parentPort } from "node:worker_threads";
import { parseInstance } from "./instance";
import { solveInstance } from "./solver";

/** One point: which instance, how much memory, which random numbers. */
export interface Point {
  readonly file: string;
  readonly budgetBytes: number;
  readonly seed: number;
}

parentPort?.on("message", ({ file, budgetBytes, seed }: Point) => {
  parentPort?.postMessage(solveInstance(parseInstance(readFileSync(file, "utf8"), file), budgetBytes, seed));
});
