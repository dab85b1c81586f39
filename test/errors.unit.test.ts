/** docs/errors.md against the code: each error is in the table, says what the table says, and is provoked by a test. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";

const root = join(import.meta.dirname, "..");
const textsIn = (folder: string, ending: string): Map<string, string> =>
  new Map(
    readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(ending))
      .map((name) => join(folder, name).replaceAll("\\", "/"))
      .map((file) => [file, readFileSync(join(root, file), "utf8")]),
  );

interface Row {
  readonly code: string;
  readonly sentences: readonly string[];
  readonly tests: readonly string[];
}

const rows: readonly Row[] = readFileSync(join(root, "docs", "errors.md"), "utf8")
  .split("\n")
  .filter((line) => /^\| M\d/.test(line))
  .map((line) => {
    const [, code = "", sentences = "", , , tests = ""] = line.split(" | ").flatMap((cell, k) => (k === 0 ? ["", cell.replace("| ", "")] : [cell.replace(/ \|$/, "")]));
    return { code, sentences: sentences.split("<br>").map((each) => each.slice(1, -1)), tests: [...tests.matchAll(/`([^`]+)`/g)].map(([, file = ""]) => file) };
  });

const named = /["[](M\d{3})["\]]/g;
/** Texts that are one sentence, though written on several lines. */
const joined = (text: string): string => text.replaceAll(/["'`]\s*\n\s*f?["'`]/g, "").replaceAll('\\"', '"').replaceAll("\\'", "'");
const code = new Map([...textsIn("python/monet_torch", ".py"), ...textsIn("src", ".ts")].map(([file, text]) => [file, joined(text)]));

it("the codes of the table are those of the code, each once and in order", () => {
  const used = new Set([...code.values()].flatMap((text) => [...text.matchAll(named)].map(([, each = ""]) => each)));
  expect(rows.map((row) => row.code)).toEqual([...used].sort());
});

/** Whether a text says a sentence of the table: its words in their order, whatever stands where it has `…`. */
function says(text: string, sentence: string): boolean {
  let at = 0;
  const pieces = sentence.replace(/^FILE:LINE: /, "").split("…").map((piece) => piece.trim()).filter((piece) => /\w/.test(piece));
  return pieces.every((piece) => (at = text.indexOf(piece, at) + 1) > 0);
}

describe.each(rows)("$code", ({ code: own, sentences, tests }) => {
  const naming = [...code].filter(([, text]) => text.includes(own));

  it.each(sentences)("is said as %s", (sentence) => {
    expect(naming.filter(([, text]) => says(text, sentence)).map(([file]) => file)).not.toEqual([]);
  });

  it("stands for nothing else", () => {
    // Codes of Python's that the extension looks for.
    const others = naming.filter(([file]) => own >= "M500" || file.endsWith(".py"));
    for (const [file, text] of others) expect(sentences.filter((sentence) => says(text, sentence)), file).not.toEqual([]);
  });

  it("is provoked by a test", () => {
    expect(tests).not.toEqual([]);
    for (const file of tests) expect(readFileSync(join(root, file), "utf8"), file).toContain(own);
  });
});
