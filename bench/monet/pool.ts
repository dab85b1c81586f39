import { once } from "node:events";
import { Worker } from "node:worker_threads";
import type { Solved } from "./schedule";
import type { Point } from "./worker";

/** Solves the points in their order, `jobs` at a time. One whose solver threw ends as its error, and the others go on. */
export function solveAll(points: readonly Point[], jobs: number, program: URL): readonly Promise<Solved | Error>[] {
  const queue: { point: Point; done: (result: Solved | Error) => void }[] = [];
  const results = points.map((point) => new Promise<Solved | Error>((done) => queue.push({ point, done })));
  const work = async (): Promise<void> => {
    let worker = new Worker(program);
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      try {
        worker.postMessage(next.point);
        const [solved] = (await once(worker, "message")) as [Solved];
        next.done(solved);
      } catch (error) {
        next.done(error instanceof Error ? error : new Error(String(error)));
        worker = new Worker(program);
      }
    }
    await worker.terminate();
  };
  for (let job = 0; job < jobs; job++) void work();
  return results;
}
