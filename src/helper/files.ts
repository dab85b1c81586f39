/** Where a model's files lie, and writing them whole or not at all. */
import { mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, isAbsolute, join, relative } from "node:path";

/** By default a folder beside the model's source, which can be ignored and deleted as a whole. */
export function defaultFile(source: string, model: string, kind: "graph" | "plan" | "frontier" | "snapshot"): string {
  const stem = basename(source).replace(/\.py$/, "");
  return join(dirname(source), ".monet", `${stem === model ? model : `${stem}.${model}`}.${kind}.json`);
}

/** The way from a folder to a file in it; null for one that lies elsewhere. */
export function wayWithin(folder: string, file: string): string | null {
  const way = relative(folder, file);
  return isAbsolute(way) || /^\.\.([\\/]|$)/.test(way) ? null : way;
}

/** A reader never sees half of a file: it is written beside its place and renamed. Throws what the system throws. */
export function writeWhole(file: string, text: string | Uint8Array): void {
  const part = join(dirname(file), `.${basename(file)}.${process.pid}.part`);
  try {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(part, text);
    renameSync(part, file);
  } catch (error) {
    rmSync(part, { force: true });
    throw error;
  }
}
