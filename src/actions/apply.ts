/** The chosen plan, written beside the model and brought into the training script. */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { basename, dirname, join, relative, sep } from "node:path";
import * as vscode from "vscode";
import type { ModelArgument } from "../commands";
import type { Context } from "../context";
import { planText } from "../core/plan";
import type { Insertion, PlanUse } from "../core/source/index";
import { formatBytes } from "../core/units";
import { UserError } from "../helper/user_error";
import { argumentOf } from "../editor/targets";
import { columnOf } from "../views/reveal";
import type { Model } from "../workspace";
import { withoutRuntime } from "./install";
import { chooseProfiled } from "./model_choice";
import { planLines } from "./plan_lines";
import { sentenceOf, showProblem } from "./problems";
import { choose } from "./quick_input";
import { write } from "./write";

const maxScripts = 3000;

export async function applyPlan(context: Context, argument: ModelArgument | null): Promise<void> {
  const model = await chooseProfiled(context, argument);
  const { planToApply: plan } = model;
  if (plan === null) throw new UserError("M801", "input", vscode.l10n.t("{0} was not profiled yet: run the command Optimize memory first.", model.name), { action: "optimize" });
  const file = model.fileOf("plan");
  const text = planText(plan);
  write(file, text);
  context.models.update(model, { planFile: text });
  context.log.info(`${file}: ${formatBytes(plan.predicted.peak)}`);
  offer(context, model);
}

/** What comes next; nothing waits for the answer. */
function offer(context: Context, model: Model): void {
  const written = vscode.workspace.asRelativePath(model.fileOf("plan"));
  const argument = argumentOf(model);
  const steps: Readonly<Record<string, () => unknown>> = {
    // A part is named by its path in the model, which may be built anywhere: a person knows where.
    ...(model.part === null && { [vscode.l10n.t("Insert into Script")]: () => insertIntoScript(context, model) }),
    [vscode.l10n.t("Install Runtime")]: () => vscode.commands.executeCommand("monet.installRuntime"),
    [vscode.l10n.t("Verify")]: () => vscode.commands.executeCommand("monet.verify", argument),
    [vscode.l10n.t("Copy Lines")]: () => copyLines(model),
  };
  void vscode.window.showInformationMessage(writtenText(model, written), ...Object.keys(steps)).then((chosen) => (chosen === undefined ? undefined : guarded(context, () => steps[chosen]?.())));
}

function writtenText(model: Model, written: string): string {
  if (model.freshness === "stale") return vscode.l10n.t("The plan is written to {0}. The model has changed since it was profiled, so the plan may not fit it any more.", written);
  if (model.part === null) return vscode.l10n.t("The plan is written to {0}. Two lines in the training script run it.", written);
  return vscode.l10n.t("The plan is written to {0}. The {1} lines that run {2} by it go into the training script, after the model is built.", written, countOf(linesOf(model)), model.part);
}

async function guarded(context: Context, run: () => unknown): Promise<void> {
  try {
    await run();
  } catch (error) {
    await showProblem(context, error);
  }
}

/** Relative to the script, with forward slashes: the runtime looks there too, from wherever the script is started. */
const pathFrom = (script: string, plan: string): string => relative(dirname(script), plan).split(sep).join("/");

const linesOf = (model: Model): string => planLines(pathFrom(model.uri.fsPath, model.fileOf("plan")), lossOf(model), model.part);

const countOf = (lines: string): number => lines.trimEnd().split("\n").length;

async function copyLines(model: Model): Promise<void> {
  const lines = linesOf(model);
  await vscode.env.clipboard.writeText(lines);
  vscode.window.setStatusBarMessage(vscode.l10n.t("MONeT: {0} lines are on the clipboard", countOf(lines)), 4000);
}

function lossOf({ profile }: Model): string | null {
  const loss = profile?.graph.made_from["loss"];
  return typeof loss === "string" && loss !== "" ? loss : null;
}

interface Candidate {
  readonly uri: vscode.Uri;
  readonly insertion: Insertion;
  /** Its number among those of the file. */
  readonly nth: number;
}

export async function insertIntoScript(context: Context, model: Model): Promise<void> {
  const use = await useOf(context, model);
  const scripts = await scriptsOf(model, use);
  const found = (await Promise.all(scripts.map((uri) => candidatesIn(context, model, use, uri)))).flat();
  const [first] = found;
  const chosen = found.length === 1 && first !== undefined ? first : await chooseCandidate(context, model, use, found);
  if (chosen !== null) await insert(context, model, use, chosen);
}

/** What gives the model: itself, and the functions of its file that return it. */
async function useOf({ models }: Context, model: Model): Promise<PlanUse> {
  const view = models.view(model.uri) ?? (await models.read(model.uri));
  const sources = view?.file.sources ?? [];
  const givers = sources.filter(({ models: given }) => given.some(({ file, name }) => file === view?.path && name === model.name)).map(({ name }) => name);
  const loss = lossOf(model);
  const isObject = sources.some(({ name, kind }) => name === model.name && kind === "object");
  return { makers: [model.name.split(".").at(-1) ?? model.name, ...givers], object: isObject ? model.name : null, plan: "", loss };
}

/** The model's own file, and those that name both the file and what gives the model. */
async function scriptsOf(model: Model, { makers }: PlanUse): Promise<vscode.Uri[]> {
  const files = await vscode.workspace.findFiles("**/*.py", "**/{node_modules,site-packages,__pycache__,.*}/**", maxScripts);
  const module = anyWord(moduleNames(model.uri.fsPath));
  const maker = anyWord(makers);
  const found: vscode.Uri[] = [model.uri];
  for (const uri of files) {
    if (uri.fsPath === model.uri.fsPath) continue;
    const text = await readFile(uri.fsPath, "utf8").catch(() => "");
    if (module.test(text) && maker.test(text)) found.push(uri);
  }
  return found;
}

/** By which an import names a file: its own name, or its package's, which may hand on what it defines. */
function moduleNames(file: string): string[] {
  const stem = basename(file, ".py");
  const folder = dirname(file);
  return [...(stem === "__init__" ? [] : [stem]), ...(existsSync(join(folder, "__init__.py")) ? [basename(folder)] : [])];
}

/** A file may have any name, and Python's words may be of any script. */
function anyWord(words: readonly string[]): RegExp {
  const each = words.map((word) => word.replaceAll(/[.*+?^${}()|[\]\\/]/g, "\\$&"));
  return new RegExp(`(?<![\\p{L}\\p{N}_])(?:${each.join("|")})(?![\\p{L}\\p{N}_])`, "u");
}

async function candidatesIn({ sources }: Context, model: Model, use: PlanUse, uri: vscode.Uri): Promise<Candidate[]> {
  const found = await sources.insertions(uri.fsPath, { ...use, plan: pathFrom(uri.fsPath, model.fileOf("plan")) });
  return found.map((insertion, nth) => ({ uri, insertion, nth }));
}

async function chooseCandidate(context: Context, model: Model, use: PlanUse, found: readonly Candidate[]): Promise<Candidate | null> {
  const items = found.map((candidate) => ({
    label: `${vscode.workspace.asRelativePath(candidate.uri)}:${candidate.insertion.line + 1}`,
    description: candidate.insertion.kind === "inserted" ? candidate.insertion.target : vscode.l10n.t("{0}, runs by a plan already", candidate.insertion.target),
    candidate,
  }));
  const other = { label: `$(folder-opened) ${vscode.l10n.t("Another file…")}`, description: "", candidate: null };
  if (items.length > 0) {
    const chosen = await choose([...items, other], { title: vscode.l10n.t("Where is {0} trained?", model.name), canGoBack: false });
    if (chosen === null || typeof chosen === "symbol") return null;
    if (chosen.candidate !== null) return chosen.candidate;
  }
  const [uri] = await vscode.window.showOpenDialog({ title: vscode.l10n.t("The script that trains {0}", model.name), filters: { Python: ["py"] }, defaultUri: vscode.Uri.file(dirname(model.uri.fsPath)) }) ?? [];
  if (uri === undefined) return null;
  const within = await candidatesIn(context, model, use, uri);
  const [first] = within;
  if (first === undefined) {
    throw new UserError("M805", "input", vscode.l10n.t("{0} does not build {1}, as in model = {1}(…): add the lines by hand.", vscode.workspace.asRelativePath(uri), model.name), { file: uri.fsPath, line: 1 });
  }
  return within.length === 1 ? first : chooseCandidate(context, model, use, within);
}

/** Of the newest text: it may have changed while the person chose. */
async function insertionNow(context: Context, model: Model, use: PlanUse, { uri, insertion, nth }: Candidate, document: vscode.TextDocument): Promise<Insertion> {
  const { version } = document;
  const now = (await candidatesIn(context, model, use, uri))[nth]?.insertion;
  if (now?.target === insertion.target && now.kind === insertion.kind && document.version === version) return now;
  throw new UserError("M806", "input", vscode.l10n.t("{0} has changed since its lines were looked for: insert them again.", vscode.workspace.asRelativePath(uri)), { action: "again" });
}

/** Without the runtime the lines fail at their import. Nothing waits for the answer. */
async function offerRuntime(context: Context, model: Model, script: vscode.Uri): Promise<void> {
  if (!vscode.workspace.isTrusted) return;
  const interpreter = await withoutRuntime(context, model.uri).catch((error: unknown) => {
    context.log.warn(sentenceOf(error));
    return null;
  });
  if (interpreter === null) return;
  const install = vscode.l10n.t("Install Runtime");
  const message = vscode.l10n.t("{0} imports monet_torch now, which Python at '{1}' doesn't have yet.", vscode.workspace.asRelativePath(script), interpreter.path);
  void vscode.window.showInformationMessage(message, install).then((chosen) => (chosen === install ? vscode.commands.executeCommand("monet.installRuntime") : undefined));
}

/** The edit can be undone; it is shown, selected and not saved. */
async function insert(context: Context, model: Model, use: PlanUse, chosen: Candidate): Promise<void> {
  const { uri } = chosen;
  const document = await vscode.workspace.openTextDocument(uri);
  const insertion = await insertionNow(context, model, use, chosen, document);
  const { edits, kind, loss } = insertion;
  const edit = new vscode.WorkspaceEdit();
  for (const { range, text } of edits) edit.replace(uri, new vscode.Range(range.start.line, range.start.column, range.end.line, range.end.column), text);
  if (edits.length > 0) await vscode.workspace.applyEdit(edit);
  const call = edits.at(-1)?.text.trim() ?? "";
  const at = call === "" ? document.offsetAt(new vscode.Position(insertion.line, 0)) : document.getText().indexOf(call);
  const selection = new vscode.Range(document.positionAt(at), document.positionAt(at + call.length));
  const show = (options: vscode.TextDocumentShowOptions = {}): Thenable<unknown> => vscode.window.showTextDocument(document, { viewColumn: columnOf(uri) ?? vscode.ViewColumn.Active, ...options });
  await show({ selection });
  const name = vscode.workspace.asRelativePath(uri);
  context.models.update(model, { left: model.left.filter((step) => step !== "script") });
  await offerRuntime(context, model, uri);
  if (kind === "unchanged") vscode.window.setStatusBarMessage(vscode.l10n.t("MONeT: {0} runs by this plan already", name), 5000);
  if (kind === "kept") {
    const copy = vscode.l10n.t("Copy Lines");
    const chosen = await vscode.window.showInformationMessage(vscode.l10n.t("{0} applies a plan by an expression of its own, which is left as it is.", name), copy);
    if (chosen === copy) await copyLines(model);
  }
  if (loss !== null) {
    const undo = vscode.l10n.t("Undo");
    const chosen = await vscode.window.showInformationMessage(vscode.l10n.t("The plan covers the loss too: call {0} where the training loop calls {1}.", loss, lossOf(model) ?? ""), undo);
    if (chosen === undo) {
      await show();
      await vscode.commands.executeCommand("undo");
    }
  }
}
