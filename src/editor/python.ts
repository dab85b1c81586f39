import * as vscode from "vscode";

/** Python files on disk: what a model can stand in. */
export const python: vscode.DocumentFilter = { language: "python", scheme: "file" };

export const isPython = ({ languageId, uri }: vscode.TextDocument): boolean => languageId === python.language && uri.scheme === python.scheme;

const library = /[\\/](?:site-packages|dist-packages|node_modules|__pycache__)[\\/]/;
const hidden = /[\\/]\.[^\\/]+[\\/]/;

/** Of a library, a cache or a hidden folder: code that the person reads, and no model of theirs. */
export function isAside(uri: vscode.Uri): boolean {
  const folder = vscode.workspace.getWorkspaceFolder(uri)?.uri.fsPath;
  return library.test(uri.fsPath) || (folder !== undefined && hidden.test(uri.fsPath.slice(folder.length)));
}
