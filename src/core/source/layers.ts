/** From what a class binds to `self` to its layers, following factories, loops and containers. */
import type { Callers } from "./callers";
import { choice, unknown, type Binding, type Entry, type FileOutline, type FunctionOutline, type Value } from "./outline";
import type { Layer, ModelRef, Range } from "./types";
import { bindArguments, element, joinPath, substitute } from "./values";
import { containers, torchModule, type ClassDefinition, type Workspace } from "./workspace";

export type BuildCall = Extract<Value, { kind: "call" }>;

/** What stands at a place: enough to say it again at the place that called a factory for it. */
interface Built {
  readonly type: string | null;
  readonly container: boolean;
  readonly models: readonly ModelRef[];
}

interface Place extends Built {
  readonly file: string;
  readonly range: Range;
  nameRange: Range | null;
  readonly paths: Set<string>;
  readonly call: BuildCall;
}

export interface BuiltLayer {
  readonly layer: Layer;
  /** The call that makes it, whose arguments tell sizes. */
  readonly call: BuildCall | null;
}

/** Factories that call factories; and the whole of a class that multiplies without end. */
const maxDepth = 12;
const maxPlaces = 4000;

export class LayerReader {
  private readonly places = new Map<string, Place>();
  private readonly lineage: readonly ClassDefinition[];
  private steps = 0;

  constructor(
    private readonly workspace: Workspace,
    private readonly callers: Pick<Callers, "candidates">,
    private readonly model: ClassDefinition,
  ) {
    this.lineage = workspace.lineage(model);
  }

  read(): BuiltLayer[] {
    for (const owner of this.lineage) {
      for (const binding of owner.outline.attributes) this.bind(binding, owner.file, new Map());
      for (const method of owner.outline.methods.values()) {
        const target = method.name === "__init__" ? owner.outline : method;
        const known = this.callers.candidates(target, method.parameters, owner.file);
        for (const binding of method.bindings) this.bind(binding, owner.file, known);
      }
    }
    return [...this.places.values()]
      .map(({ file, range, nameRange, paths, type, container, models, call }) => ({
        layer: { file, range, nameRange, paths: [...paths], type, container, models },
        call,
      }))
      .sort((a, b) => compareText(a.layer.file, b.layer.file) || comparePlaces(a.layer.range, b.layer.range));
  }

  private bind(binding: Binding, file: FileOutline, known: ReadonlyMap<string, Value>): void {
    const value = substitute(binding.value, known);
    if (binding.path !== "") {
      this.build(value, binding.path, file, binding.nameRange, 0);
    } else if (value.kind === "call" && this.workspace.containerBase(this.model)) {
      this.children(value.args, value.named, "", file, 0);
    }
  }

  private build(value: Value, path: string, file: FileOutline, nameRange: Range | null, depth: number): Built[] {
    this.steps += 1;
    if (depth > maxDepth || this.steps > maxPlaces * 10 || this.places.size >= maxPlaces) return [];
    switch (value.kind) {
      case "choice":
        return value.options.flatMap((option) => this.build(option, path, file, nameRange, depth + 1));
      case "many":
        return this.build(value.item, path, file, nameRange, depth + 1);
      case "self":
        return this.build(this.boundTo(value.path), path, file, null, depth + 1);
      case "name": {
        const found = this.workspace.find(value.name, file);
        return found.kind === "object" ? this.build(found.outline.value, path, found.file, null, depth + 1) : [];
      }
      case "item":
        return this.build(this.itemOf(value, file), path, file, nameRange, depth + 1);
      case "call":
        return this.callee(value, value.callee, path, file, nameRange, depth);
      default:
        return [];
    }
  }

  private itemOf({ name, key }: Extract<Value, { kind: "item" }>, file: FileOutline): Value {
    const found = this.workspace.find(name, file);
    const table = found.kind === "object" ? found.outline.value : null;
    if (table?.kind === "list") return element(table);
    if (table?.kind !== "dict") return unknown;
    return choice(table.entries.filter((entry) => key === null || entry.key === key).map((entry) => entry.value));
  }

  private callee(call: BuildCall, callee: Value, path: string, file: FileOutline, nameRange: Range | null, depth: number): Built[] {
    if (depth > maxDepth) return [];
    switch (callee.kind) {
      case "choice":
        return callee.options.flatMap((option) => this.callee(call, option, path, file, nameRange, depth + 1));
      case "item":
        return this.callee(call, this.itemOf(callee, file), path, file, nameRange, depth + 1);
      case "self":
        return this.method(call, callee.path, path, file, nameRange, depth);
      case "closure":
        return this.inline(call, { ...callee, file }, path, nameRange, depth);
      case "parameter":
        return this.add({ type: null, container: false, models: [] }, call, path, nameRange);
      case "name":
        break;
      default:
        return [];
    }
    const found = this.workspace.find(callee.name, file);
    switch (found.kind) {
      case "class": {
        if (!this.workspace.isModel(found)) return [];
        const built: Built = {
          type: found.outline.name,
          container: false,
          models: [{ file: found.file.path, name: found.outline.name }],
        };
        return this.add(built, call, path, nameRange);
      }
      case "function":
        return this.inline(call, { ...found.outline, file: found.file }, path, nameRange, depth);
      case "object":
        return this.callee(call, found.outline.value, path, found.file, nameRange, depth + 1);
      case "external": {
        const type = torchModule(found.name);
        if (type === null) return this.foreign(found.name, call, path, nameRange);
        const container = containers.has(type);
        const added = this.add({ type, container, models: [] }, call, path, nameRange);
        if (container) this.children(call.args, call.named, path, file, depth + 1);
        return added;
      }
    }
  }

  /** A class of another library may be a module; whoever asks knows whether it is called like one. */
  private foreign(name: string, call: BuildCall, path: string, nameRange: Range | null): Built[] {
    const type = name.split(".").at(-1) ?? name;
    const insideContainer = path.includes(".");
    return insideContainer && /^[A-Z]/.test(type) ? this.add({ type, container: false, models: [] }, call, path, nameRange) : [];
  }

  private method(call: BuildCall, name: string, path: string, file: FileOutline, nameRange: Range | null, depth: number): Built[] {
    for (const owner of this.lineage) {
      const method = owner.outline.methods.get(name);
      if (method !== undefined) return this.inline(call, { ...method, file: owner.file }, path, nameRange, depth);
      const inner = owner.file.classes.get(`${owner.outline.name}.${name}`);
      if (inner !== undefined) {
        return this.callee(call, { kind: "name", name: joinPath(owner.file.module, inner.name) }, path, owner.file, nameRange, depth + 1);
      }
    }
    const bound = name === "" ? null : this.boundTo(name);
    return bound === null || bound.kind === "unknown" ? [] : this.callee(call, bound, path, file, nameRange, depth + 1);
  }

  /** A factory: its layers stand in its own source, and once more, as a whole, where it is called. */
  private inline(
    call: BuildCall,
    fn: Pick<FunctionOutline, "parameters" | "returns"> & { readonly file: FileOutline },
    path: string,
    nameRange: Range | null,
    depth: number,
  ): Built[] {
    const bound = bindArguments(fn.parameters, call.args, call.named);
    const built = fn.returns.flatMap((value) => this.build(substitute(value, bound), path, fn.file, null, depth + 1));
    const [first] = built;
    if (first === undefined) return [];
    const models = built.flatMap((each) => each.models);
    this.add({ ...first, models: uniqueRefs(models) }, call, path, nameRange);
    return built;
  }

  private children(args: readonly Value[], named: readonly Entry[], path: string, file: FileOutline, depth: number): void {
    let index: number | null = 0;
    const each = (value: Value): void => {
      switch (value.kind) {
        case "spread":
          if (value.value.kind === "list" || value.value.kind === "choice" || value.value.kind === "self") each(value.value);
          else index = null;
          return;
        case "self":
          each(this.boundTo(value.path));
          return;
        case "list":
          value.items.forEach(each);
          return;
        case "dict":
          for (const entry of value.entries) this.build(entry.value, joinPath(path, entry.key), file, null, depth + 1);
          return;
        case "many":
          this.build(value.item, joinPath(path, "*"), file, null, depth + 1);
          index = null;
          return;
        case "choice":
          if (value.options.some((option) => option.kind === "list" || option.kind === "dict")) {
            const start: number | null = index;
            for (const option of value.options) {
              index = start;
              each(option);
            }
            index = null;
            return;
          }
          break;
        default:
          break;
      }
      this.build(value, joinPath(path, index === null ? "*" : String(index)), file, null, depth + 1);
      if (index !== null) index += 1;
    };
    args.forEach(each);
    for (const entry of named) this.build(entry.value, joinPath(path, entry.key), file, null, depth + 1);
  }

  private boundTo(path: string): Value {
    const bindings = this.lineage.flatMap(({ outline }) => [...outline.methods.values()].flatMap((method) => method.bindings));
    return choice(bindings.filter((binding) => binding.path === path).map((binding) => binding.value));
  }

  private add(built: Built, call: BuildCall, path: string, nameRange: Range | null): Built[] {
    const { start } = call.range;
    const key = `${call.file}:${start.line}:${start.column}:${built.type ?? ""}`;
    const place = this.places.get(key) ?? { ...built, file: call.file, range: call.range, nameRange, paths: new Set<string>(), call };
    place.paths.add(path);
    place.nameRange ??= nameRange;
    this.places.set(key, place);
    return [built];
  }
}

function uniqueRefs(refs: readonly ModelRef[]): ModelRef[] {
  return [...new Map(refs.map((ref) => [`${ref.file}:${ref.name}`, ref])).values()];
}

export function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

export function comparePlaces(a: Range, b: Range): number {
  return a.start.line - b.start.line || a.start.column - b.start.column;
}
