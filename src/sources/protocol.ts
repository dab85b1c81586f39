import type { Insertion, PlanUse, TracedOperator } from "../core/source/index";
import type { Placement, Snapshot, SourceView } from "./types";

/** A piece of text replaced by another, as VS Code tells it: later places of the file first. */
export interface TextChange {
  readonly offset: number;
  readonly length: number;
  readonly text: string;
}

export const applyChange = (before: string, { offset, length, text }: TextChange): string => before.slice(0, offset) + text + before.slice(offset + length);

/** What the worker is told. */
export type News =
  | { readonly kind: "open"; readonly path: string; readonly text: string }
  | { readonly kind: "change"; readonly path: string; readonly changes: readonly TextChange[] }
  | { readonly kind: "close"; readonly path: string }
  | { readonly kind: "disk"; readonly path: string }
  | { readonly kind: "roots"; readonly roots: readonly string[] };

/** What it is asked. */
export type Question =
  | { readonly kind: "read"; readonly path: string }
  | { readonly kind: "texts"; readonly path: string }
  | { readonly kind: "place"; readonly path: string; readonly name: string; readonly snapshot: Snapshot; readonly operators: readonly TracedOperator[] }
  | { readonly kind: "insertions"; readonly path: string; readonly use: PlanUse };

export interface Answers {
  readonly read: SourceView | null;
  readonly texts: Snapshot;
  readonly place: Placement | null;
  readonly insertions: readonly Insertion[];
}

export type Message = News | { readonly kind: "ask"; readonly id: number; readonly question: Question };

/** A view goes as JSON, which is read faster than a clone of as many objects, null where the last one still holds. */
export type Answer =
  | { readonly id: number; readonly path: string; readonly view: string | null }
  | { readonly id: number; readonly answer: Answers[keyof Answers] }
  | { readonly id: number; readonly error: string };
