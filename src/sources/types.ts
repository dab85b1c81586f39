/** What the source worker answers: models as they stand in the newest text, and operators matched to places in it. */
import type { ModelRef, Range, SourceFile } from "../core/source/index";
import type { Required } from "./required";

/** One file with all that it imports from the workspace. Paths are absolute. */
export interface SourceView {
  readonly path: string;
  readonly file: SourceFile;
  readonly files: readonly SourceFile[];
  /**
   * By the name of each model, function and object of the file: a hash of the code that makes the model, through
   * every class and function of the workspace that it reaches. Comments, blank space and docstrings don't count.
   */
  readonly fingerprints: Readonly<Record<string, string>>;
  /** What the models of all these files have to be given. */
  readonly required: readonly Required[];
}

/** The text of each file, by absolute path, as it was when a model was profiled. */
export type Snapshot = Readonly<Record<string, string>>;

/**
 * Which operators of a traced step belong to which place, by names that survive edits: a place is found again in a
 * newer text by its model, its module path patterns, and for a call its number among equal calls of its method.
 */
export interface Placement {
  readonly fingerprint: string;
  readonly layers: readonly { readonly model: ModelRef; readonly paths: readonly string[]; readonly type: string | null; readonly operators: readonly number[] }[];
  readonly calls: readonly { readonly model: ModelRef; readonly method: string; readonly callee: string; readonly nth: number; readonly operators: readonly number[] }[];
  readonly models: readonly { readonly model: ModelRef; readonly operators: readonly number[] }[];
}

/** A place in one file's newest text, with the operators that belong to it. */
export interface Place {
  readonly kind: "layer" | "call" | "model";
  readonly range: Range;
  /** `self.conv1` (several where one place makes several), the callee of a call, or the class's name. */
  readonly label: string;
  readonly type: string | null;
  readonly operators: readonly number[];
  readonly model: ModelRef;
}
