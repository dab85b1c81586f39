import { mkdirSync, mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import fc from "fast-check";
import type { Parser } from "web-tree-sitter";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { Files, type ParsedFile } from "../../src/sources/files";
import { applyChange, type TextChange } from "../../src/sources/protocol";
import { pythonParser } from "../core/source/parser";

let parser: Parser;
let folder: string;
let files: Files;

beforeAll(async () => {
  parser = await pythonParser();
});
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "monet files "));
  files = new Files(parser);
  files.hear({ kind: "roots", roots: [folder] });
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

const at = (name: string): string => join(folder, name);
function write(name: string, text: string): string {
  mkdirSync(dirname(at(name)), { recursive: true });
  writeFileSync(at(name), text);
  return at(name);
}
const paths = (parsed: readonly ParsedFile[]): string[] => parsed.map(({ outline }) => outline.path.slice(folder.length + 1));

describe("an open file", () => {
  const example = readFileSync("examples/unet.py", "utf8");

  function fresh(text: string): ParsedFile {
    const other = new Files(parser);
    other.hear({ kind: "roots", roots: [folder] });
    other.hear({ kind: "open", path: at("net.py"), text });
    return other.reached(at("net.py"))[0]!;
  }

  it("read after edits is what it is when read anew", () => {
    const insert = fc.constantFrom("\n", "    ", "x", "😀", "é", "\r\n", "# 😀 comment\n", "self.a = nn.Linear(1, 2)\n", 'text = "𝒳"\n', "");
    const change = fc.record({ offset: fc.nat(example.length), length: fc.oneof(fc.constant(0), fc.nat(30)), text: insert });
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 6 }), fc.integer({ min: 1, max: 3 }), (edits, readEvery) => {
        const path = at("net.py");
        files.hear({ kind: "open", path, text: example });
        let text = example;
        const undone: TextChange[] = [];
        edits.forEach((edit, index) => {
          const offset = Math.min(edit.offset, text.length);
          const length = Math.min(edit.length, text.length - offset);
          undone.unshift({ offset, length: edit.text.length, text: text.slice(offset, offset + length) });
          text = applyChange(text, { ...edit, offset, length });
          files.hear({ kind: "change", path, changes: [{ ...edit, offset, length }] });
          if (index % readEvery === 0) files.reached(path);
        });
        expect(files.reached(path)[0]!.text).toBe(text);
        // What parses with errors may parse with other errors from scratch; what is right again must be the same.
        files.hear({ kind: "change", path, changes: undone });
        expect(files.reached(path)[0]).toEqual(fresh(example));
      }),
      { numRuns: 40 },
    );
  }, 60_000);

  it("counts lines and columns in UTF-16 units, also behind an edit", () => {
    const path = at("net.py");
    const text = 'from torch import nn\nname = "😀"; model = nn.Linear(1, 1)\n';
    files.hear({ kind: "open", path, text });
    const before = files.reached(path)[0]!.outline.objects.get("model")!.range;
    expect(before.start).toEqual({ line: 1, column: 'name = "😀"; '.length });
    files.hear({ kind: "change", path, changes: [{ offset: text.indexOf("😀"), length: 0, text: "😀é" }] });
    expect(files.reached(path)[0]!.outline.objects.get("model")!.range.start).toEqual({ line: 1, column: before.start.column + 3 });
  });

  it("takes several changes of one moment, the last place first", () => {
    const path = at("net.py");
    files.hear({ kind: "open", path, text: "a = 1\nb = 2\n" });
    files.hear({ kind: "change", path, changes: [{ offset: 6, length: 1, text: "bb" }, { offset: 0, length: 1, text: "aa" }] });
    expect(files.reached(path)[0]!.text).toBe("aa = 1\nbb = 2\n");
  });

  it("stands before the disk, and the disk comes back when it is closed", () => {
    const path = write("net.py", "a = 1\n");
    files.hear({ kind: "open", path, text: "b = 1\n" });
    expect(files.reached(path)[0]!.text).toBe("b = 1\n");
    files.hear({ kind: "close", path });
    expect(files.reached(path)[0]!.text).toBe("a = 1\n");
  });

  it("may not be on disk yet, and is found by those who import it", () => {
    const path = write("net.py", "from blocks import Block\n");
    files.hear({ kind: "open", path: at("blocks.py"), text: "class Block: pass\n" });
    expect(paths(files.reached(path))).toEqual(["net.py", "blocks.py"]);
  });
});

describe("a file on disk", () => {
  it("is parsed once until its time or size changes", () => {
    const path = write("net.py", "a = 1\n");
    const [first] = files.reached(path);
    expect(files.reached(path)[0]).toBe(first);
    write("net.py", "a = 23\n");
    expect(files.reached(path)[0]!.text).toBe("a = 23\n");
  });

  it("is read again when it is said to have changed, though time and size are the same", () => {
    const path = write("net.py", "a = 1\n");
    utimesSync(path, 1000, 1000);
    files.reached(path);
    write("net.py", "a = 2\n");
    utimesSync(path, 1000, 1000);
    expect(files.reached(path)[0]!.text).toBe("a = 1\n");
    files.hear({ kind: "disk", path });
    expect(files.reached(path)[0]!.text).toBe("a = 2\n");
  });

  it("that is missing, deleted, a folder or far too large is none", () => {
    const path = write("net.py", "a = 1\n");
    expect(files.reached(path)).toHaveLength(1);
    rmSync(path);
    mkdirSync(at("folder.py"));
    write("data.py", `a = "${"x".repeat(3e6)}"\n`);
    for (const name of ["net.py", "folder.py", "data.py", "never.py"]) expect(files.reached(at(name))).toEqual([]);
  });
});

describe("imports", () => {
  it("are followed within packages, above them and in circles, each file once", () => {
    write("lib/shared.py", "import net\n");
    write("lib/pkg/__init__.py", "from .blocks import Block\n");
    write("lib/pkg/blocks.py", "from ..shared import x\nfrom . import net\n");
    const path = write("lib/pkg/net.py", "import torch.nn as nn, numpy\nfrom .blocks import *\n");
    expect(paths(files.reached(path))).toEqual(["lib/pkg/net.py", "lib/pkg/blocks.py", "lib/pkg/__init__.py", "lib/shared.py"]);
  });

  it("are found from the outermost package where no folder of the workspace holds the file", () => {
    files.hear({ kind: "roots", roots: [] });
    write("top/pkg/__init__.py", "");
    write("top/pkg/sub/__init__.py", "");
    write("top/pkg/blocks.py", "");
    const path = write("top/pkg/sub/net.py", "from ..blocks import Block\nfrom pkg.blocks import Block\n");
    const [net] = files.reached(path);
    expect(net!.outline.module).toBe("pkg.sub.net");
    expect(paths(files.reached(path))).toEqual(["top/pkg/sub/net.py", "top/pkg/blocks.py"]);
  });
});

describe("a snapshot", () => {
  it("is read as it was, whatever the files are now", () => {
    const path = write("net.py", "from blocks import Block\n");
    write("blocks.py", "class Block: pass\n");
    const snapshot = Object.fromEntries(files.reached(path).map(({ outline, text }) => [outline.path, text]));
    write("net.py", "from other import Block\n");
    rmSync(at("blocks.py"));
    expect(files.ofSnapshot(path, snapshot).map(({ text }) => text)).toEqual(["from blocks import Block\n", "class Block: pass\n"]);
    expect(files.reached(path).map(({ text }) => text)).toEqual(["from other import Block\n"]);
  });
});
