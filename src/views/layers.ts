import * as vscode from "vscode";
import type { Context } from "../context";
import { moduleTree, numbersOf, type ModuleNode } from "../core/numbers";
import { formatBytes, formatDuration } from "../core/units";
import { Disposable } from "../base/disposable";
import type { Model } from "../workspace";
import { revealOperators } from "./reveal";

interface Item {
  readonly model: Model;
  readonly node: ModuleNode;
  readonly parent: Item | null;
}

const isItem = (argument: unknown): argument is Item => typeof argument === "object" && argument !== null && "model" in argument && "node" in argument;

const placeOf = ({ model, node }: Pick<Item, "model" | "node">): { id: string; path: string } => ({ id: model.id, path: node.path });

/** Memory per module of the active model, eager → planned, in order of first use. */
export class LayerTree extends Disposable implements vscode.TreeDataProvider<Item> {
  private readonly changed = this.register(new vscode.EventEmitter<void>());
  readonly onDidChangeTreeData = this.changed.event;
  private readonly view: vscode.TreeView<Item>;
  private root: { graph: unknown; item: Item } | null = null;
  private readonly items = new Map<string, Item>();
  private shown: readonly unknown[] = [];

  constructor(private readonly context: Context) {
    super();
    this.view = this.register(vscode.window.createTreeView("monet.layers", { treeDataProvider: this, showCollapseAll: true }));
    this.register(context.models.onDidChange(() => { this.refresh(); }));
    this.register(vscode.window.onDidChangeTextEditorSelection(({ textEditor, kind }) => {
      if (kind !== undefined) this.follow(textEditor);
    }));
  }

  /** Much that changes is not seen here: what runs, other models, the text. */
  private refresh(): void {
    const { active } = this.context.models;
    const now = [active, active?.profile, active?.plan, active?.freshness];
    if (now.every((each, at) => each === this.shown[at])) return;
    this.shown = now;
    this.changed.fire();
  }

  getChildren(item?: Item): Item[] {
    const model = this.context.models.active;
    if (item !== undefined) return item.node.children.map((node) => this.item(item.model, node, item));
    if (model?.profile === null || model === null) return [];
    if (this.root?.graph !== model.profile.graph) {
      this.items.clear();
      this.root = { graph: model.profile.graph, item: { model, node: moduleTree(model.profile.graph), parent: null } };
    }
    const { item: top } = this.root;
    return top.node.children.length === 0 ? [top] : top.node.children.map((node) => this.item(model, node, null));
  }

  getParent(item: Item): Item | null {
    return item.parent;
  }

  getTreeItem({ model, node }: Item): vscode.TreeItem {
    const leaf = node.children.length === 0;
    const item = new vscode.TreeItem(node.name === "" ? model.name : node.name, leaf ? vscode.TreeItemCollapsibleState.None : vscode.TreeItemCollapsibleState.Collapsed);
    item.id = `${model.id} ${node.path}`;
    const { explained } = model;
    if (explained !== null) {
      const numbers = numbersOf(explained, node.operators);
      const { kept, keptByEager } = numbers;
      const sizes = kept === keptByEager ? formatBytes(kept) : `${formatBytes(keptByEager)} → ${formatBytes(kept)}`;
      item.description = `${node.type === "" ? "" : `${node.type}  `}${sizes}`;
      const lines = [
        ...(model.freshness === "stale" ? [vscode.l10n.t("The code has changed since it was profiled.")] : []),
        vscode.l10n.t("Kept from forward to backward: {0} by eager, {1} by the plan", formatBytes(keptByEager), formatBytes(kept)),
        vscode.l10n.t("Forward {0}, backward {1}", formatDuration(numbers.forward), formatDuration(numbers.backward)),
        ...(numbers.offloaded > 0 ? [vscode.l10n.t("{0} offloaded to host memory", formatBytes(numbers.offloaded))] : []),
        ...(numbers.recomputed > 0 ? [vscode.l10n.t("{0} recomputed, {1} more", formatBytes(numbers.recomputed), formatDuration(numbers.recomputeTime))] : []),
      ];
      item.tooltip = new vscode.MarkdownString(`**${node.path === "" ? model.name : node.path}**\n\n${lines.map((line) => `- ${line}`).join("\n")}`);
      item.accessibilityInformation = { label: [node.path, ...lines].join(". ") };
    }
    item.iconPath = new vscode.ThemeIcon(leaf ? "symbol-method" : "symbol-class");
    item.command = { command: "monet.revealLayer", title: vscode.l10n.t("Go to Source"), arguments: [placeOf({ model, node })] };
    return item;
  }

  private item(model: Model, node: ModuleNode, parent: Item | null): Item {
    const known = this.items.get(node.path);
    if (known?.node === node) return known;
    const made = { model, node, parent };
    this.items.set(node.path, made);
    return made;
  }

  /** The cursor in the editor selects the module whose layer or call it is on. */
  private follow({ document, selection }: vscode.TextEditor): void {
    const { models } = this.context;
    const marks = this.view.visible ? models.marks(document.uri) : null;
    if (marks?.model !== models.active) return;
    const line = selection.active.line;
    const [place] = marks.places.filter(({ kind, range }) => kind !== "model" && range.start.line <= line && line <= range.end.line);
    const modules = (place?.operators ?? []).flatMap((id) => marks.explained.graph.operators[id]?.module ?? []);
    const item = this.find(modules.reduce(shared, modules[0] ?? "") || (modules[0] ?? ""));
    // The tree may be another by the time the editor looks for it.
    if (item !== null) this.view.reveal(item, { select: true, focus: false }).then(undefined, (error: unknown) => { this.context.log.debug(String(error)); });
  }

  private find(path: string): Item | null {
    let level = this.getChildren();
    for (;;) {
      const item = level.find(({ node }) => node.path === path || path.startsWith(`${node.path}.`));
      if (item === undefined) return null;
      if (item.node.path === path) return item;
      level = this.getChildren(item);
    }
  }
}

/** Of a row that is clicked, or of the button in it, which passes on the row's own item. */
export async function revealModule(context: Context, argument: unknown): Promise<void> {
  const { id, path } = isItem(argument) ? placeOf(argument) : ((argument ?? {}) as { id?: unknown; path?: unknown });
  const model = typeof id === "string" ? context.models.get(id) : null;
  if (model?.profile === null || model === null || typeof path !== "string") return;
  const within = model.profile.graph.operators.filter(({ module }) => module === path || module.startsWith(`${path}.`) || path === "");
  await revealOperators(context, model, within.map(({ id }) => id));
}

/** The module that two have in common; "" is the model itself. */
function shared(one: string, other: string): string {
  const names = other.split(".");
  const parts = one.split(".");
  const end = parts.findIndex((part, at) => part !== names[at]);
  return parts.slice(0, end < 0 ? undefined : end).join(".");
}
