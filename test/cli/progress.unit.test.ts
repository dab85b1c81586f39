import { afterEach, beforeEach, expect, it, vi } from "vitest";
import type { Io } from "../../src/cli/io";
import { ProgressLine } from "../../src/cli/progress";

beforeEach(() => { vi.useFakeTimers(); });
afterEach(() => { vi.useRealTimers(); });

function line(errIsTerminal: boolean): { progress: ProgressLine; written: () => string } {
  let text = "";
  const progress = new ProgressLine({ errIsTerminal, err: (more: string) => { text += more; } } as unknown as Io);
  return { progress, written: () => text };
}

it("without a terminal a line every ten seconds says how far it is, and a short command says nothing", () => {
  const { progress, written } = line(false);
  vi.advanceTimersByTime(9_999);
  expect(written()).toBe("");
  vi.advanceTimersByTime(1);
  progress.show({ stage: "profile", done: 33, total: 160, operator: "layer1.0.conv1" });
  progress.show({ stage: "profile", done: 34, total: 160, operator: "layer1.0.bn1" });
  vi.advanceTimersByTime(20_000);
  progress.show({ stage: "eager step", done: 0, total: 0, operator: null });
  vi.advanceTimersByTime(10_000);
  progress.clear();
  vi.advanceTimersByTime(60_000);
  expect(written()).toBe("Starting (10 s)\nProfiling 34 of 160  layer1.0.bn1 (20 s)\nProfiling 34 of 160  layer1.0.bn1 (30 s)\nEager step (40 s)\n");
});

it("on a terminal one line is written over, and gone when it ends", () => {
  const { progress, written } = line(true);
  progress.show({ stage: "trace", done: 0, total: 1, operator: null });
  vi.advanceTimersByTime(60_000);
  progress.clear();
  expect(written()).toBe("\r\u001b[KTracing 0 of 1\r\u001b[K");
});
