import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { bestKnownOf, parseBestKnown } from "../../bench/monet/best_known";
import { check } from "../../bench/monet/check";
import { eagerPeak, eagerSchedule, ladder, leastPeak } from "../../bench/monet/eager";
import { modeOf, parseInstance, type Instance } from "../../bench/monet/instance";
import { summary, table } from "../../bench/monet/report";
import { summarize } from "../../bench/monet/result";
import { snapshotOfRows } from "../../bench/monet/bound";
import { loadGlpk } from "../support/tools";
import { exactly, MonetRows } from "../../bench/monet/rows";
import { parseSchedule, type PublishedSchedule, type Schedule, type Solved } from "../../bench/monet/schedule";
import { drop, keep } from "../../src/core/simulate/schedule";
import type { Genome } from "../../src/core/solve/genome";
import { Random } from "../../src/core/solve/random";

const gib = 2 ** 30;
const folder = process.env["MONET_INSTANCES"] ?? fileURLToPath(new URL("../../../shared/monet-instances", import.meta.url));
const there = existsSync(folder);
const published = describe.skipIf(!there);
const skipped = there ? "" : " (skipped: shared/monet-instances is not beside the project, and MONET_INSTANCES names no folder)";

const instances = new Map<string, Instance>();
function instanceOf(name: string): Instance {
  const known = instances.get(name) ?? parseInstance(readFileSync(join(folder, "instances", name), "utf8"), name);
  instances.set(name, known);
  return known;
}
const names = there ? readdirSync(join(folder, "solutions")).sort() : [];
const instanceNames = there ? readdirSync(join(folder, "instances")).sort() : [];

function open(name: string): { instance: Instance; schedule: PublishedSchedule; budget: number } {
  const schedule = parseSchedule(gunzipSync(readFileSync(join(folder, "solutions", name))).toString(), name);
  return { instance: instanceOf(name.replace(/_[\d.]+\.json\.gz$/, ".json")), schedule, budget: schedule.budget_gb * gib };
}

/** The schedule with one stage's entry of one variable replaced. */
function withStage(schedule: Schedule, variable: "R" | "P" | "S" | "IP", t: number, change: (now: readonly number[]) => readonly number[]): Schedule {
  return { ...schedule, [variable]: schedule[variable].map((stage, at) => (at === t ? change(stage) : stage)) };
}
const without = (i: number) => (stage: readonly number[]): readonly number[] => stage.filter((each) => each !== i);
const having = (i: number) => (stage: readonly number[]): readonly number[] => [...stage, i];

const ones = (stages: readonly (readonly number[])[]): { t: number; i: number }[] => stages.flatMap((stage, t) => stage.map((i) => ({ t, i })));

published(`published schedules${skipped}`, () => {
  it("are there", () => {
    expect(names.length).toBeGreaterThanOrEqual(30);
  });

  it.each(names)("%s costs what it says, within its budget", (name) => {
    const { instance, schedule, budget } = open(name);
    const verdict = check(instance, schedule, budget);
    expect(verdict.violations).toEqual([]);
    expect(verdict.objective).toBe(schedule.objective_10us);
    expect(verdict.peakBytes).toBeLessThanOrEqual(budget);
    expect(verdict.peakBytes).toBeGreaterThan(0.9 * budget);
  });

  const hard = names.filter((name) => /5\.00|5\.50|vgg16_176_inplace_multiway_8/.test(name));

  it.each(hard)("%s: a KiB less than its peak is too little", (name) => {
    const { instance, schedule } = open(name);
    const { peakBytes } = check(instance, schedule, Infinity);
    expect(check(instance, schedule, peakBytes).violations).toEqual([]);
    expect(check(instance, schedule, peakBytes - 1024).violations).toEqual([expect.stringMatching(/^stage \d+: row \([abc]\) .* KiB of \d+ KiB$/)]);
  });

  it.each(hard)("%s: no recompute can be left out", (name) => {
    const { instance, schedule } = open(name);
    // The loss costs nothing, and some schedules compute it again for nobody.
    const recomputes = ones(schedule.R).filter(({ t, i }) => t > 0 && i !== instance.loss);
    expect(recomputes.length).toBeGreaterThan(3);
    for (const { t, i } of recomputes.slice(0, 10)) {
      const dropped = withStage(withStage(withStage(schedule, "R", t, without(i)), "P", t, without(i)), "IP", t, without(i));
      expect(check(instance, dropped, Infinity).violations).not.toEqual([]);
    }
  });

  it.each(hard)("%s: nothing is stored that was not there", (name) => {
    const { instance, schedule } = open(name);
    const absent = instance.fwd.findIndex(({ id }) => schedule.S[1]?.includes(id) === false && schedule.P[1]?.includes(id) === false);
    const why = check(instance, withStage(schedule, "S", 2, having(absent)), Infinity).violations;
    expect(why).toContainEqual(expect.stringContaining("is stored and was neither stored nor computed"));
    expect(check(instance, withStage(schedule, "S", 0, having(0)), Infinity).violations).toContainEqual(expect.stringContaining("is stored before anything is computed"));
  });

  it.each(hard)("%s: every backward node takes a path it has", (name) => {
    const { instance, schedule } = open(name);
    for (const t of [0, 1, instance.T - 1]) {
      const none = { ...schedule, M: schedule.M.map((path, at) => (at === t ? -1 : path)) };
      expect(check(instance, none, Infinity).violations).toContainEqual(expect.stringMatching(new RegExp(`^stage ${t}: .* takes path -1, which it does not have$`)));
    }
  });

  it.each(hard)("%s: nothing kept is overwritten, and nothing vanishes", (name) => {
    const { instance, schedule } = open(name);
    const over = (v: number): number => instance.fwd[v]!.inplace_of!;
    const kept = instance.fwd.find(({ id, kind, inplace_of }) => kind === "fwd" && inplace_of !== undefined && schedule.R[0]!.includes(id) && schedule.P[0]!.includes(inplace_of))!;
    const overwriting = check(instance, withStage(schedule, "IP", 0, having(kept.id)), Infinity).violations;
    expect(overwriting).toContainEqual(expect.stringContaining("and yet present"));
    const inPlace = schedule.IP[0]!.find((v) => instance.fwd[v]!.kind === "fwd")!;
    const copying = withStage(schedule, "IP", 0, without(inPlace));
    expect(check(instance, copying, Infinity).violations).toContainEqual(expect.stringContaining("and yet not present"));
    const stored = withStage(schedule, "S", 1, having(over(inPlace)));
    expect(check(instance, stored, Infinity).violations).toContainEqual(expect.stringContaining("and yet stored"));
    const never = instance.fwd.find(({ inplace_of }) => inplace_of === undefined)!;
    expect(check(instance, withStage(schedule, "IP", 0, having(never.id)), Infinity).violations).toContainEqual(expect.stringContaining("can't run in place and does"));
  });

  it.each(hard.filter((name) => name.includes("conv")))("%s: every convolution has an algorithm that works, in its stage", (name) => {
    const { instance, schedule } = open(name);
    const [first, ...others] = schedule.RF;
    const why = (RF: Schedule["RF"]): readonly string[] => check(instance, { ...schedule, RF }, Infinity).violations;
    expect(why(others)).toContainEqual(expect.stringContaining("is computed by no algorithm"));
    const failed = instance.fwd[0]!.ms.findIndex((ms) => ms < 0);
    const [t, l] = first!;
    if (instance.fwd[0]!.conv_idx !== undefined && failed >= 0) {
      expect(why([[t, instance.fwd[0]!.conv_idx, failed], ...others])).toContainEqual(expect.stringContaining(`by algorithm ${failed}, which failed`));
    }
    expect(why([...schedule.RF, [t, l, 99]])).toEqual(["RF names a stage, convolution or algorithm that is none"]);
    const last = schedule.RF.at(-1)!;
    expect(why([...schedule.RF, [last[0] - 1, last[1], last[2]]])).toContainEqual(expect.stringContaining("in a stage that is not its own"));
  });

  it("are Gurobi's objectives, but for the one whose log ends early", () => {
    const best = parseBestKnown(readFileSync(join(folder, "best-known.json"), "utf8"), "best-known.json");
    const rows = names.map((name) => {
      const { instance, schedule } = open(name);
      return { schedule, row: bestKnownOf(instance, best).find(({ budget_gib }) => budget_gib === schedule.budget_gb)! };
    });
    for (const { schedule, row } of rows) {
      if (row.status === "truncated_log") expect(schedule.objective_10us).toBeGreaterThan(row.objective!);
      else expect(schedule.objective_10us).toBe(row.objective);
    }
  });

  it.each(instanceNames)("%s: eager runs nothing twice, is right, and needs more than every budget", (name) => {
    const instance = instanceOf(name);
    const schedule = eagerSchedule(instance);
    expect(check(instance, schedule, Infinity).violations).toEqual([]);
    expect(ones(schedule.R).filter(({ t }) => t > 0)).toEqual([]);
    expect(eagerPeak(instance)).toBeGreaterThan(10 * gib);
    expect(ladder(instance)).toContain(10);
    const budgets = names.filter((each) => each.startsWith(name.replace(/\.json$/, "_"))).map((each) => open(each).budget);
    for (const budget of budgets) expect(leastPeak(instance)).toBeLessThan(budget);
  });
});

/** What a schedule stores, in genes, where each node has at most two intervals; recomputes are where they were, needed there or not. */
function genomeOf(rows: MonetRows, { R, S, M }: Schedule): Genome {
  const { nodes, forwardOf, needs, space } = rows;
  const genes = Int32Array.from({ length: nodes }, (_, i) => {
    const behind = (t: number): number => Math.max(1, forwardOf[t]! - i);
    const start = S.findIndex((stage) => stage.includes(i));
    if (start < 0) return drop;
    if (start > 1) return exactly(behind(start - 1));
    const end = S.findIndex((stage, t) => t > start && !stage.includes(i));
    const again = R.findIndex((stage, t) => t >= end && stage.includes(i));
    return again < 0 ? keep : -exactly(behind(again));
  });
  const choice = space.implementations.slice(0, nodes);
  M.forEach((path, t) => {
    if (needs[t]!.length > 1) choice[forwardOf[t]!]! += 1 + path;
  });
  return { genes, choice };
}

published(`a published schedule turned into genes${skipped}`, () => {
  it.each([
    ["some", "unet_11_inplace_conv_multiway_newnode_10.00"],
    ["some", "unet_11_inplace_conv_multiway_newnode_9.00"],
    ["some", "unet_11_inplace_multiway_10.00"],
    ["some", "unet_11_inplace_multiway_5.00"], // Recomputes what is made of tensors that would not fit where it is needed.
    ["some", "resnet50_184_inplace_multiway_6.00"],
    ["some", "vgg16_176_inplace_multiway_8.00"],
    ["none", "resnet50_184_inplace_normal_8.00"],
  ])("is decoded to what it costs, within its budget (gaps in it: %s; %s)", (gaps, name) => {
    const { instance, schedule, budget } = open(`${name}.json.gz`);
    const rows = new MonetRows(instance);
    const genome = genomeOf(rows, schedule);
    expect(genome.genes.some((gene) => gene < 0)).toBe(gaps === "some");
    const decoded = rows.schedule(genome, budget);
    expect(check(instance, decoded.schedule, budget)).toMatchObject({ objective: decoded.time, violations: [] });
    expect(decoded.time).toBeLessThanOrEqual(schedule.objective_10us);
    expect(rows.judge(genome, budget)).toEqual({ peak: decoded.peak, time: decoded.time });
  });
});

published(`the snapshot program${skipped}`, () => {
  // The bound holds for every schedule if each fits into the program at no more than it costs.
  it.each(names)("takes %s as it is, at no more than its objective, with some stages seen closer", async (name) => {
    const { instance, schedule, budget } = open(name);
    const rows = new MonetRows(instance);
    const snapshot = snapshotOfRows(rows, budget, 9000);
    if (snapshot === null) throw new Error("nothing fits");
    const { program, stored, again, inPlace, paths } = snapshot;
    const fix = (column: number, value: boolean): void => {
      if (column >= 0) program.row([[column, 1]], Number(value), true);
    };
    const recomputed = new Set(schedule.R.slice(1).flat());
    for (let v = 0; v < rows.nodes; v++) {
      fix(stored[v] ?? -1, schedule.S[1]?.includes(v) === true);
      fix(again[v] ?? -1, recomputed.has(v));
      fix(inPlace[v] ?? -1, schedule.IP[0]?.includes(v) === true);
    }
    paths.forEach((columns, t) => columns?.forEach((column, p) => { fix(column, schedule.M[t] === p); }));
    const { status, objective } = program.solve(await loadGlpk());
    expect(status).toBe("solved");
    expect(objective).toBeLessThanOrEqual(schedule.objective_10us + 1e-3);
  });
});

published(`insisting on fast algorithms${skipped}`, () => {
  it("takes memory where there was no room for them, and no genes", () => {
    const rows = new MonetRows(instanceOf("unet_11_inplace_conv_multiway_newnode.json"));
    const genome = { genes: new Int32Array(rows.nodes).fill(keep), choice: rows.space.implementations.slice(0, rows.nodes) };
    const budget = 9 * gib;
    const relaxed = rows.judge(genome, budget);
    const slow = rows.slow(genome, budget);
    expect(slow.length).toBeGreaterThan(3);
    rows.insisted = new Set(slow.slice(1));
    expect(rows.slow(genome, budget)).toEqual(slow.slice(0, 1));
    const insisting = rows.judge(genome, budget);
    expect(insisting.time).toBeLessThan(relaxed.time);
    expect(insisting.peak).toBeGreaterThan(relaxed.peak);
  });
});

published(`random genes${skipped}`, () => {
  it("are of every instance", () => {
    expect(instanceNames.length).toBeGreaterThan(5);
  });

  it.each(instanceNames)("%s: every row is charged: what is said to fit does", (name) => {
    const instance = instanceOf(name);
    const rows = new MonetRows(instance);
    const random = new Random(1);
    const choice = rows.space.implementations.slice(0, rows.nodes);
    for (let round = 0; round < 2; round++) {
      const genes = Int32Array.from({ length: rows.nodes }, () => random.gene(rows.nodes));
      const { peak } = rows.judge({ genes, choice }, 0);
      const decoded = rows.schedule({ genes, choice }, peak);
      const verdict = check(instance, decoded.schedule, peak);
      expect(verdict).toMatchObject({ objective: decoded.time, violations: [] });
    }
  });
});

/** Convolution, activation with a mask, loss: small enough to be counted by hand. */
function small({ convWorkspace = 0.5 } = {}): Record<string, unknown> & { fwd: Record<string, unknown>[]; bwd: Record<string, unknown>[] } {
  return {
    format: "monet-instance-v1", model: "small", batch_size: 1, mode: "inplace_conv_multiway_newnode",
    select_conv_algo: true, do_inplace: true, loss: 3, V: 4, T: 3, n_nodes: 6,
    fwd: [
      { id: 0, kind: "fwd", op: "conv", mem_bytes: 4096, fixed_mem_bytes: 1024, local_mem_bytes: 0, local_tensors: [], args: [[]], ws_mib: [convWorkspace, 0], ms: [2, -1000], conv_idx: 0 },
      {
        id: 1, kind: "fwd", op: "relu", mem_bytes: 4096, fixed_mem_bytes: 1024, local_mem_bytes: 4096, local_tensors: [0], args: [[0]], ws_mib: [0, 0], ms: [1.001, 1],
        inplace_of: 0, ip_ws_mib: [-4 / 1024], ip_ms: [0.5], intermediates: [[1, 2]],
      },
      {
        id: 2, kind: "int", op: "mask", mem_bytes: 100, fixed_mem_bytes: 1024, local_mem_bytes: 4096, local_tensors: [1], args: [[1]], ws_mib: [0], ms: [0.1],
        inplace_of: 0, ip_ws_mib: [0], ip_ms: [0.2], parent: 1,
      },
      { id: 3, kind: "fwd", op: "loss", mem_bytes: 1024, fixed_mem_bytes: 1024, local_mem_bytes: 4096, local_tensors: [1], args: [[1]], ws_mib: [0], ms: [0] },
    ],
    bwd: [
      { id: 4, kind: "bwd", op: "relu_grad", mem_bytes: 4096, fixed_mem_bytes: 2048, local_mem_bytes: 1024, local_tensors: [3], ws_mib: [0, 0], ms: [1, 2], fwd_id: 1, deps_fwd: [[1, 3], [2, 3]] },
      { id: 5, kind: "bwd", op: "conv_grad", mem_bytes: 0, fixed_mem_bytes: 2048, local_mem_bytes: 4096, local_tensors: [4], ws_mib: [0], ms: [3], conv_idx: 1, fwd_id: 0, deps_fwd: [[]] },
    ],
  };
}
const read = (document: unknown): Instance => parseInstance(JSON.stringify(document), "small.json");
const kept: Schedule = { R: [[0, 1, 3], [], []], P: [[0, 1, 3], [], []], S: [[], [1, 3], [1, 3], []], M: [0, 0, 0], IP: [[], [], []], RF: [[0, 0, 0], [2, 1, 0]] };

describe("the check on a step counted by hand", () => {
  it("adds up each cost, rounded up", () => {
    expect(check(read(small()), kept, 517 * 1024)).toEqual({ objective: 200 + 101 + 100 + 300, peakBytes: 517 * 1024, violations: [] });
  });

  it("finds the row that needs most in each stage", () => {
    const { peakBytes, violations } = check(read(small({ convWorkspace: 0 })), kept, 10 * 1024);
    expect(peakBytes).toBe(12 * 1024);
    expect(violations).toEqual(["stage 1: row (c) at 4 relu_grad takes 12 KiB of 10 KiB", "stage 2: row (a) before 0 conv takes 11 KiB of 10 KiB"]);
  });

  const inPlace: Schedule = { ...kept, P: [[1, 3], [], []], IP: [[1], [], []] };

  it("takes what running in place saves in time and memory", () => {
    // In place, the activation needs 1 fixed + 4 output + 4 input − 4 of workspace, and what bounds stage 0 is the loss: 1 + 1 + 4.
    const { objective, violations } = check(read(small({ convWorkspace: 0 })), inPlace, 5.5 * 1024);
    expect(objective).toBe(701 + 50 - 101);
    expect(violations).toContain("stage 0: row (b) at 3 loss takes 6 KiB of 5.5 KiB");
  });

  it("counts what a recompute costs, in time and workspace", () => {
    const document = small();
    Object.assign(document.fwd[1]!, { re_ms: [0.5], re_ws_mib: [1] });
    const recomputed: Schedule = { ...kept, R: [[0, 1, 3], [1], []], P: [[0, 1, 3], [1], []], S: [[], [0, 3], [3], []] };
    // Stage 1: 1 fixed + 1 local gradient + 1024 workspace + 4 output + 4 input + 1 loss.
    expect(check(read(document), recomputed, Infinity)).toEqual({ objective: 701 + 50, peakBytes: 1035 * 1024, violations: [] });
  });

  it("counts what the backward node needs beside what is stored, before anything is computed", () => {
    const document = small({ convWorkspace: 0 });
    document.fwd[2]!["mem_bytes"] = 100 * 1024;
    document.bwd[0]!["local_mem_bytes"] = 10 * 1024;
    // A schedule that breaks rows: tensor 1 is needed and nowhere. 1 fixed + 10 local + 100 + 1 stored + 4 needed.
    expect(check(read(document), { ...kept, S: [[], [2, 3], [3], []] }, Infinity).peakBytes).toBe(116 * 1024);
  });

  it("ties a mask to its activation", () => {
    const masked = (IP: number[], R: number[] = [0, 1, 2, 3]): Schedule => ({
      ...kept, R: [R, [], []], P: [R.filter((i) => i !== 0), [], []], S: [[], [2, 3], [2, 3], []], M: [0, 1, 0], IP: [IP, [], []],
    });
    const instance = read(small());
    expect(check(instance, masked([1, 2]), Infinity)).toMatchObject({ objective: 200 + 50 + 20 + 200 + 300, violations: [] });
    expect(check(instance, masked([1]), Infinity).violations).toEqual(["stage 0: 2 mask is computed out of place while 1 relu runs in place"]);
    expect(check(instance, masked([1], [0, 1, 3]), Infinity).violations).toEqual(["stage 0: 2 mask is stored and was neither stored nor computed (or was overwritten)"]);
    const alone: Schedule = { ...kept, R: [[0, 1, 3], [2], []], P: [[0, 1, 3], [2], []], S: [[], [1, 3], [1, 2, 3], []], M: [0, 1, 0] };
    expect(check(instance, alone, Infinity).violations).toEqual(["stage 1: 2 mask is computed without 1 relu"]);
  });

  it("wants each tensor that is computed from or needed, and the whole forward pass", () => {
    const instance = read(small());
    const recomputed: Schedule = { ...kept, R: [[0, 1, 3], [1], []], P: [[0, 1, 3], [1], []], S: [[], [3], [3], []] };
    expect(check(instance, recomputed, Infinity).violations).toEqual(["stage 1: 1 relu is computed from 0 conv, which is neither computed nor stored"]);
    expect(check(instance, { ...kept, S: [[], [3], [3], []] }, Infinity).violations).toEqual(["stage 1: 4 relu_grad needs 1 relu, which is neither present nor stored"]);
    const headless: Schedule = { ...kept, R: [[0, 1], [], []], P: [[0, 1], [], []], S: [[], [1], [1], []] };
    expect(check(instance, headless, Infinity).violations).toContain("stage 0: 3 loss is not computed in the forward pass");
  });

  it("does not read a schedule of another step", () => {
    expect(check(read(small()), { ...kept, S: kept.S.slice(1), M: [0] }, Infinity).violations).toEqual(["S has 3 stages instead of 4", "M has 1 stages instead of 3"]);
    expect(check(read(small()), withStage(kept, "R", 1, having(4)), Infinity).violations).toEqual(["R names a forward node that is none"]);
  });
});

describe("a file that is no instance", () => {
  const broken = (change: (document: ReturnType<typeof small>) => void): string => {
    const document = small();
    change(document);
    return JSON.stringify(document);
  };
  it.each([
    ["{", "x.json is no MONeT instance: it is not JSON."],
    ["[]", "x.json is no MONeT instance: the document must be object."],
    [broken((d) => delete d["loss"]), "x.json is no MONeT instance: the document must have required property 'loss'."],
    [broken((d) => (d.fwd[1]!["ms"] = "fast")), "x.json is no MONeT instance: fwd.1.ms must be array."],
    [broken((d) => delete d.fwd[1]!["ip_ms"]), "x.json is no MONeT instance: fwd.1 must have properties ip_ws_mib, ip_ms when property inplace_of is present."],
    [broken((d) => d.bwd.pop()), "x.json is no MONeT instance: its numbers of nodes contradict each other."],
    [broken((d) => (d.fwd[1]!["args"] = [[2]])), "x.json is no MONeT instance: node 1 has an input that is made later."],
    [broken((d) => (d.bwd[1]!["conv_idx"] = 0)), "x.json is no MONeT instance: its conv_idx do not count its convolutions."],
    [broken((d) => (d.fwd[0]!["ms"] = [-1000, -1000])), "x.json is no MONeT instance: no algorithm of node 0 works."],
    [broken((d) => (d.bwd[0]!["deps_fwd"] = [[1, 4]])), "x.json is no MONeT instance: node 4 needs a forward tensor that is none."],
  ])("is refused in one sentence (%#)", (text, sentence) => {
    expect(() => parseInstance(text, "x.json")).toThrow(sentence);
  });

  it("is told from a best-known list and a schedule too", () => {
    expect(() => parseBestKnown('[{"model":"a"}]', "b.json")).toThrow("b.json is no list of best-known objectives: 0 must have required property 'mode'.");
    expect(() => parseSchedule("{}", "s.json")).toThrow("s.json is no MONeT schedule: the document must have required property 'format'.");
  });
});

describe("the table", () => {
  const instance = read(small());
  const best = { model: "small", mode: "icmn" as const, budget_gib: 5, objective: 700, bound: 690, gap_percent: 1.43, gurobi_seconds: 1, status: "time_limit" };
  const solved = (change: Partial<Solved> = {}): Solved => ({ schedule: kept, objective: 701, bound: 695, lpBoundSeconds: 0.1, searchSeconds: 1, boundSeconds: 0.5, ...change });
  const point = (...answers: (Solved | Error)[]): ReturnType<typeof summarize> =>
    summarize("resnet50", modeOf(instance), 5, best, answers.map((each, at) => ({
      seed: at + 1, solved: each, verdict: each instanceof Error || each.schedule === null ? null : check(instance, each.schedule, 5 * gib),
    })));

  it("stands ours beside Gurobi's", () => {
    const result = point(solved(), solved({ bound: 697, searchSeconds: 2 }));
    expect(result).toMatchObject({ objective: { median: 701, best: 701, worst: 701 }, bound: 697, seconds: { search: 2, total: 2.5 }, problems: [] });
    expect(result.aboveGurobi).toBeCloseTo(1 / 700);
    expect(result.gap).toBeCloseTo(4 / 701);
    expect(table([result]).split("\n")[1]?.trim().split(/ {2,}/)).toEqual(
      ["5.00", "700", "690", "1.43%", "701", "701", "701", "+0.14%", "697", "0.57%", "2.0", "0.1", "0.5", "passed"]);
    expect(summary([result])).toContain("missed  full mode: median at most 0.1% above Gurobi: 0 of 1 points; worst +0.14% (resnet50 icmn 5 GiB)");
    expect(summary([result])).toContain("met     full mode: certified gap, ResNet-50: at most 1%: 1 of 1 points; worst 0.57%");
  });

  it.each([
    ["the solver threw", new Error("out of luck"), "seed 1: the solver failed: out of luck"],
    ["it claims another objective", solved({ objective: 699 }), "seed 1: the solver says 699, the check 701"],
    ["it breaks a row", solved({ schedule: { ...kept, RF: kept.RF.slice(1) }, objective: 501, bound: null }), "seed 1: stage 0: 0 conv is computed by no algorithm"],
    ["its bound is above what Gurobi found", solved({ bound: 700.5 }), "the bound 700.5 is above the objective in Gurobi's log, 700"],
  ])("says so where %s", (_, answer, problem) => {
    const result = point(answer);
    expect(result.problems).toContain(problem);
    expect(table([result])).toContain("FAILED");
    expect(table([result])).toContain(problem);
  });

  it("counts a seed that found nothing as worse than any", () => {
    const result = point(solved(), solved({ schedule: null, objective: NaN, bound: null }), solved({ schedule: null, objective: NaN, bound: null }));
    expect(result.objective).toEqual({ median: Infinity, best: 701, worst: Infinity });
    expect(summary([result])).toContain("0 of 1 points; worst none");
  });
});
