/** Python files of the person, read and parsed. */
import { relative, resolve } from "node:path";
import { readFile, readModels, type FileOutline, type SourceFile } from "../core/source/index";
import { UserError } from "../helper/user_error";
import { isFile, pythonFiles, pythonParser, withImports } from "../sources/read";
import { isFolder, readText } from "./files";
import type { Io } from "./io";

export interface Sources {
  /** What was asked for. */
  readonly asked: readonly SourceFile[];
  /** And what it imports. */
  readonly all: readonly SourceFile[];
  readonly outlines: ReadonlyMap<string, FileOutline>;
}

/** Paths in what is returned are relative to the working folder; outlines are found by absolute path. */
export async function readSources(io: Io, path: string): Promise<Sources> {
  const target = resolve(io.cwd, path);
  const files = new Set(isFolder(target) ? pythonFiles(target) : [target]);
  if (!isFolder(target) && isFile(target) && !target.endsWith(".py")) {
    throw new UserError("M608", "input", `'${path}' is no Python file: name a .py file or a folder.`);
  }
  const parser = await pythonParser(io.dist);
  try {
    const found = withImports([...files], io.cwd, (file) => {
      if (!files.has(file) && !isFile(file)) return null;
      const name = relative(io.cwd, file);
      return { outline: readFile(parser, name, readText(io, name, "file")) };
    });
    const outlines = new Map([...found].map(([file, { outline }]) => [file, outline]));
    const all = readModels([...outlines.values()]);
    const asked = new Set([...files].map((file) => relative(io.cwd, file)));
    return { asked: all.filter((file) => asked.has(file.path)), all, outlines };
  } finally {
    parser.delete();
  }
}
