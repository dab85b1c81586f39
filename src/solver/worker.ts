import { parentPort, workerData } from "node:worker_threads";
import { frontier } from "../core/solve/frontier";
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
  const graph = restrict(request.graph, request.exactness);
  if (request.kind === "plan") send({ kind: "solution", solution: solve(graph, request.budget, tools) });
  else {
    const result = frontier(graph, request.steps, tools, (point) => {
      send({ kind: "point", point });
    });
    send({ kind: "frontier", frontier: result });
  }
} catch (error) {
  send({ kind: "failed", message: error instanceof Error ? (error.stack ?? error.message) : String(error) });
}
