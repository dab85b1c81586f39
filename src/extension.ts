/** Wiring only: one context, one list of features. */
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import * as vscode from "vscode";
import { registerCommands } from "./commands";
import type { Context } from "./context";
import { CodeLenses } from "./editor/code_lenses";
import { Heat } from "./editor/heat";
import { Hovers } from "./editor/hovers";
import { InlayHints } from "./editor/inlay_hints";
import { LanguageStatus } from "./editor/language_status";
import { Documents } from "./editor/documents";
import { Edits } from "./editor/edits";
import { Interpreters } from "./actions/interpreters";
import { MonetTasks } from "./actions/tasks";
import { BudgetView } from "./views/budget";
import { LayerTree } from "./views/layers";
import { SchedulePanels } from "./views/schedule";
import { Sources } from "./sources/client";
import { Models } from "./workspace";

const features = [Documents, CodeLenses, InlayHints, Hovers, Heat, LanguageStatus, BudgetView, LayerTree, SchedulePanels];

export function activate(extension: vscode.ExtensionContext): Context {
  const log = vscode.window.createOutputChannel("MONeT", { log: true });
  const dist = extension.asAbsolutePath("dist");
  const sources = new Sources(pathToFileURL(join(dist, "source-worker.mjs")), log);
  const interpreters = new Interpreters(log);
  const edits = new Edits();
  const models = new Models(sources, extension.workspaceState, log, edits);
  const tasks = new MonetTasks({ interpreters, models, packages: extension.asAbsolutePath("python"), dist, log });
  const context: Context = { extension, log, dist, sources, edits, interpreters, models, tasks };
  extension.subscriptions.push(log, sources, edits, models, tasks, registerCommands(context), ...features.map((Feature) => new Feature(context)));
  return context;
}
