import * as vscode from "vscode";
import type { Context } from "../context";
import type { Marks } from "../workspace";
import { heatLevel, type Warmth } from "./heat_level";
import { linesOf } from "./lines";
import { Refreshing } from "./refreshing";

type Level = Warmth | "Stale";

/** A bar before the lines that keep the most, and the same in the overview ruler. */
export class Heat extends Refreshing {
  private readonly types: Readonly<Record<Level, vscode.TextEditorDecorationType>>;
  private readonly shown = new WeakMap<vscode.TextEditor, Marks | null>();

  constructor(context: Context) {
    super(context);
    const type = (level: Level): vscode.TextEditorDecorationType => {
      const color = new vscode.ThemeColor(`monet.heat${level}`);
      return this.register(vscode.window.createTextEditorDecorationType({
        isWholeLine: true,
        borderStyle: "solid",
        borderWidth: "0 0 0 3px",
        borderColor: color,
        overviewRulerColor: color,
        overviewRulerLane: vscode.OverviewRulerLane.Left,
        rangeBehavior: vscode.DecorationRangeBehavior.ClosedClosed,
      }));
    };
    this.types = { High: type("High"), Medium: type("Medium"), Low: type("Low"), Stale: type("Stale") };
    this.register(vscode.window.onDidChangeVisibleTextEditors(() => { this.refreshSoon(); }));
    this.register(vscode.workspace.onDidChangeConfiguration((event) => {
      if (event.affectsConfiguration("monet.heat")) this.refreshSoon();
    }));
  }

  protected override refresh(): void {
    for (const editor of vscode.window.visibleTextEditors) this.show(editor);
  }

  private show(editor: vscode.TextEditor): void {
    const { document } = editor;
    const wanted = vscode.workspace.getConfiguration("monet", document).get<boolean>("heat", true);
    const marks = wanted ? this.context.models.marks(document.uri) : null;
    if ((this.shown.get(editor) ?? null) === marks) return;
    this.shown.set(editor, marks);
    const ranges: Record<Level, vscode.Range[]> = { High: [], Medium: [], Low: [], Stale: [] };
    const total = marks?.explained.explanation.kept ?? 0;
    for (const { line, numbers } of marks === null ? [] : linesOf(marks)) {
      const level = heatLevel(total === 0 ? 0 : numbers.kept / total);
      if (level !== null && line < document.lineCount) ranges[marks?.stale === true ? "Stale" : level].push(document.lineAt(line).range);
    }
    for (const [level, type] of Object.entries(this.types)) editor.setDecorations(type, ranges[level as Level]);
  }
}
