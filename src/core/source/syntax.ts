/** Small questions to a tree-sitter tree of Python. Every answer may be missing: people type while we read. */
import type { Node } from "web-tree-sitter";
import type { Range } from "./types";

export const isSameRange = (a: Range, b: Range): boolean =>
  a.start.line === b.start.line && a.start.column === b.start.column && a.end.line === b.end.line && a.end.column === b.end.column;

export function rangeOf(node: Node): Range {
  const { startPosition: start, endPosition: end } = node;
  return { start: { line: start.row, column: start.column }, end: { line: end.row, column: end.column } };
}

export function field(node: Node, name: string): Node | null {
  return node.childForFieldName(name);
}

export function named(node: Node | null): Node[] {
  return node === null ? [] : node.namedChildren.filter((child) => child.type !== "comment");
}

/** `a.b.c` as its names; null for anything that isn't names joined by dots. */
export function dotted(node: Node | null): string[] | null {
  if (node === null) return null;
  if (node.type === "identifier") return [node.text];
  if (node.type === "dotted_name") return named(node).map((child) => child.text);
  if (node.type !== "attribute") return null;
  const object = dotted(field(node, "object"));
  const attribute = field(node, "attribute");
  return object === null || attribute === null ? null : [...object, attribute.text];
}

/** A string as a pattern: what is interpolated is `*`. Null for anything else. */
export function stringPattern(node: Node | null): string | null {
  if (node?.type === "concatenated_string") {
    const parts = named(node).map(stringPattern);
    return parts.includes(null) ? null : parts.join("");
  }
  if (node?.type !== "string") return null;
  return named(node)
    .map((part) => (part.type === "string_content" ? part.text : part.type === "interpolation" ? "*" : ""))
    .join("");
}

export function numberOf(node: Node): number | null {
  if (node.type !== "integer" && node.type !== "float") return null;
  const value = Number(node.text.replaceAll("_", ""));
  return Number.isFinite(value) ? value : null;
}

/** Decorated definitions and plain ones alike. */
export function definition(node: Node): Node | null {
  const inner = node.type === "decorated_definition" ? field(node, "definition") : node;
  return inner !== null && (inner.type === "class_definition" || inner.type === "function_definition") ? inner : null;
}

/** Whether what stands inside is defined when the file is imported; what runs under `if __name__ == "__main__":` is not. */
export function holdsStatements(node: Node): boolean {
  const isMain = node.type === "if_statement" && (field(node, "condition")?.text.includes("__name__") ?? false);
  return !isMain && /^(if|try|with|ERROR|block|.*_clause)/.test(node.type);
}
