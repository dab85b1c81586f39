import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { scheduleText } from "../../src/cli/schedule";
import { partsOf, explain } from "../../src/core/explain";
import { parseGraph } from "../../src/core/graph";
import { parsePlan } from "../../src/core/plan";

const read = (name: string): string => readFileSync(new URL(`../fixtures/example.${name}`, import.meta.url), "utf8");
const graph = parseGraph(read("graph.json"));
const plan = parsePlan(read("plan.json"), graph);

describe("a schedule for people", () => {
  it("reads as the golden text of the worked example", () => {
    expect(scheduleText(graph, plan)).toBe(read("schedule.txt"));
  });

  it("parts are blocks of a stack, or containers with their layers", () => {
    const [row] = explain(graph, plan).operators;
    const modules = ["conv1", "layer1.0.conv1", "layer1.0.down.0", "layer1.0", "layer1.1.conv1", "inc.0", "inc.1", "up.conv", "up", "", "fc"];
    const parts = partsOf(modules.map((module) => ({ ...row!, module })));
    expect(parts.map(({ module, operators }) => `${module} ${operators.length}`)).toEqual([" 1", "layer1.0 3", "layer1.1 1", "inc 2", "up 2", " 2"]);
  });
});
