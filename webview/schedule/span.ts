/** The part of the step that is shown, in nanoseconds. */
export interface Span {
  readonly from: number;
  readonly to: number;
}

const deepest = 2000;

export const whole = (total: number): Span => ({ from: 0, to: Math.max(1, total) });
export const length = ({ from, to }: Span): number => to - from;
/** How many times larger than the whole. */
export const magnification = (span: Span, total: number): number => Math.max(1, total / length(span));

/** Shows `factor` times more detail, with the moment `at` where it is. */
export function zoomed(span: Span, total: number, factor: number, at: number): Span {
  const size = sized(length(span) / factor, total);
  const share = (at - span.from) / length(span);
  return fitted(at - share * size, size, total);
}

export const panned = (span: Span, total: number, by: number): Span => fitted(span.from + by, length(span), total);

/** Moves as little as needed to show from … to. */
export function showing(span: Span, total: number, moment: number): Span {
  const margin = length(span) / 10;
  if (moment < span.from) return panned(span, total, moment - margin - span.from);
  if (moment > span.to) return panned(span, total, moment + margin - span.to);
  return span;
}

export function between(a: number, b: number, total: number): Span {
  return fitted(Math.min(a, b), sized(Math.abs(a - b), total), total);
}

/** A step of no time is a nanosecond wide, so that every span can be divided by. */
function sized(size: number, total: number): number {
  const { to } = whole(total);
  return Math.min(to, Math.max(to / deepest, size));
}

function fitted(from: number, size: number, total: number): Span {
  const start = Math.min(Math.max(0, from), whole(total).to - size);
  return { from: start, to: start + size };
}
