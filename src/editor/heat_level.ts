export type Warmth = "High" | "Medium" | "Low";

/** By share of all that is kept; below the last nothing is marked. */
export function heatLevel(share: number): Warmth | null {
  if (share >= 0.25) return "High";
  if (share >= 0.1) return "Medium";
  return share >= 0.03 ? "Low" : null;
}
