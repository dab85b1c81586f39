/** What the sentence of an error points to. Pure. */
import { UserError } from "../helper/user_error";

export interface NamedPlace {
  readonly file: string;
  /** From 1. */
  readonly line: number;
}

/** `…/net.py:12` as the helper writes it. */
const named = /((?:[A-Za-z]:)?[^\s:'"()]*(?: [^\s:'"()]+)*?\.py):(\d+)/;

export function placeOf(error: UserError): NamedPlace | null {
  const { file, line } = error.facts;
  if (typeof file === "string" && typeof line === "number") return { file, line };
  // Paths may hold spaces, so the longest that begins with a slash or a drive is tried first.
  const absolute = /((?:\/|[A-Za-z]:[\\/])[^:'"()]*?\.py):(\d+)/.exec(error.message) ?? named.exec(error.message);
  const [, path, number] = absolute ?? [];
  return path === undefined || number === undefined ? null : { file: path, line: Number(number) };
}

/** A replaced stretch of a text, as the editor tells it. */
export interface Change {
  readonly range: { readonly start: Spot; readonly end: Spot };
  readonly text: string;
}

interface Spot {
  readonly line: number;
  readonly character: number;
}

/**
 * Where the line that ends here is after changes of one text, each of which sees what the ones before it made; null
 * where it is touched itself.
 */
export function lineAfter({ line, character }: Spot, changes: readonly Change[]): number | null {
  let at = line;
  for (const { range: { start, end }, text } of changes) {
    const wholeLinesBefore = end.line === at && end.character === 0 && (text.endsWith("\n") || (text === "" && start.character === 0));
    const behind = start.line === at && start.character >= character && /^\r?\n/.test(text);
    if (end.line < at || wholeLinesBefore) at += text.split("\n").length - 1 - (end.line - start.line);
    else if (start.line <= at && !behind) return null;
  }
  return at;
}

/** PyTorch is missing in the Python that was used. */
export function missingIn(error: UserError): string | null {
  const { missing, python } = error.facts;
  return missing === "torch" && typeof python === "string" ? python : null;
}
