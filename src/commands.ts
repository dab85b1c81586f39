/** Every command in one table: a forgotten one doesn't compile. */
import * as vscode from "vscode";
import { applyPlan } from "./actions/apply";
import { changeInput, clearResults, optimize, profileAgain } from "./actions/optimize";
import { openConfig } from "./actions/config";
import { exportPlan } from "./actions/export";
import { installRuntime } from "./actions/install";
import { openExample } from "./actions/example";
import { verifyPlan } from "./actions/verify";
import { revealModule } from "./views/layers";
import type { Context } from "./context";
import { noModel } from "./actions/model_choice";
import { showProblem } from "./actions/problems";
import { UserError } from "./helper/user_error";
import { modelId } from "./workspace";

/** Which model: as the editor's surfaces pass it; nothing from the palette. */
export interface ModelArgument {
  readonly uri: string;
  readonly name: string;
}

export type CommandId =
  | "monet.optimize" | "monet.profile" | "monet.cancel" | "monet.showSchedule" | "monet.apply" | "monet.verify" | "monet.export"
  | "monet.changeInput" | "monet.openConfig" | "monet.installRuntime" | "monet.selectModel" | "monet.selectPython" | "monet.openExample" | "monet.clearResults"
  | "monet.revealLayer" | "monet.showLog" | "monet.focusBudget";

type Command = (context: Context, argument: unknown) => unknown;

const commands: Readonly<Record<CommandId, Command>> = {
  "monet.optimize": (context, argument) => optimize(context, readModel(argument)),
  "monet.profile": (context, argument) => profileAgain(context, readModel(argument)),
  "monet.cancel": ({ models, tasks }, argument) => {
    const of = readModel(argument);
    tasks.cancel(of === null ? null : models.get(modelId(vscode.Uri.parse(of.uri, true), of.name)));
  },
  "monet.showSchedule": (_context, argument) => vscode.commands.executeCommand("monet.schedule.open", argument),
  "monet.apply": (context, argument) => applyPlan(context, readModel(argument)),
  "monet.verify": (context, argument) => verifyPlan(context, readModel(argument)),
  "monet.export": (context, argument) => exportPlan(context, readModel(argument)),
  "monet.changeInput": (context, argument) => changeInput(context, readModel(argument)),
  "monet.openConfig": (context) => openConfig(context),
  "monet.installRuntime": (context) => installRuntime(context),
  "monet.selectModel": (context) => selectModel(context),
  "monet.selectPython": (context) => context.interpreters.select(),
  "monet.openExample": (context) => openExample(context),
  "monet.clearResults": (context, argument) => clearResults(context, readModel(argument)),
  "monet.revealLayer": (context, argument) => revealModule(context, argument),
  "monet.showLog": (context) => { context.log.show(); },
  "monet.focusBudget": (context, argument) => focusBudget(context, readModel(argument)),
};

function focusBudget({ models }: Context, argument: ModelArgument | null): Thenable<unknown> {
  if (argument !== null) models.active = models.get(modelId(vscode.Uri.parse(argument.uri, true), argument.name)) ?? models.active;
  return vscode.commands.executeCommand("monet.budget.focus");
}

/** The model that the side panel shows, of all that are known. */
async function selectModel({ models }: Context): Promise<void> {
  const items = models.all.map((model) => ({ label: model.name, description: model.file, model }));
  if (items.length === 0) throw noModel();
  const picked = await vscode.window.showQuickPick(items, { placeHolder: vscode.l10n.t("Which model should the side panel show?") });
  if (picked !== undefined) models.active = picked.model;
}

function readModel(argument: unknown): ModelArgument | null {
  if (typeof argument !== "object" || argument === null) return null;
  const { uri, name } = argument as { uri?: unknown; name?: unknown };
  return typeof uri === "string" && typeof name === "string" ? { uri, name } : null;
}

export function registerCommands(context: Context): vscode.Disposable {
  const registered = Object.entries(commands).map(([id, command]) =>
    vscode.commands.registerCommand(id, async (argument: unknown) => {
      context.log.debug(id);
      try {
        return await command(context, argument);
      } catch (error) {
        const failed = error instanceof UserError ? error.facts["model"] : undefined;
        await showProblem(context, error, () => vscode.commands.executeCommand(id, failed ?? argument));
        return undefined;
      }
    }),
  );
  return vscode.Disposable.from(...registered);
}
