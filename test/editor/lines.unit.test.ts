import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { parseGraph } from "../../src/core/graph";
import { explained } from "../../src/core/numbers";
import { parsePlan } from "../../src/core/plan";
import { heaviest, linesOf, placeAt } from "../../src/editor/lines";
import type { Place } from "../../src/sources/types";

const read = (name: string): string => readFileSync(new URL(`../fixtures/example.${name}`, import.meta.url), "utf8");
const graph = parseGraph(read("graph.json"));
const example = explained(graph, parsePlan(read("plan.json"), graph));

function place(label: string, [line, column, endLine, endColumn]: readonly [number, number, number, number], operators: readonly number[], kind: Place["kind"] = "call"): Place {
  return { kind, label, type: null, operators, range: { start: { line, column }, end: { line: endLine, column: endColumn } }, model: { file: "net.py", name: "Net" } };
}

const scale = place("self.scale", [4, 8, 4, 30], [0], "layer");
const norm = place("self.norm", [7, 18, 7, 40], [1]);
const act = place("self.act", [7, 8, 7, 41], [2]);
const block = place("self.block", [10, 8, 13, 9], [0, 1, 2], "layer");
const inner = place("inner", [11, 12, 11, 30], [1], "layer");
const whole = place("Net", [2, 6, 2, 9], [0, 1, 2, 3, 4, 5], "model");
const places = [whole, scale, norm, act, block, inner];

describe("the lines of a file", () => {
  const lines = linesOf({ explained: example, places });

  it("are those on which a layer or call starts, in order", () => {
    expect(lines.map(({ line, labels }) => [line, ...labels])).toEqual([[4, "self.scale"], [7, "self.norm", "self.act"], [10, "self.block"], [11, "inner"]]);
  });

  it("sum the places on them", () => {
    const at = (line: number): unknown => lines.find((each) => each.line === line)?.numbers;
    expect(at(4)).toMatchObject({ kept: 64, recomputed: 0 });
    expect(at(7)).toMatchObject({ operators: [1, 2], kept: 0, recomputeTime: 50 });
  });

  it("count an operator once that two places on one line reach", () => {
    const [line] = linesOf({ explained: example, places: [place("a", [1, 0, 1, 5], [0, 1]), place("b", [1, 6, 1, 9], [0])] });
    expect(line?.numbers).toMatchObject({ operators: [0, 1], kept: 64 });
  });

  it("are counted once for the same marks", () => {
    const marks = { explained: example, places };
    expect(linesOf(marks)).toBe(linesOf(marks));
  });
});

describe("the place that is pointed at", () => {
  it.each<[number, number, string | undefined]>([
    [7, 20, "self.norm"],
    [7, 10, "self.act"],
    [7, 41, "self.act"],
    [7, 42, undefined],
    [10, 10, "self.block"],
    [11, 20, "inner"],
    [12, 0, "self.block"],
    [13, 10, undefined],
    [2, 7, "Net"],
    [3, 0, undefined],
  ])("at line %i, column %i is %s", (line, column, label) => {
    expect(placeAt(places, { line, column })?.label).toBe(label);
  });
});

it("the heaviest operator is the one that makes most of what backward needs", () => {
  // Value 3 and the norm's internals are more than value 2; what operator 4 makes is not needed.
  expect(heaviest(example, [0, 1, 4])).toBe(1);
  expect(heaviest(example, [])).toBeNull();
});
