import assert from "node:assert/strict";
import * as vscode from "vscode";
import { test } from "./support/runner";

test("the packed extension is there", () => {
  assert.ok(vscode.extensions.getExtension("monet-vscode.monet-vscode"));
});
