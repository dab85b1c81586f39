import type { Node, Parser, Tree } from "web-tree-sitter";
import { readFunction } from "./body";
import { evaluate, Scope, type FileContext } from "./evaluate";
import { moduleName, readImport } from "./imports";
import type { Binding, ClassOutline, FileOutline, FunctionOutline } from "./outline";
import { definition, dotted, field, holdsStatements, named, rangeOf } from "./syntax";

/** Reads one file. The parser has to have Python as its language. */
export function readFile(parser: Parser, path: string, text: string): FileOutline {
  const tree = parser.parse(text);
  if (tree === null) return outline(path, null);
  try {
    return readTree(path, tree);
  } finally {
    tree.delete();
  }
}

/** For an editor that keeps its trees and edits them. The module is what other files import this one as. */
export function readTree(path: string, tree: Tree, module?: string): FileOutline {
  return outline(path, tree.rootNode, module);
}

function outline(path: string, top: Node | null, module = moduleName(path)): FileOutline {
  const file: FileContext = { path, module, imports: { names: new Map(), wildcards: [] } };
  const classes = new Map<string, ClassOutline>();
  const functions = new Map<string, FunctionOutline>();
  const objects = new Map<string, Binding>();

  const readClass = (node: Node, prefix: string): void => {
    const nameNode = field(node, "name");
    if (nameNode === null || nameNode.text === "") return;
    const name = prefix === "" ? nameNode.text : `${prefix}.${nameNode.text}`;
    const scope = new Scope(file, null);
    const bases = named(field(node, "superclasses")).flatMap((child) => {
      const names = dotted(child.type === "subscript" ? field(child, "value") : child);
      return names === null ? [] : [scope.resolve(names)];
    });
    const methods = new Map<string, FunctionOutline>();
    const attributes: Binding[] = [];
    const visit = (block: Node | null): void => {
      for (const child of named(block)) {
        const inner = definition(child);
        if (inner?.type === "class_definition") readClass(inner, name);
        else if (inner !== null) {
          const method = readFunction(inner, file, true);
          methods.set(method.name, method);
        } else if (child.type === "expression_statement") {
          attributes.push(...plainAssignments(child, scope));
        } else if (child.type !== "comment") {
          for (const clause of [child, ...named(child)]) if (clause.type === "block" || clause.type === "ERROR") visit(clause);
        }
      }
    };
    visit(field(node, "body"));
    classes.set(name, { name, range: rangeOf(node), nameRange: rangeOf(nameNode), bases, methods, attributes });
  };

  const visit = (node: Node | null, depth: number): void => {
    for (const child of named(node)) {
      const inner = definition(child);
      if (inner?.type === "class_definition") readClass(inner, "");
      else if (inner !== null) {
        const fn = readFunction(inner, file, false);
        functions.set(fn.name, fn);
      } else if (child.type === "expression_statement") {
        for (const binding of plainAssignments(child, new Scope(file, null))) objects.set(binding.path, binding);
      } else if (depth < 20 && holdsStatements(child)) {
        visit(child, depth + 1);
      }
    }
  };
  // First, because a function may use what is imported below it, or import it itself.
  for (const node of top?.descendantsOfType(["import_statement", "import_from_statement"]) ?? []) {
    readImport(node, path, file.module, file.imports);
  }
  visit(top, 0);
  return { path, module: file.module, imports: file.imports.names, wildcards: file.imports.wildcards, classes, functions, objects };
}

function plainAssignments(statement: Node, scope: Scope): Binding[] {
  return named(statement).flatMap((child) => {
    const left = child.type === "assignment" ? field(child, "left") : null;
    const right = child.type === "assignment" ? field(child, "right") : null;
    if (left?.type !== "identifier" || right === null) return [];
    return [{ path: left.text, value: evaluate(right, scope), range: rangeOf(child), nameRange: rangeOf(left) }];
  });
}
