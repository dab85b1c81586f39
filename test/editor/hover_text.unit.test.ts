import { readFileSync } from "node:fs";
import { describe, expect, it, vi } from "vitest";
import { checkGraph, parseGraph, type Graph } from "../../src/core/graph";
import { explained, numbersOf, type Explained } from "../../src/core/numbers";
import { parsePlan } from "../../src/core/plan";
import { eagerPlan } from "../../src/core/solve/draft";
import { hoverText, type Subject } from "../../src/editor/hover_text";
import { resnet50 } from "../support/networks";

vi.mock("vscode", () => import("./english"));

const read = (name: string): string => readFileSync(new URL(`../fixtures/example.${name}`, import.meta.url), "utf8");
const graph = parseGraph(read("graph.json"));
const plan = parsePlan(read("plan.json"), graph);
const example = explained(graph, plan);

function hover(of: Explained, operators: readonly number[], more: Partial<Subject> = {}): string {
  return hoverText({ explained: of, labels: ["self.norm"], type: "Norm", numbers: numbersOf(of, operators), stale: false, budget: of.plan.budget, links: [], ...more });
}

describe("a hover", () => {
  it("says of a module that can't be traced that it is an opaque block, and why", () => {
    const opaque = checkGraph({ ...graph, operators: graph.operators.map((operator) => (operator.id === 4 ? { ...operator, pinned: true, opaque: "net.py:7: what runs here depends on values" } : operator)) });
    const text = hover(explained(opaque, eagerPlan(opaque)), [4]);
    expect(text).toContain(`\`${opaque.operators[4]!.module}\` is an opaque block: it can't be traced, so it runs and is kept as in eager. net.py\\:7\\: what runs here depends on values`);
  });

  it("tells time, memory and the reason for one operator", () => {
    expect(hover(example, [1])).toBe([
      "**`self.norm`** · `Norm`",
      "",
      "Largest: the output of `norm`, 64 B, recomputed. Keeping it would raise the peak to 516 B (at act backward), 64 B over the budget.",
      "",
      "| 1 operator |  |",
      "| :-- | --: |",
      "| Kept by the plan | 0 B |",
      "| Kept by eager PyTorch | 8 B |",
      "| Recomputed | 72 B, +40 ns |",
      "| Output | 64 B |",
      "| Saved for backward | 72 B |",
      "| Workspace | 8 B |",
      "| Forward | 20 ns |",
      "| Backward | 40 ns |",
      "",
      "Measured on by hand",
    ].join("\n"));
  });

  it("says so when its numbers are of an older text", () => {
    const warning = "The code has changed since it was profiled: these are the numbers of before.";
    expect(hover(example, [1], { stale: true })).toContain(warning);
    expect(hover(example, [1])).not.toContain(warning);
  });

  it("calls an estimate one", () => {
    const estimated: Graph = { ...graph, device: { ...graph.device, name: "NVIDIA P100", estimated: true } };
    expect(hover(explained(estimated, plan), [1])).toMatch(/\nEstimated for NVIDIA P100$/);
  });

  it("sums a layer's operators and lists them in order of execution", () => {
    const text = hover(example, [0, 1, 2]);
    expect(text).toContain("| 3 operators in 3 modules, summed |");
    expect(text.split("\n").filter((line) => line.startsWith("| `"))).toEqual([
      "| `scale` mul | 100 ns | 100 ns | 64 B | – |",
      "| `norm` layer\\_norm | 20 ns | 40 ns | – | 72 B |",
      "| `act` relu | 10 ns | 10 ns | – | 64 B |",
    ]);
    expect(text).not.toContain("more");
  });

  it("lists the twelve with most memory and says how many there are beside", () => {
    const net = resnet50();
    const of = explained(net, eagerPlan(net));
    const all = net.operators.map(({ id }) => id);
    const text = hover(of, all);
    const listed = text.split("\n").filter((line) => line.startsWith("| `"));
    expect(listed).toHaveLength(12);
    expect(text).toContain(`and ${String(all.length - 12)} more`);
    // Stem and first stage are the largest.
    expect(listed[0]).toMatch(/^\| `conv2d0` conv2d \| .* \| 24\.5 MiB \| – \|$/);
  });

  it("names the implementation and what the others would change", () => {
    const [first, second, ...rest] = graph.operators;
    const [eager] = second!.implementations;
    const mask = { ...eager!, name: "mask", exactness: "approximate" as const, internal_bytes: 2, saves: [], forward: { ...eager!.forward, time: 25 } };
    const choice = { ...graph, operators: [first!, { ...second!, implementations: [eager!, mask] }, ...rest] };
    expect(hover(explained(choice, plan), [1])).toContain("- `eager` · chosen\n- `mask` · approximate: would hold 6 B less for backward and take 5 ns more");
    expect(hover(explained(choice, { ...plan, implementations: { 1: "mask" } }), [1])).toContain("- `eager`: would hold 6 B more for backward and take 5 ns less\n- `mask` · chosen · approximate");
  });

  it("reads nothing of a name as Markdown", () => {
    expect(hover(example, [1], { labels: ["a|b`c"] })).toContain("**`a b c`**");
    const evil = "[x](command:y) | <b> `$(zap)`\n# ";
    const named = { ...graph, device: { ...graph.device, name: evil }, operators: graph.operators.map((each) => ({ ...each, module: evil, op: `aten.${evil}.default` })) };
    const text = hover(explained(named, plan), [0, 1, 2]);
    expect(text).toContain(String.raw`Measured on \[x\](command\:y) \| \<b\> ` + "\\`\\$(zap)\\` \\# ");
    // In code nothing but a backtick, a line and a cell's border ends it.
    for (const line of text.replaceAll(/`[^`\n|]*`/g, "").split("\n")) expect(line).not.toMatch(/(?<!\\)[[\]<>`$#]/);
  });
});
