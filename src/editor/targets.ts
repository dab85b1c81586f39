/** Classes, functions and objects of a file as models that can be profiled. */
import type { ModelSource, Range } from "../core/source/index";
import type { ModelArgument } from "../commands";
import type { SourceView } from "../sources/types";
import { modelId, type Model, type Models } from "../workspace";
import * as vscode from "vscode";

export interface Target {
  readonly name: string;
  readonly kind: "class" | ModelSource["kind"];
  readonly range: Range;
  readonly model: Model;
  /** The model itself where it was profiled, else a profiled function or object of the file that gives it. */
  readonly profiled: Model | null;
}

/** Those of one file in order of its text. */
export function targetsOf(models: Models, uri: vscode.Uri, view: SourceView): readonly Target[] {
  const { file } = view;
  const known = (name: string): Model | null => models.get(modelId(uri, name));
  const own = (name: string): Model | null => {
    const model = known(name);
    return model?.profile === null ? null : model;
  };
  const target = (name: string, kind: Target["kind"], range: Range, givers: readonly string[]): Target[] => {
    const model = known(name);
    if (model === null) return [];
    const profiled = [name, ...givers].map(own).find((each) => each !== null) ?? null;
    return [{ name, kind, range, model, profiled }];
  };
  const classes = file.models.flatMap(({ name, range }) => {
    const givers = file.sources.filter(({ models: given }) => given.some((ref) => ref.name === name && ref.file === file.path));
    return target(name, "class", range, givers.map((source) => source.name));
  });
  const sources = file.sources.flatMap(({ name, kind, range }) => target(name, kind, range, []));
  return [...classes, ...sources].sort((a, b) => a.range.start.line - b.range.start.line);
}

/** The innermost one around a line. */
export function targetAt(targets: readonly Target[], line: number): Target | null {
  return targets.findLast(({ range }) => range.start.line <= line && line <= range.end.line) ?? null;
}

export const argumentOf = ({ uri, name }: Model): ModelArgument => ({ uri: uri.toString(), name });
