import type { Node } from "web-tree-sitter";
import { dotted, field, named } from "./syntax";

export interface Imports {
  /** Local name to absolute name. */
  readonly names: Map<string, string>;
  readonly wildcards: string[];
}

/** `pkg/blocks.py` is `pkg.blocks`, `pkg/__init__.py` is `pkg`. */
export function moduleName(path: string): string {
  return path
    .replaceAll("\\", "/")
    .replace(/^\.?\/+/, "")
    .replace(/\.pyi?$/, "")
    .replace(/(^|\/)__init__$/, "")
    .replaceAll("/", ".");
}

function packageOf(path: string, module: string): string[] {
  const parts = module === "" ? [] : module.split(".");
  return /(^|[\\/])__init__\.pyi?$/.test(path) ? parts : parts.slice(0, -1);
}

function absolute(node: Node | null, path: string, module: string): string {
  if (node?.type !== "relative_import") return dotted(node)?.join(".") ?? "";
  const [prefix, name] = named(node);
  const up = (prefix?.text.length ?? 1) - 1;
  const base = packageOf(path, module);
  return [...base.slice(0, Math.max(0, base.length - up)), ...(dotted(name ?? null) ?? [])].join(".");
}

function importedName(node: Node): { name: string[]; alias: string | null } | null {
  if (node.type === "aliased_import") {
    const name = dotted(field(node, "name"));
    return name === null ? null : { name, alias: field(node, "alias")?.text ?? null };
  }
  const name = dotted(node);
  return name === null ? null : { name, alias: null };
}

export function readImport(node: Node, path: string, module: string, imports: Imports): void {
  if (node.type === "import_statement") {
    for (const child of named(node)) {
      const item = importedName(child);
      const [head] = item?.name ?? [];
      if (item === null || head === undefined) continue;
      imports.names.set(item.alias ?? head, item.alias === null ? head : item.name.join("."));
    }
    return;
  }
  const from = field(node, "module_name");
  const base = absolute(from, path, module);
  for (const child of named(node)) {
    if (child.id === from?.id) continue;
    if (child.type === "wildcard_import") imports.wildcards.push(base);
    const item = importedName(child);
    if (item === null) continue;
    const name = item.name.join(".");
    imports.names.set(item.alias ?? name, base === "" ? name : `${base}.${name}`);
  }
}
