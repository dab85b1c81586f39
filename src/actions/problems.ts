import * as vscode from "vscode";
import type { Context } from "../context";

export async function showProblem(context: Context, error: unknown): Promise<void> {
  context.log.error(error instanceof Error ? error : String(error));
  await vscode.window.showErrorMessage(error instanceof Error ? error.message : String(error));
}
