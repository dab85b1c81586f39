import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { definitionOf, helperArguments, isMonetTask, pathOf } from "../../src/actions/definition";

const files = { graph: "/w/.monet/net.Net.graph.json", plan: "/tmp/plan.json", part: null };

describe("a task's definition", () => {
  it("is ours where it names a file and a model, and an action that there is", () => {
    const good = { type: "monet", file: "net.py", model: "Net" };
    expect(isMonetTask(good)).toBe(true);
    expect(isMonetTask({ ...good, action: "verify" })).toBe(true);
    for (const bad of [{ ...good, type: "npm" }, { ...good, file: "" }, { ...good, file: 3 }, { type: "monet", file: "net.py" }, { ...good, action: "apply" }]) {
      expect(isMonetTask(bad as { type: string })).toBe(false);
    }
  });

  it("names a file of the folder relative to it, and any other by its whole path", () => {
    expect(definitionOf("/w", join("/w", "models", "net.py"), "Net", "profile").file).toBe("models/net.py");
    expect(definitionOf("/w", "/elsewhere/net.py", "Net", "profile").file).toBe("/elsewhere/net.py");
    expect(definitionOf("/w", "/w/..net/net.py", "Net", "profile").file).toBe("..net/net.py");
    expect(definitionOf(null, "/w/net.py", "Net", "profile").file).toBe("/w/net.py");
    expect(pathOf(definitionOf("/w", "/w/models/net.py", "Net", "profile"), "/w")).toBe(join("/w", "models", "net.py"));
    expect(pathOf(definitionOf("/w", "/elsewhere/net.py", "Net", "profile"), "/w")).toBe("/elsewhere/net.py");
  });
});

describe("the helper is told", () => {
  it("to profile with all that monet.json says of the model", () => {
    const definition = definitionOf("/w", "/w/net.py", "Net", "profile");
    const config = {
      inputs: ["float32[8,3,224,224]", "mask=bool[8,64]"], kwargs: { width: 64 }, loss: "loss_fn", targets: ["int64[8]<10"],
      optimizer: "adamw", autocast: "bf16", device: "A100", gradients: "fresh", threads: 2,
    } as const;
    expect(helperArguments(definition, "/w", config, files)).toEqual([
      "profile", "/w/net.py:Net", "--input", "float32[8,3,224,224]", "--input", "mask=bool[8,64]", "--target", "int64[8]<10",
      "--kwargs", '{"width":64}', "--loss", "loss_fn", "--optimizer", "adamw", "--autocast", "bf16", "--device", "A100", "--gradients", "fresh", "--threads", "2",
      "--out", files.graph,
    ]);
  });

  it("no more than it says", () => {
    expect(helperArguments({ type: "monet", file: "net.py", model: "Net" }, "/w", { inputs: ["float32[1]"] }, files)).toEqual(["profile", "/w/net.py:Net", "--input", "float32[1]", "--out", files.graph]);
  });

  it("to verify a plan against its graph, which knows the inputs", () => {
    const definition = definitionOf("/w", "/w/net.py", "Net", "verify");
    expect(helperArguments(definition, "/w", { inputs: ["float32[1]"], threads: 1 }, files)).toEqual(["verify", "/w/net.py:Net", files.plan, "--graph", files.graph, "--threads", "1", "--json"]);
  });

  it("to export a plan beside the model, named by the part that its graph is of, whatever monet.json says by now", () => {
    const definition = definitionOf("/w", "/w/net.py", "Net", "export");
    const words = (part: string | null): string[] => helperArguments(definition, "/w", { inputs: ["float32[1]"], threads: 1, part: "head" }, { ...files, part });
    expect(words(null)).toEqual(["export", "/w/net.py:Net", files.plan, "--graph", files.graph, "--out", join("/w", "net_Net_checkpoint.py"), "--threads", "1", "--json"]);
    expect(words("layers.*")).toContain(join("/w", "net_Net__layers__each_checkpoint.py"));
  });
});
