/** Our solver beside its peers: the same graphs, budgets, cost model and simulator. */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { pathToFileURL } from "node:url";
import { parseGraph, type Graph } from "../../src/core/graph";
import { planText } from "../../src/core/plan";
import { formatBytes } from "../../src/core/units";
import { solvePlan } from "../../src/solver/client";
import { chain, unet } from "../../test/support/networks";
import { equalSegments, evict, perBlock } from "./classical";
import { PythonPeers, type Answer, type Settings } from "./external";
import { Judge, type Measured, type Settled, type Wishes } from "./judge";

export interface Options extends Settings {
  readonly root: string;
  /** Files of recorded graphs. */
  readonly graphs: readonly string[];
  readonly generated: boolean;
  readonly budgets: number;
}

interface Peer {
  readonly name: string;
  /** Plans that are made without a budget: whatever fits counts. */
  readonly sweep?: () => Promise<Answer>;
  /** Plans for a budget of the peer's own accounting. */
  readonly aim?: (target: number) => Promise<Answer>;
  /** It can tell that there is no better plan, in its own terms. */
  readonly proves?: true;
}

interface Found extends Measured {
  readonly settled: Settled;
}

interface Result {
  readonly name: string;
  /** Per budget: the best plan that fits by our simulator, or what the peer said instead. */
  readonly best: readonly (Found | string)[];
  readonly seconds: number;
  /** How often the peer proved that it can't do better; null where it never could. */
  readonly proved: number | null;
}

interface Ours {
  readonly name: string;
  readonly times: readonly (number | null)[];
  /** What we say to have proven: no plan is faster. */
  readonly bounds: readonly number[];
  readonly seconds: number;
}

/** A peer that is faster, that fits where we don't, or that refutes our bound. */
interface Violation {
  readonly graph: string;
  readonly sentence: string;
}

interface Comparison {
  readonly peer: string;
  readonly ours: string;
  readonly faster: readonly number[];
  readonly asked: number;
  readonly seconds: number;
  readonly violations: number;
}

const print = (text: string): void => void process.stdout.write(`${text}\n`);
const progress = (text: string): void => void process.stderr.write(process.stderr.isTTY ? `\r\x1b[K▸ ${text}` : `▸ ${text}\n`);
const percent = (ratio: number): string => `${ratio < 0 ? "−" : "+"}${Math.abs(100 * ratio).toFixed(1)}%`;

/** Aims that a peer gets at one budget, each lower by what its last plan was above. */
const aims = 4;

export async function benchSolvers(options: Options): Promise<number> {
  const graphs: (readonly [string, Graph])[] = options.graphs.map((file) => [basename(file, ".json").replace(/\.graph$/, ""), parseGraph(readFileSync(file, "utf8"))]);
  if (options.generated) graphs.unshift(["chain", chain(6)], ["small DAG", unet(1, 32, 1)]);
  print(`${options.budgets} budgets from our least peak to below eager's, and one below our least; a limit of ${options.limit} s per program (Checkmate, Moccasin), ${options.threads} threads`);
  const worse = join(options.folder, "worse");
  rmSync(worse, { recursive: true, force: true });
  const comparisons: Comparison[] = [];
  const violations: Violation[] = [];
  for (const [name, graph] of graphs) {
    const outcome = await compare(name, graph, options);
    comparisons.push(...outcome.comparisons);
    violations.push(...outcome.violations);
  }
  print(`\n${summary(comparisons)}\n`);
  for (const { graph, sentence } of violations) print(`${graph}, ${sentence}`);
  print(violations.length === 0 ? "Nowhere was a peer faster than we are." : `${violations.length} times a peer was faster than we are; graph and plan are in ${worse}`);
  return violations.length === 0 ? 0 : 1;
}

async function compare(name: string, graph: Graph, options: Options): Promise<{ comparisons: Comparison[]; violations: Violation[] }> {
  const judge = new Judge(graph);
  const worker = pathToFileURL(join(options.root, "dist", "solver-worker.mjs"));
  progress(`${name}: our least memory`);
  const nothing = await solvePlan(graph, judge.fixed, { worker });
  const least = nothing.kind === "plan" ? nothing.summary.peak : nothing.smallest.summary.peak;
  const ladder = Array.from({ length: options.budgets }, (_, k) => Math.floor(least + (k / options.budgets) * (judge.eager.peak - least)));
  // And one where we have no plan, to see whether anybody has.
  const budgets = [Math.floor(least - 0.01 * (least - judge.fixed)), ...ladder];

  const results: Result[] = [];
  const python = new PythonPeers(judge, join(options.root, "bench", "solvers", "peers.py"), options);
  try {
    for (const peer of peers(judge, python)) results.push(await run(name, judge, peer, budgets));
  } finally {
    python.close();
  }
  const first = { ...graph, operators: graph.operators.map((operator) => ({ ...operator, implementations: operator.implementations.slice(0, 1) })) };
  const ours: Ours[] = [];
  for (const [title, given] of [["ours, eager's operators", first], ["ours", graph]] as const) {
    const start = performance.now();
    const times: (number | null)[] = [];
    const bounds: number[] = [];
    for (const budget of budgets) {
      progress(`${name}: ${title}, ${formatBytes(budget)}`);
      const solution = await solvePlan(given, budget, { worker });
      times.push(solution.kind === "plan" ? solution.summary.time : null);
      bounds.push(solution.kind === "plan" ? solution.bound : solution.proven ? Infinity : 0);
    }
    ours.push({ name: title, times, bounds, seconds: (performance.now() - start) / 1000 / budgets.length });
  }
  print(`\n${name}: ${graph.operators.length} operators, eager ${formatBytes(judge.eager.peak)} (${formatBytes(judge.fixed)} fixed), ${(judge.eager.time / 1e6).toFixed(1)} ms`);
  print(table(judge, budgets, results, ours));
  return judgement(name, judge, budgets, results, ours, options);
}

function peers(judge: Judge, python: PythonPeers): Peer[] {
  const timed = (make: () => (Wishes | null)[]): Promise<Answer> => {
    const start = performance.now();
    const plans = make().filter((plan) => plan !== null);
    return Promise.resolve({ plans, seconds: (performance.now() - start) / 1000, status: "does not fit" });
  };
  return [
    { name: "per block", sweep: () => timed(() => perBlock(judge)) },
    { name: "√n", sweep: () => timed(() => equalSegments(judge)) },
    { name: "greedy (DTR)", aim: (target) => timed(() => [evict(judge, target, true), evict(judge, target, false)]) },
    { name: "knapsack (PyTorch)", sweep: () => python.ask("knapsack", 0) },
    { name: "rotor", sweep: () => python.ask("rotor", 0) },
    { name: "Checkmate", aim: (target) => python.ask("checkmate", target), proves: true },
    { name: "Moccasin", aim: (target) => python.ask("moccasin", target), proves: true },
  ];
}

async function run(graph: string, judge: Judge, peer: Peer, budgets: readonly number[]): Promise<Result> {
  const pool: Found[] = [];
  const said = budgets.map(() => "—");
  let seconds = 0;
  let proved = 0;
  const take = (answer: Answer): Found[] => {
    seconds += answer.seconds;
    const found = answer.plans.map((wishes) => {
      const settled = judge.settle(wishes);
      return { settled, ...judge.measure(settled) };
    });
    pool.push(...found);
    return found;
  };
  progress(`${graph}: ${peer.name}`);
  if (peer.sweep !== undefined) take(await peer.sweep());
  if (peer.aim !== undefined) {
    // From the easiest down; one that finds nothing in its time is not asked for less.
    for (let k = budgets.length - 1; k >= 0; k--) {
      const budget = budgets[k] ?? 0;
      progress(`${graph}: ${peer.name}, ${formatBytes(budget)}`);
      let target = budget;
      let answer: Answer | undefined;
      for (let aim = 0; aim < aims; aim++) {
        answer = await peer.aim(target);
        const above = Math.min(...take(answer).map(({ peak }) => peak - budget));
        if (above <= 0 || above === Infinity) break;
        target -= above;
      }
      if (answer?.status === "optimal" || answer?.status === "infeasible") proved++;
      if (answer === undefined || answer.plans.length > 0) continue;
      said[k] = answer.status;
      if (answer.status === "infeasible" || answer.status === "does not fit") continue;
      said.fill(answer.status, 0, k);
      break;
    }
  }
  const best = budgets.map((budget, k) => {
    const fits = pool.filter(({ peak }) => peak <= budget);
    return fits.reduce<Found | undefined>((a, b) => (a === undefined || b.time < a.time ? b : a), undefined) ?? said[k] ?? "—";
  });
  return { name: peer.name, best, seconds: seconds / budgets.length, proved: peer.proves === true ? proved : null };
}

function table(judge: Judge, budgets: readonly number[], results: readonly Result[], ours: readonly Ours[]): string {
  const product = ours.at(-1);
  const cell = (time: number | null | undefined, k: number): string => {
    if (time === null || time === undefined) return "—";
    const own = product?.times[k] ?? null;
    return `${percent(time / judge.eager.time - 1)}${own === null ? "" : ` (${percent(time / own - 1)})`}`;
  };
  const share = (budget: number): string => `${((100 * (budget - judge.fixed)) / (judge.eager.peak - judge.fixed)).toFixed(0)}%`;
  const header = ["budget, of eager's above fixed", ...ours.map(({ name }) => name), ...results.map(({ name }) => name)];
  const lines = budgets.map((budget, k) => [
    `${formatBytes(budget)}, ${share(budget)}`,
    ...ours.map(({ times }) => cell(times[k], k)),
    ...results.map(({ best }) => {
      const found = best[k];
      return typeof found === "object" ? cell(found.time, k) : (found ?? "—");
    }),
  ]);
  const seconds = ["s per budget", ...[...ours, ...results].map((each) => each.seconds.toFixed(each.seconds < 10 ? 2 : 0))];
  const proved = ["finished", ...ours.map(() => ""), ...results.map((result) => (result.proved === null ? "" : `${result.proved} of ${budgets.length}`))];
  return `overhead over eager (how much longer a step takes than by our plan)\n${columns([header, ...lines, seconds, proved])}`;
}

function judgement(name: string, judge: Judge, budgets: readonly number[], results: readonly Result[], ours: readonly Ours[], options: Options): { comparisons: Comparison[]; violations: Violation[] } {
  const violations: Violation[] = [];
  const comparisons = results.flatMap(({ name: peer, best, seconds }) =>
    ours.map(({ name: title, times, bounds }): Comparison => {
      const faster: number[] = [];
      const before = violations.length;
      budgets.forEach((budget, k) => {
        const found = best[k];
        if (typeof found !== "object") return;
        const { plan, summary } = judge.plan(found.settled, budget);
        if (summary.peak !== found.peak || summary.time !== found.time) throw new Error(`${peer}'s plan is not what it was measured to be`);
        const own = times[k] ?? null;
        const bound = bounds[k] ?? 0;
        if (own !== null) faster.push(summary.time / own - 1);
        if (own !== null && own <= summary.time && bound <= summary.time) return;
        const lost =
          bound > summary.time ? `and our bound says ${(bound / 1e6).toFixed(3)} ms`
          : own === null ? "where we have no plan"
          : `where ours takes ${(own / 1e6).toFixed(3)} ms, ${percent(own / summary.time - 1)}`;
        violations.push({ graph: name, sentence: `${formatBytes(budget)} (${budget}): ${peer} takes ${(summary.time / 1e6).toFixed(3)} ms ${lost} (${title})` });
        const folder = join(options.folder, "worse");
        mkdirSync(folder, { recursive: true });
        writeFileSync(join(folder, `${name}.graph.json`), JSON.stringify(judge.graph));
        writeFileSync(join(folder, `${name}.${peer}.${budget}.plan.json`), planText(plan));
      });
      return { peer, ours: title, faster, asked: budgets.length, seconds, violations: violations.length - before };
    }),
  );
  return { comparisons, violations };
}

function summary(comparisons: readonly Comparison[]): string {
  const groups = new Map<string, Comparison[]>();
  for (const comparison of comparisons) {
    const key = `${comparison.peer}\n${comparison.ours}`;
    groups.set(key, [...(groups.get(key) ?? []), comparison]);
  }
  const lines = [...groups.values()].map((group) => {
    const [first] = group;
    const faster = group.flatMap((each) => each.faster).sort((a, b) => a - b);
    const sum = (measure: (each: Comparison) => number): number => group.reduce((total, each) => total + measure(each), 0);
    const at = (share: number): string => (faster.length === 0 ? "—" : percent(faster[Math.round(share * (faster.length - 1))] ?? 0));
    return [first?.peer ?? "", first?.ours ?? "", `${faster.length} of ${sum(({ asked }) => asked)}`, at(0), at(0.5), at(1), String(sum(({ violations }) => violations)), (sum(({ seconds }) => seconds) / group.length).toFixed(2)];
  });
  return `How much faster our plans are, over all graphs and budgets\n${columns([["peer", "beside", "it has a plan", "least", "median", "most", "ours is worse", "s per budget"], ...lines])}`;
}

function columns(lines: readonly (readonly string[])[]): string {
  const widths = (lines[0] ?? []).map((_, column) => Math.max(...lines.map((line) => (line[column] ?? "").length)));
  return lines.map((line) => line.map((text, column) => (column === 0 ? text.padEnd(widths[column] ?? 0) : text.padStart(widths[column] ?? 0))).join("  ")).join("\n");
}
