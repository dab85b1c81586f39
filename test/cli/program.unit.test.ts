import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { applyLines, callLines } from "../../src/core/part";
import { splitTarget } from "../../src/cli/target";
import { ranges } from "../../src/cli/schedule";
import type { Measured } from "../../src/core/measured";
import { simulate } from "../../src/core/simulate";
import { eagerPlan } from "../../src/core/solve/draft";
import { atBatch } from "../../src/core/batch";
import { parseGraph, type Graph } from "../../src/core/graph";
import { checkPlan } from "../../src/core/plan";
import type { Domination } from "../../src/core/solve/solution";
import { growing } from "../support/random_graph";
import { world, type World } from "./world";

let w: World;
beforeEach(() => {
  w = world();
});
afterEach(() => {
  w.remove();
});

const dominatedBy: Domination = { event: { kind: "backward", clock: 1, operator: 0 }, fixed: 1024, gradients: 2048, activations: 3072, running: 4096, largest: [] };
const document = (text: string): Record<string, unknown> => JSON.parse(text) as Record<string, unknown>;

const answer = async (...argv: string[]): Promise<{ exit: number; json: Record<string, unknown> }> => {
  const { exit, out } = await w.monet(...argv, "--json");
  return { exit, json: document(out) };
};

/** One sentence on stderr, nothing on stdout, no file left behind. */
async function refuses(argv: string[], exit: number, sentence: RegExp, code: string): Promise<void> {
  const before = w.files();
  const result = await w.monet(...argv);
  expect(result.err).toMatch(sentence);
  expect(result.err.trim().split("\n")).toHaveLength(1);
  expect(result.err.endsWith(` [${code}]\n`), result.err).toBe(true);
  expect(result.out).toBe("");
  expect(result.exit).toBe(exit);
  expect(w.files()).toEqual(before);
  const asJson = await w.monet(...argv, "--json");
  expect(asJson.exit).toBe(exit);
  expect(document(asJson.out)).toHaveProperty("error.message");
  expect(document(asJson.out)).toHaveProperty("error.code", code);
}

describe("monet models", () => {
  it("lists models, layers and lines of a file", async () => {
    const { exit, out } = await w.monet("models", "net.py");
    expect(exit).toBe(0);
    expect(out).toBe(
      "net.py\n" +
        "  Block  line 4, 1 layer, takes perhaps float32[8,3,224,224]\n    conv  Conv2d  line 7\n" +
        "  Net  line 13, 2 layers, takes perhaps float32[8,3,224,224]\n    blocks    ModuleList  line 16\n    blocks.*  Block       line 16\n" +
        "  net  function, line 24, gives Net\n",
    );
  });

  it("of a folder, whose files know each other", async () => {
    w.write("pkg/base.py", "import torch.nn as nn\nclass Base(nn.Module): pass\n");
    w.write("pkg/child.py", "from .base import Base\nclass Child(Base): pass\n");
    const { out } = await w.monet("models", ".", "--json");
    expect((document(out)["files"] as { path: string }[]).map(({ path }) => path)).toEqual(["net.py", "pkg/base.py", "pkg/child.py"]);
  });

  it("a single file sees what it imports", async () => {
    w.write("base.py", "import torch.nn as nn\nclass Base(nn.Module): pass\n");
    w.write("child.py", "from base import Base\nclass Child(Base): pass\n");
    expect((await w.monet("models", "child.py")).out).toContain("Child  line 2");
  });

  it("names entry functions, and proposes one where a function builds the model", async () => {
    w.write("entry.py", "import net\ndef monet_entry():\n    return net.Net(), (1,), None\n");
    expect((await w.monet("models", "entry.py")).out).toBe("entry.py\n  monet_entry  entry, line 2, gives Net\n");
    expect((await w.monet("profile", "entry.py")).exit).toBe(0);
    expect(w.helperArguments()).toEqual(["profile", "entry.py:monet_entry", "--out", ".monet/entry.monet_entry.graph.json", "--progress", "-", "--tied"]);
    w.write("main.py", "def main():\n    model = build()\n");
    const { err, exit } = await w.monet("profile", "main.py");
    expect(exit).toBe(2);
    expect(err).toMatch(/^error: There is no model in 'main\.py'.* name FILE:monet_entry:\n\ndef monet_entry\(\):\n/);
  });

  it("refuses what isn't there or has no model", async () => {
    w.write("plain.py", "x = 1\n");
    w.write("notes.txt", "hello\n");
    await refuses(["models", "nothing.py"], 2, /^error: There is no file 'nothing.py'/, "M601");
    await refuses(["models", "plain.py"], 2, /^error: There is no model in 'plain.py'/, "M605");
    await refuses(["models", "notes.txt"], 2, /no Python file/, "M608");
  });
});

describe("monet profile", () => {
  it("hands everything on to the helper, and says what a step takes", async () => {
    const argv = ["profile", "net.py:Net", "--input", "float32[1,3,8,8]", "--input", "int64[2]<5", "--kwargs", "{}", "--optimizer", "adamw", "--no-cache"];
    const { exit, out } = await w.monet(...argv);
    expect(exit).toBe(0);
    expect(out).toMatch(/Training graph: \.monet\/net\.Net\.graph\.json/);
    expect(w.helperArguments()).toEqual([
      "profile", "net.py:Net", "--input", "float32[1,3,8,8]", "--input", "int64[2]<5", "--kwargs", "{}", "--optimizer", "adamw",
      "--no-cache", "--out", ".monet/net.Net.graph.json", "--progress", "-", "--tied",
    ]);
  });

  it("takes the only model that a file gives", async () => {
    await w.monet("profile", "net.py", "--json");
    expect(w.helperArguments()[1]).toBe("net.py:net");
  });

  it("refuses a model that isn't there before any Python runs", async () => {
    await refuses(["profile", "net.py:Nett", "--python", "no-such-python"], 2, /There is no model 'Nett' in 'net.py': it has net\./, "M607");
    await refuses(["profile", ".", "--python", "no-such-python"], 2, /'\.' is a folder: name a file and a model in it/, "M604");
    w.write("two.py", "from torch import nn\nclass A(nn.Module): pass\nclass B(nn.Module): pass\n");
    await refuses(["profile", "two.py"], 2, /Which model of 'two.py'\? Name one as two.py:MODEL; it has A, B\./, "M606");
  });

  it("passes on the helper's sentence, and what is missing in the environment", async () => {
    await refuses(["profile", "net.py:Net", "--loss", "bad"], 2, /^error: net\.py:9: The input has the wrong shape \[M201\]$/m, "M201");
    await refuses(["profile", "net.py:Net", "--python", "no-such-python"], 4, /There is no Python at 'no-such-python', which --python names/, "M701");
  });

  it("stops when it is stopped", async () => {
    w.signal = AbortSignal.abort();
    const { exit, err, out } = await w.monet("profile", "net.py:Net");
    expect([exit, err, out]).toEqual([130, "Stopped.\n", ""]);
  });

  it("takes what monet.json says of the model where no input is given, and what is given goes before it", async () => {
    w.write("monet.json", JSON.stringify({ models: { "net.py:Net": { inputs: ["float32[2,3,8,8]"], kwargs: { a: 1 }, device: "cpu" } } }));
    expect((await w.monet("profile", "net.py:Net", "--device", "A100")).exit).toBe(0);
    const kept = ["--kwargs", '{"a":1}', "--device", "A100", "--out"];
    expect(w.helperArguments().slice(1, -3)).toEqual(["net.py:Net", "--input", "float32[2,3,8,8]", ...kept, join(".monet", "net.Net.graph.json")]);
    await w.monet("profile", "net.py:Net", "--input", "float32[1]");
    expect(w.helperArguments()).not.toContain("--kwargs");
    expect((await w.monet("optimize", "net.py:Net", "--budget", "max")).exit).toBe(0);
    expect(w.helperArguments()).toContain("float32[2,3,8,8]");
  });

  it("names the line of a mistake in monet.json", async () => {
    w.write("monet.json", '{\n  "models": {\n    "net.py:Net": { "inputs": 3 }\n  }\n}');
    await refuses(["profile", "net.py:Net"], 2, /^error: monet\.json:3: models\.net\.py:Net\.inputs: must be array\. \[M509\]$/m, "M509");
    w.write("monet.json", '{\n  "models": {\n');
    await refuses(["profile", "net.py:Net"], 2, /^error: monet\.json:2: this is no JSON/, "M508");
  });
});

describe("monet devices", () => {
  it("lists the cards with where their numbers are from", async () => {
    const { exit, out } = await w.monet("devices");
    expect(exit).toBe(0);
    expect(out).toMatch(/^card +GiB +GB\/s +TFLOP\/s fp32 +16 bits +from$/m);
    expect(out).toMatch(/^A100-80GB +80 +2039 +19\.5 +312 +NVIDIA A100 data sheet/m);
    expect(out.trim().split("\n").length).toBeGreaterThan(12);
    expect(document((await w.monet("devices", "--json")).out)["devices"]).toHaveLength(out.trim().split("\n").length - 1);
  });
});

describe("monet plan", () => {
  beforeEach(() => {
    w.write("net.graph.json", JSON.stringify(w.graph));
  });

  it("writes the plan beside the graph", async () => {
    const { exit, out } = await w.monet("plan", "net.graph.json", "--budget", "max");
    expect(exit).toBe(0);
    expect(out).toMatch(/^Plan for .*, budget none\nPredicted peak .* B \(eager .* B\), step .*\(\+0\.0%\)\nPlan: net\.plan\.json\nIts graph: net\.graph\.json\n$/);
    expect(document(w.read("net.plan.json"))["format"]).toBe("monet-plan");
  });

  it("writes eager's own plan without asking the solver", async () => {
    w.solution = () => {
      throw new Error("the solver was asked");
    };
    expect((await w.monet("plan", "net.graph.json", "--budget", "eager")).exit).toBe(0);
    expect(document(w.read("net.plan.json"))).toEqual(eagerPlan(w.graph));
  });

  it("a share is of eager's peak above the fixed part", async () => {
    const asked: number[] = [];
    const { solution } = w;
    w.solution = (graph, budget) => {
      asked.push(budget);
      return solution(graph, budget);
    };
    await w.monet("plan", "net.graph.json", "--budget", "50%");
    const fixed = Object.values(w.graph.fixed).reduce((sum, bytes) => sum + bytes, 0);
    const { eager_peak } = eagerPlan(w.graph).predicted;
    expect(asked).toEqual([fixed + Math.floor((eager_peak - fixed) / 2)]);
  });

  it("plans may be of recomputes alone, or without offload", async () => {
    const transfer = { to_host: { bytes_per_second: 1, latency: 0 }, from_host: { bytes_per_second: 1, latency: 0 }, overlaps: true };
    const operators = w.graph.operators.map((operator) => ({ ...operator, implementations: [...operator.implementations, { ...operator.implementations[0], name: "another" }] }));
    w.write("linked.graph.json", JSON.stringify({ ...w.graph, operators, transfer }));
    const seen: Graph[] = [];
    const { solution } = w;
    w.solution = (graph, budget) => {
      seen.push(graph);
      return solution(graph, budget);
    };
    for (const words of [[], ["--no-offload"], ["--recompute-only"]]) expect((await w.monet("plan", "linked.graph.json", "--budget", "max", ...words)).exit).toBe(0);
    const most = (graph: Graph): number => Math.max(...graph.operators.map((operator) => operator.implementations.length));
    expect(seen.map((graph) => [graph.transfer !== undefined, most(graph)])).toEqual([[true, 2], [false, 2], [false, 1]]);
  });

  it("no budget is below the optimizer's step", async () => {
    const peak = 1_000_000 + Object.values(w.graph.fixed).reduce((sum, bytes) => sum + bytes, 0);
    w.write("large.graph.json", JSON.stringify({ ...growing(w.graph, 8), optimizer_step: 1_000_000 }));
    await refuses(["plan", "large.graph.json", "--budget", String(peak - 1)], 3, /^error: The budget of .* is below the .* that the optimizer's step takes when activations are gone/, "M611");
    await refuses(["plan", "large.graph.json", "--max-batch", "--budget", String(peak - 1)], 3, /^error: No batch fits/, "M617");
    expect((await w.monet("plan", "large.graph.json", "--budget", String(peak))).exit).toBe(0);
  });

  it("plans for another batch size, in files of its own", async () => {
    w.write("net.graph.json", JSON.stringify(growing(w.graph, 8)));
    const { exit, json } = await answer("plan", "net.graph.json", "--batch", "12", "--budget", "max");
    expect(exit).toBe(0);
    expect(json).toMatchObject({ plan: "net.batch12.plan.json", graph: "net.batch12.graph.json" });
    const [graph, plan] = [parseGraph(w.read("net.batch12.graph.json")), document(w.read("net.batch12.plan.json"))];
    expect(graph.values.filter(({ kind }) => kind === "activation").map(({ bytes }) => bytes)).toEqual(
      w.graph.values.filter(({ kind }) => kind === "activation").map(({ bytes }) => 1.5 * bytes));
    expect(checkPlan(plan, graph).graph).toMatchObject({ hash: `${w.graph.hash}@12`, structure: w.graph.structure });
    expect(w.files()).toContain("net.graph.json");
  });

  it("finds the largest batch within a budget", async () => {
    const graph = growing(w.graph, 8);
    w.write("net.graph.json", JSON.stringify(graph));
    const fits = (batch: number): boolean => eagerPlan(atBatch(graph, batch)).predicted.peak <= 10_000;
    const { exit, json } = await answer("plan", "net.graph.json", "--max-batch", "--budget", "10000", "--overhead", "0%");
    expect(exit).toBe(0);
    const batch = json["batch"] as number;
    expect([fits(batch), fits(batch + 1)]).toEqual([true, false]);
    expect(checkPlan(document(w.read(`net.batch${batch}.plan.json`)), parseGraph(w.read(`net.batch${batch}.graph.json`))).budget).toBe(10_000);
  });

  it("says what is wrong with a batch that is asked for", async () => {
    const graph = growing(w.graph, 8);
    w.write("other.graph.json", JSON.stringify(graph));
    w.write("odd.graph.json", JSON.stringify({ ...graph, batch: { size: 8, why_not: "aten.mm.default at net.py:9 has more than one extent that grows with the batch" } }));
    await refuses(["plan", "other.graph.json", "--max-batch", "--budget", "1"], 3, /^error: No batch fits into 1 B \(a number without a unit is bytes, 1% a share of what activations take\): with a single sample, \d+ B are fixed/, "M617");
    await refuses(["plan", "other.graph.json", "--max-batch", "--budget", "60%"], 2, /^error: --max-batch goes with a --budget in bytes/, "M615");
    await refuses(["plan", "other.graph.json", "--max-batch", "--budget", "9000", "--overhead", "much"], 2, /^error: --overhead much is no share/, "M618");
    await refuses(["plan", "other.graph.json", "--batch", "0", "--budget", "max"], 2, /^error: --batch 0 is no batch size/, "M616");
    await refuses(["plan", "odd.graph.json", "--batch", "9", "--budget", "max"], 2, /^error: This graph can't be told for another batch size: aten\.mm\.default at net\.py:9 has more/, "M619");
    await refuses(["plan", "net.graph.json", "--batch", "9", "--budget", "max"], 2, /^error: This graph can't be told for another batch size: it was profiled by an older release/, "M619");
  });

  it("shows the frontier", async () => {
    const { exit, out } = await w.monet("plan", "net.graph.json", "--frontier");
    expect(exit).toBe(0);
    expect(out).toMatch(/100\.0%\s+.*\+0\.0%/);
    expect(w.files()).not.toContain("net.plan.json");
  });

  it("names the smallest budget when nothing fits", async () => {
    w.solution = () => ({ kind: "infeasible", smallest: 3 * 2 ** 20, proven: true, dominatedBy });
    const sentence = /No schedule fits into 2\.00 MiB: the smallest budget that has one is 3\.00 MiB, --budget 3145728\. It takes that much in the backward of .*, beside 1\.00 KiB of .*, 2\.00 KiB of gradients and 3\.00 KiB of activations: 4\.00 KiB for itself\./;
    await refuses(["plan", "net.graph.json", "--budget", "2MiB"], 3, sentence, "M612");
    await refuses(["plan", "net.graph.json", "--budget", "60"], 3, /^error: The budget of 60 B \(a number without a unit is bytes, 60% a share of what activations take\) is below the .* that parameters, optimizer and inputs take/, "M610");
  });

  it("refuses budgets and files that are none", async () => {
    await refuses(["plan", "net.graph.json", "--budget", "lots"], 2, /'lots' is no budget/, "M609");
    await refuses(["plan", "net.graph.json"], 2, /Which budget\?/, "M613");
    await refuses(["plan", "nothing.json", "--budget", "max"], 2, /There is no training graph 'nothing.json'/, "M601");
    w.write("cut.json", JSON.stringify(w.graph).slice(0, 500));
    await refuses(["plan", "cut.json", "--budget", "max"], 2, /'cut.json': the graph is not complete JSON/, "M501");
    w.write("old.json", JSON.stringify({ ...w.graph, version: 0 }));
    await refuses(["plan", "old.json", "--budget", "max"], 2, /'old.json': this training graph has version 0/, "M503");
    w.write("plan.json", JSON.stringify(eagerPlan(w.graph)));
    await refuses(["plan", "plan.json", "--budget", "max"], 2, /'plan.json': this is not a training graph: format is 'monet-plan'/, "M502");
    w.write("short.json", JSON.stringify({ ...w.graph, fixed: undefined }));
    await refuses(["plan", "short.json", "--budget", "max"], 2, /'short.json': must have required property 'fixed'/, "M504");
    w.write("wrong.json", JSON.stringify({ ...w.graph, outputs: [10 ** 6] }));
    await refuses(["plan", "wrong.json", "--budget", "max"], 2, /'wrong.json': outputs\[0\]: value 1000000 does not exist/, "M505");
    await refuses(["plan", ".", "--budget", "max"], 2, /The training graph '\.' can't be read: it is a folder/, "M602");
    await refuses(["plan", "net.graph.json", "--budget", "max", "--out", "net.py/plan.json"], 2, /'net.py\/plan.json' can't be written/, "M603");
    await refuses(["plan", "net.graph.json", "--budget", "max", "--overhead", "10%"], 2, /^error: --overhead says how slow/, "M614");
  });

  it("a fault of ours is told as one, for programs too", async () => {
    w.solution = () => {
      throw new TypeError("x is not iterable");
    };
    const { exit, err, out } = await w.monet("plan", "net.graph.json", "--budget", "max", "--json");
    expect(exit).toBe(5);
    expect(err).toMatch(/^error: TypeError: x is not iterable\n[^]* \[M709\]\n$/);
    expect(document(out)["error"]).toMatchObject({ kind: "unexpected", code: "M709" });
  });
});

describe("monet show", () => {
  beforeEach(() => {
    w.write("net.graph.json", JSON.stringify(w.graph));
    w.write("net.plan.json", JSON.stringify(eagerPlan(w.graph)));
  });

  it("prints the schedule, operator by operator", async () => {
    const { exit, out } = await w.monet("show", "net.plan.json");
    expect(exit).toBe(0);
    expect(out).toContain("Nothing is recomputed\n");
    expect(out).toMatch(/^ *# +operator +layer .* made again for +kept until +costs$/m);
  });

  it("names modules that can't be traced, with the reason", async () => {
    const [first, ...others] = w.graph.operators;
    w.write("net.graph.json", JSON.stringify({ ...w.graph, operators: [{ ...first!, pinned: true, opaque: "net.py:7: it looks at values" }, ...others] }));
    expect((await w.monet("show", "net.plan.json")).out).toContain(`Opaque, so run and kept as in eager: 1 module\n  ${first!.module}: net.py:7: it looks at values\n`);
  });

  it("says why, where it is asked: what the step would be otherwise", async () => {
    const operators = w.graph.operators.map((operator) => ({ ...operator, source: { file: "/models/net.py", line: 10 + operator.id, column: 8 } }));
    w.write("net.graph.json", JSON.stringify({ ...w.graph, operators }));
    const { out } = await w.monet("show", "net.plan.json", "--why");
    expect(out).toMatch(/^Plan for .*\nPredicted peak .*\n\nWhy, for the \d+ largest tensors:\n\n {2}\S/);
    expect(out.split("\n").filter((line) => line.length > 100)).toEqual([]);
    const text = out.replaceAll(/\s+/g, " ");
    expect(text).toMatch(/ is kept for the backward of [^:]* \(net\.py:\d+\): recomputing it would take /);
    // As in the table.
    const table = (await w.monet("show", "net.plan.json")).out;
    for (const [, operator = "", id = "", line = ""] of text.matchAll(/(\S+) (\d+) of m\d+ \(net\.py:(\d+)\)/g)) expect(table).toMatch(new RegExp(`^ *${id}  ${operator} .* net\\.py:${line} `, "m"));
    const { why } = document((await w.monet("show", "net.plan.json", "--why", "--json")).out) as { why: { peak: number; otherwise: { peak: number } | null; bytes: number }[] };
    expect(why.map(({ bytes }) => bytes)).toEqual(why.map(({ bytes }) => bytes).sort((a, b) => b - a));
    expect(why.some(({ peak, otherwise }) => otherwise !== null && otherwise.peak !== peak)).toBe(true);
  });

  it("gives the same to programs", async () => {
    const { out } = await w.monet("show", "net.plan.json", "--json");
    const { schedule } = document(out) as { schedule: { operators: unknown[] } };
    expect(schedule.operators).toHaveLength(8);
  });

  it("without a graph it says what it can", async () => {
    const plan = eagerPlan(w.graph);
    w.write("other.json", JSON.stringify({ ...plan, graph: { ...plan.graph, hash: "f".repeat(64) } }));
    expect((await w.monet("show", "other.json")).out).toContain("Name the training graph with --graph");
  });

  it("finds the graph that a plan of another name was made from, in its folder", async () => {
    w.write("broken.graph.json", "{");
    w.write("other.json", JSON.stringify(eagerPlan(w.graph)));
    const { schedule } = document((await w.monet("show", "other.json", "--json")).out) as { schedule: { operators: unknown[] } };
    expect(schedule.operators).toHaveLength(8);
  });

  it("refuses a plan of another graph", async () => {
    w.write("net.plan.json", JSON.stringify({ ...eagerPlan(w.graph), graph: { hash: "f".repeat(64), structure: "0", model: "x", operators: 8 } }));
    await refuses(["show", "net.plan.json"], 2, /'net.plan.json': graph.hash: this plan was made for another profile/, "M506");
  });

  it("refuses a plan that contradicts its graph", async () => {
    w.write("net.plan.json", JSON.stringify({ ...eagerPlan(w.graph), implementations: { 0: "none" } }));
    await refuses(["show", "net.plan.json"], 2, /'net.plan.json': .*operator 0 has no implementation 'none'/, "M507");
  });
});

describe("monet optimize and verify", () => {
  it("goes the whole way", async () => {
    const { exit, out } = await w.monet("optimize", "net.py:net", "--input", "float32[1,3,8,8]", "--budget", "max", "--verify");
    expect(exit).toBe(0);
    expect(out).toContain("gradients equal: True");
    expect(out).toContain("Plan: .monet/net.plan.json");
    expect(w.files()).toEqual(["net.graph.json", "net.plan.json", "net.py"]);
    const asJson = await w.monet("optimize", "net.py:net", "--input", "float32[1,3,8,8]", "--budget", "max", "--verify", "--json");
    expect(document(asJson.out)).toMatchObject({ plan: ".monet/net.plan.json", verify: { ok: true } });
  });

  it("a part has files of its own, and its plan goes to every submodule that is alike", async () => {
    const { out } = await w.monet("optimize", "net.py:net", "--input", "float32[1,3,8,8]", "--budget", "max", "--part", "blocks.*.0");
    expect(w.helperArguments()).toEqual(expect.arrayContaining(["--part", "blocks.*.0"]));
    expect(out).toContain('import monet_torch\nfor part in model.blocks:\n    monet_torch.apply(part[0], ".monet/net.net.blocks._.0.plan.json")\n');
    expect(applyLines("encoder.layers.*.blocks.*", "p")).toBe('for part in model.encoder.layers:\n    for part1 in part.blocks:\n        monet_torch.apply(part1, "p")');
    expect(applyLines("head", "p")).toBe('monet_torch.apply(model.head, "p")');
    expect(callLines(null, (at) => `apply(${at})`)).toBe("apply(model)");
  });

  it("a difference is exit code 1, and is printed", async () => {
    await w.monet("optimize", "net.py:net", "--budget", "max");
    w.verdict("differs");
    const { exit, out } = await w.monet("verify", "net.py:net", ".monet/net.plan.json");
    expect([exit, out]).toEqual([1, "gradients equal: False\n"]);
    const asJson = await w.monet("verify", "net.py:net", ".monet/net.plan.json", "--json");
    expect([asJson.exit, document(asJson.out)]).toEqual([1, { ok: false }]);
  });

  it("refuses a plan without its graph, before any Python runs", async () => {
    w.write("lone.plan.json", JSON.stringify(eagerPlan(w.graph)));
    await refuses(["verify", "net.py:net", "lone.plan.json", "--python", "no-such-python"], 2, /There is no training graph .*looked for 'lone.graph.json' and '.monet\/net.graph.json'.*name it with --graph/, "M620");
  });

  it("puts the graph beside a plan of another name, and leaves the model's usual one alone", async () => {
    await w.monet("optimize", "net.py:net", "--budget", "max", "--out", "other/x.plan.json");
    expect(w.helperArguments()).toContain("other/x.graph.json");
    const { exit, out } = await w.monet("verify", "net.py:net", "other/x.plan.json");
    expect([exit, out]).toEqual([0, "gradients equal: True\n"]);
    expect(w.helperArguments()).toContain(join(w.folder, "other", "x.graph.json"));
  });

  it("finds the model's graph for a plan of another name without one beside it", async () => {
    await w.monet("optimize", "net.py:net", "--budget", "max");
    await w.monet("plan", ".monet/net.graph.json", "--budget", "max", "--out", "other/x.plan.json");
    const { exit } = await w.monet("verify", "net.py:net", "other/x.plan.json");
    expect(exit).toBe(0);
    expect(w.helperArguments()).toContain(join(w.folder, ".monet", "net.graph.json"));
  });

  describe("lays the measured timeline over the predicted one", () => {
    /** The runtime as the simulator has it: gradients that are handed on belong to the backward before. */
    const asPredicted = (): Measured[] => {
      const events: Measured[] = [];
      for (const { kind, clock, operator, before, moment, after } of simulate(w.graph, eagerPlan(w.graph)).events) {
        const last = events.at(-1);
        if (kind !== "rest" && kind !== "sum" && kind !== "accumulate") events.push({ kind, clock, operator, before, moment, after });
        else if (last !== undefined) Object.assign(last, { moment: Math.max(last.moment, moment), after });
      }
      return events;
    };
    const verify = async (events: Measured[], file: string): Promise<{ exit: number; out: string }> => {
      await w.monet("optimize", "net.py:net", "--budget", "max");
      w.trace(events);
      return await w.monet("verify", "net.py:net", ".monet/net.plan.json", "--timeline", file);
    };

    it("and says that they are equal", async () => {
      const { exit, out } = await verify(asPredicted(), "step.json");
      expect([exit, out]).toEqual([0, `gradients equal: True\n  timeline: Measured and predicted live bytes are equal in all ${asPredicted().length} events of the step.\n  (step.json)\n`]);
      const { peak, parting, events } = document(w.read("step.json")) as { peak: object; parting: unknown; events: { name: string }[] };
      const bytes = simulate(w.graph, eagerPlan(w.graph)).peak;
      expect([peak, parting, events.length]).toEqual([{ predicted: bytes, measured: bytes }, null, asPredicted().length]);
      expect(w.files()).toEqual(["net.graph.json", "net.plan.json", "net.py", "step.json"]);
    });

    it("and names the first event where bytes part, on a page that needs nothing else", async () => {
      const events = asPredicted();
      const [earlier, later] = [events[3]!, events[9]!];
      events[9] = { ...later, moment: later.moment - 1000 };
      events[3] = { ...earlier, after: earlier.after - 24 };
      const below = await verify(events, "step.html");
      expect(below.out).toMatch(/They first part at event 4, forward of .*: once it is over, .* were live and .* predicted \(−24 B\)\. 2 of \d+ events differ; none takes more than predicted, by at most 1000 B: at event 10, .* \(−1,000 B\)\./);
      const page = w.read("step.html");
      expect(page).toMatch(/<polyline class="measured" points="[\d., ]+"\/>/);
      expect(page).toContain("first part here");
      expect(page).toMatch(/<td>10<\/td><td>[^<]*<\/td><td>equal<\/td><td>−1,000 B<\/td><td>equal<\/td>/);
      expect(page).not.toMatch(/https?:|<script|<link|src=/);
      events[9] = { ...later, moment: later.moment + 1 };
      expect((await verify(events, "step.html")).out).toMatch(/2 of \d+ events differ, by at most 24 B: at event 4, forward of .* \(−24 B\)\.\n/);
    });

    it("and names what ran instead of what was predicted", async () => {
      const events = asPredicted();
      const [first, second, ...rest] = events as [Measured, Measured, ...Measured[]];
      expect((await verify([first, { ...second, kind: "recompute" }, ...rest], "step.json")).out).toMatch(/They part at event 2: predicted was forward of .*, and what ran is recompute of .*\./);
      const needed = events.slice(0, w.graph.operators.length);
      expect((await verify(needed, "step.json")).out).toMatch(/predicted was backward of .*, and what ran is the end of the step\./);
    });

    it("and refuses a file of another kind before any Python runs", async () => {
      await w.monet("optimize", "net.py:net", "--budget", "max");
      await refuses(["verify", "net.py:net", ".monet/net.plan.json", "--timeline", "step.txt", "--python", "no-such-python"], 2, /--timeline step.txt: name a file that ends in .html \(a page\) or .json\./, "M621");
    });
  });

  it("leaves no plan when nothing fits", async () => {
    w.solution = () => ({ kind: "infeasible", smallest: 2 ** 40, proven: false, dominatedBy });
    const { exit } = await w.monet("optimize", "net.py:net", "--budget", "99%");
    expect(exit).toBe(3);
    expect(w.files()).toEqual(["net.graph.json", "net.py"]);
  });
});

describe("monet export", () => {
  it("hands plan and graph on, and writes beside the model what can be imported", async () => {
    await w.monet("optimize", "net.py:net", "--budget", "max");
    const { exit, out } = await w.monet("export", "net.py:net", ".monet/net.plan.json", "--threads", "1");
    expect([exit, out]).toEqual([0, "gradients equal: True\n\nUse it: from net_checkpoint import apply; apply(model)\n"]);
    const file = (name: string): string => join(w.folder, ".monet", name);
    expect(w.helperArguments()).toEqual([
      "export", "net.py:net", file("net.plan.json"), "--graph", file("net.graph.json"), "--out", "net_checkpoint.py", "--threads", "1", "--progress", "-", "--tied",
    ]);
    const asJson = await w.monet("export", "net.py:net", ".monet/net.plan.json", "--out", "other/mine.py", "--json");
    expect(document(asJson.out)).toEqual({ ok: true });
    expect(w.helperArguments()).toEqual(expect.arrayContaining(["--out", "other/mine.py"]));
  });

  it("refuses a plan without its graph, before any Python runs", async () => {
    w.write("lone.plan.json", JSON.stringify(eagerPlan(w.graph)));
    await refuses(["export", "net.py:net", "lone.plan.json", "--python", "no-such-python"], 2, /name it with --graph/, "M620");
  });
});

describe("arguments", () => {
  it("that are wrong are bad input", async () => {
    const results = [await w.monet("plan"), await w.monet("fly"), await w.monet("optimize", "net.py"), await w.monet("profile", "net.py", "--autocast", "int4")];
    expect(results.map(({ exit }) => exit)).toEqual([2, 2, 2, 2]);
    for (const { err, out } of results) {
      expect(err).toMatch(/^error: .* \[M622\]\n/);
      expect(out).toBe("");
    }
  });

  it("help is no error", async () => {
    const { exit, out } = await w.monet("--help");
    expect(exit).toBe(0);
    expect(out).toContain("optimize");
  });

  it.each([
    ["net.py:Net", "net.py", "Net"],
    ["C:\\models\\net.py:Net", "C:\\models\\net.py", "Net"],
    ["a b/net.py:Outer.Inner", "a b/net.py", "Outer.Inner"],
    ["net.py", "net.py", null],
  ])("%s is a file and a model", (text, file, model) => {
    expect(splitTarget(text)).toEqual({ file, model });
  });

  it("ranges of operators are short", () => {
    expect(ranges([1, 2, 3, 5, 7, 8])).toBe("1–3, 5, 7, 8");
    expect(ranges([9, 8, 7, 12, 11, 1])).toBe("9–7, 12, 11, 1");
    expect(ranges([])).toBe("");
  });
});
