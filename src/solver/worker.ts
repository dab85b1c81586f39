import { parentPort, workerData } from "node:worker_threads";
import { frontier } from "../core/solve/frontier";
import { largestBatch } from "../core/solve/largest";
import { restrict, solve } from "../core/solve/solve";
import { loadGlpk } from "./glpk";
import { loadHighs } from "./highs";
import type { Answer, Request } from "./protocol";

/** One request per worker: to cancel is to terminate it. */
const request = workerData as Request;
const send = (answer: Answer): void => parentPort?.postMessage(answer);

try {
  const tools = {
    glpk: await loadGlpk(),
    // A frontier has no time for it; a plan for one budget has.
    highs: request.kind === "plan" ? await loadHighs() : undefined,
    seed: request.seed,
    iterations: request.iterations,
    onProgress: (progress: Extract<Answer, { kind: "progress" }>["progress"]) => {
      send({ kind: "progress", progress });
    },
  };
  const { graph, exactness } = request;
  switch (request.kind) {
    case "plan":
      send({ kind: "solution", solution: solve(restrict(graph, exactness), request.budget, tools) });
      break;
    case "frontier": {
      const result = frontier(restrict(graph, exactness), request.steps, tools, (point) => {
        send({ kind: "point", point });
      });
      send({ kind: "frontier", frontier: result });
      break;
    }
    case "largest":
      send({ kind: "largest", largest: largestBatch(graph, request.limits, exactness, tools) });
  }
} catch (error) {
  send({ kind: "failed", message: error instanceof Error ? (error.stack ?? error.message) : String(error) });
}
