import { createHash } from "node:crypto";
import { basename } from "node:path";

/** Whether a graph that carries these hashes was traced from this text of a file. A file that it doesn't name is not judged. */
export function wasTracedFrom(sources: Readonly<Record<string, string>>, path: string, text: string): boolean {
  const hash = sources[basename(path)];
  return hash === undefined || hash === createHash("sha256").update(text).digest("hex");
}
