import { spawn, type ChildProcess } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Interval } from "../../src/core/plan";
import { bit, int, num } from "../../src/core/simulate/arrays";
import type { Judge, Wishes } from "./judge";

export interface Answer {
  readonly plans: readonly Wishes[];
  readonly seconds: number;
  /** optimal, infeasible, not finished, too large …: what is said where there is no plan. */
  readonly status: string;
}

export interface Settings {
  readonly python: string;
  readonly folder: string;
  /** Seconds per call of a program's solver. */
  readonly limit: number;
  readonly threads: number;
}

/** bench/solvers/peers.py as a process of its own, one per graph: a line in, a line out. */
export class PythonPeers {
  private readonly judge: Judge;
  private readonly child: ChildProcess;
  private readonly lines: AsyncIterator<string>;

  constructor(judge: Judge, script: string, { python, folder, limit, threads }: Settings) {
    this.judge = judge;
    const file = join(folder, "problem.json");
    writeFileSync(file, JSON.stringify(problemDocument(judge)));
    this.child = spawn(python, [script, file, "--limit", String(limit), "--threads", String(threads)], { stdio: ["pipe", "pipe", "inherit"] });
    if (this.child.stdout === null) throw new Error("the Python peers have no output");
    this.lines = createInterface({ input: this.child.stdout })[Symbol.asyncIterator]();
  }

  async ask(peer: string, target: number): Promise<Answer> {
    this.child.stdin?.write(`${JSON.stringify({ peer, target: Math.floor(target) })}\n`);
    const line = await this.lines.next();
    if (line.done === true) throw new Error(`the Python peers ended while ${peer} was asked; what they said is above`);
    const { plans, seconds, status } = JSON.parse(line.value) as { plans: [number, number, number][][]; seconds: number; status: string };
    return { plans: plans.map((plan) => this.wishes(plan)), seconds, status };
  }

  close(): void {
    this.child.stdin?.end();
  }

  private wishes(plan: readonly [number, number, number][]): Wishes {
    const lists: Interval[][] = Array.from({ length: this.judge.problem.tensors }, () => []);
    for (const [t, from, to] of plan) lists[t]?.push([from, to]);
    return lists;
  }
}

/** What problem.py reads: the graph in the judge's numbers, each operator with its first implementation. */
function problemDocument(judge: Judge): unknown {
  const { problem, choice } = judge;
  const { operators: n, storages, tensors } = problem;
  const { before, handing } = judge.simulator.profile(choice).gradients;
  const numbers = (count: number): number[] => Array.from({ length: count }, (_, k) => k);
  const takes = (s: number, q: number): number => (s >= 0 && bit(problem.leaves, q) === 0 && bit(judge.always, s) === 0 ? s : -1);
  return {
    fixed: judge.fixed, rng: problem.rng, eager_peak: judge.eager.peak,
    tensors: numbers(tensors).map((t) => ({
      bytes: judge.bytes(t), producer: judge.producer(t), last_use: t < storages ? int(problem.lastUse, t) : judge.producer(t),
      internals: t >= storages, always: bit(judge.always, t) === 1,
    })),
    operators: numbers(n).map((i) => {
      const q = int(choice, i);
      const backward = bit(problem.hasBackward, q) === 1;
      const internals = storages + i;
      return {
        reads: [...judge.reads(i)], makes: [...judge.makes(i)], internals,
        needs: backward ? [...judge.saves(i), ...(judge.bytes(internals) > 0 ? [internals] : [])] : [],
        forward: { time: num(problem.forwardTime, q), peak: num(problem.forwardPeak, q) },
        recompute: { time: num(problem.recomputeTime, q), peak: num(problem.recomputePeak, q) },
        backward: backward ? { time: num(problem.backwardTime, q), peak: num(problem.backwardPeak, q) } : null,
        takes: takes(int(problem.takes, i), q), takes_forward: takes(int(problem.takesForward, i), q), taken_bytes: num(problem.takenBytes, i),
        random: bit(problem.random, i) === 1, pinned: bit(problem.pinned, i) === 1,
      };
    }),
    before: [...before], handing: numbers(n).map((k) => Math.max(0, num(handing, int(choice, n - 1 - k)))),
    blocks: judge.blocks(),
  };
}
