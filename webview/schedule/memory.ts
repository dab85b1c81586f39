/** What the panel remembers while it is hidden and over a restart. `model` is how the host finds it again. */
export interface Memory {
  readonly model: string;
  readonly from: number;
  readonly to: number;
  readonly compare: boolean;
  readonly table: boolean;
  readonly folded: readonly number[];
  readonly selected: number | null;
}

const count = (value: unknown): value is number => typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
const finite = (value: unknown): value is number => typeof value === "number" && Number.isFinite(value);

export function readMemory(value: unknown): Memory | null {
  if (typeof value !== "object" || value === null) return null;
  const { model, from, to, compare, table, folded, selected } = value as Readonly<Record<keyof Memory, unknown>>;
  if (typeof model !== "string" || !finite(from) || !finite(to) || !Array.isArray(folded)) return null;
  return { model, from, to, compare: compare === true, table: table === true, folded: folded.filter(count), selected: count(selected) ? selected : null };
}
