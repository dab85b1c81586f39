import type * as vscode from "vscode";
import type { Interpreters } from "./actions/interpreters";
import type { MonetTasks } from "./actions/tasks";
import type { Edits } from "./editor/edits";
import type { Sources } from "./sources/client";
import type { Models } from "./workspace";

/** What every feature of the extension is made from. */
export interface Context {
  readonly extension: vscode.ExtensionContext;
  readonly log: vscode.LogOutputChannel;
  /** The folder of the bundles. */
  readonly dist: string;
  readonly sources: Sources;
  readonly edits: Edits;
  readonly interpreters: Interpreters;
  readonly models: Models;
  readonly tasks: MonetTasks;
}
