import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { Cancelled } from "../../src/helper/user_error";
import { Sources } from "../../src/sources/client";
import { places } from "../../src/sources/places";
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
const types = (view: SourceView | null): (string | null)[] | undefined => view?.file.models.flatMap((model) => model.layers.map(({ type }) => type));

describe("the source worker", () => {
  it("reads a file from disk with what it imports", async () => {
    write("pkg/blocks.py", net("nn.Linear(2, 2)", "Block"));
    const path = write("pkg/net.py", `from .blocks import Block\n${net("Block()")}`);
    const view = await sources.read(path);
    expect(names(view)).toEqual(["Net"]);
    expect(view?.path).toBe(path);
    expect(view?.files.map((file) => file.path)).toEqual([path, at("pkg/blocks.py")]);
    expect(view?.file.models[0]?.layers[0]?.models).toEqual([{ file: at("pkg/blocks.py"), name: "Block" }]);
    expect(Object.keys(view?.fingerprints ?? {})).toEqual(["Net"]);
  });

  it("follows what is typed, before it is saved", async () => {
    const path = write("net.py", net());
    sources.open(path, net());
    expect(types(await sources.read(path))).toEqual(["Conv2d"]);
    sources.change(path, [{ offset: net().indexOf("Conv2d(3, 8, 1)"), length: "Conv2d(3, 8, 1)".length, text: "Linear(3, 8)" }]);
    expect(types(await sources.read(path))).toEqual(["Linear"]);
    sources.close(path);
    expect(types(await sources.read(path))).toEqual(["Conv2d"]);
  });

  it("gives the same view again where an edit moved nothing, and another where it did", async () => {
    const path = write("net.py", net());
    sources.open(path, net());
    const first = await sources.read(path);
    const end = net().indexOf("\n", net().indexOf("self.conv ="));
    sources.change(path, [{ offset: end, length: 0, text: "  # a word" }]);
    expect(await sources.read(path)).toBe(first);
    sources.change(path, [{ offset: 0, length: 0, text: "\n" }]);
    const moved = await sources.read(path);
    expect(moved?.file.models[0]?.range.start.line).toBe((first?.file.models[0]?.range.start.line ?? 0) + 1);
    expect(await sources.read(path)).toBe(moved);
  });

  it("answers what waited while it was busy from the newest text", async () => {
    const path = write("net.py", net());
    sources.open(path, net());
    await sources.read(path);
    const long = Array.from({ length: 300 }, (_, index) => net("nn.ReLU()", `Net${index}`)).join("\n");
    const busy = sources.place(path, "Net0", { [path]: long }, []);
    const early = sources.read(path);
    sources.change(path, [{ offset: 0, length: 0, text: net("nn.ReLU()", "First") }]);
    const late = sources.read(path);
    expect(await busy).not.toBeNull();
    expect(early).not.toBe(late);
    expect(names(await early)).toEqual(["First", "Net"]);
    expect(names(await late)).toEqual(["First", "Net"]);
  });

  it("gives null for a file that is not there or was deleted, and reads it when it is back", async () => {
    expect(await sources.read(at("net.py"))).toBeNull();
    expect(await sources.texts(at("net.py"))).toEqual({});
    const path = write("net.py", net());
    expect(names(await sources.read(path))).toEqual(["Net"]);
    rmSync(path);
    expect(await sources.read(path)).toBeNull();
    write("net.py", net("nn.ReLU()", "Other"));
    expect(names(await sources.read(path))).toEqual(["Other"]);
  });

  it("gives a file without models as one, and takes half-written code", async () => {
    expect(names(await sources.read(write("notes.py", "print('no models')\n")))).toEqual([]);
    const path = write("half.py", `${net()}\n\nclass Half(nn.Module):\n    def __init__(self):\n        self.a = nn.Linear(`);
    expect(names(await sources.read(path))).toEqual(["Net", "Half"]);
  });

  it("places operators in the texts from which they were traced, and finds them in newer ones", async () => {
    const path = write("net.py", net());
    const texts = await sources.texts(path);
    expect(texts).toEqual({ [path]: net() });
    sources.open(path, net());
    sources.change(path, [{ offset: net().indexOf("class"), length: 0, text: "# One more line.\n" }]);
    const operator = { id: 0, module: "conv", module_type: "torch.nn.modules.conv.Conv2d", source: { file: "net.py", line: 10, column: null } };
    const placement = await sources.place(path, "Net", texts, [operator]);
    const view = (await sources.read(path))!;
    expect(placement?.fingerprint).toBe(view.fingerprints["Net"]);
    expect(places(placement!, view.file).map(({ kind, range, operators }) => [kind, range.start.line, operators])).toEqual([
      ["model", 4, [0]],
      ["layer", 7, [0]],
      ["call", 10, [0]],
    ]);
    expect(await sources.place(path, "Missing", texts, [operator])).toBeNull();
    expect(await sources.place(path, "Net", {}, [operator])).toBeNull();
  });

  it("rejects what waits when it is disposed, and what is asked afterwards", async () => {
    const waiting = sources.read(write("net.py", net()));
    sources.dispose();
    await expect(waiting).rejects.toThrow(Cancelled);
    await expect(sources.read(at("net.py"))).rejects.toThrow(Cancelled);
    expect(logged).toEqual([]);
  });
});

describe("a worker that crashes", () => {
  /** Stands before the real worker and ends the thread when it is asked for a file of this name; once, or each time. */
  async function fragile(test: (sources: Sources) => Promise<void>): Promise<void> {
    const once = at("crashed once");
    const entry = write(
      "fragile.mjs",
      `import { existsSync, writeFileSync } from "node:fs";
import { parentPort } from "node:worker_threads";
await import(${JSON.stringify(bundle.worker.href)});
parentPort.on("message", ({ question }) => {
  const path = question?.path ?? "";
  if (path.endsWith("always.py")) throw new Error("always");
  if (path.endsWith("once.py") && !existsSync(${JSON.stringify(once)})) {
    writeFileSync(${JSON.stringify(once)}, "");
    throw new Error("once");
  }
});
`,
    );
    const own = new Sources(pathToFileURL(entry), { error: (message) => logged.push(message) });
    try {
      await test(own);
    } finally {
      own.dispose();
    }
  }

  it("is started again, knows what was open, and answers what waited", async () => {
    await fragile(async (own) => {
      own.setRoots([folder]);
      own.open(at("unsaved.py"), net());
      own.change(at("unsaved.py"), [{ offset: 0, length: 0, text: net("nn.ReLU()", "First") }]);
      expect(names(await own.read(at("unsaved.py")))).toEqual(["First", "Net"]);
      const [once, unsaved] = await Promise.all([own.read(write("once.py", net())), own.read(at("unsaved.py"))]);
      expect(names(once)).toEqual(["Net"]);
      expect(names(unsaved)).toEqual(["First", "Net"]);
      expect(logged).toHaveLength(1);
      expect(logged[0]).toMatch(/^The source worker crashed: .*once/);
    });
  });

  it("twice at the same question rejects it, and others are answered by the next", async () => {
    await fragile(async (own) => {
      await expect(own.read(write("always.py", net()))).rejects.toThrow("The source worker crashed");
      expect(names(await own.read(write("net.py", net())))).toEqual(["Net"]);
      await expect(own.read(at("always.py"))).rejects.toThrow("The source worker crashed");
      expect(names(await own.read(at("net.py")))).toEqual(["Net"]);
      expect(logged).toHaveLength(3);
    });
  });
});
