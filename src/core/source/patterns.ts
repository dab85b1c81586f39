/** Module path patterns: segments joined by dots, `*` for any text within a segment. */

export function segments(path: string): string[] {
  return path === "" ? [] : path.split(".");
}

export function segmentMatches(pattern: string, text: string): boolean {
  if (pattern === "*" || pattern === text) return true;
  if (!pattern.includes("*")) return false;
  const [head = "", ...rest] = pattern.split("*");
  const tail = rest.pop() ?? "";
  if (text.length < head.length + tail.length || !text.startsWith(head) || !text.endsWith(tail)) return false;
  let from = head.length;
  for (const piece of rest) {
    const at = text.indexOf(piece, from);
    if (at < 0 || at + piece.length > text.length - tail.length) return false;
    from = at + piece.length;
  }
  return true;
}

function overlaps(a: string, b: string): boolean {
  return segmentMatches(a, b) || segmentMatches(b, a);
}

/** Whether `prefix` covers the beginning of `path`; both may be patterns. */
export function covers(prefix: readonly string[], path: readonly string[]): boolean {
  return prefix.length <= path.length && prefix.every((segment, index) => overlaps(segment, path[index] ?? ""));
}

/** How much of a pattern is fixed text: of two that match, the one with more is meant. */
export function fixedLength(pattern: readonly string[]): number {
  return pattern.reduce((sum, segment) => sum + segment.replaceAll("*", "").length + (segment.includes("*") ? 0 : 1), 0);
}
