import { readFileSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { parseGraph, type Graph } from "../core/graph";
import { DocumentError } from "../core/graph_document";
import { parsePlan, type Plan } from "../core/plan";
import { writeWhole } from "../helper/files";
import { UserError } from "../helper/user_error";
import type { Io } from "./io";

function reason(error: unknown): string {
  const code = error instanceof Error && "code" in error ? error.code : null;
  if (code === "EACCES" || code === "EPERM") return "permission denied";
  if (code === "EISDIR") return "it is a folder";
  if (code === "ENOSPC") return "no space left on the device";
  return error instanceof Error ? error.message : String(error);
}

export function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

export function readText(io: Io, path: string, what: string): string {
  const file = resolve(io.cwd, path);
  if (statSync(file, { throwIfNoEntry: false }) === undefined) {
    throw new UserError("M601", "input", `There is no ${what} '${path}': check the path (looked for ${file}).`);
  }
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw new UserError("M602", "input", `The ${what} '${path}' can't be read: ${reason(error)}.`);
  }
}

export function writeText(io: Io, path: string, text: string): void {
  try {
    writeWhole(resolve(io.cwd, path), text);
  } catch (error) {
    throw new UserError("M603", "input", `'${path}' can't be written: ${reason(error)}.`);
  }
}

export function readGraph(io: Io, path: string): Graph {
  const text = readText(io, path, "training graph");
  return asInput(path, "Run `monet profile` again to make a new one.", () => parseGraph(text));
}

export function readPlan(io: Io, path: string, graph: Graph): Plan {
  const text = readText(io, path, "plan");
  return asInput(path, "Make a new one with `monet plan` on this graph, or name the graph that it was made from with --graph.", () => parsePlan(text, graph));
}

export function asInput<T>(path: string, advice: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof DocumentError) throw new UserError(error.code, "input", `'${path}': ${error.message}. ${advice}`, { path: error.path });
    throw error;
  }
}

export function writeJson(io: Io, path: string, document: unknown): void {
  writeText(io, path, `${JSON.stringify(document)}\n`);
}
