import { parseJson, type Graph, type Implementation } from "./graph";
import { DocumentError } from "./graph_document";
import { checkPlan, type Plan } from "./plan";

/** The plans of one graph for all budgets: peaks ascend. */
export interface FoundPlans {
  readonly plans: readonly Plan[];
  /** Which implementations they were chosen from. */
  readonly exactness: Implementation["exactness"];
}

/** As the editor remembers them. */
export interface FrontierDocument extends FoundPlans {
  readonly format: "monet-frontier";
  readonly version: 1;
  readonly graph: string;
}

export function frontierDocument(graph: Graph, { plans, exactness }: FoundPlans): FrontierDocument {
  return { format: "monet-frontier", version: 1, graph: graph.hash, exactness, plans };
}

/** Reads the plans and checks that each belongs to the graph; throws a DocumentError whose sentence names the place. */
export function parseFrontier(text: string, graph: Graph): FrontierDocument {
  const document = parseJson(text, "frontier") as Partial<FrontierDocument> | null;
  if (typeof document !== "object" || document?.format !== "monet-frontier" || document.version !== 1 || !Array.isArray(document.plans)) {
    throw new DocumentError("M502", "", "this is not a frontier of this release");
  }
  if (document.graph !== graph.hash) throw new DocumentError("M506", "graph", "these plans were made for another profile than this graph");
  const { exactness = "bitwise" } = document;
  return frontierDocument(graph, { plans: ordered(document.plans.map((plan) => checkPlan(plan, graph))), exactness });
}

/** Peaks ascend and times descend: what another plan beats in both is left out. */
export function ordered(plans: readonly Plan[]): Plan[] {
  const sorted = [...plans].sort((a, b) => a.predicted.peak - b.predicted.peak || a.predicted.time - b.predicted.time);
  const kept: Plan[] = [];
  for (const plan of sorted) {
    const last = kept.at(-1);
    if (last === undefined || plan.predicted.time < last.predicted.time) kept.push(plan);
  }
  return kept;
}
