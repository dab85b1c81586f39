import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { ApplyStep, BudgetPoint } from "../../src/protocol";
import { chosenPoint, isToBudget, isToSchedule } from "../../src/protocol";
import { barEnd, boundStairs, costStairs, extentOf, neighbour, partsOf } from "../../webview/budget/frontier";
import { Sender } from "../../webview/budget/sender";
import { appliedText, budgetProblem, isBest } from "../../webview/budget/texts";

const layers = { fixed: 300, kept: 100, working: 20, gradients: 30, workspace: 50 };
const point = (peak: number, overhead: number, bound: number | null = null): BudgetPoint => ({ peak, time: 1e6 * (1 + overhead), overhead, bound, layers });
const frontier = [point(100, 0.5, 0.3), point(200, 0.2, 0.1), point(400, 0, 0)];

/** A staircase read at a place: the highest corner pair that spans it. */
const read = (corners: readonly { bytes: number; overhead: number }[], bytes: number): number => {
  const steps = corners.filter((_, at) => at % 2 === 0).map((from, at) => ({ from: from.bytes, to: corners[2 * at + 1]!.bytes, overhead: from.overhead }));
  return steps.find(({ from, to }) => from <= bytes && bytes < to)?.overhead ?? steps.at(-1)!.overhead;
};

describe("the frontier", () => {
  test("the curve shows at every budget what the chosen plan costs", () => {
    fc.assert(fc.property(fc.integer({ min: 100, max: 400 }), (budget) => {
      expect(read(costStairs(frontier, extentOf(frontier)), budget)).toBe(frontier[chosenPoint(frontier, budget)]!.overhead);
    }));
  });

  test("the bound proven for one peak is drawn over the smaller budgets, where it holds, and never above the curve", () => {
    const extent = extentOf(frontier);
    expect(boundStairs(frontier, extent)).toEqual([
      { bytes: 100, overhead: 0.3 }, { bytes: 100, overhead: 0.3 },
      { bytes: 100, overhead: 0.1 }, { bytes: 200, overhead: 0.1 },
      { bytes: 200, overhead: 0 }, { bytes: 400, overhead: 0 },
    ]);
    for (let budget = 100; budget < 400; budget++) expect(read(boundStairs(frontier, extent).slice(2), budget)).toBeLessThanOrEqual(read(costStairs(frontier, extent), budget));
  });

  test("where nothing is proven no bound is drawn", () => {
    expect(boundStairs([point(1, 1), point(2, 0)], { least: 1, most: 2 })).toEqual([]);
  });

  test("an arrow key always buys another plan, until the end", () => {
    expect(neighbour(frontier, 250, 1)).toBe(400);
    expect(neighbour(frontier, 250, -1)).toBe(200);
    expect(neighbour(frontier, 200, -1)).toBe(100);
    expect(neighbour(frontier, 400, 1)).toBe(400);
    expect(neighbour(frontier, 100, -1)).toBe(100);
  });
});

describe("the stacked bar", () => {
  const fixed = { parameters: 120, buffers: 10, inputs: 20, gradients: 100, optimizer: 40 };

  test("its parts add up to the peak, random states among them", () => {
    const parts = partsOf({ fixed }, { layers });
    expect(parts.reduce((sum, { bytes }) => sum + bytes, 0)).toBe(Object.values(layers).reduce((sum, bytes) => sum + bytes, 0));
    expect(parts.find(({ name }) => name === "buffers")?.bytes).toBe(20);
    expect(parts.find(({ name }) => name === "gradients")?.bytes).toBe(130);
  });

  test("a part of no bytes is left out", () => {
    expect(partsOf({ fixed }, { layers: { ...layers, working: 0 } }).map(({ name }) => name)).not.toContain("working");
  });

  test("it ends where the device does, unless the model would be a hairline there", () => {
    const eager = { peak: 1000, time: 1, layers };
    const device = (totalBytes: number) => ({ device: { name: "", totalBytes, estimated: false }, eager });
    expect(barEnd(device(2000), 500)).toEqual({ bytes: 2000, whole: true });
    expect(barEnd(device(100_000), 500)).toEqual({ bytes: 1100, whole: false });
    expect(barEnd(device(400), 500)).toEqual({ bytes: 500, whole: true });
  });
});

describe("the slider's budgets", () => {
  beforeEach(() => { vi.useFakeTimers(); });
  afterEach(() => { vi.useRealTimers(); });

  test("go out at most every 50 ms, and the last one always", () => {
    const sent: number[] = [];
    const sender = new Sender((bytes) => sent.push(bytes));
    for (let bytes = 1; bytes <= 20; bytes++) {
      sender.move(bytes);
      vi.advanceTimersByTime(10);
    }
    vi.advanceTimersByTime(50);
    expect(sent.length).toBeLessThanOrEqual(6);
    expect(sent[0]).toBe(1);
    expect(sent.at(-1)).toBe(20);
  });

  test("are not taken back by a state that is older than the hand", () => {
    const sender = new Sender(() => undefined);
    sender.move(10);
    expect(sender.current(3)).toBe(10);
    expect(sender.current(10)).toBe(10);
    expect(sender.current(7)).toBe(7);
  });

  test("give way to the host when it never says them back", () => {
    const sender = new Sender(() => undefined);
    sender.move(10);
    vi.advanceTimersByTime(1500);
    expect(sender.current(3)).toBe(3);
  });

  test("stop when another model is shown", () => {
    const sent: number[] = [];
    const sender = new Sender((bytes) => sent.push(bytes));
    sender.move(1);
    sender.move(2);
    sender.forget();
    vi.advanceTimersByTime(500);
    expect(sent).toEqual([1]);
    expect(sender.current(5)).toBe(5);
  });
});

test("messages of no known shape are not taken", () => {
  expect(isToBudget({ kind: "state", state: {} })).toBe(true);
  expect(isToBudget({ kind: "state" })).toBe(false);
  expect(isToBudget({ kind: "why", bar: 1, text: "" })).toBe(false);
  expect(isToSchedule({ kind: "select", operators: [1, 2] })).toBe(true);
  expect(isToSchedule({ kind: "select", operators: [1, "2"] })).toBe(false);
  expect(isToSchedule({ kind: "why", bar: -1, text: "" })).toBe(false);
  expect(isToSchedule("start")).toBe(false);
});

test("Apply is said to be good for what is left to do, and for nothing once all is done", () => {
  const said = (left: readonly ApplyStep[]): string => appliedText(left).replace("✓ This plan is in the plan file beside the model.", "");
  expect(said(["script", "runtime"])).toBe(" Apply again to insert the two lines into a script or to install the runtime.");
  expect(said(["script"])).toBe(" Apply again to insert the two lines into a script.");
  expect(said(["runtime"])).toBe(" Apply again to install the runtime.");
  expect(said([])).toBe("");
});

test("a plan whose bound it meets is the best", () => {
  expect(frontier.map(isBest)).toEqual([false, false, true]);
  expect(isBest(point(400, 0, null))).toBe(false);
});

describe("a budget that is typed", () => {
  test("without its unit or percent sign is asked for it, as the command line asks", () => {
    expect(budgetProblem("60")).toBe("60 B is no budget: a number without a unit is bytes. Write 60% for a share, or a unit, as in 6.5 GiB or 800 MiB.");
    expect(budgetProblem("512")).toBe("512 B is no budget: a number without a unit is bytes. Write a unit, as in 6.5 GiB or 800 MiB.");
    expect(budgetProblem("much")).toMatch(/^“much” is no budget\./);
  });

  test.each(["60%", "6GiB", "1 KiB", "1073741824", "max"])("%s is searched for", (text) => {
    expect(budgetProblem(text)).toBeNull();
  });
});
