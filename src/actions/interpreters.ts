import * as vscode from "vscode";
import type { Interpreter } from "../helper/interpreter";
import { findInterpreter } from "../helper/interpreter";
import { Disposable } from "../vscode/disposable";

export class Interpreters extends Disposable {
  private readonly changed = this.register(new vscode.EventEmitter<void>());
  readonly onDidChange = this.changed.event;

  constructor(readonly log: vscode.LogOutputChannel) {
    super();
  }

  find(uri: vscode.Uri): Promise<Interpreter> {
    return Promise.resolve(findInterpreter({ folders: [uri.fsPath], env: process.env }));
  }

  async select(): Promise<void> {
    await vscode.commands.executeCommand("python.setInterpreter");
  }
}
