/** What the helper printed last for each model and action, as documents to read. */
import * as vscode from "vscode";
import { Disposable } from "../base/disposable";
import { modelId, type Model } from "../workspace";
import type { Action } from "./definition";

const scheme = "monet-report";

type Reported = Exclude<Action, "profile">;

export class Reports extends Disposable implements vscode.TextDocumentContentProvider {
  private readonly texts = new Map<string, string>();
  private readonly changed = this.register(new vscode.EventEmitter<vscode.Uri>());
  readonly onDidChange = this.changed.event;

  constructor() {
    super();
    this.register(vscode.workspace.registerTextDocumentContentProvider(scheme, this));
  }

  provideTextDocumentContent({ query }: vscode.Uri): string {
    return this.texts.get(query) ?? "";
  }

  set(model: Model, action: Reported, text: string): void {
    const uri = uriOf(model, action);
    this.texts.set(uri.query, text);
    this.changed.fire(uri);
  }

  async show(model: Model, action: Reported): Promise<void> {
    const document = await vscode.workspace.openTextDocument(uriOf(model, action));
    await vscode.window.showTextDocument(document, { preview: true });
  }
}

function uriOf({ uri, name }: Model, action: Reported): vscode.Uri {
  const title = action === "verify" ? vscode.l10n.t("{0} report", name) : vscode.l10n.t("{0} export report", name);
  return vscode.Uri.from({ scheme, path: `/${title}.txt`, query: `${action} ${modelId(uri, name)}` });
}
