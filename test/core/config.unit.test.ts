import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { batchOf, ConfigError, configOf, madeBy, readConfig, specProblem, withBatch, withModel, type ModelConfig } from "../../src/core/config";
import type { Graph } from "../../src/core/graph";

function mistake(text: string): string {
  try {
    readConfig(text);
  } catch (error) {
    if (error instanceof ConfigError) return `${error.line}: ${error.message}`;
    throw error;
  }
  return "none";
}

const file = (entry: string): string => `{\n  "models": {\n    "net.py:Net": {\n      "inputs": ["float32[8,3]"],\n      ${entry}\n    }\n  }\n}\n`;

describe("a mistake in monet.json is told with its line:", () => {
  it("no JSON", () => {
    expect(mistake('{\n  "models": {\n')).toMatch(/^2: this is no JSON/);
    expect(mistake('{\n  "models": {,}\n}')).toMatch(/^2: this is no JSON/);
    expect(mistake("")).toMatch(/^1: this is no JSON/);
  });

  it("a key that there isn't, or one that is missing", () => {
    expect(mistake(file('"optimiser": "adam"'))).toBe("5: models.net.py:Net: must NOT have additional properties (optimiser)");
    expect(mistake('{\n "modles": {} }')).toMatch(/must have required property 'models'|additional properties \(modles\)/);
    expect(mistake('{\n  "models": {\n    "net.py:Net": { }\n  }\n}')).toBe("3: models.net.py:Net: must have required property 'inputs'");
    expect(mistake('{\n  "models": {\n    "Net": { "inputs": ["float32[1]"] }\n  }\n}')).toMatch(/^3: models: .*\(Net\)/);
  });

  it("a value that can't be", () => {
    expect(mistake(file('"optimizer": "adamax"'))).toBe("5: models.net.py:Net.optimizer: must be equal to one of the allowed values (none, sgd, momentum, adam, adamw, adafactor, adam8bit)");
    expect(mistake(file('"threads": 0'))).toMatch(/^5: models.net.py:Net.threads: must be >= 1/);
    expect(mistake(file('"loss": "ce",\n      "targets": ["int64[8]<10",\n        "int64(8)"]'))).toMatch(/^7: models.net.py:Net.targets\[1\]: write dtype\[sizes\]/);
    expect(mistake(file('"targets": ["int64[8]<10"]'))).toMatch(/^5: models.net.py:Net.targets: targets are what a loss takes/);
  });

  it("none where all is well", () => {
    expect(mistake(file('"kwargs": { "a": [1, { "b": null }] }, "autocast": "bf16"'))).toBe("none");
    expect(mistake('{ "$schema": "x", "models": {} }')).toBe("none");
  });
});

describe("writing an entry", () => {
  const entry: ModelConfig = { inputs: ["float32[2,3]"], optimizer: "adam" };

  it("keeps the others, in their order, and starts a file that isn't there", () => {
    const text = '{"$schema":"s","models":{"b.py:B":{"inputs":["int64[1]<5"]},"a.py:A":{"inputs":["float32[1]"],"threads":1}}}';
    const after = withModel(text, "a.py:A", entry);
    expect(JSON.parse(after)).toEqual({ $schema: "s", models: { "b.py:B": { inputs: ["int64[1]<5"] }, "a.py:A": entry } });
    expect(Object.keys(readConfig(after).models)).toEqual(["b.py:B", "a.py:A"]);
    expect(withModel(null, "a.py:A", { inputs: ["float32[1]"] })).toBe('{\n  "models": {\n    "a.py:A": {\n      "inputs": [\n        "float32[1]"\n      ]\n    }\n  }\n}\n');
  });

  it("refuses a file with a mistake rather than lose what is in it", () => {
    expect(() => withModel('{"models": {"a.py:A": {"input": []}}}', "b.py:B", entry)).toThrow(ConfigError);
  });
});

describe("an input as it is typed", () => {
  it("is right where a tensor can be made of it", () => {
    for (const good of ["float32[8,3,224,224]", "int64[2,256]<50257", " mask=bool[8,64] ", "batch.ids=int32[4]", "float32[]", "bfloat16[1, 2]"]) expect(specProblem(good)).toBeNull();
  });

  it("says what is wrong with it", () => {
    expect(["", "float32", "float32[2", "float32[-1]", "float32[a]", "int64[2]<x"].map(specProblem)).toEqual(Array(6).fill("syntax"));
    expect(["float[2]", "int[2]", "torch32[1]"].map(specProblem)).toEqual(Array(3).fill("dtype"));
    expect(["float32[0]", "int64[2,0]"].map(specProblem)).toEqual(["zero", "zero"]);
    expect(["float32[2]<5", "int64[2]<0", "bool[2]<2"].map(specProblem)).toEqual(Array(3).fill("range"));
  });
});

describe("another batch size", () => {
  const config: ModelConfig = { inputs: ["int64[8,64]<100", "mask=bool[8, 64]", "float32[3]", "float32[]"], targets: ["int64[8]<10", "float32[16]"], loss: "ce" };

  it("changes the first extent of inputs and targets that share the old one, and nothing else", () => {
    expect(withBatch(config, 16)).toEqual({ ...config, inputs: ["int64[16,64]<100", "mask=bool[16, 64]", "float32[3]", "float32[]"], targets: ["int64[16]<10", "float32[16]"] });
    expect(withBatch({ inputs: ["float32[]", "float32[ 4,2]"] }, 5)).toEqual({ inputs: ["float32[]", "float32[5,2]"] });
    expect(batchOf(["float32[]", "x=float32[4,2]"])).toBe(4);
    expect(batchOf(["float32[]"])).toBeNull();
  });

  it("is the batch size afterwards", () => {
    fc.assert(fc.property(fc.integer({ min: 1, max: 1e6 }), (batch) => { expect(batchOf(withBatch(config, batch).inputs)).toBe(batch); }));
  });
});

describe("a graph", () => {
  const graph = (madeFrom: object, gradients = "accumulate"): Graph =>
    ({ made_from: { model: "net.py:Net", inputs: ["float32[8,3]"], loss: null, autocast: null, options: { targets: [], kwargs: null, optimizer: "none", gradients, device: "auto" }, ...madeFrom }, gradients, device: { threads: 2 } }) as unknown as Graph;

  it("knows the entry that would make it again", () => {
    expect(configOf(graph({}))).toEqual({ inputs: ["float32[8,3]"] });
    const options = { targets: ["int64[8]<5"], kwargs: '{"b": 1, "a": [2]}', optimizer: "adamw", gradients: "fresh", device: "A100", part: "layers.*" };
    expect(configOf(graph({ loss: "ce", autocast: "bf16", options }, "fresh"))).toEqual({
      inputs: ["float32[8,3]"], loss: "ce", autocast: "bf16", targets: ["int64[8]<5"], kwargs: { b: 1, a: [2] }, optimizer: "adamw", gradients: "fresh", device: "A100", part: "layers.*",
    });
  });

  it("was made by an entry that says the same, defaults and blanks aside", () => {
    expect(madeBy(graph({}), { inputs: ["float32[8, 3]"], optimizer: "none", device: "auto", gradients: "accumulate", kwargs: {}, targets: [] })).toBe(true);
    expect(madeBy(graph({ options: { kwargs: '{"b": 1, "a": 2}' } }), { inputs: ["float32[8,3]"], kwargs: { a: 2, b: 1 } })).toBe(true);
    expect(madeBy(graph({}), { inputs: ["float32[8,3]"], threads: 2 })).toBe(true);
    for (const other of [{ inputs: ["float32[9,3]"] }, { optimizer: "adam" }, { autocast: "fp16" }, { device: "cpu" }, { kwargs: { a: 1 } }, { gradients: "fresh" }, { loss: "ce" }, { threads: 1 }, { part: "layers.*" }] as const) {
      expect(madeBy(graph({}), { inputs: ["float32[8,3]"], ...other })).toBe(false);
    }
  });
});
