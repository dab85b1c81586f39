import { randomBytes } from "node:crypto";
import * as vscode from "vscode";
import type { Translations } from "../protocol";

/** The page of a webview: one script, one style sheet, nothing inline. */
export function page(webview: vscode.Webview, root: vscode.Uri, name: "budget" | "schedule"): string {
  const nonce = randomBytes(16).toString("base64url");
  const file = (suffix: string): string => webview.asWebviewUri(vscode.Uri.joinPath(root, `${name}.${suffix}`)).toString();
  const policy = [
    "default-src 'none'",
    `script-src 'nonce-${nonce}'`,
    `style-src ${webview.cspSource} 'nonce-${nonce}'`,
    `font-src ${webview.cspSource}`,
    `img-src ${webview.cspSource} data: blob:`,
  ].join("; ");
  return `<!DOCTYPE html>
<html lang="${vscode.env.language}">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta property="csp-nonce" content="${nonce}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="${file("css")}">
<title>MONeT</title>
</head>
<body>
<main id="root"></main>
<script nonce="${nonce}" src="${file("js")}"></script>
</body>
</html>`;
}

export function prepare(webview: vscode.Webview, root: vscode.Uri): void {
  webview.options = { enableScripts: true, localResourceRoots: [root] };
}

export const webviewRoot = (extension: vscode.ExtensionContext): vscode.Uri => vscode.Uri.joinPath(extension.extensionUri, "dist", "webview");

/** The editor's own bundle, for texts that are made in a webview. */
export function translations(): Translations {
  const { bundle } = vscode.l10n;
  if (bundle === undefined) return null;
  return Object.fromEntries(Object.entries(bundle).filter((entry): entry is [string, string] => typeof entry[1] === "string"));
}
