/** Tasks as `tasks.json` defines them, and as words for the helper. Pure. */
import { isAbsolute, join, sep } from "node:path";
import type * as vscode from "vscode";
import type { ModelConfig } from "../core/config";
import { exportArguments, exportFile, profileArguments, settingsOf, verifyArguments } from "../helper/arguments";
import { wayWithin } from "../helper/files";

export const taskType = "monet";
export const actions = ["profile", "verify", "export"] as const;
export type Action = (typeof actions)[number];

export interface MonetTaskDefinition extends vscode.TaskDefinition {
  readonly type: typeof taskType;
  /** Relative to the workspace folder, or absolute. */
  readonly file: string;
  readonly model: string;
  readonly action?: Action;
}

export function isMonetTask(definition: vscode.TaskDefinition): definition is MonetTaskDefinition {
  const { type, file, model, action } = definition as { type: string; file?: unknown; model?: unknown; action?: unknown };
  const known = action === undefined || actions.some((each) => each === action);
  return type === taskType && typeof file === "string" && file !== "" && typeof model === "string" && model !== "" && known;
}

export const actionOf = ({ action }: MonetTaskDefinition): Action => action ?? "profile";

/** With forward slashes where it lies within the folder, so that it is the same on every machine. */
export function fileWithin(folder: string | null, file: string): string {
  if (folder === null) return file;
  return wayWithin(folder, file)?.split(sep).join("/") ?? file;
}

export function definitionOf(folder: string | null, file: string, model: string, action: Action): MonetTaskDefinition {
  return { type: taskType, file: fileWithin(folder, file), model, action };
}

export const pathOf = ({ file }: MonetTaskDefinition, folder: string | null): string => (isAbsolute(file) || folder === null ? file : join(folder, file));

export interface Files {
  readonly graph: string;
  /** The plan to verify or to export. */
  readonly plan: string;
  /** What of the model that graph is of; null: the whole. */
  readonly part: string | null;
}

/** The words after `python -m monet_torch`. */
export function helperArguments(definition: MonetTaskDefinition, folder: string | null, config: ModelConfig, { graph, plan, part }: Files): [command: Action, ...words: string[]] {
  const target = { file: pathOf(definition, folder), model: definition.model };
  const settings = settingsOf(config);
  const { threads } = settings;
  const told = { json: true, ...(threads !== undefined && { threads }) };
  switch (actionOf(definition)) {
    case "profile":
      return ["profile", ...profileArguments(target, graph, settings)];
    case "verify":
      return ["verify", ...verifyArguments(target, plan, graph, told)];
    case "export":
      return ["export", ...exportArguments(target, plan, graph, exportFile(target, part), told)];
  }
}
