import { readFileSync } from "node:fs";
import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { parseGraph } from "../../src/core/graph";
import { explained } from "../../src/core/numbers";
import { layers, picture, type Picture } from "../../src/core/picture";
import { parsePlan, type Plan } from "../../src/core/plan";
import { eagerPlan } from "../../src/core/solve/draft";
import type { ScheduleState } from "../../src/protocol";
import { byteTicks, columns, runs, timeTicks } from "../../webview/schedule/axes";
import { exportScene, jsonOf, svgOf } from "../../webview/schedule/exports";
import { readMemory } from "../../webview/schedule/memory";
import { inks, toSvg, type Ink, type Palette, type Primitive } from "../../webview/schedule/primitives";
import { blockOf, blocksBetween, itemAt, layRows, placeOf, step, type Item } from "../../webview/schedule/rows";
import { chart, chartScene, frameOf, legendOf, momentAt, peakStep, plotWidth, rowsScene, xOf, yOf } from "../../webview/schedule/scene";
import { headlines } from "../../webview/schedule/headline";
import { between, length, panned, showing, whole, zoomed } from "../../webview/schedule/span";
import { separated, sortRows, tableRows } from "../../webview/schedule/table";
import { describeBar, describeStep, operatorName, rowName, shortOperator } from "../../webview/schedule/texts";
import { resnet50 } from "../support/networks";

const fixture = (name: string): string => readFileSync(new URL(`../fixtures/example.${name}.json`, import.meta.url), "utf8");

function stateOf(graph: Parameters<typeof explained>[0], plan: Plan): ScheduleState {
  const { peak, eager_peak: eagerPeak, time, eager_time: eagerTime } = plan.predicted;
  return {
    model: { id: "file:///m.py#M", name: "M", file: "m.py" }, line: 3, inputs: ["float32[8,3,224,224]"], batch: 8,
    device: { name: "card", estimated: true }, stale: false, budget: Math.round(peak * 1.05), peak, eagerPeak, time, overhead: time / eagerTime - 1,
    recomputeTime: 0, gap: null, kept: 1, offloaded: 0, recomputed: 1, changed: 0,
    picture: picture(graph, plan, explained(graph, plan).explanation),
  };
}

const palette: Palette = { colors: Object.fromEntries(inks.map((ink) => [ink, `#${ink}`])) as Record<Ink, string>, font: "Some Font, sans-serif", fontSize: 11, contrast: false };

let example: ScheduleState;
let large: ScheduleState;

beforeAll(() => {
  const graph = parseGraph(fixture("graph"));
  example = stateOf(graph, parsePlan(fixture("plan"), graph));
  const net = resnet50();
  large = stateOf(net, eagerPlan(net));
});

describe("the part of the step that is shown", () => {
  const spans = fc.tuple(fc.double({ min: 0, max: 1, noNaN: true }), fc.double({ min: 0.01, max: 1, noNaN: true })).map(([from, size]) => between(from * 1e9, (from + size) * 1e9, 1e9));

  test("never leaves the step, however it is zoomed and panned", () => {
    fc.assert(fc.property(spans, fc.double({ min: 0.1, max: 10, noNaN: true }), fc.double({ min: -1e9, max: 1e9, noNaN: true }), fc.double({ min: 0, max: 1, noNaN: true }), (span, factor, by, share) => {
      for (const next of [zoomed(span, 1e9, factor, span.from + share * length(span)), panned(span, 1e9, by), showing(span, 1e9, share * 1e9)]) {
        expect(next.from).toBeGreaterThanOrEqual(0);
        expect(next.to).toBeLessThanOrEqual(1e9 * (1 + 1e-12));
        expect(next.to).toBeGreaterThan(next.from);
      }
    }));
  });

  test("is never of no length, even where the step takes no time", () => {
    for (const span of [between(0, 0, 0), zoomed(whole(0), 0, 2, 0), panned(whole(0), 0, 5)]) expect(length(span)).toBeGreaterThan(0);
  });

  test("keeps the moment under the pointer where it is", () => {
    const frame = frameOf(1000, 11, false);
    const span = { from: 2e8, to: 6e8 };
    const next = zoomed(span, 1e9, 2, 3e8);
    expect(xOf(frame, next, 3e8)).toBeCloseTo(xOf(frame, span, 3e8), 6);
    expect(momentAt(frame, next, xOf(frame, next, 3e8))).toBeCloseTo(3e8, 3);
  });

  test("moves only when the moment is out of sight", () => {
    expect(showing({ from: 10, to: 20 }, 100, 15)).toEqual({ from: 10, to: 20 });
    const later = showing({ from: 10, to: 20 }, 100, 50);
    expect(later.from).toBeLessThan(50);
    expect(later.to).toBeGreaterThan(50);
  });
});

describe("the axes", () => {
  test("a column of pixels shows the event with the most bytes that touches it", () => {
    const events = fc.array(fc.tuple(fc.integer({ min: 0, max: 1000 }), fc.integer({ min: 0, max: 50 }), fc.integer({ min: 1, max: 100 })), { minLength: 1, maxLength: 60 });
    fc.assert(fc.property(events, (list) => {
      const start = list.map(([from]) => from);
      const end = list.map(([from, size]) => from + size);
      const weight = list.map(([, , bytes]) => bytes);
      const found = columns(start, end, weight, { from: 100, to: 900 }, 40);
      const highest = list.filter((_, at) => end[at]! >= 100 && start[at]! < 900).reduce((most, [, , bytes]) => Math.max(most, bytes), 0);
      expect(Math.max(0, ...[...found].map((event) => weight[event] ?? 0))).toBe(highest);
      found.forEach((event, column) => {
        if (event < 0) return;
        expect(end[event]).toBeGreaterThanOrEqual(100 + column * 20);
        expect(start[event]).toBeLessThanOrEqual(100 + (column + 1) * 20);
      });
    }));
  });

  test("runs of equal columns cover all of them", () => {
    expect(runs(Int32Array.from([3, 3, -1, 4]))).toEqual([{ from: 0, to: 2, value: 3 }, { from: 2, to: 3, value: -1 }, { from: 3, to: 4, value: 4 }]);
  });

  test("ticks are in one unit, with as many digits as tell them apart", () => {
    expect(timeTicks({ from: 1.0002e9, to: 1.001e9 }, 4).map(({ text }) => text)).toEqual(["1,000.2 ms", "1,000.4 ms", "1,000.6 ms", "1,000.8 ms", "1,001.0 ms"]);
    const { unit, ticks } = byteTicks(0, 3.5 * 2 ** 30, 4);
    expect(unit).toBe("GiB");
    expect(ticks.map(({ at }) => at / 2 ** 30)).toEqual([0, 1, 2, 3]);
  });
});

describe("the rows", () => {
  const everyItem = (groups: Picture["groups"], folded: ReadonlySet<number>): number => groups.reduce((sum, { count }, at) => sum + 1 + (folded.has(at) ? 0 : count), 0);

  test("the place of each bar is where the pointer finds it", () => {
    for (const height of [4, 6.3, 20]) {
      const rows = layRows(large.picture.groups, new Set([1]), height);
      large.picture.bars.forEach((_, bar) => {
        const { group, folded } = blockOf(rows, bar)!;
        const place = placeOf(rows, { group, bar });
        expect(itemAt(rows, place.top + place.height / 2)).toEqual({ group, bar: folded ? null : bar });
      });
    }
  });

  test("the arrow keys reach every group and every bar once, both ways", () => {
    for (const folded of [new Set<number>(), new Set([0, 3]), new Set(large.picture.groups.keys())]) {
      const rows = layRows(large.picture.groups, folded, 4);
      const down: Item[] = [{ group: 0, bar: null }];
      for (let next = step(rows, down[0]!, 1); next !== null; next = step(rows, next, 1)) down.push(next);
      expect(new Set(down.map((item) => JSON.stringify(item))).size).toBe(everyItem(large.picture.groups, folded));
      const up: Item[] = [down.at(-1)!];
      for (let next = step(rows, up[0]!, -1); next !== null; next = step(rows, next, -1)) up.push(next);
      expect(up.reverse()).toEqual(down);
    }
  });

  test("what is between two heights is found without what is not", () => {
    const rows = layRows(large.picture.groups, new Set(), 4);
    for (let top = 0; top < rows.height; top += 37) {
      const expected = rows.blocks.filter((block) => block.top + block.height >= top && block.top <= top + 100);
      expect(blocksBetween(rows, top, top + 100)).toEqual(expected);
    }
  });
});

describe("the picture", () => {
  const frame = frameOf(1200, 11, false);
  const scene = (state: ScheduleState, contrast = false): Primitive[] => chartScene(state, whole(state.picture.total), { ...frame, contrast }, { compare: true });
  const bars = (state: ScheduleState, contrast = false): Primitive[] => {
    const rows = layRows(state.picture.groups, new Set(), 10);
    return rowsScene(state.picture, rows, whole(state.picture.total), { ...frame, contrast }, { top: 0, height: rows.height, selected: null, active: null, marked: new Set() });
  };

  test("the areas reach up to the peak and no higher", () => {
    for (const state of [example, large]) {
      const areas = scene(state).filter((each) => each.shape === "area" && layers.some((layer) => layer === each.fill));
      const tops = areas.flatMap((each) => (each.shape === "area" ? each.points.filter((_, at) => at % 2 === 1) : []));
      expect(Math.min(...tops)).toBeCloseTo(yOf(state, true)(state.peak), 6);
      expect(Math.max(...tops)).toBeCloseTo(chart.bottom, 6);
    }
  });

  test("a large fixed part is shortened, and what lies above it still stands on one scale", () => {
    const fixed = 20 * large.peak;
    const heavy = { ...large, budget: null, peak: large.peak + fixed, eagerPeak: large.eagerPeak + fixed, picture: { ...large.picture, steps: { ...large.picture.steps, fixed: large.picture.steps.fixed.map((bytes) => bytes + fixed), moment: large.picture.steps.moment.map((bytes) => bytes + fixed) } } };
    const y = yOf(heavy, false);
    const [base] = heavy.picture.steps.fixed;
    const above = heavy.peak - base!;
    expect(y(base!)).toBeGreaterThan(chart.bottom - (chart.bottom - chart.top) / 4);
    expect(y(base!) - y(base! + above / 2)).toBeCloseTo((y(base!) - y(heavy.peak)) / 2, 6);
    expect(scene(heavy).some((each) => each.shape === "text" && each.text.includes("shortened"))).toBe(true);
    expect(scene(large).some((each) => each.shape === "text" && each.text.includes("shortened"))).toBe(false);
  });

  test("the peak is marked where it is", () => {
    const label = scene(large).find((each) => each.shape === "text" && each.text.startsWith("peak "));
    const { steps } = large.picture;
    const middle = (steps.start[peakStep(steps)]! + steps.end[peakStep(steps)]!) / 2;
    expect(label).toBeDefined();
    expect(Math.abs((label?.shape === "text" ? label.x : 0) - xOf(frame, whole(large.picture.total), middle))).toBeLessThanOrEqual(8);
  });

  test("nothing of a zoomed picture lies outside its frame", () => {
    const { total } = large.picture;
    const span = between(total * 0.4, total * 0.6, total);
    const rows = layRows(large.picture.groups, new Set([0]), 10);
    const drawn = [
      ...chartScene(large, span, frame, { compare: true }),
      ...rowsScene(large.picture, rows, span, frame, { top: 0, height: rows.height, selected: null, active: null, marked: new Set() }),
    ];
    for (const each of drawn) {
      const xs = each.shape === "rect" ? [each.x, each.x + each.width] : each.shape === "text" ? [] : each.points.filter((_, at) => at % 2 === 0);
      for (const x of xs) {
        expect(x).toBeGreaterThanOrEqual(0);
        expect(x).toBeLessThanOrEqual(frame.left + plotWidth(frame) + 6);
      }
    }
  });

  test("every live range is a bar: kept solid, recomputed hatched, and freed ones hollow", () => {
    const kinds = example.picture.bars.flatMap(({ segments }) => segments.map(({ kind }) => kind)).sort();
    expect(new Set(kinds)).toContain("recomputed");
    const rects = (contrast: boolean) => bars(example, contrast).flatMap((each) => (each.shape === "rect" ? [each] : []));
    for (const contrast of [false, true]) {
      expect(rects(contrast).map(({ fill, stroke }) => fill ?? stroke).sort()).toEqual(kinds);
      for (const { fill, texture } of rects(contrast)) expect(texture).toBe(fill === "recomputed" ? "diagonal" : undefined);
      expect(rects(contrast).filter(({ fill }) => fill === null)).toHaveLength(kinds.filter((kind) => kind === "freed").length);
    }
  });

  test("eager's peak is not written over forward and backward", () => {
    const texts = chartScene(example, whole(example.picture.total), frame, { compare: true }).flatMap((each) => (each.shape === "text" ? [each] : []));
    const at = (start: string): number => texts.find(({ text }) => text.startsWith(start))?.y ?? Number.NaN;
    expect(at("eager peak") - at("backward")).toBeGreaterThanOrEqual(frame.fontSize + 2);
  });

  test("what was freed and what is fixed don't look alike", () => {
    const marks = legendOf({ ...large.picture, steps: { ...large.picture.steps, fixed: large.picture.steps.fixed.map(() => 1) } }, true, false);
    expect(marks.filter(({ ink }) => ink === "freed" || ink === "fixed").map(({ hollow }) => hollow === true)).toEqual([true, false]);
  });

  test("in high contrast no two entries of the legend look alike but for their colour", () => {
    const looks = legendOf(large.picture, true, true).map(({ texture, line, hollow }) => `${texture ?? ""} ${line === true} ${hollow === true}`);
    expect(new Set(looks).size).toBe(looks.length);
  });
});

test("what is proven is said as what another plan could gain, which is never the whole step", () => {
  const said = (gap: number | null): string => headlines({ ...example, gap }).filter(({ title }) => title === "Any other plan").map(({ value, note }) => `${value}: ${note}`).join();
  expect(said(null)).toBe("–: nothing proven");
  expect(said(0)).toBe("no faster: proven for this budget");
  expect(said(0.02)).toBe("at most 2.0% faster: proven for this budget");
  expect(said(1.116)).toBe("at most 52.7% faster: a loose bound: how much is really possible is not known");
});

describe("what is exported", () => {
  const shown = (state: ScheduleState) => ({ span: whole(state.picture.total), compare: true, folded: new Set<number>(), rowHeight: 6 });

  test("the SVG has one element per primitive, in the colours of the theme, whatever a name contains", () => {
    const state = { ...example, model: { ...example.model, name: 'A<B>&"C"' } };
    const svg = svgOf(state, shown(state), palette);
    const { primitives } = exportScene(state, shown(state), palette);
    const textured = primitives.filter((each) => "texture" in each && typeof each.texture === "string").length;
    const drawn = svg.split("\n").filter((line) => /^<(rect|path|text)/.test(line));
    expect(drawn).toHaveLength(primitives.length + textured + 1);
    expect(svg).toContain("A&lt;B&gt;&amp;&quot;C&quot;");
    expect(svg).toContain("#kept");
    expect(svg).not.toMatch(/undefined|NaN/);
  });

  test("all rows are in it, folded ones as one", () => {
    const open = exportScene(large, shown(large), palette).size.height;
    const folded = exportScene(large, { ...shown(large), folded: new Set(large.picture.groups.keys()) }, palette).size.height;
    expect(open).toBeGreaterThan(large.picture.bars.length * 6);
    expect(folded).toBeLessThan(open);
  });

  test("the JSON reads back as the bars and steps that were drawn", () => {
    const data = JSON.parse(jsonOf(example)) as Picture & { model: unknown };
    expect(data.bars).toEqual(example.picture.bars);
    expect(data.steps).toEqual(example.picture.steps);
    expect(data.model).toEqual(example.model);
  });

  test("an empty picture is still a document", () => {
    expect(toSvg([], palette, { width: 10, height: 10 })).toContain("</svg>");
  });
});

describe("the table", () => {
  test("has a row per bar, and copies as many lines with the same number of fields each", () => {
    const rows = tableRows(large.picture);
    expect(rows).toHaveLength(large.picture.bars.length);
    const lines = separated(rows, "\t").slice(0, -1).split("\n");
    expect(lines).toHaveLength(rows.length + 1);
    expect(new Set(lines.map((line) => line.split("\t").length)).size).toBe(1);
  });

  test("sorts by a column and leaves equal cells in the model's order", () => {
    const sorted = sortRows(tableRows(large.picture), { column: 2, descending: true });
    sorted.slice(1).forEach((row, at) => {
      const before = sorted[at]!;
      expect(Number(before.cells[2])).toBeGreaterThanOrEqual(Number(row.cells[2]));
      if (before.cells[2] === row.cells[2]) expect(before.bar).toBeLessThan(row.bar);
    });
  });

  test("a field with a comma or a quote is quoted", () => {
    expect(separated([{ bar: 0, cells: ['a,"b"', 1] }], ",").split("\n")[1]).toBe('"a,""b""",1');
  });
});

describe("texts", () => {
  test("an operator is called as people call it", () => {
    expect(shortOperator("aten.add_.Tensor")).toBe("add_");
    expect(shortOperator("custom")).toBe("custom");
  });

  test("a row doesn't repeat what its group says", () => {
    const named: Picture = { ...example.picture, operators: [{ op: "aten.conv2d.default", module: "layer1.0.conv1", source: null, implementation: "eager" }] };
    const bar = { ...example.picture.bars[0]!, operator: 0, kind: "value" as const };
    expect(rowName(named, bar, "layer1.0")).toBe("conv1 · conv2d");
    expect(rowName(named, bar, "layer1.0.conv1")).toBe("conv2d");
    expect(rowName(named, bar, "layer1")).toBe("0.conv1 · conv2d");
    expect(operatorName(named, 0)).toBe("layer1.0.conv1 · conv2d");
  });

  test("a recomputed bar says when, what it costs and what it frees", () => {
    const bar = example.picture.bars.find(({ fate }) => fate === "recomputed" || fate === "retained")!;
    expect(describeBar(example.picture, bar).rows.map(([label]) => label)).toEqual(expect.arrayContaining(["kept", "costs", "frees"]));
  });

  test("a bar of a module that can't be traced says why", () => {
    const bar = example.picture.bars[0]!;
    const operators = example.picture.operators.map((operator) => ({ ...operator, opaque: "it looks at values" }));
    expect(describeBar({ ...example.picture, operators }, bar).rows).toContainEqual(["opaque", "it looks at values"]);
  });

  test("the peak's readout says the peak and the largest tensors that are live then", () => {
    const { rows } = describeStep(large.picture, peakStep(large.picture.steps));
    expect(rows[0]![0]).toBe("live");
    const largest = rows.slice(rows.findIndex(([label]) => label === "largest"));
    expect(largest.length).toBeGreaterThan(0);
  });
});

test("only what was remembered in the right shape is restored", () => {
  const memory = { model: "m", from: 1, to: 2, compare: true, table: false, folded: [1], selected: null };
  expect(readMemory(memory)).toEqual(memory);
  expect(readMemory({ ...memory, folded: [1, "x", -1], selected: "x" })).toEqual(memory);
  expect(readMemory({ ...memory, from: "1" })).toBeNull();
  expect(readMemory(null)).toBeNull();
});
