import { readDocument } from "../core/graph_document";
import type { Plan } from "../core/plan";
import schema from "../core/plan.schema.json";

/** A plan by its shape alone, where its graph isn't at hand. */
export function readPlanAlone(document: unknown): Plan {
  return readDocument(document, schema, "plan") as Plan;
}
