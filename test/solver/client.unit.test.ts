import { copyFile, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { build } from "esbuild";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { checkPlan } from "../../src/core/plan";
import { simulate } from "../../src/core/simulate";
import { heapLimit, solveFrontier, solvePlan } from "../../src/solver/client";
import { chain, resnet50 } from "../support/networks";

let folder: string;
let worker: URL;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "monet solver "));
  const outfile = join(folder, "worker.mjs");
  await build({ entryPoints: ["src/solver/worker.ts"], outfile, bundle: true, platform: "node", format: "esm", logLevel: "error" });
  await copyFile("node_modules/glpk.js/dist/glpk.wasm", join(folder, "glpk.wasm"));
  await copyFile("node_modules/highs/build/highs.wasm", join(folder, "highs.wasm"));
  worker = pathToFileURL(outfile);
});

afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

describe("the solver's worker", () => {
  it("returns a plan that fits, with its bound, the same each time", async () => {
    const graph = chain(8);
    const eager = await solvePlan(graph, null, { worker });
    if (eager.kind !== "plan") throw new Error("no budget must be feasible");
    const fixed = Object.values(graph.fixed).reduce((a, b) => a + b, 0);
    const budget = Math.round(fixed + 0.6 * (eager.summary.peak - fixed));
    const stages: string[] = [];
    const options = { worker, iterations: 3000, onProgress: ({ stage }: { stage: string }) => stages.push(stage) };
    const first = await solvePlan(graph, budget, options);
    const second = await solvePlan(graph, budget, options);
    if (first.kind !== "plan") throw new Error("60% must be feasible");
    expect(simulate(graph, checkPlan(first.plan, graph)).peak).toBeLessThanOrEqual(budget);
    expect(first.bound).toBeLessThanOrEqual(first.summary.time);
    expect(JSON.stringify(second)).toBe(JSON.stringify(first));
    expect(stages).toContain("search");
  });

  it("plans ResNet-50 at half the memory for at most 12% more time", async () => {
    const graph = resnet50();
    const eager = await solvePlan(graph, null, { worker });
    if (eager.kind !== "plan") throw new Error("no budget must be feasible");
    const fixed = Object.values(graph.fixed).reduce((a, b) => a + b, 0);
    const half = await solvePlan(graph, Math.round(fixed + 0.5 * (eager.summary.peak - fixed)), { worker, iterations: 20_000 });
    if (half.kind !== "plan") throw new Error("half must be feasible");
    expect(half.summary.time / eager.summary.time - 1).toBeLessThan(0.12);
    expect(half.gap).toBeLessThan(0.06);
  });

  it("stops at once when it is told to", async () => {
    const stop = new AbortController();
    const running = solvePlan(resnet50(), 5e8, { worker, iterations: 1e9, signal: stop.signal });
    let start = 0;
    setTimeout(() => {
      start = performance.now();
      stop.abort();
    }, 300);
    await expect(running).rejects.toThrow(/abort/i);
    expect(performance.now() - start).toBeLessThan(5000);
  });

  it("says so where its memory doesn't suffice, and ends", async () => {
    await expect(solvePlan(resnet50(), 5e8, { worker, heapMebibytes: 4 })).rejects.toMatchObject({ code: "M707", message: "The solver needs more than 4.00 MiB for a graph of 175 operators; profile a part of the model." });
  });

  it("has as much memory as the docs say", async () => {
    expect(await readFile("docs/cli.md", "utf8")).toContain(`a worker whose heap may grow to ${heapLimit / 1024} GiB`);
  });

  it("answers a budget below the fixed bytes with the least that it found and what stands in the way", async () => {
    const graph = chain(8);
    const answer = await solvePlan(graph, 10, { worker, iterations: 2000 });
    if (answer.kind !== "infeasible") throw new Error("ten bytes must be infeasible");
    expect(answer.proven).toBe(true);
    const { smallest, dominatedBy } = answer;
    expect(dominatedBy.fixed + dominatedBy.gradients + dominatedBy.activations + dominatedBy.running).toBe(smallest.summary.peak);
    const again = await solvePlan(graph, smallest.summary.peak, { worker, iterations: 2000 });
    expect(again.kind).toBe("plan");
  });

  it("draws a frontier on which more memory never costs more time", async () => {
    const { points } = await solveFrontier(chain(8), { worker, steps: 8, iterations: 1500 });
    expect(points.length).toBeGreaterThanOrEqual(7);
    points.forEach((point, k) => {
      expect(point.summary.peak).toBeLessThanOrEqual(point.plan.budget ?? 0);
      expect(point.bound).toBeLessThanOrEqual(point.summary.time);
      if (k > 0) expect(point.summary.time).toBeLessThanOrEqual(points[k - 1]!.summary.time);
    });
    expect(points.at(-1)!.summary.time).toBe(points.at(-1)!.eager.time);
  });
});
