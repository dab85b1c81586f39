import * as vscode from "vscode";
import { Disposable } from "../base/disposable";
import type { Models } from "../workspace";

/** Longer than any read takes: a provider always answers in the end. */
const patience = 5000;

/** Waits for the newest text of a document to be read. Meanwhile the editor moves what it shows along with the text. */
export class Newest extends Disposable {
  private readonly versions = new WeakMap<vscode.TextDocument, number>();

  constructor(private readonly models: Models) {
    super();
    this.register(models.onDidChange(({ change, uri }) => {
      const document = change === "source" ? vscode.workspace.textDocuments.find((each) => each.uri.toString() === uri?.toString()) : undefined;
      if (document !== undefined) this.versions.set(document, document.version);
    }));
  }

  async of(document: vscode.TextDocument, token: vscode.CancellationToken): Promise<void> {
    const version = this.versions.get(document);
    if (version === undefined || version >= document.version) return;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        listening.dispose();
        resolve();
      };
      const timer = setTimeout(done, patience);
      const listening = vscode.Disposable.from(
        token.onCancellationRequested(done),
        this.models.onDidChange(({ change, uri }) => {
          if (change === "source" && uri?.toString() === document.uri.toString()) done();
        }),
      );
    });
  }
}
