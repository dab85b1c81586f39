/**
 * The outline of one file: all that a resolver needs from its syntax tree, as plain data. It depends on the text of
 * that file alone, so it can be cached while other files change.
 */
import type { Call, Range } from "./types";

/** What an expression builds, as far as the text tells. Names are absolute (`torch.nn.Conv2d`, `pkg.blocks.Block`). */
export type Value =
  | { readonly kind: "call"; readonly callee: Value; readonly args: readonly Value[]; readonly named: readonly Entry[]; readonly range: Range; readonly file: string }
  | { readonly kind: "list"; readonly items: readonly Value[] }
  | { readonly kind: "dict"; readonly entries: readonly Entry[] }
  /** Any number of them: an element of a comprehension, appended in a loop or under a condition. */
  | { readonly kind: "many"; readonly item: Value }
  | { readonly kind: "choice"; readonly options: readonly Value[] }
  | { readonly kind: "spread"; readonly value: Value }
  | { readonly kind: "name"; readonly name: string }
  /** What a name at the top of a file holds under a key: `ACTIVATIONS[config.act]`; null for any key. */
  | { readonly kind: "item"; readonly name: string; readonly key: string | null }
  | { readonly kind: "parameter"; readonly name: string }
  | { readonly kind: "self"; readonly path: string }
  | { readonly kind: "closure"; readonly parameters: readonly Parameter[]; readonly returns: readonly Value[] }
  | { readonly kind: "number"; readonly value: number }
  | { readonly kind: "text"; readonly pattern: string }
  | { readonly kind: "unknown" };

export interface Entry {
  /** May be a pattern: `f"layer{i}"` is `layer*`. */
  readonly key: string;
  readonly value: Value;
}

export interface Parameter {
  readonly name: string;
  /** Names in its annotation, which may be classes. */
  readonly annotation: readonly string[];
  readonly default: Value | null;
}

/** `self.PATH = value`, or an element put into a container at PATH; the path is empty for `super().__init__(…)`. */
export interface Binding {
  readonly path: string;
  readonly value: Value;
  readonly range: Range;
  readonly nameRange: Range | null;
}

export interface FunctionOutline {
  readonly name: string;
  readonly range: Range;
  readonly parameters: readonly Parameter[];
  readonly bindings: readonly Binding[];
  readonly returns: readonly Value[];
  readonly calls: readonly Call[];
}

export interface ClassOutline {
  readonly name: string;
  readonly range: Range;
  readonly nameRange: Range;
  readonly bases: readonly string[];
  readonly methods: ReadonlyMap<string, FunctionOutline>;
  readonly attributes: readonly Binding[];
}

export interface FileOutline {
  readonly path: string;
  readonly module: string;
  readonly imports: ReadonlyMap<string, string>;
  readonly wildcards: readonly string[];
  readonly classes: ReadonlyMap<string, ClassOutline>;
  readonly functions: ReadonlyMap<string, FunctionOutline>;
  readonly objects: ReadonlyMap<string, Binding>;
}

export const unknown: Value = { kind: "unknown" };

export function choice(options: readonly Value[]): Value {
  const flat = options.flatMap((option) => (option.kind === "choice" ? option.options : [option])).filter((option) => option.kind !== "unknown");
  const [only] = flat;
  if (only === undefined) return unknown;
  return flat.length === 1 ? only : { kind: "choice", options: flat };
}
