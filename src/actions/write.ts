/** Files that are the person's to allow: what the system refuses is a sentence. */
import { accessSync, constants, existsSync } from "node:fs";
import { dirname } from "node:path";
import * as vscode from "vscode";
import { writeWhole } from "../helper/files";
import { UserError } from "../helper/user_error";

export function refused(file: string, error: unknown): UserError {
  // `EACCES: permission denied, open '…'`: the path is said already.
  const [reason = ""] = (error instanceof Error ? error.message : String(error)).split(",");
  return new UserError("M603", "input", vscode.l10n.t("{0} can't be written ({1}): allow it, or make room, and try again.", file, reason), { action: "again" });
}

export function write(file: string, text: string): void {
  try {
    writeWhole(file, text);
  } catch (error) {
    throw refused(file, error);
  }
}

/** Said before minutes of work are lost. */
export function requireWritable(file: string): void {
  const folder = dirname(file);
  try {
    if (existsSync(folder)) accessSync(`${folder}/.`, constants.W_OK);
    else accessSync(dirname(folder), constants.W_OK);
  } catch (error) {
    throw refused(file, error);
  }
}
