/** Where a training script builds a model, and the edits that let it run by a plan from there on. */
import type { Node } from "web-tree-sitter";
import { dotted, field, named, rangeOf } from "./syntax";
import { isClass, lastOf } from "./names";
import type { Range } from "./types";

export interface PlanUse {
  /** Classes and functions that give the model. */
  readonly makers: readonly string[];
  /** The name of the model where it is an object at the top of a file. */
  readonly object: string | null;
  /** The path that the script shall read. */
  readonly plan: string;
  /** The function or class of the loss, where the plan covers it. */
  readonly loss: string | null;
}

export interface TextEdit {
  readonly range: Range;
  readonly text: string;
}

export interface Insertion {
  /** `kept`: a plan is applied already, by an expression that is the person's own. */
  readonly kind: "inserted" | "updated" | "unchanged" | "kept";
  /** The text that names the model in the script. */
  readonly target: string;
  /** Where the call stands, or comes to stand, in the text as it is. */
  readonly line: number;
  readonly edits: readonly TextEdit[];
  /** What must be called in place of the loss; null where its name stays the same, or there is none. */
  readonly loss: string | null;
}

const module = "monet_torch";

/** Methods that leave a model what it is, on another device or in another mode. */
const preparations = new Set([
  "to", "cuda", "cpu", "xpu", "mps", "half", "bfloat16", "float", "double", "to_empty", "train", "eval", "apply", "requires_grad_", "load_state_dict", "type",
]);

/** What takes a model and gives another that runs it. */
const wrappers = new Set([
  "DistributedDataParallel", "DDP", "DataParallel", "FullyShardedDataParallel", "FSDP", "fully_shard", "compile", "prepare", "setup", "setup_module", "initialize", "script", "trace",
]);

/** One for each place; where a plan is applied already, those places alone. */
export function insertions(root: Node, text: string, use: PlanUse): Insertion[] {
  const script = new Script(root, text);
  const applied = script.applied(use);
  return applied.length > 0 ? applied : script.built(use).map((built) => script.insertion(built, use));
}

interface Built {
  readonly target: string;
  readonly statement: Node;
}

class Script {
  private readonly lines: readonly string[];
  private readonly imports: readonly Node[];

  constructor(
    private readonly root: Node,
    text: string,
  ) {
    this.lines = text.split(/\r?\n/);
    this.imports = root.descendantsOfType(["import_statement", "import_from_statement", "future_import_statement"]);
  }

  applied({ plan }: PlanUse): Insertion[] {
    const names = new Set([`${module}.apply`, ...this.namesOf(module).map((name) => `${name}.apply`), ...this.namesOf("apply", module)]);
    return this.root.descendantsOfType("call").flatMap((call): Insertion[] => {
      const callee = dotted(field(call, "function"))?.join(".");
      const [model, given] = named(field(call, "arguments"));
      if (callee === undefined || !names.has(callee) || model === undefined || given === undefined) return [];
      const path = given.type === "keyword_argument" ? field(given, "value") : given;
      const common = { target: model.text, line: call.startPosition.row, loss: null };
      if (path?.type !== "string" || path.text.startsWith("f")) return [{ ...common, kind: "kept", edits: [] }];
      const literal = JSON.stringify(plan);
      return [path.text === literal ? { ...common, kind: "unchanged", edits: [] } : { ...common, kind: "updated", edits: [{ range: rangeOf(path), text: literal }] }];
    });
  }

  built({ makers, object }: PlanUse): Built[] {
    const names = new Set([...makers, ...makers.flatMap((maker) => this.namesOf(maker))]);
    const assigned = this.root.descendantsOfType("assignment").flatMap((assignment): Built[] => {
      const target = dotted(field(assignment, "left"))?.join(".");
      const outer = assignment.parent?.type === "assignment";
      if (target === undefined || outer) return [];
      const isObject = target === object && assignment.parent?.parent?.equals(this.root) === true;
      return isObject || makes(valueOf(assignment), names) ? [{ target, statement: statementOf(assignment) }] : [];
    });
    const imported = object === null ? [] : this.imports.flatMap((statement): Built[] =>
      importedNames(statement).flatMap(({ name, as }) => (name === object && statement.type === "import_from_statement" ? [{ target: as, statement }] : [])),
    );
    return [...imported, ...assigned];
  }

  insertion({ target, statement }: Built, { plan, loss }: PlanUse): Insertion {
    const { last, wrap } = this.prepared(statement, target);
    const lossBuilt = loss === null ? null : this.lossBuilt(statement, loss);
    const inReach = lossBuilt !== null && (wrap === null || lossBuilt.statement.endPosition.row < wrap.startPosition.row);
    const after = inReach && lossBuilt.statement.startIndex > last.startIndex ? lossBuilt.statement : last;
    const apply = this.importedApply(after) ?? `${this.importedModule(after) ?? module}.apply`;
    const known = this.importedApply(after) !== null || this.importedModule(after) !== null;
    const words = [target, JSON.stringify(plan)];
    let bound: string | null = null;
    if (lossBuilt !== null && inReach) {
      words.push(`loss=${lossBuilt.target}`);
      bound = lossBuilt.target;
    } else if (loss !== null) {
      words.push(`loss=${lossBuilt?.value ?? (isClass(loss) ? `${loss}()` : loss)}`);
      bound = "planned_loss";
    }
    const call = `${bound === null ? "" : `${bound} = `}${apply}(${words.join(", ")})`;
    const line = this.lastRow(after);
    return {
      kind: "inserted", target, line: line + 1,
      edits: [...(known ? [] : [this.importEdit(after)]), this.lineAfter(line, `${this.indentOf(after)}${call}`)],
      loss: bound === "planned_loss" ? bound : null,
    };
  }

  /** The last statement that only prepares the model, and the first that wraps it. */
  private prepared(statement: Node, target: string): { last: Node; wrap: Node | null } {
    let last = statement;
    for (let at = following(statement); at !== null; at = following(at)) {
      if (!mentions(at, target)) continue;
      if (wraps(at, target)) return { last, wrap: at };
      if (prepares(at, target)) last = at;
      else if (uses(at, target)) break;
    }
    if (statement.type === "import_from_statement") {
      const end = this.imports.filter((each) => each.parent?.equals(this.root) === true).at(-1);
      if (end !== undefined && end.startIndex > last.startIndex) last = end;
    }
    return { last, wrap: null };
  }

  private lossBuilt(statement: Node, loss: string): { target: string; statement: Node; value: string } | null {
    const block = statement.parent;
    // A class is built by its own name too, whatever the model's file has imported it through.
    const own = isClass(loss) ? lastOf(loss) : loss;
    const names = new Set([loss, own, ...this.namesOf(own)]);
    for (const each of named(block)) {
      const [assignment] = each.type === "expression_statement" ? named(each) : [];
      const value = assignment?.type === "assignment" ? valueOf(assignment) : null;
      const target = assignment === undefined ? undefined : dotted(field(assignment, "left"))?.join(".");
      if (value !== null && target !== undefined && makes(value, names)) return { target, statement: each, value: value.text };
    }
    return null;
  }

  /** How the script calls what another module calls `name`. */
  private namesOf(name: string, from?: string): string[] {
    return this.imports.flatMap((statement) => {
      const source = field(statement, "module_name")?.text;
      if (from !== undefined && source !== from) return [];
      return importedNames(statement).flatMap((each) => (each.name === name ? [each.as] : []));
    });
  }

  private topImportsBefore(statement: Node): Node[] {
    return this.imports.filter((each) => each.parent?.equals(this.root) === true && each.startIndex <= statement.startIndex);
  }

  private importedModule(before: Node): string | null {
    for (const statement of this.topImportsBefore(before)) {
      const found = statement.type === "import_statement" ? importedNames(statement).find(({ name }) => name === module) : undefined;
      if (found !== undefined) return found.as;
    }
    return null;
  }

  private importedApply(before: Node): string | null {
    for (const statement of this.topImportsBefore(before)) {
      const found = field(statement, "module_name")?.text === module ? importedNames(statement).find(({ name }) => name === "apply") : undefined;
      if (found !== undefined) return found.as;
    }
    return null;
  }

  private importEdit(before: Node): TextEdit {
    const line = `import ${module}`;
    const last = this.topImportsBefore(before).at(-1);
    if (last !== undefined) return this.lineAfter(this.lastRow(last), line);
    const [first] = named(this.root);
    const isDocstring = first?.type === "expression_statement" && named(first)[0]?.type === "string";
    if (first === undefined || isDocstring) return this.lineAfter(first?.endPosition.row ?? 0, `\n${line}`);
    const at = { line: first.startPosition.row, column: 0 };
    return { range: { start: at, end: at }, text: `${line}\n\n` };
  }

  /** The row in which a statement ends, and others behind a semicolon. */
  private lastRow(statement: Node): number {
    let row = statement.endPosition.row;
    for (let at = statement.nextNamedSibling; at?.startPosition.row === row; at = at.nextNamedSibling) row = at.type === "comment" ? row : at.endPosition.row;
    return row;
  }

  private indentOf(statement: Node): string {
    return /^\s*/.exec(this.lines[statement.startPosition.row] ?? "")?.[0] ?? "";
  }

  private lineAfter(row: number, text: string): TextEdit {
    const isLast = row + 1 >= this.lines.length;
    const at = isLast ? { line: row, column: this.lines[row]?.length ?? 0 } : { line: row + 1, column: 0 };
    return { range: { start: at, end: at }, text: isLast ? `\n${text}` : `${text}\n` };
  }
}

function importedNames(statement: Node): { name: string; as: string }[] {
  const source = field(statement, "module_name");
  return named(statement)
    .filter((child) => source === null || !child.equals(source))
    .flatMap((child) => {
      const original = child.type === "aliased_import" ? field(child, "name")?.text : child.type === "dotted_name" ? child.text : undefined;
      if (original === undefined) return [];
      return [{ name: original, as: child.type === "aliased_import" ? (field(child, "alias")?.text ?? original) : original }];
    });
}

/** The value of `a = b = VALUE`. */
function valueOf(assignment: Node): Node | null {
  const right = field(assignment, "right");
  return right?.type === "assignment" ? valueOf(right) : right;
}

/** `Net(…)`, `models.Net(…).to(device)`: a call of one of these names, perhaps prepared in the same breath. */
function makes(value: Node | null, names: ReadonlySet<string>): boolean {
  if (value?.type === "parenthesized_expression") return makes(named(value)[0] ?? null, names);
  if (value?.type !== "call") return false;
  const callee = field(value, "function");
  const last = dotted(callee)?.at(-1);
  if (last !== undefined && names.has(last)) return true;
  const isPrepared = callee?.type === "attribute" && preparations.has(field(callee, "attribute")?.text ?? "");
  return isPrepared && makes(field(callee, "object"), names);
}

function statementOf(node: Node): Node {
  let at = node;
  while (at.parent !== null && at.parent.type !== "block" && at.parent.type !== "module") at = at.parent;
  return at;
}

/** What runs next: in the same block, or after a `with` that ends with it. */
function following(statement: Node): Node | null {
  const next = statement.nextNamedSibling;
  if (next !== null) return next;
  const around = statement.parent?.type === "block" ? statement.parent.parent : null;
  return around?.type === "with_statement" ? following(around) : null;
}

function mentions(node: Node, target: string): boolean {
  return node.descendantsOfType(["identifier", "attribute"]).some((each) => isTarget(each, target));
}

/** Not the `model` of `other.model`, nor that of `f(model=…)`. */
function isTarget(node: Node, target: string): boolean {
  if (node.text !== target) return false;
  const { parent } = node;
  if (parent?.type === "attribute") return field(parent, "attribute")?.equals(node) !== true;
  return !(parent?.type === "keyword_argument" && field(parent, "name")?.equals(node) === true);
}

/** `model.to(…)`, `model = model.cuda()`, or an `if` that does nothing else with it. */
function prepares(statement: Node, target: string): boolean {
  if (statement.type === "if_statement") {
    const inner = statement.descendantsOfType("block").flatMap((block) => named(block)).filter((each) => mentions(each, target));
    const condition = field(statement, "condition");
    return inner.length > 0 && (condition === null || !mentions(condition, target)) && inner.every((each) => each.type !== "if_statement" && prepares(each, target));
  }
  const [only] = statement.type === "expression_statement" ? named(statement) : [];
  if (only === undefined) return false;
  const isAssignment = only.type === "assignment";
  if (isAssignment && field(only, "left")?.text !== target) return false;
  return isPreparation(isAssignment ? field(only, "right") : only, target);
}

function isPreparation(call: Node | null, target: string): boolean {
  const callee = call?.type === "call" ? field(call, "function") : null;
  if (callee?.type !== "attribute" || !preparations.has(field(callee, "attribute")?.text ?? "")) return false;
  const object = field(callee, "object");
  return object !== null && (object.text === target || isPreparation(object, target));
}

function wraps(statement: Node, target: string): boolean {
  return statement.descendantsOfType("call").some((call) => {
    const callee = field(call, "function");
    const last = dotted(callee)?.at(-1) ?? "";
    if (callee?.type === "attribute" && field(callee, "object")?.text === target && last === "compile") return true;
    const takes = named(field(call, "arguments")).some((argument) => (argument.type === "keyword_argument" ? field(argument, "value") : argument)?.text === target);
    if (!takes) return false;
    const assignment = call.parent?.type === "assignment" ? call.parent : null;
    const left = assignment === null ? null : field(assignment, "left");
    return wrappers.has(last) || (left !== null && (left.text === target || named(left).some((each) => each.text === target)));
  });
}

/** It is called, or something larger happens with it. */
function uses(statement: Node, target: string): boolean {
  if (/^(for|while|with|try|function|class|decorated)_/.test(statement.type)) return true;
  return statement.descendantsOfType("call").some((call) => field(call, "function")?.text === target);
}
