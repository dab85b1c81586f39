import { execFile } from "node:child_process";
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it } from "vitest";
import { parseGraph, type Graph } from "../../src/core/graph";
import { parsePlan } from "../../src/core/plan";
import { findInterpreter } from "../../src/helper/interpreter";

const project = fileURLToPath(new URL("../..", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "monet real "));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

interface Run {
  readonly exit: number | string | null;
  readonly out: string;
  readonly err: string;
}

/** `dist/cli.mjs` as `npm run build` left it, with its own solver worker and the Python that has torch; without them this fails. */
function monet(...argv: string[]): Promise<Run> {
  const { path } = findInterpreter({ folders: [project], env: process.env });
  const env = { ...process.env, MONET_PYTHON: path, PYTHONDONTWRITEBYTECODE: "1" }; // what Python itself leaves is not meant
  return new Promise((resolve) => {
    execFile(process.execPath, [join(project, "dist", "cli.mjs"), ...argv], { cwd: folder, env }, (error, out, err) => {
      // Without a terminal, what takes long says every ten seconds where it is.
      resolve({ exit: error === null ? 0 : (error.code ?? null), out, err: err.replace(/^.* \(\d+ s\)\n/gm, "") });
    });
  });
}

interface Answer {
  readonly graph: string;
  readonly plan: string;
  readonly budget: number;
  readonly eager_peak: number;
  readonly verify: { readonly equal: boolean; readonly within_budget: boolean; readonly planned_peak: number; readonly planned_forwards: number; readonly eager_forwards: object };
}

const files = (): string[] => readdirSync(folder, { recursive: true, encoding: "utf8" }).sort();

/** Whatever was measured on this machine: a norm that shares its activation's tensor costs nothing, and all else a lot. */
const whereSharingPays = (graph: Graph): Graph => ({
  ...graph,
  operators: graph.operators.map((operator) => ({
    ...operator,
    implementations: operator.implementations.map((each, k, [eager = each]) => {
      const { forward, backward } = each.name === "activated" ? eager : each;
      const times = k === 0 || each.name === "activated" ? 1 : 100;
      return {
        ...each,
        forward: { ...each.forward, time: times * forward.time },
        recompute: { ...each.recompute, time: 100 * each.recompute.time },
        backward: each.backward === null ? null : { ...each.backward, time: times * (backward?.time ?? 0) },
      };
    }),
  })),
});

describe("the built command line, with torch", () => {
  it("profiles, plans and verifies a small decoder, and leaves only its two files", async () => {
    copyFileSync(join(project, "test", "fixtures", "attention.py"), join(folder, "attention.py"));
    const ids = ["--input", "int64[4,32]<97"];
    const { exit, out, err } = await monet(
      "optimize", "attention.py:Decoder", ...ids, ...ids, "--kwargs", '{"depth": 1}', "--budget", "70%",
      "--verify", "--pairs", "0", "--threads", "1", "--no-cache", "--json",
    );
    expect([exit, err, out === ""]).toEqual([0, "", false]);
    const answer = JSON.parse(out) as Answer;
    expect(answer.verify).toMatchObject({ equal: true, within_budget: true, eager_forwards: {} });
    expect(answer.verify.planned_forwards).toBeGreaterThan(0);
    expect(answer.verify.planned_peak).toBeLessThanOrEqual(answer.budget);
    expect(answer.budget).toBeLessThan(answer.eager_peak);
    expect(files()).toEqual([".monet", join(".monet", "attention.Decoder.graph.json"), join(".monet", "attention.Decoder.plan.json"), "attention.py"]);
    const graph = parseGraph(readFileSync(join(folder, answer.graph), "utf8"));
    expect(parsePlan(readFileSync(join(folder, answer.plan), "utf8"), graph).predicted.peak).toBeLessThanOrEqual(answer.budget);
  }, 120_000);

  it("lets a norm and its activation share one tensor where a budget needs that, and its peaks are those predicted, to the byte", async () => {
    copyFileSync(join(project, "test", "fixtures", "leaky.py"), join(folder, "leaky.py"));
    const profiled = await monet("profile", "leaky.py:LeakyNet", "--input", "float32[4,3,40,40]", "--threads", "1", "--no-cache");
    expect([profiled.exit, profiled.err]).toEqual([0, ""]);
    const graph = join(".monet", "leaky.LeakyNet.graph.json");
    writeFileSync(join(folder, graph), JSON.stringify(whereSharingPays(parseGraph(readFileSync(join(folder, graph), "utf8")))));
    const planned = await monet("plan", graph, "--budget", "70%", "--exactness", "approximate", "--json");
    expect([planned.exit, planned.err]).toEqual([0, ""]);
    const { plan, predicted } = JSON.parse(planned.out) as Answer & { predicted: { peak: number; structure_peak: number } };
    const { implementations } = JSON.parse(readFileSync(join(folder, plan), "utf8")) as { implementations: Record<string, string> };
    expect(Object.values(implementations)).toContain("activated");
    const verified = await monet("verify", "leaky.py:LeakyNet", plan, "--pairs", "0", "--threads", "1", "--json");
    const { eager_forwards, within_budget, planned_peak, planned_tracker_peak } = JSON.parse(verified.out) as Answer["verify"] & { planned_tracker_peak: number };
    // The four bytes are verify's own: the gradient that it starts from.
    expect({ eager_forwards, within_budget, off: [planned_peak - predicted.peak, planned_tracker_peak - predicted.structure_peak] })
      .toEqual({ eager_forwards: {}, within_budget: true, off: [4, 4] });
  }, 120_000);

  for (const [name, input, kwargs] of [["conv.py:ConvNet", "float32[4,3,24,24]", "{}"], ["attention.py:Decoder", "int64[4,32]<97", '{"depth": 1}']] as const) {
    it(`tells another batch size of ${name} to the byte, without profiling it`, async () => {
      const [file = "", model = ""] = name.split(":");
      copyFileSync(join(project, "test", "fixtures", file), join(folder, file));
      const inputs = file === "conv.py" ? ["--input", input] : ["--input", input, "--input", input];
      const graph = join(".monet", `${file.replace(".py", "")}.${model}.graph.json`);
      expect((await monet("profile", name, ...inputs, "--kwargs", kwargs, "--threads", "1", "--no-cache")).err).toBe("");
      const planned = await monet("plan", graph, "--batch", "7", "--budget", "70%", "--json");
      const { plan } = JSON.parse(planned.out) as Answer;
      expect(plan).toBe(graph.replace("graph.json", "batch7.plan.json"));
      const verified = await monet("verify", name, plan, "--pairs", "0", "--threads", "1", "--json");
      expect([verified.exit, verified.err]).toEqual([0, ""]);
      const { predicted } = JSON.parse(planned.out) as { predicted: { peak: number; eager_peak: number } };
      const { equal, planned_peak, eager_peak } = JSON.parse(verified.out) as { equal: boolean; planned_peak: number; eager_peak: number };
      // The four bytes are verify's own: the gradient that it starts from.
      expect({ equal, off: [planned_peak - predicted.peak, eager_peak - predicted.eager_peak] }).toEqual({ equal: true, off: [4, 4] });
    }, 120_000);
  }
});
