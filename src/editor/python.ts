import type * as vscode from "vscode";

/** Python files on disk: what a model can stand in. */
export const python: vscode.DocumentFilter = { language: "python", scheme: "file" };

export const isPython = ({ languageId, uri }: vscode.TextDocument): boolean => languageId === python.language && uri.scheme === python.scheme;
