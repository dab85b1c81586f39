/* eslint-disable @typescript-eslint/no-non-null-assertion --
   The one place that trusts an index. Each function meets one kind of array only, so that the engine
   inlines it to a bare load: the simulator is the inner loop of the solver. */

export const int = (array: Int32Array, k: number): number => array[k]!;
export const num = (array: Float64Array, k: number): number => array[k]!;
export const bit = (array: Uint8Array, k: number): number => array[k]!;
export const item = <T>(array: readonly T[], k: number): T => array[k]!;

/** Ragged rows of integers in one array: row k is data[start[k] … start[k+1]). */
export interface Rows {
  readonly start: Int32Array;
  readonly data: Int32Array;
}

export function rows(lists: readonly (readonly number[])[]): Rows {
  const start = new Int32Array(lists.length + 1);
  lists.forEach((list, k) => {
    start[k + 1] = int(start, k) + list.length;
  });
  return { start, data: Int32Array.from(lists.flat()) };
}
