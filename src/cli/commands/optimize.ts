import { resolve } from "node:path";
import { configured } from "../config";
import { applyLines } from "../../core/part";
import { exitCodes } from "../../helper/exit";
import { readBudget } from "../budget";
import { writeJson } from "../files";
import type { Io } from "../io";
import type { Outcome } from "../outcome";
import { fileOf } from "../parts";
import { headline, opaqueLines } from "../schedule";
import type { Solver, SolverOptions } from "../solving";
import { readTarget } from "../target";
import { planFacts, planFor } from "./plan";
import { graphFacts, profileTarget, type ProfileOptions } from "./profile";
import { graphBeside, runVerify, helperDocument } from "./verify";

export interface OptimizeOptions extends ProfileOptions {
  readonly budget: string;
  readonly exactness: SolverOptions["exactness"];
  readonly verify?: boolean;
  readonly pairs?: string;
  readonly json?: boolean;
}

/** The whole way: profile, plan, and where it is asked for, verify on a real step. */
export async function optimize(io: Io, solver: Solver, name: string, given: OptimizeOptions): Promise<Outcome> {
  const budget = readBudget(given.budget);
  const target = await readTarget(io, name);
  const options = configured(io, target, given);
  // Beside a plan of another name, so that this model's usual graph stays the one of its usual plan.
  const graphFile = (options.out === undefined ? null : graphBeside(options.out)) ?? fileOf(target, options.part, "graph");
  const graph = await profileTarget(io, target, graphFile, options);
  const plan = await planFor(io, solver, graph, budget, options.exactness);
  const out = options.out ?? fileOf(target, options.part, "plan");
  writeJson(io, out, plan);

  const facts = { graph: graphFile, plan: out, ...graphFacts(graph), ...planFacts(plan) };
  const apply = `monet_torch.apply(model, ${JSON.stringify(out)}`;
  const whole = `import monet_torch; ${options.loss === undefined ? `${apply})` : `planned_loss = ${apply}, loss=${options.loss})  # call it in place of ${options.loss}`}`;
  const use = `Plan: ${out}\nUse it: ${options.part === undefined ? whole : `import monet_torch\n${applyLines(options.part, out)}`}\n`;
  if (options.verify !== true) return { exit: exitCodes.ok, text: [headline(plan), ...opaqueLines(graph), use].join("\n"), json: { ...facts, verify: null } };
  const result = await runVerify(io, target, resolve(io.cwd, out), resolve(io.cwd, graphFile), options);
  return {
    exit: result.differs ? exitCodes.differs : exitCodes.ok,
    text: [headline(plan), ...opaqueLines(graph), "", result.output, "", use].join("\n"),
    json: options.json === true ? { ...facts, verify: helperDocument(result) } : null,
  };
}
