import type * as vscode from "vscode";
import { Disposable } from "../vscode/disposable";
import type { Models } from "../workspace";
import type { Interpreters } from "./interpreters";

export interface TaskSetting {
  readonly interpreters: Interpreters;
  readonly models: Models;
  /** The folder that holds the package `monet_torch`. */
  readonly packages: string;
  readonly log: vscode.LogOutputChannel;
}

export class MonetTasks extends Disposable {
  constructor(readonly setting: TaskSetting) {
    super();
  }

  cancelAll(): void {
    this.setting.log.debug("cancel");
  }
}
