import type { Parser } from "web-tree-sitter";
import { beforeAll, describe, expect, it } from "vitest";
import { match, readFile, readModels, rootsOf, type SourceFile, type TracedOperator } from "../../src/core/source/index";
import { placementOf, places } from "../../src/sources/places";
import type { Placement } from "../../src/sources/types";
import { pythonParser } from "../core/source/parser";

let parser: Parser;
beforeAll(async () => {
  parser = await pythonParser();
});

type Texts = Readonly<Record<string, string>>;

const read = (texts: Texts): SourceFile[] => readModels(Object.entries(texts).map(([path, text]) => readFile(parser, path, text)));
const fileOf = (texts: Texts, path = "net.py"): SourceFile => read(texts).find((file) => file.path === path)!;

/** Each operator as `module:Type@file:line`, lines from 1, or the line's own text. */
function place(texts: Texts, name: string, operators: readonly string[]): Placement {
  const files = read(texts);
  const traced = operators.map((text, id): TracedOperator => {
    const [, module = "", type = "", file = "", where = ""] = /^(.*?):(.*?)@(.*?):(.*)$/.exec(text) ?? [];
    const lines = texts[file]!.split("\n");
    const line = lines.findIndex((each) => each.includes(where)) + 1;
    expect(line, where).toBeGreaterThan(0);
    return { id, module, module_type: type, source: { file, line, column: null } };
  });
  return placementOf(match(files, rootsOf(files, "net.py", name), traced), "");
}

/** `text of the range: operators`. */
function shown(placement: Placement, texts: Texts, path = "net.py"): string[] {
  const lines = texts[path]!.split("\n");
  return places(placement, fileOf(texts, path)).map(({ range: { start, end }, operators }) => {
    const text = start.line === end.line ? lines[start.line]!.slice(start.column, end.column) : `${lines[start.line]!.slice(start.column)}…`;
    return `${text}: ${operators.join(" ")}`;
  });
}

const header = "from torch import nn\nfrom torch.nn import functional as F\n\n\n";
const net = `${header}class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.unused = nn.Linear(1, 1)
        self.block = nn.Sequential(
            nn.Linear(8, 8),
            nn.ReLU(),
        )

    def forward(self, x):
        x = self.conv(x)
        x = F.relu(x)
        x = self.block(x)
        return F.relu(x)
`;
const traced = ["conv:Conv2d@net.py:self.conv(x)", ":Net@net.py:x = F.relu(x)", "block.0:Linear@net.py:self.block(x)", "block.1:ReLU@net.py:self.block(x)", ":Net@net.py:return F.relu(x)"];
const expected = [
  "Net: 0 1 2 3 4",
  "self.conv = nn.Conv2d(3, 8, 3): 0",
  "self.block = nn.Sequential(…: 2 3",
  "nn.Linear(8, 8): 2",
  "nn.ReLU(): 3",
  "self.conv(x): 0",
  "F.relu(x): 1",
  "self.block(x): 2 3",
  "F.relu(x): 4",
];

describe("what is no call of a layer", () => {
  it("belongs to the statement that computes it, but for what a call within has", () => {
    const text = `${header}class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(4, 4)

    def forward(self, x):
        score = x @ x.transpose(-2, -1) / 2
        score = score.softmax(-1)
        x += F.relu(self.a(score))
        return x + score
`;
    const operators = [":Net@net.py:x @ x", ":Net@net.py:x @ x", ":Net@net.py:softmax", "a:Linear@net.py:x += F", ":Net@net.py:x + score"];
    expect(shown(place({ "net.py": text }, "Net", operators), { "net.py": text })).toEqual([
      "Net: 0 1 2 3 4",
      "self.a = nn.Linear(4, 4): 3",
      "x @ x.transpose(-2, -1) / 2: 0 1",
      "score.softmax(-1): 2",
      "self.a(score): 3",
      "x + score: 4",
    ]);
  });
});

describe("places", () => {
  it("are layers, calls and classes that ran, and no others", () => {
    expect(shown(place({ "net.py": net }, "Net", traced), { "net.py": net })).toEqual(expected);
  });

  it("say what they are", () => {
    const found = places(place({ "net.py": net }, "Net", traced), fileOf({ "net.py": net }));
    expect(found.map(({ kind, label, type }) => `${kind} ${label} ${type ?? "-"}`)).toEqual([
      "model Net -",
      "layer self.conv Conv2d",
      "layer self.block Sequential",
      "layer self.block.0 Linear",
      "layer self.block.1 ReLU",
      "call self.conv -",
      "call F.relu -",
      "call self.block -",
      "call F.relu -",
    ]);
  });

  it.each([
    ["comments above the class", (text: string) => text.replace("class Net", `${"# A comment.\n".repeat(10)}class Net`)],
    ["another class above it", (text: string) => text.replace("class Net", "class Other(nn.Module):\n    def forward(self, x):\n        return F.relu(x)\n\n\nclass Net")],
    ["lines within it", (text: string) => text.replace("        self.unused", "\n        # More.\n        self.added = nn.Linear(3, 3)\n        self.unused").replace("        x = F", "\n        x = F")],
    ["a half-written line at the end", (text: string) => `${text}\n\nclass Half(nn.Module):\n    def forward(self, x):\n        x = self.\n`],
    ["other methods before forward", (text: string) => text.replace("    def forward", "    def extra(self, x):\n        return F.relu(x)\n\n    def forward")],
  ])("are found again behind %s", (_, edit) => {
    const edited = edit(net);
    expect(edited).not.toBe(net);
    expect(shown(place({ "net.py": net }, "Net", traced), { "net.py": edited })).toEqual(expected);
  });

  it("of a layer whose type was edited stay, and those of a layer that is gone are gone", () => {
    const placement = place({ "net.py": net }, "Net", traced);
    expect(shown(placement, { "net.py": net.replace("nn.Conv2d(3, 8, 3)", "nn.Linear(3, 8)") })).toContain("self.conv = nn.Linear(3, 8): 0");
    const without = net.replace("        self.conv = nn.Conv2d(3, 8, 3)\n", "").replace("        x = self.conv(x)\n", "");
    expect(shown(placement, { "net.py": without })).toEqual(expected.filter((text) => !text.startsWith("self.conv")));
  });

  it("of two types at one path go to the one that ran", () => {
    const text = `${header}class Net(nn.Module):\n    def __init__(self, smooth=True):\n        super().__init__()\n        self.act = nn.GELU() if smooth else nn.ReLU()\n\n    def forward(self, x):\n        return self.act(x)\n`;
    const found = places(place({ "net.py": text }, "Net", ["act:GELU@net.py:self.act(x)"]), fileOf({ "net.py": text }));
    expect(found.filter(({ kind }) => kind === "layer").map(({ type, operators }) => [type, operators])).toEqual([["GELU", [0]]]);
  });

  it("of a loop and of a layer that is shared are there once, with all operators", () => {
    const text = `${header}class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.act = nn.ReLU()\n        self.blocks = nn.ModuleList([nn.Linear(1, 1) for _ in range(2)])\n\n    def forward(self, x):\n        for block in self.blocks:\n            x = self.act(block(x))\n        return x\n`;
    const line = "@net.py:self.act(block(x))";
    const placement = place({ "net.py": text }, "Net", [`blocks.0:Linear${line}`, `act:ReLU${line}`, `blocks.1:Linear${line}`, `act:ReLU${line}`]);
    expect(shown(placement, { "net.py": text })).toEqual([
      "Net: 0 1 2 3",
      "self.act = nn.ReLU(): 1 3",
      "self.blocks = nn.ModuleList([nn.Linear(1, 1) for _ in range(2)]): 0 2",
      "nn.Linear(1, 1): 0 2",
      "block(x): 0 2",
      "self.act(block(x)): 1 3",
    ]);
  });
});

describe("a base class", () => {
  const base = `${header}class Base(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.fc = nn.Linear(1, 1)\n\n    def forward(self, x):\n        return self.fc(x)\n`;
  const two = "class First(Base):\n    pass\n\n\nclass Second(Base):\n    pass\n\n\nclass Both(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.first = First()\n        self.second = Second()\n\n    def forward(self, x):\n        return self.second(self.first(x))\n";
  const operators = (file: string): string[] => [`first.fc:Linear@${file}:self.fc(x)`, `second.fc:Linear@${file}:self.fc(x)`];

  it("has the operators of all classes that inherit from it, each place once", () => {
    const texts = { "net.py": `${base}\n\n${two}` };
    const found = shown(place(texts, "Both", operators("net.py")), texts);
    expect(found.filter((text) => text.includes("self.fc"))).toEqual(["self.fc = nn.Linear(1, 1): 0 1", "self.fc(x): 0 1"]);
    expect(found.filter((text) => /^(First|Second|Both)/.test(text))).toEqual(["First: 0", "Second: 1", "Both: 0 1"]);
  });

  it("has them in its own file too", () => {
    const texts = { "net.py": `from base import Base\n${header}${two}`, "base.py": base };
    const placement = place(texts, "Both", operators("base.py"));
    expect(shown(placement, texts, "base.py")).toEqual(["self.fc = nn.Linear(1, 1): 0 1", "self.fc(x): 0 1"]);
    expect(shown(placement, texts).filter((text) => text.includes("self.fc"))).toEqual([]);
  });

  it("in another file is not mistaken for the class where their lines have equal numbers", () => {
    const start = "from torch import nn\nfrom base import Base\n\n\n";
    const own = `${start}class Net(Base):\n    def forward(self, x):\n        return self.run(self.fc(x))\n`;
    const inherited = `${start}class Base(nn.Module):\n    def run(self, x):\n        return self.fc(x)\n\n    def __init__(self):\n        super().__init__()\n        self.fc = nn.Linear(1, 1)\n\n    def forward(self, x):\n        return self.run(x)\n`;
    const texts = { "net.py": own, "base.py": inherited };
    const placement = place(texts, "Net", ["fc:Linear@net.py:self.run(", "fc:Linear@base.py:self.fc(x)"]);
    expect(shown(placement, texts)).toEqual(["Net: 0 1", "self.fc(x): 0"]);
    expect(shown(placement, texts, "base.py")).toEqual(["self.fc = nn.Linear(1, 1): 0 1", "self.fc(x): 1"]);
  });

  it("and a class of its own that is traced keep their layers apart", () => {
    const texts = { "net.py": `${base}\n\nclass Net(Base):\n    def __init__(self):\n        super().__init__()\n        self.extra = nn.ReLU()\n\n    def forward(self, x):\n        return self.extra(super().forward(x))\n` };
    const placement = place(texts, "Net", ["fc:Linear@net.py:self.fc(x)", "extra:ReLU@net.py:self.extra("]);
    expect(shown(placement, texts)).toContain("self.fc = nn.Linear(1, 1): 0");
    expect(shown(placement, texts)).toContain("self.extra = nn.ReLU(): 1");
  });
});

describe("a factory", () => {
  it("outside of any class gives each place once, whoever calls it", () => {
    const text = `${header}def conv():\n    return nn.Conv2d(1, 1, 1)\n\n\nclass A(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.a = conv()\n\n    def forward(self, x):\n        return self.a(x)\n\n\nclass B(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.b = conv()\n        self.inner = A()\n\n    def forward(self, x):\n        return self.b(self.inner(x))\n`;
    const placement = place({ "net.py": text }, "B", ["inner.a:Conv2d@net.py:self.a(x)", "b:Conv2d@net.py:self.b("]);
    expect(shown(placement, { "net.py": text }).filter((each) => each.includes("onv"))).toEqual(["nn.Conv2d(1, 1, 1): 0 1", "self.a = conv(): 0", "self.b = conv(): 1"]);
  });
});
