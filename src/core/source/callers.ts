/** Who calls a class or function, and with what: `ResNet(Bottleneck, …)` tells what the parameter `block` can be. */
import { choice, type FileOutline, type FunctionOutline, type Parameter, type Value } from "./outline";
import { bindArguments } from "./values";
import type { Workspace } from "./workspace";

interface Caller {
  readonly call: Extract<Value, { kind: "call" }>;
  readonly file: FileOutline;
  /** The function around the call, whose own callers may be the ones that know. */
  readonly within: FunctionOutline | null;
  readonly inMethod: boolean;
}

export class Callers {
  private index: Map<object, Caller[]> | null = null;

  constructor(private readonly workspace: Workspace) {}

  /** The values that reach each parameter: its default, classes named in its annotation, arguments of callers. */
  candidates(target: object, parameters: readonly Parameter[], file: FileOutline, depth = 0): Map<string, Value> {
    const bound = new Map<string, Value>();
    const callers = depth > 3 ? [] : (this.all().get(target) ?? []);
    for (const parameter of parameters) {
      const options: Value[] = parameter.default === null ? [] : [parameter.default];
      for (const name of parameter.annotation) {
        const found = this.workspace.find(name, file);
        if (found.kind === "class" && this.workspace.isModel(found)) options.push({ kind: "name", name });
      }
      for (const { call, within, file: callerFile } of callers) {
        const value = bindArguments(parameters, call.args, call.named).get(parameter.name);
        if (value?.kind === "parameter" && within !== null) {
          const passed = this.candidates(within, within.parameters, callerFile, depth + 1).get(value.name);
          if (passed !== undefined) options.push(passed);
        } else if (value?.kind === "name" || value?.kind === "closure") {
          options.push(value);
        }
      }
      const distinct = [...new Map(options.map((option) => [JSON.stringify(option), option])).values()];
      const value = choice(distinct);
      if (value.kind !== "unknown") bound.set(parameter.name, value);
    }
    return bound;
  }

  /** Built by a method of a class: a layer of something larger. */
  isPart(target: object): boolean {
    return (this.all().get(target) ?? []).some(({ inMethod }) => inMethod);
  }

  private all(): Map<object, Caller[]> {
    if (this.index !== null) return this.index;
    const index = new Map<object, Caller[]>();
    const seen = new Set<Value>();
    const visit = (value: Value, file: FileOutline, within: FunctionOutline | null, inMethod: boolean): void => {
      if (seen.has(value)) return;
      seen.add(value);
      for (const inner of parts(value)) visit(inner, file, within, inMethod);
      if (value.kind !== "call" || value.callee.kind !== "name") return;
      const target = this.workspace.find(value.callee.name, file);
      if (target.kind === "class" || target.kind === "function") {
        index.set(target.outline, [...(index.get(target.outline) ?? []), { call: value, file, within, inMethod }]);
      }
    };
    for (const file of this.workspace.files) {
      for (const binding of file.objects.values()) visit(binding.value, file, null, false);
      const visitAll = (functions: Iterable<FunctionOutline>, inMethod: boolean): void => {
        for (const fn of functions) for (const value of [...fn.returns, ...fn.bindings.map((binding) => binding.value)]) visit(value, file, fn, inMethod);
      };
      visitAll(file.functions.values(), false);
      for (const { methods } of file.classes.values()) visitAll(methods.values(), true);
    }
    this.index = index;
    return index;
  }
}

function parts(value: Value): readonly Value[] {
  switch (value.kind) {
    case "call":
      return [value.callee, ...value.args, ...value.named.map((entry) => entry.value)];
    case "list":
      return value.items;
    case "dict":
      return value.entries.map((entry) => entry.value);
    case "many":
      return [value.item];
    case "choice":
      return value.options;
    case "spread":
      return [value.value];
    case "closure":
      return value.returns;
    default:
      return [];
  }
}
