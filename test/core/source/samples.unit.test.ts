import fc from "fast-check";
import type { Parser } from "web-tree-sitter";
import { beforeAll, describe, expect, it } from "vitest";
import { match, readFile, readModels, rootsOf, type SourceFile, type TracedOperator } from "../../../src/core/source/index";
import { pythonParser } from "./parser";
import { examples, huggingFaceStyle } from "./samples";

let parser: Parser;
beforeAll(async () => {
  parser = await pythonParser();
});

const read = (path: string, text: string): SourceFile => readModels([readFile(parser, path, text)])[0]!;

function operators(...places: [module: string, type: string, line?: number, column?: number][]): TracedOperator[] {
  return places.map(([module, type, line, column], id) => ({
    id,
    module,
    module_type: type,
    source: line === undefined ? null : { file: "/somewhere/net.py", line, column: column ?? 0 },
  }));
}

const lineOf = (text: string, piece: string): number => text.slice(0, text.indexOf(piece)).split("\n").length;

describe("real sources", () => {
  it("ResNet-50: stages of blocks from one factory", () => {
    const { models, sources } = read("resnet50.py", examples["resnet50.py"]);
    const resnet = models.find(({ name }) => name === "ResNet")!;
    expect(resnet.layers.find((layer) => layer.type === "Bottleneck")).toMatchObject({
      paths: ["layer1.*", "layer2.*", "layer3.*", "layer4.*"],
      models: [{ file: "resnet50.py", name: "Bottleneck" }],
    });
    expect(resnet.input?.spec).toBe("float32[8,3,224,224]");
    expect(sources.map(({ name }) => name)).toEqual(["resnet50"]);
    const block = models.find(({ name }) => name === "Bottleneck")!;
    expect(block.calls.filter(({ path }) => path === "relu")).toHaveLength(3);
  });

  it("GPT-2: blocks from a generator, a tied head", () => {
    const gpt = read("gpt2.py", examples["gpt2.py"]).models.find(({ name }) => name === "GPT")!;
    expect(gpt.layers.map((layer) => layer.paths[0])).toEqual(["wte", "wpe", "drop", "blocks", "blocks.*", "ln_f", "head"]);
    expect(gpt.input?.spec).toBe("int64[2,256]<50257");
  });

  it("UNet: a layer that is called four times, blocks that extend Sequential", () => {
    const { models } = read("unet.py", examples["unet.py"]);
    const unet = models.find(({ name }) => name === "UNet")!;
    expect(unet.calls.filter(({ path }) => path === "pool")).toHaveLength(4);
    expect(models.find(({ name }) => name === "DoubleConv")?.layers.map((layer) => layer.paths[0])).toEqual(["0", "1", "2", "3", "4", "5"]);
    expect(unet.input?.kind).toBe("image");
  });

  it("transformers: a base class of another library, a table of classes, activations by name", () => {
    const { models } = read("tiny.py", huggingFaceStyle);
    const layers = (name: string): string[] =>
      models.find((model) => model.name === name)?.layers.map((layer) => `${layer.paths[0] ?? ""}: ${layer.type ?? "?"}`) ?? [];
    expect(models).toHaveLength(7);
    expect(layers("TinyMLP")).toEqual(["gate_proj: Linear", "up_proj: Linear", "down_proj: Linear", "act_fn: ?"]);
    expect(layers("TinyDecoderLayer")).toEqual(["self_attn: TinyAttention", "mlp: TinyMLP", "input_layernorm: TinyRMSNorm"]);
    expect(models.find(({ name }) => name === "TinyModel")?.calls.map(({ path }) => path)).toEqual(["embed_tokens", "layers.*", "norm"]);
    expect(models.find(({ name }) => name === "TinyForCausalLM")?.input?.kind).toBe("tokens");
  });
});

describe("operators find their layers", () => {
  const text = examples["resnet50.py"];
  const file = (): SourceFile => read("net.py", text);
  const own = (files: SourceFile[], traced: TracedOperator[], root = "resnet50"): string[] => {
    const matching = match(files, rootsOf(files, "net.py", root), traced);
    return traced.map(({ id }) => {
      const layer = matching.layers.find((each) => each.own.includes(id));
      if (layer !== undefined) return `${layer.model.name}.${layer.layer.paths.join(" ")}`;
      const model = matching.models.find((each) => each.own.includes(id));
      return model === undefined ? "elsewhere" : model.model.name;
    });
  };

  it("through stages and blocks, down to the innermost", () => {
    const line = lineOf(text, "out += x");
    const traced = operators(
      ["conv1", "torch.nn.modules.conv.Conv2d"],
      ["layer1.0.conv1", "torch.nn.modules.conv.Conv2d"],
      ["layer4.2.conv1", "torch.nn.modules.conv.Conv2d"],
      ["layer1.0.downsample.1", "torch.nn.modules.batchnorm.BatchNorm2d"],
      ["layer1.0", "net.Bottleneck", line],
      ["", "net.ResNet", lineOf(text, "torch.flatten")],
    );
    expect(own([file()], traced)).toEqual([
      "ResNet.conv1",
      "Bottleneck.conv1",
      "Bottleneck.conv1",
      "Bottleneck.downsample.1",
      "Bottleneck",
      "ResNet",
    ]);
    const files = [file()];
    const { layers } = match(files, rootsOf(files, "net.py", "resnet50"), traced);
    const all = (path: string): readonly number[] => layers.find(({ layer }) => layer.paths.join(" ") === path && layer.nameRange !== null)!.all;
    expect(all("layer1")).toEqual([1, 3, 4]);
    expect(all("layer4")).toEqual([2]);
    expect(layers.find(({ layer }) => layer.type === "Bottleneck")?.all).toEqual([1, 2, 3, 4]);
  });

  it("a layer that is called three times gives each call its own", () => {
    const first = lineOf(text, "out = self.relu(self.bn1");
    const last = lineOf(text, "return self.relu(out)");
    const traced = operators(
      ["layer1.0.relu", "torch.nn.modules.activation.ReLU", first],
      ["layer1.0.relu", "torch.nn.modules.activation.ReLU", first + 1],
      ["layer1.0.relu", "torch.nn.modules.activation.ReLU", last],
      ["layer2.3.relu", "torch.nn.modules.activation.ReLU", last],
    );
    const files = [file()];
    const { calls } = match(files, rootsOf(files, "net.py", "resnet50"), traced);
    const relu = calls.filter(({ model, call }) => model.name === "Bottleneck" && call.path === "relu");
    expect(relu.map((each) => each.operators)).toEqual([[0], [1], [2, 3]]);
  });

  it("a function of torch belongs to its line", () => {
    const files = [file()];
    const { calls } = match(files, rootsOf(files, "net.py", "resnet50"), operators(["", "net.ResNet", lineOf(text, "torch.flatten")]));
    expect(calls.find(({ call }) => call.name === "torch.flatten")?.operators).toEqual([0]);
  });

  it("without a known root, by the line of the user's call and the end of the path", () => {
    const traced = operators(["encoder.layer1.0.conv1", "torch.nn.modules.conv.Conv2d", lineOf(text, "out = self.relu(self.bn1")]);
    expect(own([file()], traced, "unknown")).toEqual(["Bottleneck.conv1"]);
    expect(own([file()], operators(["x.y", "T"]), "unknown")).toEqual(["elsewhere"]);
  });

  it("of layers with one path, by type", () => {
    const source = "from torch import nn\nclass Net(nn.Module):\n    def __init__(self, gelu):\n        if gelu:\n            self.act = nn.GELU()\n        else:\n            self.act = nn.ReLU()\n    def forward(self, x): return self.act(x)\n";
    const files = [read("net.py", source)];
    const { layers } = match(files, rootsOf(files, "net.py", "Net"), operators(["act", "torch.nn.modules.activation.ReLU"]));
    expect(layers.map(({ layer, own: mine }) => [layer.type, mine])).toEqual([["GELU", []], ["ReLU", [0]]]);
  });

  it("every operator is the own of exactly one place", () => {
    const segment = fc.constantFrom("layer1", "layer3", "0", "2", "conv1", "relu", "downsample", "1", "nothing");
    const traced = fc.array(
      fc.record({
        module: fc.array(segment, { maxLength: 5 }).map((parts) => parts.join(".")),
        module_type: fc.constantFrom("torch.nn.modules.conv.Conv2d", "net.Bottleneck", ""),
        source: fc.option(fc.record({ file: fc.constantFrom("net.py", "other.py"), line: fc.integer({ min: -1, max: 130 }), column: fc.integer({ min: -1, max: 60 }) })),
      }),
      { maxLength: 40 },
    );
    const files = [file()];
    fc.assert(
      fc.property(traced, fc.constantFrom("resnet50", "Bottleneck", "unknown"), (list, root) => {
        const numbered = list.map((each, id) => ({ id, ...each }));
        const matching = match(files, rootsOf(files, "net.py", root), numbered);
        const placed = [...matching.layers.flatMap((each) => each.own), ...matching.models.flatMap((each) => each.own), ...matching.elsewhere];
        expect(placed.sort((a, b) => a - b)).toEqual(numbered.map(({ id }) => id));
      }),
    );
  });
});

describe("half-written code", () => {
  const sources = [...Object.values(examples), huggingFaceStyle];

  it("any beginning of a file is read", () => {
    fc.assert(
      fc.property(fc.constantFrom(...sources), fc.double({ min: 0, max: 1, noNaN: true }), (text, share) => {
        read("net.py", text.slice(0, Math.floor(text.length * share)));
      }),
      { numRuns: 150 },
    );
  });

  it("any lines may be missing", () => {
    fc.assert(
      fc.property(fc.constantFrom(...sources), fc.infiniteStream(fc.boolean()), (text, keep) => {
        read("net.py", text.split("\n").filter(() => keep.next().value).join("\n"));
      }),
      { numRuns: 100 },
    );
  });

  it("any characters may be anywhere", () => {
    fc.assert(
      fc.property(fc.constantFrom(...sources), fc.nat(), fc.string({ unit: fc.constantFrom(...Array.from("()[]{}:,.'\"\\\n\t #=*@😀é")) }), (text, at, typed) => {
        const place = at % text.length;
        read("net.py", text.slice(0, place) + typed + text.slice(place));
      }),
      { numRuns: 150 },
    );
  });

  it("what is above the line that is being typed stays known", () => {
    const text = examples["gpt2.py"];
    const models = read("net.py", `${text.slice(0, text.indexOf("self.ln_f"))}self.ln_f = nn.LayerNorm(`).models;
    expect(models.map(({ name }) => name)).toEqual(["Attention", "MLP", "Block", "GPT"]);
    expect(models[3]?.layers.map((layer) => layer.paths[0])).toContain("blocks.*");
  });

  it("nesting without end is no problem", () => {
    const deep = `from torch import nn\nclass A(nn.Module):\n    def __init__(self):\n        self.x = ${"nn.Sequential(".repeat(3000)}${")".repeat(3000)}\n`;
    expect(read("net.py", deep).models[0]?.name).toBe("A");
    expect(read("net.py", `x = ${"(".repeat(5000)}`).models).toEqual([]);
    const chained = `from torch import nn\nclass A(nn.Module):\n    def forward(self, x):\n        return x${".float()".repeat(140)}.view(1)${"()".repeat(100)}${"[f()]".repeat(60)}\n`;
    expect(read("net.py", chained).models[0]?.name).toBe("A");
  });
});
