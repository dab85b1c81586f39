import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { Sources } from "../../src/sources/client";
import type { SourceView } from "../../src/sources/types";
import { bundleWorker, type Bundle } from "./bundle";

let bundle: Bundle;
let folder: string;
let sources: Sources;
let logged: string[];

beforeAll(async () => {
  bundle = await bundleWorker();
});
afterAll(() => bundle.remove());

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "monet files "));
  logged = [];
  sources = new Sources(bundle.worker, { error: (message) => logged.push(message) });
  sources.setRoots([folder]);
});
afterEach(() => {
  sources.dispose();
  rmSync(folder, { recursive: true, force: true });
  expect(logged).toEqual([]);
});

const at = (name: string): string => join(folder, name);
function write(name: string, text: string): string {
  mkdirSync(dirname(at(name)), { recursive: true });
  writeFileSync(at(name), text);
  return at(name);
}

const net = (layer = "nn.Conv2d(3, 8, 1)", name = "Net"): string =>
  `from torch import nn\n\n\nclass ${name}(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.conv = ${layer}\n\n    def forward(self, x):\n        return self.conv(x)\n`;
const names = (view: SourceView | null): string[] | null => view?.file.models.map((model) => model.name) ?? null;

describe("the source worker", () => {
  it("reads a file from disk with what it imports", async () => {
    write("pkg/__init__.py", "");
    write("pkg/blocks.py", net("nn.Linear(2, 2)", "Block"));
    const path = write("pkg/net.py", `from .blocks import Block\n${net("Block()")}`);
    const view = await sources.read(path);
    expect(names(view)).toEqual(["Net"]);
    expect(view?.files.map((file) => file.path)).toEqual([path, at("pkg/blocks.py")]);
    expect(view?.file.models[0]?.layers[0]?.models).toEqual([{ file: at("pkg/blocks.py"), name: "Block" }]);
  });
});
