/** Python files of the person, read and parsed. */
import { readdirSync, statSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { Language, Parser } from "web-tree-sitter";
import { readFile, readModels, type FileOutline, type SourceFile } from "../core/source/index";
import { UserError } from "../helper/user_error";
import { isFolder, readText } from "./files";
import type { Io } from "./io";

const ignoredFolders = new Set(["node_modules", "__pycache__", "site-packages", "venv", "dist", "build"]);
const maxFiles = 5000;
const maxBytes = 2 * 2 ** 20;

export async function pythonParser(io: Io): Promise<Parser> {
  await Parser.init({ locateFile: (name: string) => join(io.dist, name) });
  const parser = new Parser();
  parser.setLanguage(await Language.load(join(io.dist, "tree-sitter-python.wasm")));
  return parser;
}

function pythonFiles(folder: string, found: string[] = []): string[] {
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

const isFile = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;

/** Files that `import` could mean, seen from this file: in its folder or in one above, down to the working folder. */
function importedFiles(file: string, outline: FileOutline, cwd: string): string[] {
  const names = [...outline.imports.values(), ...outline.wildcards].filter((name) => name !== "" && !/^torch(\.|$)/.test(name));
  const folders: string[] = [];
  for (let folder = dirname(file); ; folder = dirname(folder)) {
    folders.push(folder);
    if (folder === cwd || folder === dirname(folder) || folders.length > 8) break;
  }
  return names.flatMap((name) => {
    const parts = name.split(".");
    return folders.flatMap((folder) =>
      [parts, parts.slice(0, -1)]
        .filter((path) => path.length > 0)
        .flatMap((path) => [`${join(folder, ...path)}.py`, join(folder, ...path, "__init__.py")])
        .filter(isFile),
    );
  });
}

/** The outlines of these files and of all that they import. Paths are relative to the working folder. */
export function readOutlines(io: Io, parser: Parser, files: readonly string[]): Map<string, FileOutline> {
  const outlines = new Map<string, FileOutline>();
  const waiting = files.map((file) => resolve(io.cwd, file));
  for (let file = waiting.shift(); file !== undefined && outlines.size < maxFiles; file = waiting.shift()) {
    if (outlines.has(file)) continue;
    const path = relative(io.cwd, file);
    const outline = readFile(parser, path, readText(io, path, "file"));
    outlines.set(file, outline);
    waiting.push(...importedFiles(file, outline, io.cwd));
  }
  return outlines;
}

export interface Sources {
  /** What was asked for. */
  readonly asked: readonly SourceFile[];
  /** And what it imports. */
  readonly all: readonly SourceFile[];
  readonly outlines: ReadonlyMap<string, FileOutline>;
}

export async function readSources(io: Io, path: string): Promise<Sources> {
  const target = resolve(io.cwd, path);
  const files = isFolder(target) ? pythonFiles(target) : [target];
  if (!isFolder(target) && isFile(target) && !target.endsWith(".py")) {
    throw new UserError("input", `'${path}' is no Python file: name a .py file or a folder.`);
  }
  const parser = await pythonParser(io);
  try {
    const outlines = readOutlines(io, parser, files);
    const all = readModels([...outlines.values()]);
    const asked = new Set(files.map((file) => relative(io.cwd, file)));
    return { asked: all.filter((file) => asked.has(file.path)), all, outlines };
  } finally {
    parser.delete();
  }
}
