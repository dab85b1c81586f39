/** The bundled examples, copied to where the person can change them. */
import { copyFileSync, existsSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import * as vscode from "vscode";
import type { Context } from "../context";
import { UserError } from "../helper/user_error";

const [first, ...others] = ["resnet50.py", "gpt2.py"] as const;

export async function openExample({ extension }: Context): Promise<void> {
  const folder = await folderForExamples();
  if (folder === null) return;
  try {
    mkdirSync(folder, { recursive: true });
    for (const name of [first, ...others]) {
      const to = join(folder, name);
      if (!existsSync(to)) copyFileSync(extension.asAbsolutePath(join("examples", name)), to);
    }
  } catch (error) {
    throw new UserError("M810", "input", vscode.l10n.t("The examples can't be written to {0} ({1}): choose another folder.", folder, error instanceof Error ? error.message : String(error)));
  }
  await vscode.window.showTextDocument(vscode.Uri.file(join(folder, first)), { preview: false });
}

/** The open folder where it is empty or holds the example already; else one that is chosen. */
async function folderForExamples(): Promise<string | null> {
  const open = vscode.workspace.workspaceFolders?.find(({ uri }) => uri.scheme === "file")?.uri;
  if (open !== undefined) {
    const entries = readdirSync(open.fsPath).filter((name) => !name.startsWith("."));
    if (entries.length === 0 || entries.includes(first)) return open.fsPath;
  }
  const [chosen] =
    (await vscode.window.showOpenDialog({
      title: vscode.l10n.t("Where do the examples go?"),
      openLabel: vscode.l10n.t("Copy Here"),
      canSelectFolders: true, canSelectFiles: false, canSelectMany: false,
      ...(open !== undefined && { defaultUri: open }),
    })) ?? [];
  return chosen?.fsPath ?? null;
}
