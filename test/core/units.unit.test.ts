import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { budgetBytes, formatBytes, formatDuration, formatPercent, parseBudget } from "../../src/core/units";

describe("bytes", () => {
  it.each([
    [0, "0 B"],
    [1000, "1000 B"],
    [1023, "1023 B"],
    [1024, "1.00 KiB"],
    [1536, "1.50 KiB"],
    [392 * 2 ** 20, "392 MiB"],
    [1024 * 2 ** 20 - 1, "1.00 GiB"],
    [7.43 * 2 ** 30, "7.43 GiB"],
    [24 * 2 ** 30, "24.0 GiB"],
    [-2048, "−2.00 KiB"],
  ])("%d is written %s", (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text);
  });

  it("what is written reads back within half of its last digit", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 45 }), (bytes) => {
        const read = parseBudget(formatBytes(bytes));
        expect(read?.kind).toBe("bytes");
        if (read?.kind === "bytes") expect(Math.abs(read.bytes - bytes)).toBeLessThanOrEqual(bytes * 0.006 + 1);
      }),
    );
  });
});

describe("durations", () => {
  it.each([
    [0, "0 ns"],
    [850, "850 ns"],
    [3200, "3.20 µs"],
    [999_900, "1.00 ms"],
    [48_100_000, "48.1 ms"],
    [1.25e9, "1.25 s"],
    [90e9, "90.0 s"],
    [125e9, "2 min 5 s"],
  ])("%d ns is written %s", (nanoseconds, text) => {
    expect(formatDuration(nanoseconds)).toBe(text);
  });
});

describe("percentages", () => {
  it("shows the sign of an overhead, and none of zero", () => {
    expect(formatPercent(0.0612, { sign: true })).toBe("+6.1%");
    expect(formatPercent(-0.02, { sign: true })).toBe("−2.0%");
    expect(formatPercent(-0.0001)).toBe("0.0%");
    expect(formatPercent(0.5)).toBe("50.0%");
  });
});

describe("budgets", () => {
  it.each([
    ["6GiB", { kind: "bytes", bytes: 6 * 2 ** 30 }],
    ["512 MiB", { kind: "bytes", bytes: 512 * 2 ** 20 }],
    ["1.5g", { kind: "bytes", bytes: 1.5 * 2 ** 30 }],
    ["2GB", { kind: "bytes", bytes: 2e9 }],
    ["123456", { kind: "bytes", bytes: 123456 }],
    ["60%", { kind: "share", share: 0.6 }],
    [" MAX ", { kind: "max" }],
    ["eager", { kind: "eager" }],
  ])("reads %s", (text, budget) => {
    expect(parseBudget(text)).toEqual(budget);
  });

  it.each(["", "GiB", "six", "-1GiB", "60 %%", "1e9", "5 constructor", "99999999TiB"])("refuses %j", (text) => {
    expect(parseBudget(text)).toBeNull();
  });

  it("a share is of eager's peak above the fixed part", () => {
    expect(budgetBytes({ kind: "share", share: 0.5 }, { fixed: 100, eagerPeak: 301 })).toBe(200);
    expect(budgetBytes({ kind: "max" }, { fixed: 100, eagerPeak: 300 })).toBe(Number.POSITIVE_INFINITY);
  });
});
