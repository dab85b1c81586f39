/** Python files on disk, and what they import of their own workspace. */
import { readdirSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { Language, Parser } from "web-tree-sitter";
import type { FileOutline } from "../core/source/index";

const ignoredFolders = new Set(["node_modules", "__pycache__", "site-packages", "venv", "dist", "build"]);
const maxFiles = 5000;
const maxFoldersUp = 8;

/** Nobody writes larger ones; they are data. */
export const maxBytes = 2 * 2 ** 20;

/** The folder holds both wasm files. */
export async function pythonParser(folder: string): Promise<Parser> {
  await Parser.init({ locateFile: (name: string) => join(folder, name) });
  const parser = new Parser();
  parser.setLanguage(await Language.load(join(folder, "tree-sitter-python.wasm")));
  return parser;
}

export const isFile = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;

export function pythonFiles(folder: string, found: string[] = []): string[] {
  for (const entry of readdirSync(folder, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1))) {
    if (found.length >= maxFiles) break;
    const path = join(folder, entry.name);
    if (entry.isDirectory()) {
      if (!entry.name.startsWith(".") && !ignoredFolders.has(entry.name)) pythonFiles(path, found);
    } else if (entry.isFile() && entry.name.endsWith(".py") && (statSync(path, { throwIfNoEntry: false })?.size ?? maxBytes) < maxBytes) {
      found.push(path);
    }
  }
  return found;
}

/** Paths that `import` could mean, seen from this file: in its folder or in one above, down to the root. */
function importable(file: string, outline: FileOutline, root: string): string[] {
  const names = [...outline.imports.values(), ...outline.wildcards].filter((name) => name !== "" && !/^torch(\.|$)/.test(name));
  const folders: string[] = [];
  for (let folder = dirname(file); ; folder = dirname(folder)) {
    folders.push(folder);
    if (folder === root || folder === dirname(folder) || folders.length > maxFoldersUp) break;
  }
  return names.flatMap((name) => {
    const parts = name.split(".");
    return folders.flatMap((folder) =>
      [parts, parts.slice(0, -1)]
        .filter((path) => path.length > 0)
        .flatMap((path) => [`${join(folder, ...path)}.py`, join(folder, ...path, "__init__.py")]),
    );
  });
}

/** These files and all that they import, nearest first. `read` gives null where there is no such file. */
export function withImports<T extends { readonly outline: FileOutline }>(files: readonly string[], root: string, read: (file: string) => T | null): Map<string, T> {
  const found = new Map<string, T>();
  const waiting = [...files];
  const seen = new Set<string>();
  for (const file of waiting) {
    if (found.size >= maxFiles) break;
    if (seen.has(file)) continue;
    seen.add(file);
    const each = read(file);
    if (each === null) continue;
    found.set(file, each);
    waiting.push(...importable(file, each.outline, root));
  }
  return found;
}
