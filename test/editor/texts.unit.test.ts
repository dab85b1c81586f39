import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it, vi } from "vitest";
import { explain } from "../../src/core/explain";
import { parseGraph } from "../../src/core/graph";
import { numbersOf, explained, type Numbers } from "../../src/core/numbers";
import { parsePlan } from "../../src/core/plan";
import { why, type Why } from "../../src/core/why";
import { hintText, peakText, whyText } from "../../src/editor/texts";

vi.mock("vscode", () => import("./english"));

const read = (name: string): string => readFileSync(new URL(`../fixtures/example.${name}`, import.meta.url), "utf8");
const graph = parseGraph(read("graph.json"));
const plan = parsePlan(read("plan.json"), graph);

const MiB = 2 ** 20;
const ms = 1e6;
const numbers = (some: Partial<Numbers>): Numbers => ({ ...numbersOf(explained(graph, plan), []), ...some });

describe("an inlay hint", () => {
  it.each<[some: Partial<Numbers>, fresh: string | null, stale: string | null]>([
    [{}, null, null],
    [{ kept: 392 * MiB }, "◆ 392 MiB kept", "stale · ◆ 392 MiB kept"],
    [{ recomputed: 98 * MiB, recomputeTime: 1.2 * ms }, "↻ 98.0 MiB recomputed +1.20 ms", "stale · ↻ 98.0 MiB recomputed +1.20 ms"],
    [{ recomputeTime: 40 }, "↻ recomputed +40 ns", "stale · ↻ recomputed +40 ns"],
    [{ recomputed: 64 }, "↻ 64 B recomputed", "stale · ↻ 64 B recomputed"],
    [{ kept: 64, recomputed: 64, recomputeTime: 4 }, "◆ 64 B kept · ↻ 64 B recomputed +4 ns", "stale · ◆ 64 B kept · ↻ 64 B +4 ns"],
    [{ kept: 392 * MiB, recomputed: 98 * MiB, recomputeTime: 1.2 * ms }, "◆ 392 MiB kept · ↻ 98.0 MiB +1.20 ms", "stale · ◆ 392 MiB · ↻ 98.0 MiB +1.20 ms"],
  ])("of %j is %j, and %j after an edit", (some, fresh, stale) => {
    expect(hintText(numbers(some), { stale: false, estimated: false })).toBe(fresh);
    expect(hintText(numbers(some), { stale: true, estimated: false })).toBe(stale);
  });

  it("is never longer than the editor shows", () => {
    const size = fc.integer({ min: 0, max: 2 ** 43 });
    fc.assert(fc.property(size, size, fc.integer({ min: 0, max: 5e12 }), fc.boolean(), fc.boolean(), (kept, recomputed, recomputeTime, stale, estimated) => {
      const text = hintText(numbers({ kept, recomputed, recomputeTime }), { stale, estimated });
      expect((text ?? "").length).toBeLessThanOrEqual(43);
      expect(text === null).toBe(kept + recomputed + recomputeTime === 0);
    }));
  });
});

it("a time that wasn't measured is marked", () => {
  expect(hintText(numbers({ recomputed: 64, recomputeTime: 40 }), { stale: false, estimated: true })).toBe("↻ 64 B recomputed +~40 ns");
  expect(peakText(1024, { peak: 512, overhead: 0 }, true)).toBe("estimated peak 1.00 KiB → 512 B (+0.0%)");
});

it("a lens names eager's peak, the plan's and what it costs", () => {
  expect(peakText(7.4 * 1024 * MiB, { peak: 3.6 * 1024 * MiB, overhead: 0.061 }, false)).toBe("peak 7.40 GiB → 3.60 GiB (+6.1%)");
});

describe("why", () => {
  const answer = (some: Partial<Why>): Why => ({ does: "keeps", bytes: 98 * MiB, peak: 400 * MiB, time: 50 * ms, otherwise: null, rent: null, ...some });
  const other = (peak: number, time: number): Why["otherwise"] => ({ peak: peak * MiB, time: time * ms, at: { kind: "backward", operator: 2 } });

  it.each<[Partial<Why>, budget: number | null, text: string]>([
    [{}, null, "It is always kept: the step returns it, an opaque block saves it, or its operator must not run twice."],
    [{ otherwise: other(302, 53.1) }, 420, "Recomputing it would take 3.10 ms more and lower the peak by 98.0 MiB, which this budget doesn't need."],
    [{ otherwise: other(400, 53.1) }, 420, "Recomputing it would take 3.10 ms more and not lower the peak."],
    [{ otherwise: other(410, 53.1) }, 420, "Recomputing it would take 3.10 ms more and raise the peak to 410 MiB (at act backward)."],
    [{ does: "recomputes", otherwise: other(498, 48) }, 420, "Keeping it would raise the peak to 498 MiB (at act backward), 78.0 MiB over the budget."],
    [{ does: "recomputes", otherwise: other(410, 48) }, 420, "Keeping it would take 2.00 ms less and raise the peak to 410 MiB (at act backward)."],
    [{ does: "recomputes", otherwise: other(498, 48) }, null, "Keeping it would take 2.00 ms less and raise the peak to 498 MiB (at act backward)."],
    [{ does: "recomputes", otherwise: other(400, 48) }, 420, "Keeping it would take 2.00 ms less and not raise the peak."],
    [{ otherwise: other(410, 53.1), rent: 1.2 * ms }, 420, "Recomputing it would take 3.10 ms more and raise the peak to 410 MiB (at act backward). The memory that keeping it takes is worth 1.20 ms of recomputing elsewhere."],
    [{ otherwise: other(400, 53.1), rent: 0 }, 420, "Recomputing it would take 3.10 ms more and not lower the peak. While it is held, memory is not short."],
  ])("of %j within %j reads so", (some, budget, text) => {
    expect(whyText(answer(some), graph, budget === null ? null : budget * MiB)).toBe(text);
  });

  it("of the worked example's norm says what keeping it would do to the peak", () => {
    const found = why(graph, plan, explain(graph, plan), 1, { kind: "value", id: 3 });
    expect(found === null ? "" : whyText(found, graph, plan.budget)).toBe("Keeping it would raise the peak to 516 B (at act backward), 64 B over the budget.");
  });
});
