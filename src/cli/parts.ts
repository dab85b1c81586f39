/** Where the files of a part of a model lie. */
import { defaultFile } from "../helper/files";
import type { Target } from "./target";

export function fileOf({ file, model }: Target, part: string | undefined, kind: "graph" | "plan"): string {
  return defaultFile(file, part === undefined ? model : `${model}.${part.replaceAll("*", "_")}`, kind);
}
