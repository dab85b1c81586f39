import type { Parser } from "web-tree-sitter";
import { beforeAll, describe, expect, it } from "vitest";
import { readFile, readModels, type Model, type SourceFile } from "../../../src/core/source/index";
import { pythonParser } from "./parser";

let parser: Parser;
beforeAll(async () => {
  parser = await pythonParser();
});

function read(files: Readonly<Record<string, string>>): SourceFile[] {
  return readModels(Object.entries(files).map(([path, text]) => readFile(parser, path, text)));
}

function one(text: string, name?: string): Model {
  const [file] = read({ "net.py": text });
  const model = name === undefined ? file?.models[0] : file?.models.find((each) => each.name === name);
  if (model === undefined) throw new Error(`no model ${name ?? ""}`);
  return model;
}

/** `path: Type`, in order of source. */
const layers = (model: Model): string[] => model.layers.map((layer) => `${layer.paths.join(" ")}: ${layer.type ?? "?"}`);
const calls = (model: Model): string[] => model.calls.map((call) => call.path ?? call.name ?? "");

const body = (init: string, forward = "return x", header = "import torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n"): string => {
  const indent = (text: string): string => text.split("\n").map((line) => `        ${line}`).join("\n");
  return `${header}\nclass Net(nn.Module):\n    def __init__(self, width=64, act=nn.ReLU):\n        super().__init__()\n${indent(init)}\n\n    def forward(self, x):\n${indent(forward)}\n`;
};

describe("what is a model", () => {
  it.each([
    ["import torch.nn as nn", "nn.Module"],
    ["import torch", "torch.nn.Module"],
    ["from torch import nn", "nn.Module"],
    ["from torch import nn as N", "N.Module"],
    ["from torch.nn import Module as M, Conv2d", "M"],
    ["from torch.nn import *", "Module"],
    ["import torch.nn.modules.module as mm", "mm.Module"],
    ["from transformers import PreTrainedModel", "PreTrainedModel"],
    ["import lightning as L", "L.LightningModule"],
    ["import torch.nn as nn", "nn.Conv2d"],
    ["import torch.nn as nn", "Mixin, nn.Module, metaclass=Meta"],
    ["try:\n    import torch.nn as nn\nexcept ImportError:\n    pass", "nn.Module"],
  ])("%s; class A(%s)", (imports, base) => {
    expect(one(`${imports}\n\nclass A(${base}):\n    pass\n`).name).toBe("A");
  });

  it.each(["class A: pass", "class A(object): pass", "class Module: pass\nclass A(Module): pass", "import torch.nn as nn\nclass A(nn.Parameter): pass"])("not: %s", (text) => {
    expect(read({ "net.py": text })[0]?.models).toEqual([]);
  });

  it("indirect bases, in any order, and nested classes", () => {
    const text = "from torch import nn\nclass C(B): pass\nclass B(A): pass\nclass A(nn.Module):\n    class Inner(nn.Module):\n        pass\n";
    expect(read({ "net.py": text })[0]?.models.map(({ name }) => name)).toEqual(["C", "B", "A", "A.Inner"]);
  });

  it("bases in other files, relative and absolute, renamed and passed on by a package", () => {
    const files = read({
      "pkg/__init__.py": "from .base import Base as Root\n",
      "pkg/base.py": "import torch.nn as nn\nclass Base(nn.Module):\n    def __init__(self):\n        self.norm = nn.LayerNorm(8)\n",
      "pkg/heads/cls.py": "from ..base import Base\nfrom .. import base as b\nclass A(Base): pass\nclass B(b.Base): pass\n",
      "train.py": "import pkg\nfrom pkg import Root\nfrom pkg.heads.cls import *\nclass C(Root): pass\nclass D(pkg.Root): pass\nclass E(A): pass\n",
    });
    expect(files.map((file) => file.models.map(({ name }) => name))).toEqual([[], ["Base"], ["A", "B"], ["C", "D", "E"]]);
    expect(layers(files[3]!.models[2]!)).toEqual(["norm: LayerNorm"]);
  });

  it("files that import each other in a circle", () => {
    const files = read({ "a.py": "from b import B\nclass A(B): pass", "b.py": "from a import A\nclass B(A): pass" });
    expect(files.flatMap((file) => file.models)).toEqual([]);
  });
});

describe("layers", () => {
  it("positions start at 0, and columns count UTF-16 units", () => {
    const model = one('import torch.nn as nn\nclass A(nn.Module):\n    def __init__(self):\n        "😀"; self.é = nn.ReLU()\n');
    expect(model.nameRange).toEqual({ start: { line: 1, column: 6 }, end: { line: 1, column: 7 } });
    expect(model.layers[0]?.nameRange).toEqual({ start: { line: 3, column: 14 }, end: { line: 3, column: 20 } });
    expect(model.layers[0]?.range.start).toEqual({ line: 3, column: 23 });
  });

  it.each<[string, string, string[]]>([
    ["an assignment", "self.a = nn.Linear(1, 2)", ["a: Linear"]],
    ["an annotated one", "self.a: nn.Module = nn.Linear(1, 2)", ["a: Linear"]],
    ["a tuple", "self.a, self.b = nn.Linear(1, 2), nn.ReLU()", ["a: Linear", "b: ReLU"]],
    ["a chain", "self.a = self.b = nn.ReLU()", ["b a: ReLU"]],
    ["a condition", "if width:\n    self.a = nn.ReLU()\nelse:\n    self.a = nn.GELU()", ["a: ReLU", "a: GELU"]],
    ["a conditional expression", "self.a = nn.ReLU() if width else nn.Identity()", ["a: ReLU", "a: Identity"]],
    ["or", "self.a = width or nn.ReLU()", ["a: ReLU"]],
    ["a local variable", "conv = nn.Conv2d(3, 8, 1)\nself.a = conv", ["a: Conv2d"]],
    ["a method that returns it", "self.a = nn.Linear(1, 2).to('cuda')", ["a: Linear"]],
    ["a wrapper", "self.a = nn.utils.spectral_norm(nn.Linear(1, 2))", ["a: Linear"]],
    ["no parameter, no number", "self.p = nn.Parameter(torch.zeros(1))\nself.n = 3\nself.s = 'x'", []],
    ["Sequential", "self.s = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU())", ["s: Sequential", "s.0: Conv2d", "s.1: ReLU"]],
    ["OrderedDict of pairs", "from collections import OrderedDict\nself.s = nn.Sequential(OrderedDict([('conv', nn.Conv2d(3, 8, 1)), ('relu', nn.ReLU())]))", ["s: Sequential", "s.conv: Conv2d", "s.relu: ReLU"]],
    ["OrderedDict of a dict", "from collections import OrderedDict as O\nself.s = nn.Sequential(O({'conv': nn.Conv2d(3, 8, 1)}))", ["s: Sequential", "s.conv: Conv2d"]],
    ["add_module", "self.s = nn.Sequential()\nself.s.add_module('conv', nn.Conv2d(3, 8, 1))\nself.add_module('out', nn.ReLU())", ["s: Sequential", "s.conv: Conv2d", "out: ReLU"]],
    ["add_module on a local", "s = nn.Sequential()\ns.add_module('conv', nn.Conv2d(3, 8, 1))\nself.s = s", ["s: Sequential", "s.conv: Conv2d"]],
    ["add_module in a loop", "for i in range(3):\n    self.add_module(f'conv{i}', nn.Conv2d(3, 8, 1))", ["conv*: Conv2d"]],
    ["setattr", "for i in range(3):\n    setattr(self, f'conv{i}', nn.Conv2d(3, 8, 1))", ["conv*: Conv2d"]],
    ["ModuleList of a list", "self.l = nn.ModuleList([nn.ReLU(), nn.GELU()])", ["l: ModuleList", "l.0: ReLU", "l.1: GELU"]],
    ["ModuleList of a comprehension", "self.l = nn.ModuleList([nn.Linear(i, i) for i in range(3)])", ["l: ModuleList", "l.*: Linear"]],
    ["ModuleList of a generator", "self.l = nn.ModuleList(nn.Linear(i, i) for i in range(3))", ["l: ModuleList", "l.*: Linear"]],
    ["append in a loop", "self.l = nn.ModuleList()\nfor i in range(3):\n    self.l.append(nn.Linear(i, i))", ["l: ModuleList", "l.*: Linear"]],
    ["extend and +=", "self.l = nn.ModuleList()\nself.l.extend([nn.ReLU()])\nself.l += [nn.GELU()]", ["l: ModuleList", "l.*: ReLU", "l.*: GELU"]],
    ["a list that is spread", "ls = [nn.Conv2d(3, 8, 1)]\nfor i in range(3):\n    ls.append(nn.ReLU())\nls += [nn.GELU()]\nself.s = nn.Sequential(*ls)", ["s.0: Conv2d", "s.*: ReLU", "s.*: GELU", "s: Sequential"]],
    ["a list times a number", "self.s = nn.Sequential(*[nn.ReLU()] * 3)", ["s: Sequential", "s.*: ReLU"]],
    ["ModuleDict", "self.d = nn.ModuleDict({'a': nn.ReLU(), 'b': nn.GELU()})\nself.d['c'] = nn.SiLU()", ["d: ModuleDict", "d.a: ReLU", "d.b: GELU", "d.c: SiLU"]],
    ["a choice by name", "acts = {'relu': nn.ReLU(), 'gelu': nn.GELU()}\nself.act = acts[width]", ["act: ReLU", "act: GELU"]],
    ["nested containers", "self.s = nn.Sequential(nn.Sequential(nn.ReLU()), nn.ModuleList([nn.GELU()]))", ["s: Sequential", "s.0: Sequential", "s.0.0: ReLU", "s.1: ModuleList", "s.1.0: GELU"]],
    ["a lambda", "norm = lambda c: nn.BatchNorm2d(c)\nself.n = norm(8)", ["n: BatchNorm2d", "n: BatchNorm2d"]],
    ["a function inside", "def block(c):\n    return nn.Sequential(nn.Conv2d(c, c, 1), nn.ReLU())\nself.b = block(3)", ["b: Sequential", "b.0: Conv2d", "b.1: ReLU"]],
    ["partial", "from functools import partial\nnorm = partial(nn.LayerNorm, eps=1e-6)\nself.n = norm(8)", ["n: LayerNorm"]],
    ["a class as parameter with a default", "self.a = act()", ["a: ReLU"]],
    ["with and try", "with torch.device('meta'):\n    self.a = nn.ReLU()\ntry:\n    self.b = nn.GELU()\nexcept Exception:\n    self.b = nn.ReLU()", ["a: ReLU", "b: GELU", "b: ReLU"]],
  ])("%s", (_, init, expected) => {
    const found = layers(one(body(init)));
    expect(new Set(found)).toEqual(new Set(expected));
  });

  it("a factory's layers stand in the factory, and once more where it is called", () => {
    const model = one(
      body("self.a = self._make(1)\nself.b = self._make(2)") +
        "    def _make(self, n):\n        blocks = []\n        for _ in range(n):\n            blocks.append(nn.ReLU())\n        return nn.Sequential(*blocks)\n",
    );
    expect(layers(model)).toEqual(["a: Sequential", "b: Sequential", "a.* b.*: ReLU", "a b: Sequential"]);
    expect(model.layers.map((layer) => layer.nameRange !== null)).toEqual([true, true, false, false]);
  });

  it("a helper function of another file", () => {
    const files = read({
      "blocks.py": "from torch import nn\ndef conv3x3(i, o):\n    return nn.Conv2d(i, o, 3)\ndef unit(i, o):\n    return nn.Sequential(conv3x3(i, o), nn.ReLU())\n",
      "net.py": "from torch import nn\nimport blocks\nclass Net(nn.Module):\n    def __init__(self):\n        self.u = blocks.unit(3, 8)\n",
    });
    expect(files[1]?.models[0]?.layers.map((layer) => [layer.file, layer.paths[0], layer.type])).toEqual([
      ["blocks.py", "u.0", "Conv2d"],
      ["blocks.py", "u", "Sequential"],
      ["blocks.py", "u.0", "Conv2d"],
      ["blocks.py", "u.1", "ReLU"],
      ["net.py", "u", "Sequential"],
    ]);
  });

  it("a class that reaches a constructor as an argument, through a function", () => {
    const text =
      "from torch import nn\nclass Basic(nn.Module): pass\nclass Deep(nn.Module): pass\nclass ResNet(nn.Module):\n" +
      "    def __init__(self, block, layers):\n        self.layer1 = self._make_layer(block, 64, layers[0])\n" +
      "    def _make_layer(self, block, planes, blocks):\n        layers = [block(planes)]\n        for _ in range(1, blocks):\n            layers.append(block(planes))\n        return nn.Sequential(*layers)\n" +
      "def _resnet(block, layers):\n    return ResNet(block, layers)\ndef resnet18(): return _resnet(Basic, [2])\ndef resnet50(): return _resnet(Deep, [3])\n";
    const [file] = read({ "net.py": text });
    expect(new Set(layers(one(text, "ResNet")))).toEqual(new Set(["layer1: Sequential", "layer1.0: Basic", "layer1.0: Deep", "layer1.*: Basic", "layer1.*: Deep"]));
    expect(file?.sources.map(({ name, models }) => [name, models[0]?.name])).toEqual([["_resnet", "ResNet"], ["resnet18", "ResNet"], ["resnet50", "ResNet"]]);
  });

  it("a function that moves the model before it returns it", () => {
    const [file] = read({ "net.py": "from torch import nn\nclass Net(nn.Module): pass\ndef make(device):\n    model = Net()\n    return model.to(device).eval()\nnet = make('cpu')\n" });
    expect(file?.sources.map(({ kind, name }) => [kind, name])).toEqual([["function", "make"], ["object", "net"]]);
  });

  it("an entry function gives the model that it returns first, of whatever make", () => {
    const text =
      "from torch import nn\nfrom transformers import AutoModel\nclass Net(nn.Module): pass\n" +
      "def monet_entry():\n    model = Net().cuda()\n    return model, (x,), None\n" +
      "def monet_entry_bert():\n    return AutoModel.from_config(config), {}, loss\ndef build():\n    return Net(), optimizer\n";
    const [file] = read({ "train.py": text });
    expect(file?.sources.map(({ kind, name, models }) => [kind, name, ...models.map((ref) => ref.name)])).toEqual([
      ["entry", "monet_entry", "Net"], ["entry", "monet_entry_bert"],
    ]);
  });

  it("a subclass of Sequential hands its layers to super", () => {
    const model = one("from torch import nn\nclass Unit(nn.Sequential):\n    def __init__(self, i, o):\n        super().__init__(nn.Conv2d(i, o, 1), nn.ReLU())\n");
    expect(layers(model)).toEqual(["0: Conv2d", "1: ReLU"]);
  });

  it("an attribute of unknown make is a layer if forward calls it", () => {
    const model = one(body("self.act = ACT2FN[width]\nself.backbone = timm.create_model('x')\nself.config = Config()", "return self.act(self.backbone(x))"));
    expect(layers(model)).toEqual(["act: ?", "backbone: create_model"]);
  });

  it("a model that holds itself", () => {
    const model = one("from torch import nn\nclass Tree(nn.Module):\n    def __init__(self, n):\n        self.child = Tree(n - 1) if n else None\n    def forward(self, x):\n        return self.child.child(x)\n");
    expect(layers(model)).toEqual(["child: Tree"]);
  });

  it("factories that call each other without end", () => {
    expect(layers(one(body("self.a = self.f()") + "    def f(self): return nn.Sequential(self.g(), self.g())\n    def g(self): return nn.Sequential(self.f(), self.f())\n")).length).toBeGreaterThan(0);
  });
});

describe("calls", () => {
  const init = "self.a = nn.ReLU()\nself.blocks = nn.ModuleList([nn.Linear(1, 1) for _ in range(3)])\nself.d = nn.ModuleDict({'k': nn.ReLU()})\nself.conv1 = nn.ReLU()\nself.conv2 = nn.ReLU()";
  it.each<[string, string, string[]]>([
    ["a layer in a layer, the inner one first", "return self.a(self.conv1(x))", ["conv1", "a"]],
    ["an index, a key, a slice", "x = self.blocks[0](x)\nx = self.blocks[-1](x)\nx = self.d['k'](x)\nfor b in self.blocks[1:]:\n    x = b(x)", ["blocks.0", "blocks.*", "d.k", "blocks.*"]],
    ["a loop", "for b in self.blocks:\n    x = b(x)\nreturn x", ["blocks.*"]],
    ["enumerate, zip, items", "for i, b in enumerate(self.blocks):\n    x = b(x)\nfor b, y in zip(self.blocks, x):\n    b(y)\nfor k, m in self.d.items():\n    m(x)", ["blocks.*", "blocks.*", "d.*"]],
    ["a comprehension", "return [b(x) for b in self.blocks]", ["blocks.*", "[b(x) for b in self.blocks]"]],
    ["a local name", "conv = self.conv1\nreturn conv(x)", ["conv1"]],
    ["a choice", "f = self.conv1 if x else self.conv2\nreturn f(x)", ["self.conv1 if x else self.conv2", "conv1", "conv2"]],
    ["getattr", "for i in (1, 2):\n    x = getattr(self, f'conv{i}')(x)", ["conv*"]],
    ["functions of torch", "return F.relu(torch.cat([x, x]))", ["torch.cat", "torch.nn.functional.relu"]],
    ["checkpoint", "from torch.utils.checkpoint import checkpoint\nreturn checkpoint(self.a, x)", ["a"]],
    ["a function inside", "def run(y):\n    return self.a(y)\nreturn run(x)", ["a", "run(x)"]],
    ["arithmetic, methods of tensors, an index: by the statement", "x += self.a(x)\nx = (x @ x.T /\n    2).softmax(-1)\nx[0].relu_()\nreturn x.view(1), x", ["a", "x += self.a(x)", "(x @ x.T / 2).softmax(-1)", "x[0].relu_()", "x.view(1), x"]],
    ["nothing where nothing is computed", "self.log('loss', x)\ny = x\nz = 1\nreturn x", []],
  ])("%s", (_, forward, expected) => {
    expect(calls(one(body(init, forward)))).toEqual(expected);
  });

  it("follows methods that forward calls, and no others", () => {
    const model = one(`${body(init, "return self.step(x)")}\n    def step(self, x):\n        return self.conv1(x)\n    def unused(self, x):\n        return self.conv2(x)\n`);
    expect(calls(model)).toEqual(["conv1"]);
    expect(model.methods).toHaveLength(2);
  });

  it("a layer of a layer", () => {
    const model = one("from torch import nn\nclass Net(nn.Module):\n    def __init__(self):\n        self.inner = Inner()\n    def forward(self, x):\n        return self.inner.head(self.inner.encode(x))\nclass Inner(nn.Module):\n    def __init__(self):\n        self.head = nn.Linear(1, 1)\n    def encode(self, x):\n        return x\n");
    expect(calls(model)).toEqual(["inner", "inner.head"]);
  });
});

describe("input hints", () => {
  it.each([
    ["self.c = nn.Conv2d(3, 64, 7)", "return self.c(x)", "float32[8,3,224,224]"],
    ["self.c = nn.Conv2d(in_channels=1, out_channels=8, kernel_size=3)", "return self.c(x)", "float32[8,1,224,224]"],
    ["self.e = nn.Embedding(50257, width)\nself.c = nn.Conv2d(3, 8, 1)", "return self.c(self.e(x))", "int64[2,256]<50257"],
    ["self.f = nn.Linear(width, 10)", "return self.f(x)", "float32[8,64]"],
    ["self.s = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))", "return self.s(x)", "float32[8,784]"],
  ])("%s", (init, forward, spec) => {
    expect(one(body(init, forward)).input?.spec).toBe(spec);
  });

  it("sizes are those of the call that builds the first layer, and a building block of several sizes has none", () => {
    const text = `from torch import nn

class Conv(nn.Module):
    def __init__(self, cin, cout):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(cin, cout, 3), nn.SiLU())

    def forward(self, x):
        return self.net(x)

class Stage(nn.Module):
    def __init__(self, cin, cout):
        super().__init__()
        self.conv = Conv(cin, cout)

    def forward(self, x):
        return self.conv(x)

class Words(nn.Module):
    def __init__(self, vocabulary, width=8):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)

    def forward(self, x):
        return self.embed(x)

class UNet(nn.Module):
    def __init__(self, channels=1, width=32):
        super().__init__()
        self.middle = Stage(width, width)
        self.stem = Stage(channels, width)
        self.words = Words(100)

    def forward(self, x):
        return self.middle(self.stem(x))

class Alone(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.stem = Stage(channels, 8)

    def forward(self, x):
        return self.stem(x)
`;
    const [file] = read({ "net.py": text });
    expect(file?.models.map(({ name, input }) => `${name}: ${input?.spec ?? "none"}`)).toEqual([
      "Conv: none", "Stage: none", "Words: none", "UNet: float32[8,1,224,224]", "Alone: float32[8,3,224,224]",
    ]);
  });

  it("none where the first layer doesn't tell", () => {
    expect(one(body("self.n = nn.LayerNorm(8)", "return self.n(x)")).input).toBeNull();
  });
});
