/** Answers questions about the newest texts, and about older ones. */
import { Fingerprints } from "../core/source/fingerprint";
import { insertions, match, readModels, rootsOf, type SourceFile } from "../core/source/index";
import type { Files, ParsedFile } from "./files";
import { placementOf } from "./places";
import { required } from "./required";
import type { Answers, Question } from "./protocol";
import type { Placement, SourceView } from "./types";

export class Analyst {
  private readonly views = new Map<string, { readonly of: readonly ParsedFile[]; readonly view: SourceView }>();

  constructor(private readonly files: Files) {}

  answer(question: Question): Answers[keyof Answers] {
    switch (question.kind) {
      case "read":
        return this.view(question.path);
      case "texts":
        return Object.fromEntries(this.files.reached(question.path).map(({ outline, text }) => [outline.path, text]));
      case "place":
        return this.place(question);
      case "insertions":
        return this.files.withTree(question.path, (text, tree) => insertions(tree.rootNode, text, question.use)) ?? [];
    }
  }

  /** The same as before where no file of it has changed. */
  private view(path: string): SourceView | null {
    const parsed = this.files.reached(path);
    const known = this.views.get(path);
    if (known?.of.length === parsed.length && known.of.every((file, index) => file === parsed[index])) return known.view;
    this.views.delete(path);
    const files = modelsOf(parsed);
    const file = files.find((each) => each.path === path);
    if (file === undefined) return null;
    const view = { path, file, files, fingerprints: new Fingerprints(parsed, files).ofFile(path), required: required(parsed.map(({ outline }) => outline)) };
    this.views.set(path, { of: parsed, view });
    return view;
  }

  private place({ path, name, snapshot, operators }: Extract<Question, { kind: "place" }>): Placement | null {
    const parsed = this.files.ofSnapshot(path, snapshot);
    const files = modelsOf(parsed);
    const roots = rootsOf(files, path, name);
    const fingerprint = new Fingerprints(parsed, files).ofFile(path)[name];
    if (roots.length === 0 || fingerprint === undefined) return null;
    return placementOf(match(files, roots, operators), fingerprint);
  }
}

const modelsOf = (parsed: readonly ParsedFile[]): SourceFile[] => readModels(parsed.map(({ outline }) => outline));
