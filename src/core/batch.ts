/** A training graph at another batch size than it was profiled at: docs/format.md, "Other batch sizes". */
import { configOf, withBatch } from "./config";
import { checkGraph, type Graph } from "./graph";

/** Why a graph says nothing of other batch sizes; null where it does. */
export function batchProblem({ batch }: Graph): string | null {
  if (batch === undefined) return "it was profiled by an older release: profile it again";
  return batch.slopes === undefined ? (batch.why_not ?? "it says nothing of them") : null;
}

/**
 * The graph as it would be for `batch` samples, with a hash of its own and the same structure, so that its plans run the
 * same model. Throws a DocumentError for a graph with a batchProblem whose sizes don't fit its values.
 */
export function atBatch(graph: Graph, batch: number): Graph {
  const { size, slopes = {} } = graph.batch ?? {};
  if (size === null || size === undefined || size === batch) return graph;
  const { inputs, targets = [] } = withBatch(configOf(graph), batch);
  const { made_from: madeFrom } = graph;
  const options = madeFrom["options"] as object | undefined;
  return checkGraph({
    ...(grown(graph, slopes, batch - size) as Graph),
    hash: `${graph.hash.replace(/@\d+$/, "")}@${batch}`,
    made_from: { ...madeFrom, inputs, ...(options !== undefined && { options: { ...options, targets } }) },
    batch: { ...graph.batch, size: batch },
  });
}

/** Each number that has a slope moves along its line; sizes are rounded up. */
function grown(node: unknown, slope: unknown, samples: number): unknown {
  if (typeof node === "number" && typeof slope === "number") return Math.max(0, Math.ceil(node + slope * samples - 1e-6));
  if (typeof slope !== "object" || slope === null) return node;
  const slopes = slope as Readonly<Record<string, unknown>>;
  if (Array.isArray(node)) return node.map((each: unknown, k) => grown(each, slopes[String(k)], samples));
  if (typeof node !== "object" || node === null) return node;
  return Object.fromEntries(Object.entries(node).map(([key, each]) => [key, grown(each, slopes[key], samples)]));
}
