import { scaleLinear } from "d3-scale";
import { length, type Span } from "./span";

export interface Tick {
  readonly at: number;
  readonly text: string;
}

const timeUnits = [["ns", 1], ["µs", 1e3], ["ms", 1e6], ["s", 1e9]] as const;

/** Round moments, all in one unit and with as many digits as tell them apart. */
export function timeTicks(span: Span, count: number): Tick[] {
  const [unit, scale] = timeUnits.findLast(([, each]) => span.to >= 2 * each) ?? timeUnits[0];
  return ticksIn(span.from / scale, span.to / scale, count).map(({ at, text }) => ({ at: at * scale, text: `${text} ${unit}` }));
}

const byteUnits = [["B", 1], ["KiB", 2 ** 10], ["MiB", 2 ** 20], ["GiB", 2 ** 30], ["TiB", 2 ** 40]] as const;

export function byteTicks(least: number, most: number, count: number): { readonly unit: string; readonly ticks: readonly Tick[] } {
  const [unit, scale] = byteUnits.findLast(([, each]) => most >= each) ?? byteUnits[0];
  return { unit, ticks: ticksIn(least / scale, most / scale, count).map(({ at, text }) => ({ at: at * scale, text })) };
}

function ticksIn(from: number, to: number, count: number): Tick[] {
  const scale = scaleLinear([from, to], [0, 1]);
  const format = scale.tickFormat(count);
  return scale.ticks(count).map((at) => ({ at, text: format(at) }));
}

/** For every pixel column the event with the greatest weight that touches it, −1 where there is none. */
export function columns(start: readonly number[], end: readonly number[], weight: readonly number[], span: Span, width: number): Int32Array {
  const best = new Int32Array(width).fill(-1);
  const scale = width / length(span);
  for (let event = 0; event < start.length; event++) {
    const [from, to] = [start[event] ?? 0, end[event] ?? 0];
    if (to < span.from || from > span.to) continue;
    const first = Math.max(0, Math.floor((from - span.from) * scale));
    const last = Math.min(width - 1, Math.max(first, Math.ceil((to - span.from) * scale) - 1));
    for (let column = first; column <= last; column++) {
      const other = best[column] ?? -1;
      if (other < 0 || (weight[event] ?? 0) > (weight[other] ?? 0)) best[column] = event;
    }
  }
  return best;
}

/** Neighbouring columns with the same content. */
export function runs(cells: Int32Array): { readonly from: number; readonly to: number; readonly value: number }[] {
  const found: { from: number; to: number; value: number }[] = [];
  for (let at = 0; at < cells.length; at++) {
    const value = cells[at] ?? -1;
    const last = found.at(-1);
    if (last?.value === value) last.to = at + 1;
    else found.push({ from: at, to: at + 1, value });
  }
  return found;
}
