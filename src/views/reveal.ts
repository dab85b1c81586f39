import { dirname, resolve } from "node:path";
import * as vscode from "vscode";
import type { Range } from "../core/source/index";
import type { Context } from "../context";
import type { Model } from "../workspace";

export const toRange = ({ start, end }: Range): vscode.Range => new vscode.Range(start.line, start.column, end.line, end.column);

/** Shows the line of an operator: its layer's or call's place in the newest text, else the line that was traced. */
export async function revealOperator(context: Context, model: Model, id: number): Promise<void> {
  const { models } = context;
  const { profile } = model;
  const operator = profile?.graph.operators[id];
  if (profile === null || operator === undefined) return;
  for (const path of profile.files) {
    const uri = vscode.Uri.file(path);
    const view = models.view(uri) ?? (await models.read(uri));
    if (view === null) continue;
    // A call says more about one operator than the layer that is made somewhere else.
    const found = (models.marks(uri)?.places ?? [])
      .filter(({ kind, operators }) => kind !== "model" && operators.includes(id))
      .sort((a, b) => a.operators.length - b.operators.length || Number(b.kind === "call") - Number(a.kind === "call"));
    const [place] = found;
    if (place !== undefined) return reveal(uri, toRange(place.range));
  }
  const { source } = operator;
  if (source === null) return;
  const at = new vscode.Position(source.line - 1, source.column ?? 0);
  await reveal(vscode.Uri.file(resolve(dirname(model.uri.fsPath), source.file)), new vscode.Range(at, at));
}

async function reveal(uri: vscode.Uri, range: vscode.Range): Promise<void> {
  const shown = vscode.window.visibleTextEditors.find(({ document }) => document.uri.toString() === uri.toString());
  const editor = await vscode.window.showTextDocument(uri, { viewColumn: shown?.viewColumn ?? vscode.ViewColumn.One, preserveFocus: false });
  editor.selection = new vscode.Selection(range.start, range.start);
  editor.revealRange(range, vscode.TextEditorRevealType.InCenterIfOutsideViewport);
}
