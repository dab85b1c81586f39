import { execFileSync } from "node:child_process";

/** Command lines of our Python helpers that work on files of a folder. */
export function runningHelpers(folder: string): string[] {
  const lines = execFileSync("ps", ["-eww", "-o", "args="], { encoding: "utf8" }).split("\n");
  return lines.filter((line) => line.includes("monet_torch") && line.includes(folder));
}
