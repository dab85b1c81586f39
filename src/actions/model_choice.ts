/** Which model a command means. */
import * as vscode from "vscode";
import type { ModelArgument } from "../commands";
import type { Context } from "../context";
import { wholeModels } from "../core/source/index";
import { Cancelled, UserError } from "../helper/user_error";
import type { SourceView } from "../sources/types";
import { modelId, type Model } from "../workspace";
import { choose } from "./quick_input";

/** What to profile: the argument, the model at the cursor, the only one of the file, or the one that is chosen; else what the side panel shows. */
export async function chooseModel({ models }: Context, argument: ModelArgument | null): Promise<Model> {
  if (argument !== null) return findModel(models, vscode.Uri.parse(argument.uri, true), argument.name);
  const editor = vscode.window.activeTextEditor;
  const view = editor?.document.languageId === "python" && editor.document.uri.scheme === "file" ? await models.read(editor.document.uri) : null;
  const here = editor === undefined || view === null ? [] : models.of(editor.document.uri);
  if (editor === undefined || view === null || here.length === 0) {
    const used = await imported(models, view);
    const { active } = models;
    return active !== null && (used.length === 0 || used.includes(active)) ? active : pick(used.length > 0 ? used : models.all);
  }
  const names = namesAt(view, editor.selection.active.line);
  const candidates = names.flatMap((name) => here.find((model) => model.name === name) ?? []);
  return pick(candidates.length > 0 ? candidates : here);
}

/** A training script has no model of its own: those of the files that it imports. */
async function imported(models: Context["models"], view: SourceView | null): Promise<readonly Model[]> {
  const found: Model[] = [];
  for (const { path } of view?.files ?? []) {
    const uri = vscode.Uri.file(path);
    const inside = path === view?.path ? null : await models.read(uri);
    const whole = inside === null ? [] : wholeModels(inside.file);
    found.push(...models.of(uri).filter(({ name }) => whole.includes(name)));
  }
  return found;
}

/** What to do something with: the argument, or what the side panel shows; the cursor may be in a training script. */
export async function chooseProfiled({ models }: Context, argument: ModelArgument | null): Promise<Model> {
  if (argument !== null) return findModel(models, vscode.Uri.parse(argument.uri, true), argument.name);
  const { active } = models;
  const profiled = models.all.filter(({ profile }) => profile !== null);
  return active !== null && (active.profile !== null || profiled.length === 0) ? active : pick(profiled);
}

export async function findModel(models: Context["models"], uri: vscode.Uri, name: string): Promise<Model> {
  const id = modelId(uri, name);
  const known = models.get(id);
  if (known !== null) return known;
  const view = await models.read(uri);
  const found = models.get(id);
  if (found !== null) return found;
  const file = vscode.workspace.asRelativePath(uri);
  if (view === null) throw new UserError("M601", "input", vscode.l10n.t("There is no file '{0}': check the path.", file));
  throw new UserError("M607", "input", vscode.l10n.t("There is no model '{0}' in '{1}': name a class, or a function or object that gives one.", name, file));
}

/** The model whose text the cursor is in where it can be trained by itself, or what gives it; else all that can. */
export function namesAt({ file }: Pick<SourceView, "file">, line: number): readonly string[] {
  const whole = wholeModels(file);
  const here = [...file.models, ...file.sources].findLast(({ range }) => range.start.line <= line && line <= range.end.line);
  if (here === undefined) return whole;
  if (whole.includes(here.name)) return [here.name];
  const givers = file.sources.filter(({ models }) => models.some((ref) => ref.name === here.name)).map(({ name }) => name);
  return givers.length > 0 ? givers : whole;
}

export const noModel = (): UserError =>
  new UserError("M605", "input", vscode.l10n.t("There is no model here: open a Python file that defines one (a subclass of torch.nn.Module)."), { action: "example" });

async function pick(candidates: readonly Model[]): Promise<Model> {
  const [first] = candidates;
  if (first === undefined) throw noModel();
  if (candidates.length === 1) return first;
  const items = candidates.map((model) => ({ label: model.name, description: model.file, model }));
  const chosen = await choose(items, { title: vscode.l10n.t("Which model?"), canGoBack: false });
  if (chosen === null || typeof chosen === "symbol") throw new Cancelled();
  return chosen.model;
}
