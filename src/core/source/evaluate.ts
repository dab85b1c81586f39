import type { Node } from "web-tree-sitter";
import type { Imports } from "./imports";
import { choice, unknown, type Entry, type Parameter, type Value } from "./outline";
import { dotted, field, named, numberOf, rangeOf, stringPattern } from "./syntax";
import { applyClosure, element, joinPath } from "./values";

export interface FileContext {
  readonly path: string;
  readonly module: string;
  readonly imports: Imports;
}

export class Scope {
  readonly locals: Map<string, Value>;

  constructor(
    readonly file: FileContext,
    readonly self: string | null,
    outer: ReadonlyMap<string, Value> = new Map(),
  ) {
    this.locals = new Map(outer);
  }

  inner(): Scope {
    return new Scope(this.file, this.self, this.locals);
  }

  resolve(names: readonly string[]): string {
    const [head = "", ...rest] = names;
    const { imports, module } = this.file;
    const imported = imports.names.get(head);
    return [imported ?? (module === "" ? head : `${module}.${head}`), ...rest].join(".");
  }
}

/** Deeper than anybody writes; beyond it an expression is unknown rather than a stack overflow. */
const maxDepth = 150;

/** Methods that return the module they are called on. */
const returnsItself = new Set(["to", "cuda", "cpu", "half", "float", "double", "bfloat16", "eval", "train", "requires_grad_", "apply"]);

/** Functions that return (a wrapped form of) their first argument. */
const returnsFirst = new Set(["copy.deepcopy", "copy.copy", "functools.partial", "torch.compile", "torch.jit.script"]);

const loopsInOrder = new Set(["list", "tuple", "iter", "reversed", "sorted", "set"]);

export function evaluate(node: Node | null, scope: Scope, depth = 0): Value {
  if (node === null || depth > maxDepth) return unknown;
  const inside = (inner: Node | null | undefined): Value => evaluate(inner ?? null, scope, depth + 1);
  switch (node.type) {
    case "identifier":
      if (node.text === scope.self) return { kind: "self", path: "" };
      return scope.locals.get(node.text) ?? { kind: "name", name: scope.resolve([node.text]) };
    case "attribute":
      return attribute(node, scope, depth);
    case "call":
      return call(node, scope, depth);
    case "list":
    case "tuple":
    case "set":
    case "expression_list":
      return { kind: "list", items: named(node).map(inside) };
    case "list_splat":
      return { kind: "spread", value: inside(named(node)[0]) };
    case "list_comprehension":
    case "set_comprehension":
    case "generator_expression": {
      const body = evaluate(field(node, "body"), comprehensionScope(node, scope), depth + 1);
      return { kind: "list", items: [{ kind: "many", item: body }] };
    }
    case "dictionary":
      return { kind: "dict", entries: named(node).flatMap((child) => dictEntries(child, scope, depth)) };
    case "dictionary_comprehension":
      return { kind: "dict", entries: dictEntries(field(node, "body"), comprehensionScope(node, scope), depth) };
    case "conditional_expression": {
      const [then, , otherwise] = named(node);
      return choice([inside(then), inside(otherwise)]);
    }
    case "boolean_operator":
      return choice([inside(field(node, "left")), inside(field(node, "right"))]);
    case "binary_operator":
      return combined(field(node, "operator")?.type ?? "", inside(field(node, "left")), inside(field(node, "right")));
    case "parenthesized_expression":
    case "await":
      return inside(named(node)[0]);
    case "named_expression":
      return inside(field(node, "value"));
    case "subscript":
      return subscript(node, scope, depth);
    case "lambda": {
      const parameters = readParameters(field(node, "parameters"), scope);
      const inner = scope.inner();
      for (const { name } of parameters) inner.locals.set(name, { kind: "parameter", name });
      return { kind: "closure", parameters, returns: [evaluate(field(node, "body"), inner, depth + 1)] };
    }
    case "integer":
    case "float": {
      const value = numberOf(node);
      return value === null ? unknown : { kind: "number", value };
    }
    case "string":
    case "concatenated_string": {
      const pattern = stringPattern(node);
      return pattern === null ? unknown : { kind: "text", pattern };
    }
    default:
      return unknown;
  }
}

function attribute(node: Node, scope: Scope, depth: number): Value {
  const names = dotted(node);
  const [head] = names ?? [];
  if (names !== null && head !== undefined && head !== scope.self && !scope.locals.has(head)) {
    return { kind: "name", name: scope.resolve(names) };
  }
  const object = evaluate(field(node, "object"), scope, depth + 1);
  const name = field(node, "attribute")?.text;
  if (name === undefined) return unknown;
  if (object.kind === "self") return { kind: "self", path: joinPath(object.path, name) };
  return object.kind === "name" ? { kind: "name", name: `${object.name}.${name}` } : unknown;
}

function subscript(node: Node, scope: Scope, depth: number): Value {
  const object = evaluate(field(node, "value"), scope, depth + 1);
  const index = field(node, "subscript");
  const key = index === null ? null : (stringPattern(index) ?? (index.type === "integer" ? index.text : null));
  switch (object.kind) {
    case "self":
      return index?.type === "slice" ? object : { kind: "self", path: joinPath(object.path, key ?? "*") };
    case "dict":
      return choice(object.entries.filter((entry) => key === null || entry.key === key).map((entry) => entry.value));
    case "list":
      return index?.type === "slice" ? object : choice([element(object)]);
    case "name":
      return index?.type === "slice" ? object : { kind: "item", name: object.name, key };
    default:
      return unknown;
  }
}

function combined(operator: string, left: Value, right: Value): Value {
  if (operator === "+" && left.kind === "list" && right.kind === "list") return { kind: "list", items: [...left.items, ...right.items] };
  const repeated = operator === "*" ? [left, right].find((side) => side.kind === "list") : undefined;
  return repeated === undefined ? unknown : { kind: "list", items: [{ kind: "many", item: element(repeated) }] };
}

function dictEntries(node: Node | null, scope: Scope, depth: number): Entry[] {
  if (node?.type === "pair") {
    const key = field(node, "key");
    const fixed = stringPattern(key) ?? (key?.type === "integer" ? key.text : "*");
    return [{ key: fixed, value: evaluate(field(node, "value"), scope, depth + 1) }];
  }
  if (node?.type !== "dictionary_splat") return [];
  const spread = evaluate(named(node)[0] ?? null, scope, depth + 1);
  return spread.kind === "dict" ? [...spread.entries] : [];
}

/** `[("conv", nn.Conv2d(…)), …]`, as OrderedDict takes it. */
function entriesOfPairs(value: Value): Entry[] {
  if (value.kind === "dict") return [...value.entries];
  if (value.kind !== "list") return [];
  return value.items.flatMap((item) => {
    const pair = item.kind === "many" ? item.item : item;
    const [key, inner] = pair.kind === "list" ? pair.items : [];
    return inner === undefined ? [] : [{ key: key?.kind === "text" ? key.pattern : "*", value: inner }];
  });
}

export function readArguments(node: Node, scope: Scope, depth = 0): { args: Value[]; named: Entry[] } {
  const args: Value[] = [];
  const keywords: Entry[] = [];
  const list = field(node, "arguments");
  if (list?.type === "generator_expression") return { args: [evaluate(list, scope, depth + 1)], named: [] };
  for (const child of named(list)) {
    if (child.type === "keyword_argument") {
      keywords.push({ key: field(child, "name")?.text ?? "", value: evaluate(field(child, "value"), scope, depth + 1) });
    } else if (child.type === "dictionary_splat") {
      keywords.push(...dictEntries(child, scope, depth));
    } else {
      args.push(evaluate(child, scope, depth + 1));
    }
  }
  return { args, named: keywords };
}

function call(node: Node, scope: Scope, depth: number): Value {
  const fn = field(node, "function");
  const { args, named: keywords } = readArguments(node, scope, depth);
  const [first = unknown, second] = args;

  if (fn?.type === "attribute") {
    const method = field(fn, "attribute")?.text ?? "";
    const object = field(fn, "object");
    if (object?.type === "call" && field(object, "function")?.text === "super") {
      return { kind: "call", callee: { kind: "self", path: method }, args, named: keywords, range: rangeOf(node), file: scope.file.path };
    }
    if (returnsItself.has(method)) {
      const itself = evaluate(object, scope, depth + 1);
      if (itself.kind === "call" || itself.kind === "choice") return itself;
      // Not once more for the callee: in a long chain that would double at every link.
      if (object?.type !== "identifier") return unknown;
    }
  }

  const callee = evaluate(fn, scope, depth + 1);
  if (callee.kind === "closure") return applyClosure(callee, args, keywords);
  if (callee.kind === "name") {
    const plain = fn?.type === "identifier" ? fn.text : "";
    if (loopsInOrder.has(plain) && args.length === 1) return first;
    if (plain === "getattr" && first.kind === "self" && second?.kind === "text") {
      return { kind: "self", path: joinPath(first.path, second.pattern) };
    }
    if (plain === "dict" || callee.name === "collections.OrderedDict") {
      return { kind: "dict", entries: [...entriesOfPairs(first), ...keywords] };
    }
    if (returnsFirst.has(callee.name) || /^torch\.nn\.utils\.(.*\.)?[a-z_]+$/.test(callee.name)) return first;
  }
  return { kind: "call", callee, args, named: keywords, range: rangeOf(node), file: scope.file.path };
}

/** The value that a loop over `node` yields: a list where the loop unpacks it. */
export function iterated(node: Node | null, scope: Scope): Value {
  if (node?.type === "call") {
    const fn = field(node, "function");
    const args = named(field(node, "arguments")).filter((arg) => arg.type !== "keyword_argument");
    const [first = null] = args;
    if (fn?.type === "identifier") {
      if (fn.text === "enumerate") return { kind: "list", items: [unknown, iterated(first, scope)] };
      if (fn.text === "zip") return { kind: "list", items: args.map((arg) => iterated(arg, scope)) };
      if (loopsInOrder.has(fn.text)) return iterated(first, scope);
    }
    if (fn?.type === "attribute") {
      const object = field(fn, "object");
      const method = field(fn, "attribute")?.text;
      if (method === "items" || method === "named_children") return { kind: "list", items: [unknown, iterated(object, scope)] };
      if (method === "values" || method === "children") return iterated(object, scope);
    }
  }
  const value = evaluate(node, scope);
  return value.kind === "dict" ? choice(value.entries.map((entry) => entry.value)) : element(value);
}

/** Gives names to what is unpacked. `assign` sees each simple target with its value. */
export function destructure(target: Node | null, value: Value, assign: (target: Node, value: Value) => void): void {
  if (target === null) return;
  if (!["pattern_list", "tuple_pattern", "list_pattern", "tuple", "list"].includes(target.type)) {
    assign(target, value);
    return;
  }
  const targets = named(target);
  const items = value.kind === "list" && value.items.every((item) => item.kind !== "many" && item.kind !== "spread") ? value.items : [];
  const matches = items.length === targets.length;
  targets.forEach((inner, index) => {
    destructure(inner, matches ? (items[index] ?? unknown) : unknown, assign);
  });
}

export function comprehensionScope(node: Node, scope: Scope): Scope {
  const inner = scope.inner();
  for (const clause of named(node)) {
    if (clause.type !== "for_in_clause") continue;
    destructure(field(clause, "left"), iterated(field(clause, "right"), inner), (target, value) => {
      inner.locals.set(target.text, value);
    });
  }
  return inner;
}

export function readParameters(node: Node | null, scope: Scope): Parameter[] {
  return named(node).flatMap((child): Parameter[] => {
    const name = child.type === "identifier" ? child : (field(child, "name") ?? named(child).find((inner) => inner.type === "identifier"));
    if (name === undefined || child.type === "list_splat_pattern" || child.type === "dictionary_splat_pattern") return [];
    const annotation = field(child, "type");
    const fallback = field(child, "value");
    return [
      {
        name: name.text,
        annotation: annotation === null ? [] : annotationNames(annotation, scope),
        default: fallback === null ? null : evaluate(fallback, scope),
      },
    ];
  });
}

function annotationNames(node: Node, scope: Scope): string[] {
  const names = dotted(node);
  if (names !== null) return [scope.resolve(names)];
  return named(node).flatMap((child) => annotationNames(child, scope));
}

