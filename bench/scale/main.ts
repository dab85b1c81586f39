/**
 * How time, memory and the certified gap grow with the graph. Every point is solved in a process of its own, for its memory.
 * `bench:scale FAMILY` grows one family; `bench:scale GRAPH.json` solves one training graph, for 32 budgets.
 */
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { cpus, totalmem } from "node:os";
import { basename } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import GLPK from "glpk.js/node";
import { fixedBytes, parseGraph, type Graph } from "../../src/core/graph";
import { simulateEager } from "../../src/core/simulate";
import { frontier } from "../../src/core/solve/frontier";
import { solve } from "../../src/core/solve/solve";
import { effort } from "../../src/solver/protocol";
import { densenet, gpt, resnet50, tangle, unet } from "../../test/support/networks";

/** Families by a size that grows. Above a thousand operators one budget is solved, below a frontier. */
const families: Readonly<Record<string, { readonly sizes: readonly number[]; readonly make: (size: number) => Graph }>> = {
  decoder: { sizes: [6, 12, 24, 48, 80, 200, 770], make: (layers) => gpt(2, 256, layers) },
  resnet: { sizes: [6, 36, 120], make: (blocks) => resnet50(8, [3, 4, blocks, 3]) },
  unet: { sizes: [4, 6, 8], make: (depth) => unet(1, 2 ** (depth + 4), depth) },
  densenet: { sizes: [4, 16, 48], make: (layers) => densenet([layers, layers, layers, layers]) },
  tangle: { sizes: [100, 300, 1000, 3000], make: (operators) => tangle(operators) },
};

const sizeOfFrontier = 1_100;
const steps = 16;
const stepsOfFile = 32;

interface Point {
  readonly family: string;
  readonly operators: number;
  readonly what: "frontier" | "one budget";
  readonly seconds: number;
  /** Processor seconds: the same, on a machine that has nothing else to do. */
  readonly processor: number;
  readonly first: number | null;
  readonly mebibytes: number;
  /** Largest gap over the upper three quarters of the budgets; of the one budget otherwise. */
  readonly gap: number;
}

const isFile = (family: string): boolean => family.endsWith(".json");

async function measure(family: string, size: number): Promise<Point> {
  const graph = isFile(family) ? parseGraph(readFileSync(family, "utf8")) : families[family]?.make(size);
  if (graph === undefined) throw new RangeError(`no family ${family}`);
  const glpk = await GLPK();
  const operators = graph.operators.length;
  const started = performance.now();
  const seconds = (): number => (performance.now() - started) / 1e3;
  const processor = (): number => (process.cpuUsage().user + process.cpuUsage().system) / 1e6;
  const mebibytes = (): number => process.resourceUsage().maxRSS / 1024;
  if (operators <= sizeOfFrontier) {
    let first: number | null = null;
    const { points } = frontier(graph, isFile(family) ? size : steps, { glpk, seed: 1, iterations: effort.frontier }, () => (first ??= seconds()));
    const gaps = points.slice(Math.ceil(points.length / 4)).map(({ gap }) => gap);
    return { family, operators, what: "frontier", seconds: seconds(), processor: processor(), first, mebibytes: mebibytes(), gap: Math.max(...gaps) };
  }
  const fixed = fixedBytes(graph);
  const budget = Math.round(fixed + 0.8 * (simulateEager(graph).peak - fixed));
  const solution = solve(graph, budget, { glpk, seed: 1, iterations: effort.plan });
  return { family, operators, what: "one budget", seconds: seconds(), processor: processor(), first: null, mebibytes: mebibytes(), gap: solution.kind === "plan" ? solution.gap : Infinity };
}

/** Slope of log(processor seconds) over log(operators), least squares. */
function exponent(points: readonly Point[]): number {
  const logs = points.map(({ operators, processor }) => [Math.log(operators), Math.log(processor)] as const);
  const mean = (k: 0 | 1): number => logs.reduce((sum, each) => sum + each[k], 0) / logs.length;
  const [x, y] = [mean(0), mean(1)];
  return logs.reduce((sum, [a, b]) => sum + (a - x) * (b - y), 0) / logs.reduce((sum, [a]) => sum + (a - x) ** 2, 0);
}

function line(cells: readonly string[]): void {
  process.stdout.write(`${cells.map((cell, k) => (k === 0 || k === 2 ? cell.padEnd(11) : cell.padStart(10))).join(" ")}\n`);
}

const [family, size] = process.argv.slice(2);
if (size !== undefined && family !== undefined) process.stdout.write(JSON.stringify(await measure(family, Number(size))));
else {
  process.stdout.write(`${cpus()[0]?.model ?? "?"}, ${cpus().length} cores, ${Math.round(totalmem() / 2 ** 30)} GiB; Node ${process.version}\n`);
  line(["family", "operators", "what", "seconds", "processor", "first s", "MiB", "gap"]);
  const chosen = family !== undefined && isFile(family) ? [[family, [stepsOfFile]] as const] : Object.entries(families).map(([name, { sizes }]) => [name, sizes] as const);
  for (const [name, sizes] of chosen) {
    if (family !== undefined && family !== name) continue;
    const points: Point[] = [];
    for (const each of sizes) {
      const { stdout } = await promisify(execFile)(process.execPath, [fileURLToPath(import.meta.url), name, String(each)]);
      const point = JSON.parse(stdout) as Omit<Point, "gap"> & { gap: number | null };
      const { operators, what, seconds, processor, first, mebibytes } = point;
      points.push({ ...point, gap: point.gap ?? Infinity });
      line([basename(name), String(operators), what, seconds.toFixed(1), processor.toFixed(1), first?.toFixed(1) ?? "–", mebibytes.toFixed(0), point.gap === null ? "no plan" : `${(100 * point.gap).toFixed(2)}%`]);
    }
    for (const what of ["frontier", "one budget"] as const) {
      const alike = points.filter((point) => point.what === what);
      if (alike.length > 1) process.stdout.write(`${name}, ${what}: seconds grow as n^${exponent(alike).toFixed(2)}\n`);
    }
  }
}
