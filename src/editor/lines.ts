/** The places of one file by line, with their numbers. Made once per change, so that a provider only looks up. */
import { perObject } from "../base/per_object";
import type { Position, Range } from "../core/source/index";
import { numbersOf, type Explained, type Numbers } from "../core/numbers";
import type { Place } from "../sources/types";

export interface Placed {
  readonly explained: Explained;
  readonly places: readonly Place[];
}

/** The layers and calls that start on one line, as one: an operator that several of them reach counts once. */
export interface LineMark {
  readonly line: number;
  readonly labels: readonly string[];
  readonly numbers: Numbers;
  readonly heaviest: number | null;
}

export const linesOf = perObject(({ explained, places }: Placed): readonly LineMark[] => {
  const byLine = new Map<number, Place[]>();
  for (const place of places) {
    const { line } = place.range.start;
    if (place.kind !== "model") byLine.set(line, [...(byLine.get(line) ?? []), place]);
  }
  return [...byLine]
    .map(([line, here]) => {
      const ids = [...new Set(here.flatMap(({ operators }) => operators))].sort((a, b) => a - b);
      return { line, labels: [...new Set(here.map(({ label }) => label))], ...summed(explained, ids) };
    })
    .sort((a, b) => a.line - b.line);
});

type Sums = Pick<LineMark, "numbers" | "heaviest">;

const sums = perObject<Explained, Map<string, Sums>>(() => new Map());

/** Edits move places; the operators of each stay those that were profiled, and so do their sums. */
function summed(explained: Explained, ids: readonly number[]): Sums {
  const known = sums(explained);
  const key = ids.join();
  const found = known.get(key) ?? { numbers: numbersOf(explained, ids), heaviest: heaviest(explained, ids) };
  known.set(key, found);
  return found;
}

/** What the person points at: the smallest place around the position. */
export function placeAt(places: readonly Place[], position: Position): Place | null {
  const around = places.filter(({ range }) => contains(range, position));
  return around.reduce<Place | null>((best, place) => (best === null || extent(place.range) < extent(best.range) ? place : best), null);
}

/** The operator of a place whose tensors are the largest that are kept or recomputed. */
export function heaviest({ explanation }: Explained, operators: readonly number[]): number | null {
  const bytes = (id: number): number => explanation.operators[id]?.tensors.reduce((sum, tensor) => (tensor.fate === "unused" ? sum : sum + tensor.bytes), 0) ?? 0;
  let best: { readonly id: number; readonly bytes: number } | null = null;
  for (const id of operators) {
    const own = bytes(id);
    if (best === null || own > best.bytes) best = { id, bytes: own };
  }
  return best?.id ?? null;
}

function contains({ start, end }: Range, { line, column }: Position): boolean {
  return (line > start.line || (line === start.line && column >= start.column)) && (line < end.line || (line === end.line && column <= end.column));
}

const extent = ({ start, end }: Range): number => (end.line - start.line) * 1e6 + end.column - start.column;
