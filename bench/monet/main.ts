/** What our solver makes of MONeT's published instances, beside Gurobi's 24 hours. Every schedule goes through `check`. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { cpus, totalmem } from "node:os";
import { basename, join, relative } from "node:path";
import { parseArgs } from "node:util";
import { bestKnownOf, parseBestKnown, type BestKnown } from "./best_known";
import { check } from "./check";
import { FileError } from "./document";
import { eagerPeak, ladder } from "./eager";
import { modeOf, parseInstance, type Instance } from "./instance";
import { solveAll } from "./pool";
import { summary, table } from "./report";
import { summarize, type Attempt, type Result } from "./result";
import type { PublishedSchedule, Solved } from "./schedule";

const gib = 2 ** 30;

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

interface Options {
  readonly instances: string;
  readonly best: string | null;
  readonly out: string | null;
  readonly only: string;
  readonly budgets: readonly number[] | null;
  readonly seeds: readonly number[];
  readonly jobs: number;
}

/** An option that makes no sense, as a sentence. */
class OptionError extends Error {}

function numbersOf(text: string, name: string, accept: (value: number) => boolean): readonly number[] {
  const values = text.split(",").map(Number);
  if (!values.every(accept)) throw new OptionError(`--${name} takes numbers with commas between them, not "${text}".`);
  return values;
}

function optionsOf(args: readonly string[], root: string): Options {
  const published = process.env["MONET_INSTANCES"] ?? join(root, "..", "shared", "monet-instances");
  const text = { type: "string" } as const;
  const parse = (): ReturnType<typeof parsed> => {
    try {
      return parsed();
    } catch (error) {
      throw new OptionError(error instanceof Error ? error.message : String(error));
    }
  };
  const parsed = () => parseArgs({ args: [...args], options: { instances: text, best: text, out: text, only: text, budgets: text, seeds: text, jobs: text } }).values;
  const { instances, best, out, only, budgets, seeds, jobs } = parse();
  const bestOfPublished = instances === undefined ? join(published, "best-known.json") : null;
  if (jobs !== undefined && !/^[1-9]\d*$/.test(jobs)) throw new OptionError(`--jobs takes a number from 1 up, not "${jobs}".`);
  return {
    instances: instances ?? join(published, "instances"),
    best: best ?? (bestOfPublished !== null && existsSync(bestOfPublished) ? bestOfPublished : null),
    out: out ?? null,
    only: only ?? "",
    budgets: budgets === undefined ? null : numbersOf(budgets, "budgets", (value) => value > 0),
    seeds: numbersOf(seeds ?? "1,2,3", "seeds", (value) => Number.isSafeInteger(value) && value >= 0),
    jobs: Number(jobs ?? 1),
  };
}

/** An instance with its budgets in GiB, and what Gurobi made of each where that is known. */
interface Case {
  readonly file: string;
  readonly name: string;
  readonly instance: Instance;
  readonly budgets: readonly { readonly budgetGib: number; readonly best: BestKnown | null }[];
}

function casesOf({ instances, best, only, budgets }: Options): Case[] {
  const rows = best === null ? [] : parseBestKnown(readFileSync(best, "utf8"), basename(best));
  return readdirSync(instances).filter((name) => name.endsWith(".json")).sort().flatMap((name) => {
    const file = join(instances, name);
    const instance = parseInstance(readFileSync(file, "utf8"), name);
    const label = `${basename(name, ".json")} (${modeOf(instance) ?? "no best known"})`;
    if (!label.includes(only)) return [];
    const known = bestKnownOf(instance, rows);
    const wanted = budgets ?? (known.length > 0 ? known.map(({ budget_gib }) => budget_gib) : ladder(instance));
    return { file, name: label, instance, budgets: wanted.map((budgetGib) => ({ budgetGib, best: known.find(({ budget_gib }) => budget_gib === budgetGib) ?? null })) };
  });
}

function judge(instance: Instance, budgetGib: number, seed: number, solved: Solved | Error): Attempt {
  const judged = solved instanceof Error || solved.schedule === null ? null : check(instance, solved.schedule, budgetGib * gib);
  return { seed, solved, verdict: judged };
}

function save(folder: string, { model, batch_size, mode }: Instance, budgetGib: number, { seed, solved, verdict }: Attempt): void {
  if (solved instanceof Error || solved.schedule === null || verdict === null) return;
  const { R, P, S, M, IP, RF } = solved.schedule;
  const document: PublishedSchedule & { seed: number } = {
    format: "monet-solution-v1", model, batch_size, mode, budget_gb: budgetGib, objective_10us: verdict.objective, seed, R, P, S, M, IP, RF,
  };
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, `${model}_${batch_size}_${mode}_${budgetGib.toFixed(2)}_seed${seed}.json`), JSON.stringify(document));
}

/** The machine, Node, and those of our packages that solve. */
function about(root: string): string {
  const read = (file: string): unknown => JSON.parse(readFileSync(join(root, file), "utf8"));
  const { version, dependencies } = read("package.json") as { version: string; dependencies: Readonly<Record<string, string>> };
  const solvers = Object.keys(dependencies).filter((name) => /glpk|highs/.test(name));
  const versions = solvers.map((name) => `${name} ${(read(join("node_modules", name, "package.json")) as { version: string }).version}`);
  return [`${cpus()[0]?.model.trim() ?? "?"}, ${cpus().length} cores, ${Math.round(totalmem() / gib)} GiB`, `Node ${process.version}`, `MONeT for VS Code ${version}`, ...versions].join("; ");
}

export async function benchMonet(args: readonly string[], root: string): Promise<number> {
  try {
    return await bench(optionsOf(args, root), root);
  } catch (error) {
    if (!(error instanceof OptionError || error instanceof FileError)) throw error;
    print(error.message);
    return 1;
  }
}

async function bench(options: Options, root: string): Promise<number> {
  if (!existsSync(options.instances)) {
    print(`Nothing to measure: MONeT's instances are not in ${relative(process.cwd(), options.instances)} (--instances says where they are).`);
    return 0;
  }
  const cases = casesOf(options);
  if (cases.length === 0) {
    print(`Nothing to measure: no instance in ${relative(process.cwd(), options.instances)}${options.only === "" ? "" : ` has "${options.only}" in its name`}.`);
    return 0;
  }
  print(about(root));
  print(`seeds ${options.seeds.join(", ")}, ${options.jobs} at a time; objectives in units of 10 µs`);

  const points = cases.flatMap(({ file, budgets }) => budgets.flatMap(({ budgetGib }) => options.seeds.map((seed) => ({ file, budgetBytes: budgetGib * gib, seed }))));
  const solving = solveAll(points, options.jobs, new URL("worker.mjs", import.meta.url)).values();
  const results: Result[] = [];
  for (const { name, instance, budgets } of cases) {
    const ours: Result[] = [];
    for (const { budgetGib, best } of budgets) {
      const attempts: Attempt[] = [];
      for (const seed of options.seeds) {
        const solved = await (solving.next().value ?? new Error("The solver was not called."));
        const attempt = judge(instance, budgetGib, seed, solved);
        if (options.out !== null) save(options.out, instance, budgetGib, attempt);
        attempts.push(attempt);
      }
      ours.push(summarize(instance.model, modeOf(instance), budgetGib, best, attempts));
    }
    print(`\n${name}, eager ${(eagerPeak(instance) / gib).toFixed(1)} GiB\n${table(ours)}`);
    results.push(...ours);
  }
  print(`\n${summary(results)}`);
  const failed = results.filter(({ problems }) => problems.length > 0).length;
  if (failed > 0) print(`\n${failed} of ${results.length} points failed the check.`);
  return failed > 0 ? 1 : 0;
}
