import { readdirSync, readFileSync } from "node:fs";
import ts from "typescript";
import { describe, expect, it } from "vitest";

const root = new URL("../", import.meta.url);
const readJson = (path: string): Record<string, string> => JSON.parse(readFileSync(new URL(path, root), "utf8")) as Record<string, string>;

/** First arguments of every `l10n.t(…)` and `vscode.l10n.t(…)`; a text that is no plain string can't be translated. */
function texts(folder: string): { found: string[]; computed: string[] } {
  const found: string[] = [];
  const computed: string[] = [];
  for (const entry of readdirSync(new URL(folder, root), { recursive: true, encoding: "utf8" })) {
    if (!entry.endsWith(".ts")) continue;
    const file = ts.createSourceFile(entry, readFileSync(new URL(`${folder}/${entry}`, root), "utf8"), ts.ScriptTarget.Latest, true);
    const visit = (node: ts.Node): void => {
      if (ts.isCallExpression(node) && /(^|\.)l10n\.t$/.test(node.expression.getText(file))) {
        const [text] = node.arguments;
        if (text !== undefined && ts.isStringLiteralLike(text)) found.push(text.text);
        else computed.push(`${folder}/${entry}:${file.getLineAndCharacterOfPosition(node.pos).line + 1}`);
      }
      ts.forEachChild(node, visit);
    };
    visit(file);
  }
  return { found, computed };
}

const holes = (text: string): string[] => [...text.matchAll(/\{\d+\}/g)].map(([hole]) => hole).sort();

describe("texts in Japanese", () => {
  const sources = ["src", "webview"].map(texts);
  const english = [...new Set(sources.flatMap(({ found }) => found))].sort();
  const japanese = readJson("l10n/bundle.l10n.ja.json");

  it("are plain strings in the code, so that they can be translated", () => {
    expect(sources.flatMap(({ computed }) => computed)).toEqual([]);
    expect(english.length).toBeGreaterThan(100);
  });

  it("are complete, with nothing left over", () => {
    expect(Object.keys(japanese).sort()).toEqual(english);
  });

  it("have the same places to fill in", () => {
    for (const [text, translated] of Object.entries(japanese)) expect([text, holes(translated)]).toEqual([text, holes(text)]);
  });

  it("of the manifest are complete, with the same commands behind links", () => {
    const [en, ja] = [readJson("package.nls.json"), readJson("package.nls.ja.json")];
    expect(Object.keys(ja)).toEqual(Object.keys(en));
    const links = (text: string): string[] => [...text.matchAll(/\(command:[\w.]+\)/g)].map(([link]) => link);
    for (const key of Object.keys(en)) expect([key, links(ja[key]!)]).toEqual([key, links(en[key]!)]);
  });

  it("are named by the manifest, each of them and no other", () => {
    const used = [...readFileSync(new URL("package.json", root), "utf8").matchAll(/%([\w.]+)%/g)].map(([, key]) => key);
    expect([...new Set(used)].sort()).toEqual(Object.keys(readJson("package.nls.json")).sort());
  });
});
