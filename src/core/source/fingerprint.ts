/**
 * Whether the code that makes a model has changed. A piece is a class, a function or an assignment at the top of a
 * file: the hash of its syntax, and the names it takes from outside. The fingerprint of a model is that of its piece
 * together with every piece of the workspace that these names reach. Where a piece stands doesn't count, nor do
 * comments, blank space, docstrings, trailing commas and the kind of quotes.
 */
import type { Node, Tree, TreeCursor } from "web-tree-sitter";
import type { FileOutline } from "./outline";
import { definition, field, holdsStatements, named } from "./syntax";
import type { ModelRef, SourceFile } from "./types";
import { Workspace } from "./workspace";

interface Piece {
  readonly hash: string;
  /** As they are written, with every beginning: `nn`, `nn.Conv2d`. */
  readonly names: ReadonlySet<string>;
}

/** By the name that a file gives them. One name can have several: defined under a condition, changed later. */
export type Pieces = ReadonlyMap<string, readonly Piece[]>;

/** What one file consists of. It depends on the text of that file alone. */
export function readPieces(tree: Tree): Pieces {
  const pieces = new Map<string, Piece[]>();
  const add = (name: string, node: Node): void => {
    pieces.set(name, [...(pieces.get(name) ?? []), readPiece(node)]);
  };
  const visit = (block: Node | null, around: string): void => {
    for (const node of named(block)) {
      const inner = definition(node);
      if (inner?.type === "class_definition") {
        const name = `${around}${field(inner, "name")?.text ?? ""}`;
        add(name, node);
        visit(field(inner, "body"), `${name}.`);
      } else if (holdsStatements(node)) {
        visit(node, around);
      } else if (around === "") {
        for (const name of inner === null ? assigned(node) : [field(inner, "name")?.text ?? ""]) add(name, node);
      }
    }
  };
  visit(tree.rootNode, "");
  return pieces;
}

/** The names that a statement gives a value or changes: `A`, `A, B`, `A[key]`, `A.field`. */
function assigned(statement: Node): string[] {
  return named(statement)
    .filter((child) => child.type === "assignment" || child.type === "augmented_assignment")
    .flatMap((child) => field(child, "left")?.descendantsOfType("identifier") ?? [])
    .map((node) => node.text);
}

function readPiece(node: Node): Piece {
  const cursor = node.walk();
  try {
    const reader = new PieceReader(cursor);
    reader.read("", false);
    return { hash: reader.hash.text, names: reader.scope.names };
  } finally {
    cursor.delete();
  }
}

/** Where the structure already says what a comma says. */
const bracketed = new Set(["argument_list", "parameters", "list", "dictionary", "set", "tuple"]);
const patterns = new Set(["pattern_list", "tuple_pattern", "list_pattern", "list_splat_pattern", "dictionary_splat_pattern"]);
/** Where names get their value: under this field, or wherever they stand (null). */
const bindingFields: ReadonlyMap<string, string | null> = new Map([
  ["assignment", "left"],
  ["for_statement", "left"],
  ["for_in_clause", "left"],
  ["named_expression", "name"],
  ["default_parameter", "name"],
  ["typed_default_parameter", "name"],
  ["typed_parameter", null],
  ["parameters", null],
  ["lambda_parameters", null],
  ["as_pattern_target", null],
]);
const functions = new Set(["function_definition", "lambda"]);

/** Tokens and, for the structure, brackets around what belongs together. */
class PieceReader {
  readonly hash = new Hash();
  scope = { names: new Set<string>(), locals: new Set<string>() };
  /** Names joined by dots, as far as they have come. */
  private chain = "";
  private afterDot = false;

  constructor(private readonly cursor: TreeCursor) {}

  read(parent: string, binding: boolean): void {
    const { cursor } = this;
    const type = cursor.nodeType;
    if (type === "comment" || type === "line_continuation" || (type === "expression_statement" && isText(cursor.currentNode))) return;
    const binds = this.binds(parent, type, binding);
    // The text of a string isn't all in the nodes within it, nor is that of an error.
    if (type === "string_content" || type === "ERROR" || !cursor.gotoFirstChild()) {
      this.token(parent, type, binds);
      return;
    }
    const outer = this.scope;
    if (functions.has(type)) this.scope = { names: new Set(), locals: new Set() };
    this.hash.add(`(${type}`);
    do this.read(type, binds);
    while (cursor.gotoNextSibling());
    cursor.gotoParent();
    this.hash.add(")");
    if (this.scope !== outer) {
      for (const name of this.scope.names) if (!this.scope.locals.has(name.split(".", 1).join())) outer.names.add(name);
      this.scope = outer;
    }
  }

  /** Whether names here get their value here, which makes them names of the function around. */
  private binds(parent: string, type: string, binding: boolean): boolean {
    if (type !== "identifier" && !patterns.has(type)) return false;
    const field = bindingFields.get(parent);
    return binding || field === null || (field !== undefined && this.cursor.currentFieldName === field);
  }

  private token(parent: string, type: string, binds: boolean): void {
    const { cursor } = this;
    if (type === "string_end" || (type === "," && bracketed.has(parent))) return;
    const text = cursor.nodeText;
    this.hash.add(type === "string_start" ? text.replace(/['"]+/, "") : text);
    if (type === ".") {
      this.afterDot = true;
      return;
    }
    const isKeyword = parent === "keyword_argument" && cursor.currentFieldName === "name";
    if (type !== "identifier" || isKeyword) this.chain = "";
    else if (!this.afterDot) this.chain = text;
    else if (this.chain !== "") this.chain += `.${text}`;
    this.afterDot = false;
    if (this.chain !== "") (binds ? this.scope.locals : this.scope.names).add(this.chain);
  }
}

function isText({ namedChildCount, firstNamedChild }: Node): boolean {
  return namedChildCount === 1 && (firstNamedChild?.type === "string" || firstNamedChild?.type === "concatenated_string");
}

/** 64 bits of two multiplicative hashes, which is plenty for telling versions of a file apart. */
class Hash {
  private a = 0x811c9dc5;
  private b = 0x9e3779b9;

  add(text: string): void {
    for (let at = 0; at < text.length; at += 1) this.mix(text.charCodeAt(at));
    this.mix(0x10000);
  }

  private mix(code: number): void {
    this.a = Math.imul(this.a ^ code, 0x01000193);
    this.b = Math.imul(this.b ^ code, 0x85ebca6b);
    this.b ^= this.b >>> 15;
  }

  get text(): string {
    return [this.a, this.b].map((half) => (half >>> 0).toString(16).padStart(8, "0")).join("");
  }
}

export interface FileSyntax {
  readonly outline: FileOutline;
  readonly pieces: Pieces;
}

/** What a piece says, and the pieces that it reaches at once. */
interface Reach {
  readonly facts: readonly string[];
  readonly next: readonly ModelRef[];
}

export class Fingerprints {
  private readonly workspace: Workspace;
  private readonly files: ReadonlyMap<string, FileSyntax>;
  private readonly parts: ReadonlyMap<string, readonly ModelRef[]>;
  private readonly known = new Map<string, Reach>();

  constructor(files: readonly FileSyntax[], models: readonly SourceFile[]) {
    this.workspace = new Workspace(files.map(({ outline }) => outline));
    this.files = new Map(files.map((file) => [file.outline.path, file]));
    this.parts = new Map(models.flatMap((file) => file.models.map((model) => [refKey(model), model.layers.flatMap((layer) => layer.models)] as const)));
  }

  /** Of every name that a file gives to something. */
  ofFile(path: string): Record<string, string> {
    const names = [...(this.files.get(path)?.pieces.keys() ?? [])];
    return Object.fromEntries(names.map((name) => [name, this.of({ file: path, name })]));
  }

  private of(root: ModelRef): string {
    const waiting = new Map([[refKey(root), root]]);
    const facts = new Set<string>();
    // A map's iteration goes on to what is added meanwhile.
    for (const ref of waiting.values()) {
      const reach = this.reach(ref);
      for (const fact of reach.facts) facts.add(fact);
      for (const next of reach.next) waiting.set(refKey(next), next);
    }
    const hash = new Hash();
    for (const fact of [...facts].sort()) hash.add(fact);
    return hash.text;
  }

  private reach(ref: ModelRef): Reach {
    const key = refKey(ref);
    const known = this.known.get(key);
    if (known !== undefined) return known;
    const file = this.files.get(ref.file);
    const pieces = file?.pieces.get(ref.name) ?? [];
    const facts = pieces.map(({ hash }) => hash);
    const next = [...(this.parts.get(key) ?? [])];
    for (const name of new Set(pieces.flatMap((piece) => [...piece.names]))) {
      const target = file === undefined ? null : this.target(file, name);
      if (typeof target === "string") facts.push(`${name} = ${target}`);
      else if (target !== null) next.push(target);
    }
    const reach = { facts, next };
    this.known.set(key, reach);
    return reach;
  }

  /** What a name means in a file: something of the workspace, the full name of something imported, or nothing known. */
  private target({ outline, pieces }: FileSyntax, name: string): ModelRef | string | null {
    if (pieces.has(name)) return { file: outline.path, name };
    const full = outline.module === "" ? name : `${outline.module}.${name}`;
    const found = this.workspace.find(full, outline);
    if (found.kind === "external") return found.name === full ? null : found.name;
    return { file: found.file.path, name: found.kind === "object" ? found.outline.path : found.outline.name };
  }
}

const refKey = ({ file, name }: ModelRef): string => `${file}:${name}`;
