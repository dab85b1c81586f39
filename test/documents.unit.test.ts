import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { checkGraph, parseGraph } from "../src/core/graph";
import { DocumentError } from "../src/core/graph_document";
import { checkPlan, parsePlan } from "../src/core/plan";

const read = (name: string): string => readFileSync(new URL(`fixtures/example.${name}`, import.meta.url), "utf8");
const graph = checkGraph(JSON.parse(read("graph.json")));

/** The example document with one place changed. */
function changed(name: string, path: readonly (string | number)[], value: unknown): unknown {
  const document = JSON.parse(read(name)) as Record<string | number, unknown>;
  let at = document;
  for (const step of path.slice(0, -1)) at = at[step] as Record<string | number, unknown>;
  at[path.at(-1)!] = value;
  return document;
}

function messageOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof DocumentError) return error.message;
    throw error;
  }
  return "no error";
}

describe("a graph document", () => {
  it.each<[path: (string | number)[], value: unknown, message: string]>([
    [["operators", 4, "inputs", 1], 99, "operators[4].inputs[1]: value 99 does not exist"],
    [["operators", 2, "inputs", 0], 6, "operators[2].inputs[0]: value 6 is made by operator 4, not before operator 2"],
    [["operators", 1, "id"], 7, "operators[1].id: is 7, expected 1"],
    [["values", 5, "storage"], 6, "values[5].storage: value 6 comes later"],
    [["values", 6, "storage"], 5, "values[6].storage: value 5 is a view itself"],
    [["values", 5, "bytes"], 64, "values[5].bytes: a view has 0 bytes of its own, not 64"],
    [["values", 3, "dtype"], "float33", "values[3].dtype: 'float33' is not a known element type"],
    [["values", 3, "producer"], 2, "values[3].producer: operator 2 does not list it in its outputs"],
    [["values", 3, "bytes"], -1, "values[3].bytes: must be >= 0"],
    [["values", 3, "kind"], "tensor", "values[3].kind: must be equal to one of the allowed values (input, parameter, buffer, constant, activation)"],
    [["operators", 1, "implementations", 0, "saves", 0], 1, "operators[1].implementations[0].saves[0]: value 1 is a parameter; only activations are listed"],
    [["operators", 4, "implementations", 0, "saves"], [4, 2], "operators[4].implementations[0].saves[1]: saves must be ascending, without duplicates"],
    [["operators", 4, "implementations", 0, "saves"], [5], "operators[4].implementations[0].saves[0]: value 5 is a view; name its storage 4"],
    [["operators", 4, "implementations", 0, "backward", "gradients", 1, "input"], 2, "operators[4].implementations[0].backward.gradients[1].input: operator 4 has no input 2"],
    [["operators", 0, "implementations", 0, "backward", "gradients", 0, "input"], 0, "operators[0].implementations[0].backward.gradients[0].input: value 0 does not require a gradient"],
    [["operators", 4, "implementations", 0, "backward", "rest"], { holds: 0, peak: 0, gradients: [{ input: 2, bytes: 0, alias: null, dense: true, view: false }] }, "operators[4].implementations[0].backward.rest.gradients[0].input: operator 4 has no input 2"],
    [["outputs", 0], 8, "outputs[0]: value 8 does not exist"],
    [["version"], 2, "this training graph has version 2; this release reads version 1"],
    [["format"], "monet-plan", "this is not a training graph: format is 'monet-plan', expected 'monet-graph'"],
  ])("that is wrong at %j is told so", (path, value, message) => {
    expect(messageOf(() => checkGraph(changed("graph.json", path, value)))).toBe(message);
  });

  it("that is cut off anywhere is told so in one sentence", () => {
    const text = read("graph.json").trimEnd();
    fc.assert(
      fc.property(fc.integer({ min: 0, max: text.length - 1 }), (length) => {
        expect(() => parseGraph(text.slice(0, length))).toThrow(/^the graph is not complete JSON \(.*\)$/);
      }),
      { seed: 21, numRuns: 50 },
    );
  });
});

describe("a plan document", () => {
  it.each<[path: (string | number)[], value: unknown, message: string]>([
    [["graph", "hash"], "other", "graph.hash: this plan was made for another profile (other) than this graph (example)"],
    [["graph", "activation_bytes"], -1, "graph.activation_bytes: must be >= 0"],
    [["implementations"], { 9: "eager" }, "implementations.9: operator 9 does not exist"],
    [["implementations"], { 1: "mask" }, "implementations.1: operator 1 has no implementation 'mask'"],
    [["retain", 0, "value"], 5, "retain[0].value: value 5 is a view; retain its storage 4"],
    [["retain", 0, "value"], 1, "retain[0].value: value 1 is a parameter, which is always there"],
    [["retain", 1, "value"], 2, "retain[1]: this tensor is listed twice"],
    [["retain", 0, "intervals", 0], [1, 10], "retain[0].intervals[0][0]: in forward it can only start at clock 0, where operator 0 makes it"],
    [["retain", 0, "intervals", 0], [0, 5], "retain[0].intervals[0][1]: clock 5 is in forward; an interval ends at a backward step"],
    [["retain", 0, "intervals", 0], [0, 12], "retain[0].intervals[0][1]: clock 12 is past the last step 11"],
    [["retain", 0, "intervals"], [[0, 7], [7, 10]], "retain[0].intervals[1]: must start after clock 7, where the one before it ends"],
    [["retain", 1, "intervals", 0], [8, 9], "retain[1].intervals[0]: [8, 9] must start where the tensor is computed and end where it is used"],
    [["retain", 1, "intervals", 0], [7, 10], "retain[1].intervals[0]: [7, 10] must start where the tensor is computed and end where it is used"],
    [["rng"], [1], "rng: the steps rerun random operators [], not [1]"],
  ])("that is wrong at %j is told so", (path, value, message) => {
    expect(messageOf(() => checkPlan(changed("plan.json", path, value), graph))).toBe(message);
  });

  it("holds what an opaque operator saves", () => {
    const opaque = checkGraph(changed("graph.json", ["operators", 4, "opaque"], "it looks at values"));
    expect(() => parsePlan(read("plan.json"), opaque)).toThrow("retain: an opaque operator saves what operator 2 makes, so that is retained from forward");
  });

  it("may not run a pinned operator twice", () => {
    const pinned = checkGraph(changed("graph.json", ["operators", 1, "pinned"], true));
    expect(() => parsePlan(read("plan.json"), pinned)).toThrow("retain: operator 1 must not run twice");
  });
});
