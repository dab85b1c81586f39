import type { Parser } from "web-tree-sitter";
import { beforeAll, describe, expect, it } from "vitest";
import { insertions, type Insertion, type PlanUse, type TextEdit } from "../../../src/core/source/index";
import { pythonParser } from "./parser";

let parser: Parser;
beforeAll(async () => {
  parser = await pythonParser();
});

const net: PlanUse = { makers: ["Net"], object: null, plan: ".monet/net.Net.plan.json", loss: null };

function find(text: string, use: PlanUse = net): Insertion[] {
  const tree = parser.parse(text)!;
  try {
    return insertions(tree.rootNode, text, use);
  } finally {
    tree.delete();
  }
}

/** As an editor does: all edits speak of the text before. */
function apply(text: string, edits: readonly TextEdit[]): string {
  const lines = text.split("\n");
  const offset = ({ line, column }: TextEdit["range"]["start"]): number => lines.slice(0, line).reduce((sum, each) => sum + each.length + 1, 0) + column;
  return edits
    .map((edit, k) => ({ ...edit, k }))
    .sort((a, b) => offset(b.range.start) - offset(a.range.start) || b.k - a.k)
    .reduce((before, { range, text: put }) => before.slice(0, offset(range.start)) + put + before.slice(offset(range.end)), text);
}

function only(text: string, use: PlanUse = net): Insertion {
  const found = find(text, use);
  expect(found).toHaveLength(1);
  return found[0]!;
}

const inserted = (text: string, use: PlanUse = net): string => apply(text, only(text, use).edits);

/** The lines that are new, with their numbers from 1, in the text after. */
function added(before: string, after: string): string[] {
  const rest = before.split("\n");
  return after.split("\n").flatMap((line, k) => {
    if (line === rest[0]) {
      rest.shift();
      return [];
    }
    return [`${k + 1}: ${line}`];
  });
}

const lines = (...each: string[]): string => `${each.join("\n")}\n`;
const call = 'monet_torch.apply(model, ".monet/net.Net.plan.json")';

describe("the two lines go where the model is built:", () => {
  it("after it, and the import after the last import", () => {
    const text = lines("import torch", "from net import Net", "", "model = Net()", "optimizer = torch.optim.SGD(model.parameters())");
    expect(added(text, inserted(text))).toEqual(["3: import monet_torch", `6: ${call}`]);
  });

  it("within main, after it was moved to its device, indented as there", () => {
    const text = lines(
      '"""Trains."""', "from __future__ import annotations", "import torch", "from torch import (", "    nn,", ")", "", "def main(args):",
      "    device = torch.device('cuda')", "    model = Net(width=64)  # small", "    print('built')", "    model = model.to(device)", "    model.train()", "    opt = AdamW(model.parameters())",
      "    for x in data:", "        model(x).sum().backward()", "", "main()",
    );
    expect(added(text, inserted(text))).toEqual(["7: import monet_torch", `15:     ${call}`]);
  });

  it("before DistributedDataParallel wraps it", () => {
    const text = lines("import torch", "from torch.nn.parallel import DistributedDataParallel as DDP", "def run(rank):", "\tmodel = Net().cuda(rank)", "\tmodel = DDP(model, device_ids=[rank])", "\tmodel.train()");
    expect(added(text, inserted(text))).toEqual(["3: import monet_torch", `6: \t${call}`]);
  });

  it("before torch.compile, accelerate or a wrapper of another name takes its place", () => {
    for (const wrap of ["model = torch.compile(model)", "model.compile()", "model, opt = accelerator.prepare(model, opt)", "engine, *_ = deepspeed.initialize(model=model)", "net = nn.DataParallel(model)", "model = surround(model)"]) {
      const text = lines("import torch", "model = Net()", "model.cuda()", wrap, "model.train()");
      expect(added(text, inserted(text))).toEqual(["2: import monet_torch", `5: ${call}`]);
    }
  });

  it("in a class that keeps it as its own", () => {
    const text = lines("from net import Net", "", "class Trainer:", "    def __init__(self):", "        super().__init__()", "        self.model = Net(", "            depth=3,", "        )", "        self.model.to('cuda')", "", "    def step(self, x):", "        return self.model(x)");
    expect(added(text, inserted(text))).toEqual(["2: import monet_torch", '11:         monet_torch.apply(self.model, ".monet/net.Net.plan.json")']);
  });

  it("by another name, or through a module", () => {
    expect(inserted(lines("from net import Net as Model", "m = Model()"))).toContain("monet_torch.apply(m, ");
    expect(inserted(lines("import models.net", "m: nn.Module = models.net.Net().train()"))).toContain("monet_torch.apply(m, ");
    expect(inserted(lines("from net import net as build", "m = build()"), { ...net, makers: ["Net", "net"] })).toContain("monet_torch.apply(m, ");
    expect(inserted(lines("model = ema = Net()"))).toContain("monet_torch.apply(model, ");
  });

  it("after an if that only moves it, and before a loop or its first call", () => {
    const text = lines("import torch", "model = Net()", "if torch.cuda.is_available():", "    model.cuda()", "    print('cuda')", "print(model(torch.ones(1)))", "model.cpu()");
    expect(added(text, inserted(text))).toEqual(["2: import monet_torch", `7: ${call}`]);
    const loop = lines("import torch", "model = Net()", "for x in data:", "    model.train()", "    model(x)", "model.cpu()");
    expect(added(loop, inserted(loop))).toEqual(["2: import monet_torch", `4: ${call}`]);
  });

  it("after a with in which it is only built", () => {
    const text = lines("import torch", "with torch.device('meta'):", "    model = Net()", "model.to_empty(device='cuda')", "model.load_state_dict(state)");
    expect(added(text, inserted(text))).toEqual(["2: import monet_torch", `7: ${call}`]);
  });

  it("where nothing is imported, below the docstring, else at the top", () => {
    expect(inserted(lines("#!/usr/bin/env python", '"""Trains."""', "", "model = Net()"))).toBe(lines("#!/usr/bin/env python", '"""Trains."""', "", "import monet_torch", "", "model = Net()", call));
    expect(inserted(lines("# hello", "model = Net()"))).toBe(lines("# hello", "import monet_torch", "", "model = Net()", call));
  });

  it("at the end of a file without a newline, and after a semicolon", () => {
    expect(inserted("import torch\nmodel = Net()")).toBe(`import torch\nimport monet_torch\nmodel = Net()\n${call}`);
    expect(inserted(lines("import torch", "model = Net(); model.cuda(); n = 3", "n"))).toBe(lines("import torch", "import monet_torch", "model = Net(); model.cuda(); n = 3", call, "n"));
  });

  it("with the import that is there already", () => {
    const text = lines("import monet_torch as mt", "model = Net()");
    expect(added(text, inserted(text))).toEqual(['3: mt.apply(model, ".monet/net.Net.plan.json")']);
    const from = lines("from monet_torch import apply", "model = Net()");
    expect(added(from, inserted(from))).toEqual(['3: apply(model, ".monet/net.Net.plan.json")']);
  });

  it("for an object, in its own file and where it is imported", () => {
    const use: PlanUse = { ...net, makers: ["model"], object: "model" };
    const own = lines("from torch import nn", "model = nn.Sequential(nn.Linear(3, 3))", "model.cuda()");
    expect(added(own, inserted(own, use))).toEqual(["2: import monet_torch", `5: ${call}`]);
    const other = lines("from net import model", "import torch", "model.cuda()", "train(model)");
    expect(added(other, inserted(other, use))).toEqual(["3: import monet_torch", `5: ${call}`]);
  });

  it("once for each place, and nowhere where it isn't built", () => {
    expect(find(lines("a = Net()", "b = Net()")).map(({ target, line }) => [target, line])).toEqual([["a", 1], ["b", 2]]);
    expect(find(lines("from net import Net", "a = Other()", "x, y = Net(), 3", "d['x'] = Net()"))).toEqual([]);
    expect(find("def broken(:\n  model = = \n")).toEqual([]);
  });
});

describe("a loss that the plan covers", () => {
  const use: PlanUse = { ...net, loss: "CrossEntropyLoss" };

  it("a class is found by whatever name the script builds it, and where it builds none it is built as the model's file does", () => {
    const dotted = { ...net, loss: "nn.CrossEntropyLoss" };
    const text = lines("from net import Net", "from torch.nn import CrossEntropyLoss as CE", "model = Net()", "criterion = CE()");
    expect(added(text, inserted(text, dotted)).at(-1)).toBe('6: criterion = monet_torch.apply(model, ".monet/net.Net.plan.json", loss=criterion)');
    const without = lines("from net import Net", "from torch import nn", "model = Net()");
    expect(added(without, inserted(without, dotted)).at(-1)).toContain("loss=nn.CrossEntropyLoss())");
  });

  it("keeps the name that the script gives it", () => {
    const text = lines("from torch import nn", "model = Net().cuda()", "criterion = nn.CrossEntropyLoss()", "for x, y in data:", "    criterion(model(x), y).backward()");
    expect(added(text, inserted(text, use))).toEqual(["2: import monet_torch", '5: criterion = monet_torch.apply(model, ".monet/net.Net.plan.json", loss=criterion)']);
    expect(only(text, use).loss).toBeNull();
  });

  it("gets a name of its own where it is a function, which says so", () => {
    const text = lines("from net import Net, loss_fn", "def main():", "    model = Net()", "    loss_fn(model(x), y).backward()");
    const found = only(text, { ...net, loss: "loss_fn" });
    expect(apply(text, found.edits)).toContain('    planned_loss = monet_torch.apply(model, ".monet/net.Net.plan.json", loss=loss_fn)\n    loss_fn');
    expect(found.loss).toBe("planned_loss");
  });

  it("gets a name of its own where it is built after the model is wrapped", () => {
    const text = lines("from torch import nn", "model = Net()", "model = DDP(model)", "criterion = nn.CrossEntropyLoss(label_smoothing=0.1)");
    expect(added(text, inserted(text, use))).toEqual(["2: import monet_torch", '4: planned_loss = monet_torch.apply(model, ".monet/net.Net.plan.json", loss=nn.CrossEntropyLoss(label_smoothing=0.1))']);
  });
});

describe("where a plan is applied already", () => {
  it("only its path changes", () => {
    const text = lines("import monet_torch", "model = Net()", 'monet_torch.apply(model, "old.plan.json")  # mine', "other = Net()");
    expect(only(text).kind).toBe("updated");
    expect(inserted(text)).toBe(text.replace("old.plan.json", ".monet/net.Net.plan.json"));
    expect(only(inserted(text))).toMatchObject({ kind: "unchanged", edits: [] });
  });

  it("an expression of the person's own is left alone", () => {
    const text = lines("def main():", "    model = Net()", "    if options.plan:", "        import monet_torch", "        monet_torch.apply(model, options.plan)");
    expect(only(text)).toMatchObject({ kind: "kept", edits: [], target: "model", line: 4 });
  });
});
