import type { Parser } from "web-tree-sitter";
import { beforeAll, describe, expect, it } from "vitest";
import { Fingerprints, readPieces } from "../../../src/core/source/fingerprint";
import { readModels, readTree } from "../../../src/core/source/index";
import { pythonParser } from "./parser";

let parser: Parser;
beforeAll(async () => {
  parser = await pythonParser();
});

type Texts = Readonly<Record<string, string>>;

function fingerprints(texts: Texts, path = "net.py"): Record<string, string> {
  const files = Object.entries(texts).map(([name, text]) => {
    const tree = parser.parse(text)!;
    return { outline: readTree(name, tree), pieces: readPieces(tree) };
  });
  return new Fingerprints(files, readModels(files.map(({ outline }) => outline))).ofFile(path);
}

const blocks = `import torch
from torch import nn
from torch.nn import functional as F

WIDTHS = {"small": 8, "large": 64}


def conv(width):
    return nn.Conv2d(3, width, 1)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = conv(8)

    def forward(self, x):
        return F.relu(self.conv(x))
`;

const net = `"""What this is for."""
from torch import nn
from blocks import WIDTHS, Block

RATE = 0.1
SIZE = 5
CACHE = {}


class Base(nn.Module):
    def forward(self, x):
        """Runs it."""
        x = self.head(x)
        return self.drop(x)


class Net(Base):
    def __init__(self, classes=10):
        super().__init__()
        # The head first.
        self.head = nn.Linear(WIDTHS["small"], classes)
        self.drop = nn.Dropout(RATE)
        self.block = Block()


class Other(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 2)


def net(size=SIZE):
    CACHE[size] = Net(classes=5)
    return CACHE[size]


x = 3
if __name__ == "__main__":
    print(net()(x))
`;

const texts = { "net.py": net, "blocks.py": blocks };

/** Whether the fingerprint of `net`, a function that makes a Net, differs after a piece of text was replaced. */
function changes(file: keyof typeof texts, from: string, to: string, name = "net"): boolean {
  const after = texts[file].replace(from, () => to);
  expect(after).not.toBe(texts[file]);
  const [old, edited] = [fingerprints(texts)[name], fingerprints({ ...texts, [file]: after })[name]];
  expect(old).toMatch(/^[0-9a-f]{16}$/);
  return old !== edited;
}

describe("the fingerprint stays", () => {
  it.each([
    ["a comment is added", "class Net(Base):", "# What follows is the model.\nclass Net(Base):  # here\n    # and here"],
    ["a comment changes", "# The head first.", "# The head second."],
    ["a docstring changes", '"""Runs it."""', "'Runs it, and more.'"],
    ["a docstring is added", "class Net(Base):", 'class Net(Base):\n    """The model.\n\n    With an example.\n    """\n'],
    ["blank lines move the class down", "class Base", "\n\n\n\n\nclass Base"],
    ["blanks within a line change", "nn.Dropout(RATE)", "nn.Dropout( RATE )"],
    ["a formatter breaks a call over lines", 'nn.Linear(WIDTHS["small"], classes)', "nn.Linear(\n            WIDTHS['small'],\n            classes,\n        )"],
    ["a line is continued", "self.drop = nn.Dropout(RATE)", "self.drop = \\\n            nn.Dropout(RATE)"],
    ["another class of the file changes", "nn.Linear(2, 2)", "nn.Linear(2, 3)"],
    ["another class appears before it", "class Net(Base):", "class First(nn.Module):\n    pass\n\n\nclass Net(Base):"],
    ["what runs as a script changes", "print(net()(x))", "net()(x).sum().backward()"],
    ["a name of the file changes that a function has as its own", "x = 3", "x = 4"],
    ["half a class is typed below it", "x = 3", "class Half(nn.Module):\n    def __init__(self"],
    ["half a statement is typed above its imports' use", "CACHE = {}", "CACHE = {}\n\n\nclass Half(nn.Module):\n    def forward(self, x):\n        return self."],
  ])("when %s", (_, from, to) => {
    expect(changes("net.py", from, to)).toBe(false);
  });

  it("when a file that it imports changes elsewhere", () => {
    expect(changes("blocks.py", '"large": 64}', '"large": 64}\nDEPTH = 3\n')).toBe(false);
    expect(changes("blocks.py", "import torch\n", "# Blocks.\nimport torch\n")).toBe(false);
  });

  it("from one reading to the next, and wherever the files lie", () => {
    expect(fingerprints(texts)).toEqual(fingerprints(texts));
    const moved = { "src/model/net.py": net, "src/model/blocks.py": blocks };
    expect(fingerprints(moved, "src/model/net.py")).toEqual(fingerprints(texts));
  });
});

describe("the fingerprint changes", () => {
  it.each([
    ["an argument of a layer changes", "nn.Dropout(RATE)", "nn.Dropout(RATE, True)"],
    ["an argument gets another name", "Net(classes=5)", "Net(labels=5)"],
    ["another class of torch is used", "nn.Dropout(RATE)", "nn.AlphaDropout(RATE)"],
    ["forward changes", "return self.drop(x)", "return self.drop(self.drop(x))"],
    ["a statement moves out of a block", "        x = self.head(x)\n        return", "        if self.training:\n            x = self.head(x)\n        return"],
    ["its base class changes", "class Base(nn.Module):", "class Base(nn.Module):\n    scale = 2\n"],
    ["it gets another base class", "class Net(Base):", "class Net(Other):"],
    ["a constant that it names changes", "RATE = 0.1", "RATE = 0.2"],
    ["a constant that it names is changed later", "x = 3", "RATE += 0.1"],
    ["a default changes", "classes=10", "classes=12"],
    ["a constant changes that is a default", "SIZE = 5", "SIZE = 6"],
    ["a table changes in which a function puts something", "CACHE = {}", "CACHE = dict()"],
    ["the function that makes it changes", "Net(classes=5)", "Net(classes=6)"],
    ["it is decorated", "class Net(Base):", "@compiled\nclass Net(Base):"],
    ["an imported name means something else", "from torch import nn\n", "from other import nn\n"],
    ["a string changes", 'WIDTHS["small"]', 'WIDTHS["large"]'],
    ["it is half written", "self.drop = nn.Dropout(RATE)", "self.drop = nn.Dropout("],
  ])("when %s", (_, from, to) => {
    expect(changes("net.py", from, to)).toBe(true);
  });

  it.each([
    ["a class that is its layer", "F.relu(self.conv(x))", "F.gelu(self.conv(x))"],
    ["a function that makes a layer of that class", "nn.Conv2d(3, width, 1)", "nn.Conv2d(3, width, 3)"],
    ["a constant that it imports", '"small": 8', '"small": 16'],
    ["what a name in it is imported from", "from torch.nn import functional as F", "from mine import functional as F"],
  ])("when in another file changes %s", (_, from, to) => {
    expect(changes("blocks.py", from, to)).toBe(true);
  });

  it("for each model that the code reaches, and for no other", () => {
    const before = fingerprints(texts);
    const after = fingerprints({ ...texts, "blocks.py": blocks.replace("conv(8)", "conv(9)") });
    const changed = Object.keys(before).filter((name) => before[name] !== after[name]);
    expect(changed).toEqual(["Net", "net"]);
    expect(Object.keys(before)).toEqual(["RATE", "SIZE", "CACHE", "Base", "Net", "Other", "net", "x"]);
  });

  it("when a class changes that reaches a layer only as an argument", () => {
    const header = "from torch import nn\n\n\n";
    const inner = "class Inner(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.fc = nn.Linear(1, 1)\n\n\n";
    const outer = "class Outer(nn.Module):\n    def __init__(self, block):\n        super().__init__()\n        self.block = block()\n\n    def forward(self, x):\n        return self.block(x)\n\n\n";
    const text = `${header}${inner}${outer}model = Outer(Inner)\n`;
    const before = fingerprints({ "net.py": text });
    const after = fingerprints({ "net.py": text.replace("nn.Linear(1, 1)", "nn.Linear(1, 2)") });
    for (const name of ["Inner", "Outer", "model"]) expect(after[name]).not.toBe(before[name]);
  });

  it("for a nested class of its own", () => {
    const text = "from torch import nn\nclass A(nn.Module):\n    class Inner(nn.Module):\n        size = 1\n    size = 1\n";
    const before = fingerprints({ "net.py": text });
    const after = fingerprints({ "net.py": text.replace("    size = 1\n", "    size = 2\n") });
    expect(after["A.Inner"]).not.toBe(before["A.Inner"]);
    expect(after["A"]).not.toBe(before["A"]);
  });
});
