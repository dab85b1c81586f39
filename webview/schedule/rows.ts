/** Where the rows lie: blocks of one part of the model each, folded to one row or with a row per bar. */
import type { Picture } from "../../src/core/picture";

export interface Block {
  readonly group: number;
  readonly first: number;
  readonly count: number;
  readonly folded: boolean;
  readonly top: number;
  readonly height: number;
  /** Where its first bar lies. */
  readonly bars: number;
}

export interface Rows {
  readonly blocks: readonly Block[];
  readonly rowHeight: number;
  readonly height: number;
  /** Rows are high enough for a name each; then a block has a heading of its own. */
  readonly labelled: boolean;
}

/** A group, or one of its bars. */
export interface Item {
  readonly group: number;
  readonly bar: number | null;
}

export const smallestRow = 4;
export const largestRow = 20;
export const foldedHeight = 22;
const labelledFrom = 12;
const heading = 18;
const smallestBlock = 14;
const gap = 3;

export function layRows(groups: Picture["groups"], folded: ReadonlySet<number>, rowHeight: number): Rows {
  const labelled = rowHeight >= labelledFrom;
  let top = 0;
  const blocks = groups.map(({ first, count }, group): Block => {
    const isFolded = folded.has(group);
    const above = labelled && !isFolded ? heading : 0;
    const height = isFolded ? foldedHeight : Math.max(smallestBlock, above + count * rowHeight);
    const block = { group, first, count, folded: isFolded, top, height, bars: top + above };
    top += height + gap;
    return block;
  });
  return { blocks, rowHeight, height: top, labelled };
}

/** The height at which all rows fit, within what can be seen and what can be read. */
export function fittingRow(groups: Picture["groups"], folded: ReadonlySet<number>, height: number): number {
  const open = groups.filter((_, group) => !folded.has(group)).reduce((sum, { count }) => sum + count, 0);
  const rest = height - folded.size * foldedHeight - groups.length * gap;
  return Math.min(labelledFrom - 1, Math.max(smallestRow, rest / Math.max(1, open)));
}

export function blocksBetween({ blocks }: Rows, top: number, bottom: number): readonly Block[] {
  let low = 0;
  let high = blocks.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const block = blocks[middle];
    if (block !== undefined && block.top + block.height < top) low = middle + 1;
    else high = middle;
  }
  const end = blocks.findIndex((block, at) => at >= low && block.top > bottom);
  return blocks.slice(low, end < 0 ? undefined : end);
}

export function itemAt(rows: Rows, y: number): Item | null {
  const [block] = blocksBetween(rows, y, y);
  if (block === undefined || y < block.top) return null;
  const row = Math.floor((y - block.bars) / rows.rowHeight);
  return { group: block.group, bar: block.folded || row < 0 || row >= block.count ? null : block.first + row };
}

export const blockOf = ({ blocks }: Rows, bar: number): Block | undefined => blocks.findLast(({ first }) => first <= bar);

/** Top and height of an item's row; a bar of a folded block is on its block's. */
export function placeOf(rows: Rows, { group, bar }: Item): { readonly top: number; readonly height: number } {
  const block = rows.blocks[group];
  if (block === undefined) return { top: 0, height: 0 };
  if (bar === null || block.folded) return { top: block.top, height: block.folded ? block.height : Math.max(smallestBlock, block.bars - block.top) };
  return { top: block.bars + (bar - block.first) * rows.rowHeight, height: rows.rowHeight };
}

/** The next item, going over groups and the bars of those that are open. */
export function step({ blocks }: Rows, { group, bar }: Item, direction: 1 | -1): Item | null {
  const block = blocks[group];
  if (block === undefined) return null;
  const last = (at: number): Item | null => {
    const other = blocks[at];
    return other === undefined ? null : { group: at, bar: other.folded ? null : other.first + other.count - 1 };
  };
  if (direction > 0) {
    const next = bar === null ? block.first : bar + 1;
    if (!block.folded && next < block.first + block.count) return { group, bar: next };
    return group + 1 < blocks.length ? { group: group + 1, bar: null } : null;
  }
  if (bar === null) return last(group - 1);
  return { group, bar: bar > block.first ? bar - 1 : null };
}
