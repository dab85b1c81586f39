import * as vscode from "vscode";
import type { Context } from "../context";
import { numbersOf, type Numbers } from "../core/numbers";
import { Disposable } from "../base/disposable";
import type { Marks } from "../workspace";
import { hoverText } from "./hover_text";
import { heaviest, placeAt } from "./lines";
import { Newest } from "./newest";
import { python } from "./python";
import { argumentOf } from "./targets";

/** On a layer, a call or a model's name: its memory and time as a table. */
export class Hovers extends Disposable implements vscode.HoverProvider {
  private readonly newest: Newest;

  constructor(private readonly context: Context) {
    super();
    this.newest = this.register(new Newest(context.models));
    this.register(vscode.languages.registerHoverProvider(python, this));
  }

  async provideHover(document: vscode.TextDocument, { line, character }: vscode.Position, token: vscode.CancellationToken): Promise<vscode.Hover | null> {
    await this.newest.of(document, token);
    const marks = token.isCancellationRequested ? null : this.context.models.marks(document.uri);
    const place = marks === null ? null : placeAt(marks.places, { line, column: character });
    if (marks === null || place === null) return null;
    return new vscode.Hover(hoverOf(marks, [place.label], numbersOf(marks.explained, place.operators), place.type));
  }
}

const commands = { schedule: "monet.showSchedule", optimize: "monet.optimize", profile: "monet.profile" } as const;

export function hoverOf(marks: Marks, labels: readonly string[], numbers: Numbers, type: string | null = null): vscode.MarkdownString {
  const { model, explained, stale } = marks;
  const budget = Number.isFinite(model.budget) ? model.budget : null;
  const run = stale ? link(vscode.l10n.t("Profile again"), commands.profile, argumentOf(model)) : link(vscode.l10n.t("Optimize memory"), commands.optimize, argumentOf(model));
  const links = [
    link(vscode.l10n.t("Show in schedule"), commands.schedule, { ...argumentOf(model), operator: heaviest(explained, numbers.operators) }),
    ...(vscode.workspace.isTrusted ? [run] : []),
  ];
  const text = new vscode.MarkdownString(hoverText({ explained, labels, type, numbers, stale, budget, links }), true);
  text.isTrusted = { enabledCommands: Object.values(commands) };
  return text;
}

const link = (title: string, command: string, argument: object): string => `[${title}](command:${command}?${encodeURIComponent(JSON.stringify([argument]))})`;
