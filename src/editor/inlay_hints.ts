import * as vscode from "vscode";
import type { Context } from "../context";
import type { Marks } from "../workspace";
import { linesOf, type LineMark } from "./lines";
import { hoverOf } from "./hovers";
import { Newest } from "./newest";
import { python } from "./python";
import { Refreshing } from "./refreshing";
import { argumentOf } from "./targets";
import { hintText } from "./texts";

class LineHint extends vscode.InlayHint {
  constructor(position: vscode.Position, label: string, readonly marks: Marks, readonly mark: LineMark) {
    const part = new vscode.InlayHintLabelPart(label);
    part.command = { command: "monet.showSchedule", title: vscode.l10n.t("Show in schedule"), arguments: [{ ...argumentOf(marks.model), operator: mark.heaviest }] };
    super(position, [part]);
    this.paddingLeft = true;
  }
}

/** At the end of the line of a layer or call: what it keeps and what is recomputed. */
export class InlayHints extends Refreshing implements vscode.InlayHintsProvider {
  private readonly changed = this.register(new vscode.EventEmitter<void>());
  readonly onDidChangeInlayHints = this.changed.event;
  private readonly newest = this.register(new Newest(this.context.models));

  private shown: readonly (Marks | null)[] = [];

  constructor(context: Context) {
    super(context);
    this.register(vscode.languages.registerInlayHintsProvider(python, this));
  }

  /** An editor that becomes visible asks by itself. */
  protected override refresh(): void {
    const { models } = this.context;
    const marks = vscode.window.visibleTextEditors.map(({ document }) => models.marks(document.uri));
    if (marks.length === this.shown.length && marks.every((each, at) => each === this.shown[at])) return;
    this.shown = marks;
    this.changed.fire();
  }

  async provideInlayHints(document: vscode.TextDocument, range: vscode.Range, token: vscode.CancellationToken): Promise<vscode.InlayHint[]> {
    await this.newest.of(document, token);
    const marks = token.isCancellationRequested ? null : this.context.models.marks(document.uri);
    if (marks === null) return [];
    return linesOf(marks).flatMap((mark) => {
      const { line, numbers } = mark;
      if (line < range.start.line || line > range.end.line || line >= document.lineCount) return [];
      const label = hintText(numbers, { stale: marks.stale, estimated: marks.explained.graph.device.estimated });
      return label === null ? [] : [new LineHint(document.lineAt(line).range.end, label, marks, mark)];
    });
  }

  resolveInlayHint(hint: vscode.InlayHint): vscode.InlayHint {
    if (hint instanceof LineHint) hint.tooltip = hoverOf(hint.marks, hint.mark.labels, hint.mark.numbers);
    return hint;
  }
}
