/** What `forward` has to be given, by the names of its parameters. */
import type { FileOutline, ModelRef } from "../core/source/index";
import { Workspace } from "../core/source/workspace";

export interface Required extends ModelRef {
  readonly parameters: readonly string[];
}

/** Of all classes that have a `forward`, their own or that of a base class in the workspace. */
export function required(outlines: readonly FileOutline[]): Required[] {
  const workspace = new Workspace(outlines);
  return outlines.flatMap((file) => [...file.classes.values()].flatMap((outline): Required[] => {
    const forward = workspace.lineage({ kind: "class", file, outline }).map(({ outline: { methods } }) => methods.get("forward")).find((method) => method !== undefined);
    if (forward === undefined) return [];
    return [{ file: file.path, name: outline.name, parameters: forward.parameters.filter((each) => each.default === null).map(({ name }) => name) }];
  }));
}
