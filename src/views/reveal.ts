import { dirname, resolve } from "node:path";
import * as vscode from "vscode";
import type { Range } from "../core/source/index";
import type { Context } from "../context";
import type { Model } from "../workspace";

export const toRange = ({ start, end }: Range): vscode.Range => new vscode.Range(start.line, start.column, end.line, end.column);

export const revealOperator = (context: Context, model: Model, id: number): Promise<void> => revealOperators(context, model, [id]);

/** Shows the line of the smallest layer or call in the newest text that all of these belong to, else the line that was traced. */
export async function revealOperators(context: Context, model: Model, ids: readonly number[]): Promise<void> {
  const { models } = context;
  const { profile } = model;
  const [first] = ids;
  const operator = first === undefined ? undefined : profile?.graph.operators[first];
  if (profile === null || operator === undefined) return;
  for (const path of profile.files) {
    const uri = vscode.Uri.file(path);
    const view = models.view(uri) ?? (await models.read(uri));
    if (view === null) continue;
    // A call says more than the layer that is made somewhere else.
    const found = (models.marks(uri)?.places ?? [])
      .filter(({ kind, operators }) => kind !== "model" && ids.every((id) => operators.includes(id)))
      .sort((a, b) => a.operators.length - b.operators.length || Number(b.kind === "call") - Number(a.kind === "call"));
    const [place] = found;
    if (place !== undefined) return reveal(uri, toRange(place.range));
  }
  const { source } = operator;
  if (source === null) return;
  const at = new vscode.Position(source.line - 1, source.column ?? 0);
  await reveal(vscode.Uri.file(resolve(dirname(model.uri.fsPath), source.file)), new vscode.Range(at, at));
}

/** Where a file is open already, in sight or behind another tab. */
export function columnOf(uri: vscode.Uri): vscode.ViewColumn | undefined {
  const isIts = (other: vscode.Uri): boolean => other.toString() === uri.toString();
  const visible = vscode.window.visibleTextEditors.find(({ document }) => isIts(document.uri));
  const holds = ({ tabs }: vscode.TabGroup): boolean => tabs.some(({ input }) => input instanceof vscode.TabInputText && isIts(input.uri));
  return visible?.viewColumn ?? vscode.window.tabGroups.all.find(holds)?.viewColumn;
}

async function reveal(uri: vscode.Uri, range: vscode.Range): Promise<void> {
  const editor = await vscode.window.showTextDocument(uri, { viewColumn: columnOf(uri) ?? vscode.ViewColumn.One, preserveFocus: false });
  editor.selection = new vscode.Selection(range.start, range.start);
  editor.revealRange(range, vscode.TextEditorRevealType.InCenterIfOutsideViewport);
}
