/** Reads the body of a function from top to bottom: what it binds to `self`, returns and calls. */
import type { Node } from "web-tree-sitter";
import { comprehensionScope, destructure, evaluate, iterated, readArguments, readParameters, Scope, type FileContext } from "./evaluate";
import { choice, unknown, type Binding, type Entry, type FunctionOutline, type Parameter, type Value } from "./outline";
import { definition, field, isSameRange, named, rangeOf, stringPattern } from "./syntax";
import type { Call } from "./types";
import { addEntry, append, element, joinPath } from "./values";

/** `Class.method`, `name` or `<lambda>`; the receiver is the name of `self` there. */
export function readFunction(node: Node, file: FileContext, method: boolean): FunctionOutline {
  const scope = new Scope(file, null);
  const all = readParameters(field(node, "parameters"), scope);
  const receiver = method && !isStatic(node) ? (all[0]?.name ?? null) : null;
  const parameters = receiver === null ? all : all.slice(1);
  const name = field(node, "name")?.text ?? "";
  const body = new Body(new Scope(file, receiver), name);
  body.enter(parameters);
  body.block(field(node, "body"));
  return { name, range: rangeOf(node), parameters, bindings: body.bindings, returns: body.returns, calls: body.calls };
}

function isStatic(node: Node): boolean {
  const decorators = node.parent?.type === "decorated_definition" ? named(node.parent) : [];
  return decorators.some((child) => child.type === "decorator" && /^@\s*staticmethod\b/.test(child.text));
}

class Body {
  readonly bindings: Binding[] = [];
  readonly returns: Value[] = [];
  readonly calls: Call[] = [];
  /** Above 0 inside loops and branches: what happens there happens any number of times. */
  private uncertain = 0;

  constructor(
    private readonly scope: Scope,
    private readonly method: string,
    calls?: Call[],
  ) {
    if (calls !== undefined) this.calls = calls;
  }

  enter(parameters: readonly Parameter[]): void {
    for (const { name } of parameters) this.scope.locals.set(name, { kind: "parameter", name });
  }

  block(node: Node | null): void {
    for (const child of named(node)) this.statement(child);
  }

  private statement(node: Node): void {
    const inner = definition(node);
    if (inner !== null) {
      if (inner.type === "function_definition") this.innerFunction(inner);
      return;
    }
    switch (node.type) {
      case "expression_statement":
        for (const child of named(node)) this.expression(child);
        return;
      case "return_statement": {
        const [value = null] = named(node);
        this.collect(value);
        this.whole(value);
        this.returns.push(evaluate(value, this.scope));
        return;
      }
      case "for_statement": {
        const iterable = field(node, "right");
        this.collect(iterable);
        destructure(field(node, "left"), iterated(iterable, this.scope), (target, value) => {
          this.scope.locals.set(target.text, value);
        });
        this.branch(field(node, "body"));
        this.branch(field(node, "alternative"));
        return;
      }
      case "with_statement":
        for (const child of named(node)) {
          if (child.type === "block") this.block(child);
          else this.collect(child);
        }
        return;
      default:
        this.compound(node);
    }
  }

  /** `if`, `while`, `try`, `match`, their clauses, and pieces of code that tree-sitter could not place. */
  private compound(node: Node): void {
    for (const child of named(node)) {
      if (child.type === "block") this.branch(child);
      else if (/_clause$|^ERROR$|_statement$|_definition$/.test(child.type)) this.statement(child);
      else this.collect(child);
    }
  }

  private branch(node: Node | null): void {
    if (node === null) return;
    this.uncertain += 1;
    if (node.type === "block") this.block(node);
    else this.compound(node);
    this.uncertain -= 1;
  }

  private innerFunction(node: Node): void {
    const parameters = readParameters(field(node, "parameters"), this.scope);
    const body = new Body(this.scope.inner(), this.method, this.calls);
    body.enter(parameters);
    body.block(field(node, "body"));
    this.scope.locals.set(field(node, "name")?.text ?? "", { kind: "closure", parameters, returns: body.returns });
  }

  private expression(node: Node): void {
    switch (node.type) {
      case "assignment":
        this.collect(field(node, "right"));
        this.whole(field(node, "right"));
        this.assignment(node);
        return;
      case "augmented_assignment": {
        this.collect(field(node, "right"));
        this.whole(node);
        const target = field(node, "left");
        const added = evaluate(field(node, "right"), this.scope);
        if (target !== null && field(node, "operator")?.type === "+=") this.extend(target, added, node);
        return;
      }
      case "call":
        this.collect(node);
        this.whole(node);
        this.mutation(node);
        return;
      default:
        this.collect(node);
        this.whole(node);
    }
  }

  /** What a statement computes: arithmetic, indexing and methods of tensors are no calls of layers, and belong to it. */
  private whole(node: Node | null): void {
    if (node === null || /^(identifier|attribute|string|integer|float|none|true|false|lambda|assignment)$/.test(node.type)) return;
    const range = rangeOf(node);
    if (!this.calls.some((call) => isSameRange(call.range, range))) this.calls.push({ file: this.scope.file.path, range, method: this.method, path: null, name: node.text.replaceAll(/\s+/g, " ") });
  }

  private assignment(node: Node): Value {
    const right = field(node, "right");
    const value = right?.type === "assignment" ? this.assignment(right) : evaluate(right, this.scope);
    if (right !== null) {
      destructure(field(node, "left"), value, (target, each) => {
        this.assign(target, each);
      });
    }
    return value;
  }

  private assign(target: Node, value: Value): void {
    if (target.type === "identifier") {
      const before = this.scope.locals.get(target.text);
      this.scope.locals.set(target.text, this.uncertain > 0 && before !== undefined ? choice([before, value]) : value);
    } else if (target.type === "subscript") {
      const index = field(target, "subscript");
      const key = stringPattern(index) ?? "*";
      this.put(field(target, "value"), { key, value }, target);
    } else {
      const place = evaluate(target, this.scope);
      if (place.kind === "self" && place.path !== "") this.bind(place.path, value, target);
    }
  }

  private bind(path: string, value: Value, node: Node, nameNode: Node | null = node): void {
    this.bindings.push({ path, value, range: rangeOf(node), nameRange: nameNode === null ? null : rangeOf(nameNode) });
  }

  /** `target[key] = value`, `target.add_module(key, value)`. */
  private put(target: Node | null, entry: Entry, node: Node): void {
    const place = evaluate(target, this.scope);
    if (place.kind === "self") this.bind(joinPath(place.path, entry.key), entry.value, node, null);
    else if (target?.type === "identifier") this.scope.locals.set(target.text, addEntry(place, entry));
  }

  private push(target: Node | null, item: Value, node: Node): void {
    const place = evaluate(target, this.scope);
    if (place.kind === "self") this.bind(joinPath(place.path, "*"), item, node, null);
    else if (target?.type === "identifier") {
      this.scope.locals.set(target.text, append(place, this.uncertain > 0 ? { kind: "many", item } : item));
    }
  }

  private extend(target: Node | null, items: Value, node: Node): void {
    if (items.kind !== "list") return;
    for (const item of items.items) {
      const place = evaluate(target, this.scope);
      if (place.kind === "self") this.bind(joinPath(place.path, "*"), item.kind === "many" ? item.item : element({ kind: "list", items: [item] }), node, null);
      else if (target?.type === "identifier") {
        this.scope.locals.set(target.text, append(place, this.uncertain > 0 && item.kind !== "many" ? { kind: "many", item } : item));
      }
    }
  }

  /** Calls that change something: containers that grow, modules registered by name, a base class that is set up. */
  private mutation(node: Node): void {
    const fn = field(node, "function");
    const { args, named: keywords } = readArguments(node, this.scope);
    const [first = unknown, second = unknown] = args;
    if (fn?.type === "identifier" && fn.text === "setattr" && first.kind === "self" && second.kind === "text") {
      this.bind(joinPath(first.path, second.pattern), args[2] ?? unknown, node, null);
    }
    if (fn?.type !== "attribute") return;
    const object = field(fn, "object");
    switch (field(fn, "attribute")?.text ?? "") {
      case "__init__":
        if (object?.type === "call" && field(object, "function")?.text === "super") {
          const callee: Value = { kind: "self", path: "" };
          this.bind("", { kind: "call", callee, args, named: keywords, range: rangeOf(node), file: this.scope.file.path }, node, null);
        }
        return;
      case "append":
        this.push(object, first, node);
        return;
      case "insert":
        this.push(object, second, node);
        return;
      case "extend":
        this.extend(object, first, node);
        return;
      case "add_module":
      case "register_module":
        this.put(object, { key: first.kind === "text" ? first.pattern : "*", value: second }, node);
        return;
      case "update":
        if (first.kind === "dict") for (const entry of first.entries) this.put(object, entry, node);
        return;
    }
  }

  /** Every call within an expression, innermost first where one is the argument of another. */
  private collect(node: Node | null, scope = this.scope, depth = 0): void {
    if (node === null || depth > 150) return;
    const inside = /_comprehension$|^generator_expression$/.test(node.type) ? comprehensionScope(node, scope) : scope;
    for (const child of named(node)) this.collect(child, inside, depth + 1);
    if (node.type !== "call") return;

    const callee = evaluate(field(node, "function"), scope);
    const place = { file: this.scope.file.path, range: rangeOf(node), method: this.method };
    for (const target of callee.kind === "choice" ? callee.options : [callee]) {
      if (target.kind === "self" && target.path !== "") this.calls.push({ ...place, path: target.path, name: null });
    }
    if (callee.kind !== "name") return;
    if (/checkpoint\w*$/.test(callee.name)) {
      const [first = unknown] = readArguments(node, scope).args;
      if (first.kind === "self" && first.path !== "") this.calls.push({ ...place, path: first.path, name: null });
    } else if (callee.name.startsWith("torch.")) {
      this.calls.push({ ...place, path: null, name: callee.name });
    }
  }
}
