import { Worker } from "node:worker_threads";
import type { Graph, Implementation } from "../core/graph";
import type { Frontier } from "../core/solve/frontier";
import type { Largest, Limits } from "../core/solve/largest";
import type { Planned, Solution } from "../core/solve/solution";
import type { Progress } from "../core/solve/solve";
import { formatBytes } from "../core/units";
import { UserError } from "../helper/user_error";
import { effort, type Answer, type Request } from "./protocol";

/** A quarter of it is what 10,000 operators take. docs/cli.md says it. */
export const heapLimit = 1024;

export interface SolveOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  /** The least exact implementation that may be chosen; approximate ones must be asked for. */
  readonly exactness?: Implementation["exactness"];
  readonly seed?: number;
  /** Evaluations per search. The same number gives the same plan. */
  readonly iterations?: number;
  /** What the worker's heap may grow to. */
  readonly heapMebibytes?: number;
  /** Where the bundled worker lies; beside this bundle by default. */
  readonly worker?: URL;
}

export interface FrontierOptions extends SolveOptions {
  readonly steps?: number;
  readonly onPoint?: (point: Planned) => void;
}

/** Solves in a worker thread; an abort ends the thread at once and rejects with the signal's reason. */
export async function solvePlan(graph: Graph, budget: number | null, options: SolveOptions = {}): Promise<Solution> {
  return run<Solution>({ ...common(graph, options, effort.plan), kind: "plan", budget }, options, (answer) => (answer.kind === "solution" ? answer.solution : undefined));
}

export async function solveFrontier(graph: Graph, options: FrontierOptions = {}): Promise<Frontier> {
  return run<Frontier>({ ...common(graph, options, effort.frontier), kind: "frontier", steps: options.steps ?? 16 }, options, (answer) => {
    if (answer.kind === "point") options.onPoint?.(answer.point);
    return answer.kind === "frontier" ? answer.frontier : undefined;
  });
}

/** The largest batch that fits, with its plan; null where not even one sample does. */
export async function solveLargest(graph: Graph, limits: Limits, options: SolveOptions = {}): Promise<Largest | null> {
  return run<Largest | null>({ ...common(graph, options, effort.frontier), kind: "largest", limits }, options, (answer) => (answer.kind === "largest" ? answer.largest : undefined));
}

function common(graph: Graph, options: SolveOptions, iterations: number): Pick<Request, "graph" | "exactness" | "seed" | "iterations"> {
  return { graph, exactness: options.exactness ?? "bitwise", seed: options.seed ?? 1, iterations: options.iterations ?? iterations };
}

async function run<Result>(request: Request, { signal, onProgress, heapMebibytes = heapLimit, worker: url }: SolveOptions, pick: (answer: Answer) => Result | undefined): Promise<Result> {
  signal?.throwIfAborted();
  const worker = new Worker(url ?? new URL("./solver-worker.mjs", import.meta.url), { workerData: request, resourceLimits: { maxOldGenerationSizeMb: heapMebibytes } });
  let abort: (() => void) | undefined;
  try {
    return await new Promise<Result>((resolve, reject) => {
      abort = () => {
        reject(signal?.reason instanceof Error ? signal.reason : new DOMException("The solver was stopped", "AbortError"));
      };
      signal?.addEventListener("abort", abort, { once: true });
      worker.on("message", (answer: Answer) => {
        if (answer.kind === "failed") reject(new Error(`The solver failed: ${answer.message}`));
        if (answer.kind === "progress") onProgress?.(answer.progress);
        const result = pick(answer);
        if (result !== undefined) resolve(result);
      });
      worker.on("error", (error: NodeJS.ErrnoException) => {
        const full = error.code === "ERR_WORKER_OUT_OF_MEMORY";
        reject(full ? new UserError("M707", "crash", `The solver needs more than ${formatBytes(heapMebibytes * 2 ** 20)} for a graph of ${request.graph.operators.length} operators; profile a part of the model.`) : error);
      });
      worker.on("exit", (code) => {
        reject(new Error(`The solver's worker ended early (code ${code})`));
      });
    });
  } finally {
    if (abort !== undefined) signal?.removeEventListener("abort", abort);
    await worker.terminate();
  }
}
