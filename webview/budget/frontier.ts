/** The frontier as numbers: which budgets the slider offers, and the two staircases. */
import type { BudgetPoint, BudgetResult } from "../../src/protocol";

export interface Extent {
  readonly least: number;
  readonly most: number;
}

export function extentOf(points: readonly BudgetPoint[]): Extent {
  const least = points[0]?.peak ?? 0;
  return { least, most: Math.max(least, points.at(-1)?.peak ?? 0) };
}

export const clamp = (value: number, low: number, high: number): number => Math.min(high, Math.max(low, value));

/** The next budget that buys another plan, so that each press of an arrow key changes something. */
export function neighbour(points: readonly BudgetPoint[], budget: number, direction: 1 | -1): number {
  const peaks = points.map(({ peak }) => peak);
  const next = direction > 0 ? peaks.find((peak) => peak > budget) : peaks.findLast((peak) => peak < budget);
  return next ?? budget;
}

export interface Corner {
  readonly bytes: number;
  readonly overhead: number;
}

/** What a budget costs: a plan serves every budget from its peak up to the next plan's. */
export function costStairs(points: readonly BudgetPoint[], { most }: Extent): Corner[] {
  return points.flatMap(({ peak, overhead }, at) => [
    { bytes: peak, overhead },
    { bytes: points[at + 1]?.peak ?? most, overhead },
  ]);
}

/** What a budget provably costs at least: proven for one peak, it holds for every smaller budget. */
export function boundStairs(points: readonly BudgetPoint[], { least }: Extent): Corner[] {
  return points.flatMap(({ peak, bound }, at) => (bound === null ? [] : [
    { bytes: points[at - 1]?.peak ?? least, overhead: bound },
    { bytes: peak, overhead: bound },
  ]));
}

export type PartName = "parameters" | "buffers" | "gradients" | "optimizer" | "inputs" | "kept" | "working" | "workspace";

export interface Part {
  readonly name: PartName;
  readonly bytes: number;
}

/** What is live at the peak of a plan; adds up to it. */
export function partsOf({ fixed }: Pick<BudgetResult, "fixed">, { layers }: Pick<BudgetPoint, "layers">): Part[] {
  const known = Object.values(fixed).reduce((sum, bytes) => sum + bytes, 0);
  const parts: Part[] = [
    { name: "parameters", bytes: fixed.parameters },
    // States of random generators that a plan holds count with the buffers.
    { name: "buffers", bytes: fixed.buffers + Math.max(0, layers.fixed - known) },
    { name: "gradients", bytes: fixed.gradients + layers.gradients },
    { name: "optimizer", bytes: fixed.optimizer },
    { name: "inputs", bytes: fixed.inputs },
    { name: "kept", bytes: layers.kept },
    { name: "working", bytes: layers.working },
    { name: "workspace", bytes: layers.workspace },
  ];
  return parts.filter(({ bytes }) => bytes > 0);
}

/** Where the bar ends, in bytes: the device's memory, or less of it where the model would be a hairline. */
export function barEnd({ device, eager }: Pick<BudgetResult, "device" | "eager">, peak: number): { readonly bytes: number; readonly whole: boolean } {
  const needed = Math.max(1, eager.peak, peak);
  if (device.totalBytes > 3 * needed) return { bytes: Math.ceil(needed * 1.1), whole: false };
  return { bytes: Math.max(device.totalBytes, peak), whole: true };
}
