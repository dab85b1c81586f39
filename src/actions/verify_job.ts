/** A real step with and without the chosen plan: run, read, remembered. */
import * as vscode from "vscode";
import type { Verified } from "../protocol";
import { Disposable } from "../base/disposable";
import { modelId, type Model } from "../workspace";
import type { MonetTaskDefinition } from "./definition";
import type { Job } from "./jobs";
import { helpWithPlan, type Equipment, type Say } from "./profile";
import { readReport } from "./report";

const scheme = "monet-report";

/** What the helper printed last for each model, as a document to read. */
export class Reports extends Disposable implements vscode.TextDocumentContentProvider {
  private readonly texts = new Map<string, string>();
  private readonly changed = this.register(new vscode.EventEmitter<vscode.Uri>());
  readonly onDidChange = this.changed.event;

  constructor() {
    super();
    this.register(vscode.workspace.registerTextDocumentContentProvider(scheme, this));
  }

  provideTextDocumentContent(uri: vscode.Uri): string {
    return this.texts.get(uri.query) ?? "";
  }

  set(model: Model, text: string): void {
    this.texts.set(model.id, text);
    this.changed.fire(this.uri(model));
  }

  async show(model: Model): Promise<void> {
    const document = await vscode.workspace.openTextDocument(this.uri(model));
    await vscode.window.showTextDocument(document, { preview: true });
  }

  private uri({ uri, name }: Model): vscode.Uri {
    return vscode.Uri.from({ scheme, path: `/${vscode.l10n.t("{0} report", name)}.txt`, query: modelId(uri, name) });
  }
}

export async function verifyModel(equipment: Equipment, reports: Reports, model: Model, definition: MonetTaskDefinition, job: Job, say: Say): Promise<Verified> {
  const { plan } = model;
  const { output } = await helpWithPlan(equipment, model, definition, job, say);
  const { verified, text } = readReport(output);
  say(text);
  reports.set(model, text);
  if (plan !== null) equipment.models.update(model, { measured: { plan, result: verified } });
  return verified;
}
