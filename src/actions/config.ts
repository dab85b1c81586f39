/** `monet.json` of the workspace folder: read, written and asked for. */
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import * as vscode from "vscode";
import type { Context } from "../context";
import type { ModelRef } from "../core/source/index";
import { ConfigError, configOf, readConfig, withModel, type ModelConfig } from "../core/config";
import { Cancelled, UserError } from "../helper/user_error";
import type { Model } from "../workspace";
import type { SourceView } from "../sources/types";
import { askConfig } from "./ask";
import { fileWithin } from "./definition";
import { write } from "./write";

export const configName = "monet.json";

/** The folder that paths are relative to: the workspace's, or the file's own where it belongs to none. */
export const folderOf = (uri: vscode.Uri): string => vscode.workspace.getWorkspaceFolder(uri)?.uri.fsPath ?? dirname(uri.fsPath);

const configFile = (uri: vscode.Uri): string => join(folderOf(uri), configName);

export const keyOf = ({ uri, name }: Pick<Model, "uri" | "name">): string => `${fileWithin(folderOf(uri), uri.fsPath)}:${name}`;

const opened = (file: string): vscode.TextDocument | undefined => vscode.workspace.textDocuments.find(({ uri }) => uri.scheme === "file" && uri.fsPath === file);

async function textOf(file: string): Promise<string | null> {
  const document = opened(file);
  if (document !== undefined) return document.getText();
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return null;
    throw error;
  }
}

/** A mistake is said with its line, and the file is left as it is. */
function checked<T>(file: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    throw new UserError(error.code, "input", vscode.l10n.t("{0}:{1}: {2}", configName, error.line, error.message), { file, line: error.line });
  }
}

/** The entries of the file that holds this model's; null where there is no such file. */
export async function readModels(uri: vscode.Uri): Promise<Readonly<Record<string, ModelConfig>> | null> {
  const file = configFile(uri);
  const text = await textOf(file);
  return text === null || text.trim() === "" ? null : checked(file, () => readConfig(text).models);
}

export async function readModelConfig(model: Pick<Model, "uri" | "name">): Promise<ModelConfig | null> {
  const models = await readModels(model.uri);
  return models?.[keyOf(model)] ?? null;
}

export async function writeModelConfig(model: Model, config: ModelConfig): Promise<void> {
  const file = configFile(model.uri);
  const text = await textOf(file);
  const changed = checked(file, () => withModel(text, keyOf(model), config));
  if (changed === text) return;
  const document = opened(file);
  if (document === undefined) {
    write(file, changed);
    return;
  }
  const edit = new vscode.WorkspaceEdit();
  edit.replace(document.uri, document.validateRange(new vscode.Range(0, 0, document.lineCount, 0)), changed);
  await vscode.workspace.applyEdit(edit);
  await document.save();
}

/** What is known: from monet.json, or of a profile that the command line made. */
export async function knownConfig(model: Model): Promise<ModelConfig | null> {
  return (await readModelConfig(model)) ?? (model.profile === null ? null : configOf(model.profile.graph));
}

/** Asked for where nothing is known, or again with what is known as the guess; and kept. */
export async function configFor({ models }: Context, model: Model, when: "unknown" | "again" = "unknown"): Promise<ModelConfig> {
  const known = await knownConfig(model);
  if (known !== null && when === "unknown") return known;
  const view = models.view(model.uri);
  const isEntry = view?.file.sources.some(({ name, kind }) => name === model.name && kind === "entry") === true;
  const config = await askConfig(model.name, known ?? { inputs: isEntry ? [] : guessedInputs(view, model.name) });
  if (config === null) throw new Cancelled();
  await writeModelConfig(model, config);
  return config;
}

/** From the first layer of the model, or of a model that the function or object gives; as many as its forward requires. */
export function guessedInputs(view: Pick<SourceView, "path" | "file" | "files" | "required"> | null, name: string): string[] {
  const given = view?.file.sources.find((source) => source.name === name)?.models ?? [];
  const named = [...given, { file: view?.path ?? "", name }];
  const isNamed = (each: ModelRef): boolean => named.some((ref) => ref.file === each.file && ref.name === each.name);
  const spec = view?.files.flatMap(({ models }) => models).find((each) => each.input !== null && isNamed(each))?.input?.spec ?? "float32[8,3,224,224]";
  const [, ...others] = view?.required.find(isNamed)?.parameters ?? [];
  return [spec, ...others.map((parameter) => `${parameter}=${spec}`)];
}

/** Opens the file, at the active model's entry where it has one; a new one starts with what is known. */
export async function openConfig({ models }: Context): Promise<void> {
  const uri = models.active?.uri ?? vscode.window.activeTextEditor?.document.uri ?? vscode.workspace.workspaceFolders?.[0]?.uri;
  if (uri === undefined) throw new UserError("M802", "input", vscode.l10n.t("Open a folder or a Python file first: {0} stands beside it.", configName));
  const folder = vscode.workspace.workspaceFolders?.find((each) => each.uri.toString() === uri.toString());
  const file = folder === undefined ? configFile(uri) : join(folder.uri.fsPath, configName);
  if ((await textOf(file)) === null) {
    const { active } = models;
    const graph = active?.profile?.graph;
    write(file, active === null || graph === undefined ? `${JSON.stringify({ models: {} }, null, 2)}\n` : withModel(null, keyOf(active), configOf(graph)));
  }
  const document = await vscode.workspace.openTextDocument(file);
  const at = models.active === null ? -1 : document.getText().indexOf(JSON.stringify(keyOf(models.active)));
  const position = document.positionAt(Math.max(0, at));
  await vscode.window.showTextDocument(document, { selection: new vscode.Range(position, position) });
}
