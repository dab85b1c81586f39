/** Bytes, durations and percentages as people write them. */

const byteUnits = ["B", "KiB", "MiB", "GiB", "TiB"] as const;

/** Three significant digits: `98 B`, `1.50 KiB`, `392 MiB`, `7.43 GiB`. */
export function formatBytes(bytes: number): string {
  let value = Math.abs(bytes);
  let unit = 0;
  // 1023.5 would be written as 1024.
  while (value >= 1023.5 && unit < byteUnits.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${bytes < 0 ? "−" : ""}${unit === 0 ? String(Math.round(value)) : threeDigits(value)} ${byteUnits[unit] ?? "B"}`;
}

const timeUnits = [
  ["ns", 1],
  ["µs", 1e3],
  ["ms", 1e6],
  ["s", 1e9],
] as const;

/** Nanoseconds as `850 ns`, `3.20 µs`, `48.1 ms`, `1.25 s`, `2 min 5 s`. */
export function formatDuration(nanoseconds: number): string {
  const size = Math.abs(nanoseconds);
  const sign = nanoseconds < 0 ? "−" : "";
  if (size >= 119.5e9) {
    const seconds = Math.round(size / 1e9);
    return `${sign}${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  }
  const [unit, scale] = timeUnits.findLast(([, each]) => size >= each * 0.9995) ?? timeUnits[0];
  return `${sign}${scale === 1 ? String(Math.round(size)) : threeDigits(size / scale)} ${unit}`;
}

function threeDigits(value: number): string {
  const digits = value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return value.toFixed(digits);
}

/** A fraction as `12.3%`; an overhead shows its sign. */
export function formatPercent(fraction: number, options: { sign?: boolean } = {}): string {
  const text = `${Math.abs(fraction * 100).toFixed(1)}%`;
  const zero = text === "0.0%";
  if (fraction < 0 && !zero) return `−${text}`;
  return options.sign === true ? `+${text}` : text;
}

export type Budget =
  | { readonly kind: "bytes"; readonly bytes: number }
  /** A share of eager's peak above the fixed part. */
  | { readonly kind: "share"; readonly share: number }
  /** No limit. */
  | { readonly kind: "max" }
  /** No limit, and nothing done otherwise than eager PyTorch does it. */
  | { readonly kind: "eager" };

const factors: Readonly<Record<string, number>> = {
  "": 1, b: 1,
  k: 2 ** 10, kib: 2 ** 10, kb: 1e3,
  m: 2 ** 20, mib: 2 ** 20, mb: 1e6,
  g: 2 ** 30, gib: 2 ** 30, gb: 1e9,
  t: 2 ** 40, tib: 2 ** 40, tb: 1e12,
};

/** `6GiB`, `512 MiB`, `60%`, `max`, `eager`; null for what is none of these. */
export function parseBudget(text: string): Budget | null {
  const trimmed = text.trim().toLowerCase();
  if (trimmed === "max" || trimmed === "eager") return { kind: trimmed };
  const match = /^(\d+(?:\.\d+)?|\.\d+)\s*(%|[a-z]*)$/.exec(trimmed);
  if (match === null) return null;
  const [, number = "", unit = ""] = match;
  if (unit === "%") return { kind: "share", share: Number(number) / 100 };
  const factor = Object.hasOwn(factors, unit) ? factors[unit] : undefined;
  const bytes = factor === undefined ? Number.NaN : Math.round(Number(number) * factor);
  return Number.isSafeInteger(bytes) ? { kind: "bytes", bytes } : null;
}

/**
 * So few bytes are meant by nobody who names a budget: a unit was left out, or a percent sign, where the number is one of a share.
 * Null for a budget that may be meant.
 */
export function forgottenUnit(bytes: number): { readonly percent: number | null } | null {
  return bytes >= 1024 ? null : { percent: bytes > 0 && bytes <= 100 ? bytes : null };
}

/** The bytes that a budget allows the whole device; infinite where there is no limit. */
export function budgetBytes(budget: Budget, sizes: { readonly fixed: number; readonly eagerPeak: number }): number {
  switch (budget.kind) {
    case "bytes":
      return budget.bytes;
    case "share":
      return sizes.fixed + Math.floor(budget.share * (sizes.eagerPeak - sizes.fixed));
    case "max":
    case "eager":
      return Number.POSITIVE_INFINITY;
  }
}
