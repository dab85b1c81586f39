/** What went wrong at a line of the workspace, marked there for as long as its model has that problem and the line is the same. */
import { readFileSync } from "node:fs";
import * as vscode from "vscode";
import { Disposable } from "../base/disposable";
import { UserError } from "../helper/user_error";
import type { Model, Models } from "../workspace";
import { placeFor, plainSentence, saidPlace } from "./problems";
import { lineAfter } from "./sentence";

interface Mark {
  readonly uri: vscode.Uri;
  readonly diagnostic: vscode.Diagnostic;
}

/** Of each text that is open, by its uri; one that is opened later begins with 1. */
export type Versions = ReadonlyMap<string, number>;

export const versionsNow = (): Versions => new Map(vscode.workspace.textDocuments.map(({ uri, version }) => [uri.toString(), version]));

const opened = (uri: vscode.Uri): vscode.TextDocument | undefined => vscode.workspace.textDocuments.find((each) => each.uri.toString() === uri.toString());

export class Marks extends Disposable {
  private readonly collection = this.register(vscode.languages.createDiagnosticCollection("monet"));
  /** By model. */
  private readonly marks = new Map<string, Mark>();

  /** `manual` says the cause and the remedy of each code. */
  constructor(private readonly models: Models, private readonly manual: string) {
    super();
    this.register(models.onDidChange(() => { this.forget(); }));
    this.register(vscode.workspace.onDidChangeTextDocument((event) => { this.follow(event); }));
  }

  /** `began` tells of which texts the error speaks: a line of one that was edited since is another by now. */
  mark(model: Model, error: unknown, began: Versions): void {
    const place = error instanceof UserError ? placeFor(error) : null;
    if (place === null || !(error instanceof UserError)) return;
    const uri = vscode.Uri.file(place.file);
    if (vscode.workspace.getWorkspaceFolder(uri) === undefined) return;
    const document = opened(uri);
    if (document !== undefined && document.version !== (began.get(uri.toString()) ?? 1)) return;
    const prefix = `${saidPlace(place)}: `;
    const sentence = plainSentence(error);
    const message = sentence.startsWith(prefix) ? sentence.slice(prefix.length) : sentence;
    const diagnostic = new vscode.Diagnostic(textOf(uri, Math.max(0, place.line - 1)), message, vscode.DiagnosticSeverity.Error);
    diagnostic.source = "MONeT";
    diagnostic.code = { value: error.code, target: vscode.Uri.file(this.manual).with({ fragment: `L${lineOf(this.manual, error.code)}` }) };
    this.marks.set(model.id, { uri, diagnostic });
    this.show(uri);
  }

  /** A new run, cleared results and a model that is gone all take the problem with them. */
  private forget(): void {
    for (const [id, { uri }] of this.marks) {
      if ((this.models.get(id)?.problem ?? null) !== null) continue;
      this.marks.delete(id);
      this.show(uri);
    }
  }

  /** A mark moves with its line; where the line itself is changed, what was said of it may hold no longer. */
  private follow({ document, contentChanges }: vscode.TextDocumentChangeEvent): void {
    const here = [...this.marks].filter(([, { uri }]) => uri.toString() === document.uri.toString());
    if (here.length === 0 || contentChanges.length === 0) return;
    for (const [id, { diagnostic }] of here) {
      const line = lineAfter(diagnostic.range.end, contentChanges);
      if (line === null) this.marks.delete(id);
      else diagnostic.range = textOf(document.uri, line);
    }
    this.show(document.uri);
  }

  private show(uri: vscode.Uri): void {
    this.collection.set(uri, [...this.marks.values()].filter((mark) => mark.uri.toString() === uri.toString()).map(({ diagnostic }) => diagnostic));
  }
}

/** A line without its indentation, to its end, of the text that is open or else of the file; all of it where there is none. */
function textOf(uri: vscode.Uri, line: number): vscode.Range {
  const document = opened(uri);
  const text = document === undefined ? lineOn(uri.fsPath, line) : line < document.lineCount ? document.lineAt(line).text : "";
  return new vscode.Range(line, text.length - text.trimStart().length, line, text === "" ? 1000 : text.length);
}

function lineOn(file: string, line: number): string {
  try {
    return readFileSync(file, "utf8").split(/\r?\n/)[line] ?? "";
  } catch {
    return "";
  }
}

/** From 1: the table has a row for each. */
function lineOf(manual: string, code: string): number {
  try {
    return 1 + readFileSync(manual, "utf8").split("\n").findIndex((line) => line.startsWith(`| ${code} |`));
  } catch {
    return 1;
  }
}
