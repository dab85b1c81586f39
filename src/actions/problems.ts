/** Every problem is a sentence with an action. */
import { isAbsolute, resolve } from "node:path";
import * as vscode from "vscode";
import type { Context } from "../context";
import { partsOffered, withoutOptions } from "../core/part";
import { Cancelled, coded, unexpected, UserError, type Known } from "../helper/user_error";
import { argumentOf } from "../editor/targets";
import type { Model, Problem } from "../workspace";
import { missingIn, placeOf, type NamedPlace } from "./sentence";

export interface Offer {
  readonly title: string;
  readonly run: () => unknown;
}

const command = (title: string, id: string, ...words: unknown[]): Offer => ({ title, run: () => vscode.commands.executeCommand(id, ...words) });
const showLog = (): Offer => command(vscode.l10n.t("Show Log"), "monet.showLog");
const selectPython = (): Offer => command(vscode.l10n.t("Select Python"), "monet.selectPython");

/** An error of a model's run says which model it is about: what is offered then is for that one, whichever is shown by then. */
export function ofModel(error: unknown, model: Model): unknown {
  return error instanceof UserError ? new UserError(error.code, error.kind, error.message, { ...error.facts, model: argumentOf(model) }) : error;
}

const forModel = (title: string, id: string, { facts: { model } }: UserError): Offer => (model === undefined ? command(title, id) : command(title, id, model));

export function sentenceOf(error: unknown): string {
  return error instanceof UserError ? coded(plainSentence(error), error.code) : coded(vscode.l10n.t("Something unexpected went wrong; the log tells more."), unexpected);
}

/** Without its code. */
export function plainSentence(error: UserError): string {
  const python = missingIn(error);
  if (python !== null) return vscode.l10n.t("Python at '{0}' has no PyTorch: install it there, or select another Python.", python);
  const { known } = error.facts;
  return known === undefined ? withoutOptions(inWorkspace(error)) : textOf(known);
}

/** A place that a sentence begins with is said from the workspace on. */
function inWorkspace(error: UserError): string {
  const place = placeFor(error);
  const prefix = place === null ? "" : `${place.file}:${place.line}`;
  return place !== null && error.message.startsWith(prefix) ? `${saidPlace(place)}${error.message.slice(prefix.length)}` : error.message;
}

export const saidPlace = ({ file, line }: NamedPlace): string => `${vscode.workspace.asRelativePath(file)}:${line}`;

function textOf(known: Known): string {
  switch (known.id) {
    case "no-python":
      return vscode.l10n.t("No Python was found: install Python 3.10 or newer with PyTorch, or select one.");
    case "no-such-python":
      return vscode.l10n.t("There is no Python at '{0}', which {1} names: correct it, or select another.", known.path, known.namedBy);
    case "python-cannot-start":
      return vscode.l10n.t("Python at '{0}' can't be started ({1}): select another.", known.path, known.reason);
    case "no-package":
      return vscode.l10n.t("Python at '{0}' has no {1}: install it there, or select another Python.", known.path, known.name);
    case "helper-stopped": {
      if (known.signal === "SIGKILL") return vscode.l10n.t("The Python helper was killed, perhaps because memory ran out: try a smaller batch.");
      const how = known.signal ?? known.code ?? "?";
      return known.last === "" ? vscode.l10n.t("The Python helper stopped early ({0}); the log tells more.", how) : vscode.l10n.t("The Python helper stopped early ({0}): {1}", how, known.last);
    }
  }
}

export const planning = (part: string): string => vscode.l10n.t("Plan {0}", part);

export type Again = "retry" | "verify" | "export";

/** As the budget view shows it until something else is started. */
export function problemOf(error: unknown, again: Again): Problem {
  const text = sentenceOf(error);
  const [part] = error instanceof UserError ? partsOffered(error.message) : [];
  if (part !== undefined) return { text, part, action: { title: planning(part), id: "part" } };
  if (!(error instanceof UserError)) return { text, action: { title: vscode.l10n.t("Show Log"), id: "log" } };
  switch (error.kind) {
    case "environment":
      return { text, action: { title: vscode.l10n.t("Select Python"), id: "python" } };
    case "crash":
      return { text, action: { title: vscode.l10n.t("Show Log"), id: "log" } };
    case "input":
    case "infeasible":
      return again === "retry" && remedyOf(error) !== "again" ? { text, action: { title: vscode.l10n.t("Change Input"), id: "change" } } : { text, action: { title: vscode.l10n.t("Try Again"), id: again } };
  }
}

function logged(error: unknown): string {
  const { stderr } = error instanceof UserError ? error.facts : {};
  const text = error instanceof UserError ? error.message : error instanceof Error ? (error.stack ?? error.message) : String(error);
  return typeof stderr === "string" && stderr.trim() !== "" ? `${text}\n${stderr.trim()}` : text;
}

/** The answer to it runs later, by itself: nothing waits for a person to close a message. `first` is offered before what every such problem offers. */
export function showProblem({ log }: Pick<Context, "log">, error: unknown, retry?: () => unknown, first: readonly Offer[] = []): Promise<void> {
  if (error instanceof Cancelled) {
    vscode.window.setStatusBarMessage(vscode.l10n.t("MONeT: stopped"), 3000);
    return Promise.resolve();
  }
  log.error(logged(error));
  const offers = [...first, ...offersOf(error, retry)];
  void vscode.window.showErrorMessage(sentenceOf(error), ...offers.map(({ title }) => title))
    .then((chosen) => offers.find(({ title }) => title === chosen)?.run())
    .then(undefined, (failure: unknown) => showProblem({ log }, failure));
  return Promise.resolve();
}

function offersOf(error: unknown, retry: (() => unknown) | undefined): Offer[] {
  const again: Offer[] = retry === undefined ? [] : [{ title: vscode.l10n.t("Try Again"), run: retry }];
  if (!(error instanceof UserError)) return [showLog()];
  switch (error.kind) {
    case "environment": {
      const python = missingIn(error);
      return [selectPython(), python === null ? showLog() : { title: vscode.l10n.t("How to Install"), run: () => { typeInstall(python); } }];
    }
    case "crash":
      return [showLog(), ...again];
    case "infeasible":
      return [showBudget(error), ...again];
    case "input": {
      const remedy = remedyOf(error);
      if (remedy === "again") return retry === undefined ? [showLog()] : again;
      const lead = leadOf(error);
      return lead === null ? [changeInput(error), ...again] : [lead, ...(remedy === undefined ? [changeInput(error)] : []), ...again];
    }
  }
}

/** What helps with what export refuses: no other input does. */
const remedies: Readonly<Record<string, string>> = { M324: "again", M325: "budget", M326: "apply" };

/** Undefined where it is the input that may be changed. */
const remedyOf = (error: UserError): unknown => error.facts["action"] ?? remedies[error.code];

const showBudget = (error: UserError): Offer => forModel(vscode.l10n.t("Show memory budget"), "monet.focusBudget", error);
const changeInput = (error: UserError): Offer => forModel(vscode.l10n.t("Change Input"), "monet.changeInput", error);

/** Where the mistake is, or what to do instead; null where what went in is all there is to change. */
function leadOf(error: UserError): Offer | null {
  const place = placeFor(error);
  if (place !== null) return { title: vscode.l10n.t("Open {0}", saidPlace(place)), run: () => openAt(place) };
  switch (remedyOf(error)) {
    case "trust":
      return command(vscode.l10n.t("Manage Workspace Trust"), "workbench.trust.manage");
    case "example":
      return command(vscode.l10n.t("Open an Example"), "monet.openExample");
    case "optimize":
      return forModel(vscode.l10n.t("Optimize memory"), "monet.optimize", error);
    case "budget":
      return showBudget(error);
    case "apply":
      return forModel(vscode.l10n.t("Apply"), "monet.apply", error);
    default:
      return null;
  }
}

/** The command stands in a terminal; the person reads it and presses Enter. */
function typeInstall(python: string): void {
  const terminal = vscode.window.createTerminal({ name: vscode.l10n.t("Install PyTorch") });
  terminal.show();
  const quoted = /\s/.test(python) ? `${process.platform === "win32" ? "& " : ""}"${python}"` : python;
  terminal.sendText(`${quoted} -m pip install torch`, false);
}

async function openAt({ file, line }: NamedPlace): Promise<void> {
  const at = new vscode.Position(Math.max(0, line - 1), 0);
  await vscode.window.showTextDocument(vscode.Uri.file(file), { selection: new vscode.Range(at, at) });
}

/** The line that an error names, by its whole path; null for none that can be opened. */
export function placeFor(error: UserError): NamedPlace | null {
  const place = placeOf(error);
  const folder = vscode.workspace.workspaceFolders?.[0]?.uri.fsPath;
  if (place === null || isAbsolute(place.file)) return place;
  return folder === undefined ? null : { ...place, file: resolve(folder, place.file) };
}

export function requireTrust(): void {
  if (vscode.workspace.isTrusted) return;
  throw new UserError("M811", "input", vscode.l10n.t("Profiling runs the code of this workspace, which is not trusted yet."), { action: "trust" });
}
