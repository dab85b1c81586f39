/** The newest text of every file: an open editor's before the disk's. Parsed when somebody asks, and only what has changed. */
import { existsSync, readFileSync, statSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { Edit, type Parser, type Point, type Tree } from "web-tree-sitter";
import { readPieces, type FileSyntax } from "../core/source/fingerprint";
import { moduleName } from "../core/source/imports";
import { readTree } from "../core/source/index";
import { wayWithin } from "../helper/files";
import { applyChange, type News, type TextChange } from "./protocol";
import { maxBytes, withImports } from "./read";
import type { Snapshot } from "./types";

export interface ParsedFile extends FileSyntax {
  readonly text: string;
}

export class Files {
  private readonly open = new Map<string, OpenFile>();
  private readonly onDisk = new Map<string, { readonly version: string; readonly parsed: ParsedFile }>();
  private roots: readonly string[] = [];

  constructor(private readonly parser: Parser) {}

  hear(news: News): void {
    switch (news.kind) {
      case "open":
        this.close(news.path);
        this.open.set(news.path, new OpenFile(news.text));
        return;
      case "change":
        for (const change of news.changes) this.open.get(news.path)?.change(change);
        return;
      case "close":
        this.close(news.path);
        return;
      case "disk":
        this.onDisk.delete(news.path);
        return;
      case "roots":
        this.setRoots(news.roots);
        return;
    }
  }

  /** A file and all that it imports from the workspace, itself first; empty if there is no such file. */
  reached(path: string): ParsedFile[] {
    return [...withImports([path], this.rootOf(path), (file) => this.read(file)).values()];
  }

  /** The same of texts that are not the newest. */
  ofSnapshot(path: string, snapshot: Snapshot): ParsedFile[] {
    const read = (file: string): ParsedFile | null => {
      const text = snapshot[file];
      if (text === undefined) return null;
      const newest = this.read(file);
      return newest?.text === text ? newest : this.parse(file, text);
    };
    return [...withImports([path], this.rootOf(path), read).values()];
  }

  /** The newest text with its tree, for a question of its own; null if there is no such file. */
  withTree<T>(path: string, ask: (text: string, tree: Tree) => T): T | null {
    const text = this.open.get(path)?.text ?? readText(path);
    const tree = text === null || text.length > maxBytes ? null : this.parser.parse(text);
    if (text === null || tree === null) return null;
    try {
      return ask(text, tree);
    } finally {
      tree.delete();
    }
  }

  private close(path: string): void {
    this.open.get(path)?.delete();
    this.open.delete(path);
  }

  private setRoots(roots: readonly string[]): void {
    this.roots = [...roots].sort((a, b) => b.length - a.length);
    this.onDisk.clear();
    for (const file of this.open.values()) file.parsed = null;
  }

  private read(path: string): ParsedFile | null {
    const open = this.open.get(path);
    if (open !== undefined) return open.text.length > maxBytes ? null : open.parse(this.parser, (text, tree) => this.parsed(path, text, tree));
    const stat = statSync(path, { throwIfNoEntry: false });
    if (stat === undefined || !stat.isFile() || stat.size > maxBytes) {
      this.onDisk.delete(path);
      return null;
    }
    const version = `${stat.mtimeMs} ${stat.size}`;
    const known = this.onDisk.get(path);
    if (known?.version === version) return known.parsed;
    const text = readText(path);
    if (text === null) return null;
    const parsed = this.parse(path, text);
    this.onDisk.set(path, { version, parsed });
    return parsed;
  }

  private parse(path: string, text: string): ParsedFile {
    const file = new OpenFile(text);
    try {
      return file.parse(this.parser, (_, tree) => this.parsed(path, text, tree));
    } finally {
      file.delete();
    }
  }

  private parsed(path: string, text: string, tree: Tree): ParsedFile {
    const module = moduleName(relative(this.rootOf(path), path));
    return { text, outline: readTree(path, tree, module), pieces: readPieces(tree) };
  }

  /** Where Python starts to look for the modules of a file: the workspace folder, else the folder of its outermost package. */
  private rootOf(path: string): string {
    const root = this.roots.find((each) => wayWithin(each, path) !== null);
    if (root !== undefined) return root;
    let folder = dirname(path);
    while (folder !== dirname(folder) && existsSync(join(folder, "__init__.py"))) folder = dirname(folder);
    return folder;
  }
}

/** Null where it has gone meanwhile or may not be read. */
function readText(path: string): string | null {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return null;
  }
}

class OpenFile {
  private tree: Tree | null = null;
  parsed: ParsedFile | null = null;

  constructor(public text: string) {}

  change(change: TextChange): void {
    const { offset, length, text: inserted } = change;
    const { text: before } = this;
    const after = applyChange(before, change);
    this.tree?.edit(
      new Edit({
        startIndex: offset,
        oldEndIndex: offset + length,
        newEndIndex: offset + inserted.length,
        startPosition: pointAt(before, offset),
        oldEndPosition: pointAt(before, offset + length),
        newEndPosition: pointAt(after, offset + inserted.length),
      }),
    );
    this.text = after;
    this.parsed = null;
  }

  parse(parser: Parser, read: (text: string, tree: Tree) => ParsedFile): ParsedFile {
    if (this.parsed !== null) return this.parsed;
    const tree = parser.parse(this.text, this.tree);
    if (tree === null) throw new Error("the parser has no language");
    this.tree?.delete();
    this.tree = tree;
    this.parsed = read(this.text, tree);
    return this.parsed;
  }

  delete(): void {
    this.tree?.delete();
    this.tree = null;
  }
}

function pointAt(text: string, offset: number): Point {
  const start = offset === 0 ? 0 : text.lastIndexOf("\n", offset - 1) + 1;
  let row = 0;
  for (let at = text.indexOf("\n"); at >= 0 && at < start; at = text.indexOf("\n", at + 1)) row += 1;
  return { row, column: offset - start };
}
