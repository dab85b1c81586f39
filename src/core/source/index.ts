export { readFile, readTree } from "./read";
export { readModels } from "./models";
export type { FileOutline } from "./outline";
export type { Call, InputHint, Layer, Model, ModelRef, ModelSource, Position, Range, SourceFile } from "./types";
export { match, rootsOf } from "./match";
export type { Matched, Matching, TracedOperator } from "./match";
export { insertions } from "./built";
export type { Insertion, PlanUse, TextEdit } from "./built";
export { isUse, wholeModels } from "./whole";
