/** Which texts are in the middle of being edited. */
import * as vscode from "vscode";
import { Disposable } from "../base/disposable";
import { isPython } from "./python";

/** Who types a name pauses no longer, in milliseconds. */
export const pause = 20_000;

/**
 * A text is settled when the person saves it, or when it was saved for them (`files.autoSave`) and they have not
 * typed for a while: what stands in a text that only the editor has saved may be half of a word.
 */
export class Edits extends Disposable {
  private readonly settledEmitter = this.register(new vscode.EventEmitter<vscode.Uri>());
  readonly onDidSettle = this.settledEmitter.event;
  private readonly unsettled = new Map<string, NodeJS.Timeout>();
  /** Texts that the person is saving: what is formatted meanwhile is no edit of theirs. */
  private readonly saving = new Set<string>();

  constructor() {
    super();
    const { workspace } = vscode;
    this.register(workspace.onDidChangeTextDocument(({ document }) => {
      // A text that is as it is on disk was read from there anew. (That the first edit makes it dirty may be told after it.)
      if (isPython(document) && document.isDirty) this.wait(document);
    }));
    this.register(workspace.onWillSaveTextDocument(({ document, reason }) => {
      const key = document.uri.toString();
      if (reason === vscode.TextDocumentSaveReason.Manual) this.saving.add(key);
      else this.saving.delete(key); // of a save that failed
    }));
    this.register(workspace.onDidSaveTextDocument(({ uri }) => {
      if (this.saving.delete(uri.toString())) this.settle(uri);
    }));
    this.register(workspace.onDidCloseTextDocument(({ uri }) => { this.settle(uri); }));
  }

  /** By its uri. */
  isUnsettled(key: string): boolean {
    return this.unsettled.has(key);
  }

  private wait(document: vscode.TextDocument): void {
    const { uri } = document;
    const key = uri.toString();
    clearTimeout(this.unsettled.get(key));
    this.unsettled.set(key, setTimeout(() => {
      if (document.isDirty) this.wait(document);
      else this.settle(uri);
    }, pause));
  }

  private settle(uri: vscode.Uri): void {
    const key = uri.toString();
    clearTimeout(this.unsettled.get(key));
    if (this.unsettled.delete(key)) this.settledEmitter.fire(uri);
  }

  override dispose(): void {
    for (const timer of this.unsettled.values()) clearTimeout(timer);
    super.dispose();
  }
}
