import { explain } from "../../core/explain";
import { parseJson } from "../../core/graph";
import { readPlanAlone } from "../plan_alone";
import { exitCodes } from "../../helper/exit";
import { asInput, readGraph, readPlan, readText } from "../files";
import type { Io } from "../io";
import type { Outcome } from "../outcome";
import { reasons, reasonsText } from "../reasons";
import { headline, scheduleText } from "../schedule";
import { count } from "../table";
import { graphNear } from "./verify";

export interface ShowOptions {
  readonly graph?: string;
  readonly why?: boolean;
}

export function show(io: Io, file: string, options: ShowOptions): Outcome {
  const graphFile = options.graph ?? graphNear(io, file);
  if (graphFile === null) {
    const text = readText(io, file, "plan");
    const plan = asInput(file, "Run `monet plan` to make a new one.", () => readPlanAlone(parseJson(text, "plan")));
    const changed = Object.keys(plan.implementations).length;
    const lines = [
      headline(plan),
      `${count(plan.retain.length, "tensor")} held between steps, ${count(changed, "operator")} with another implementation.`,
      `Name the training graph with --graph to see ${options.why === true ? "why" : "the schedule operator by operator"}.`,
      "",
    ];
    return { exit: exitCodes.ok, text: lines.join("\n"), json: { plan, schedule: null } };
  }
  const graph = readGraph(io, graphFile);
  const plan = readPlan(io, file, graph);
  const asked = options.why === true;
  return {
    exit: exitCodes.ok,
    text: asked ? `${headline(plan)}\n${reasonsText(graph, plan)}` : scheduleText(graph, plan),
    json: { plan, schedule: explain(graph, plan), ...(asked ? { why: reasons(graph, plan) } : {}) },
  };
}
