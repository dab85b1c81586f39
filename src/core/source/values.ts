import { choice, unknown, type Entry, type Parameter, type Value } from "./outline";

/** Gives arguments to parameters by position and name; a parameter without one takes its default. */
export function bindArguments(parameters: readonly Parameter[], args: readonly Value[], named: readonly Entry[]): Map<string, Value> {
  const bound = new Map<string, Value>();
  const spread = args.findIndex((arg) => arg.kind === "spread");
  parameters.forEach((parameter, index) => {
    const byName = named.find((entry) => entry.key === parameter.name)?.value;
    const byPosition = spread >= 0 && index >= spread ? undefined : args[index];
    const value = byName ?? byPosition ?? parameter.default;
    if (value !== null) bound.set(parameter.name, value);
  });
  return bound;
}

/** Replaces parameters by what they are bound to. Values are shared, so each one is visited once. */
export function substitute(value: Value, bound: ReadonlyMap<string, Value>, done = new Map<Value, Value>()): Value {
  const before = done.get(value);
  if (before !== undefined) return before;
  const inside = (inner: Value): Value => substitute(inner, bound, done);
  const entries = (list: readonly Entry[]): Entry[] => list.map(({ key, value: inner }) => ({ key, value: inside(inner) }));
  const result = ((): Value => {
    switch (value.kind) {
      case "parameter":
        return bound.get(value.name) ?? value;
      case "call": {
        const callee = inside(value.callee);
        const args = value.args.map(inside);
        const named = entries(value.named);
        return callee.kind === "closure" ? applyClosure(callee, args, named) : { ...value, callee, args, named };
      }
      case "list":
        return { kind: "list", items: value.items.map(inside) };
      case "dict":
        return { kind: "dict", entries: entries(value.entries) };
      case "many":
        return { kind: "many", item: inside(value.item) };
      case "choice":
        return choice(value.options.map(inside));
      case "spread":
        return { kind: "spread", value: inside(value.value) };
      case "closure": {
        const own = new Set(value.parameters.map(({ name }) => name));
        const outer = new Map([...bound].filter(([name]) => !own.has(name)));
        return { ...value, returns: value.returns.map((inner) => substitute(inner, outer)) };
      }
      default:
        return value;
    }
  })();
  done.set(value, result);
  return result;
}

export function applyClosure(closure: Extract<Value, { kind: "closure" }>, args: readonly Value[], named: readonly Entry[]): Value {
  const bound = bindArguments(closure.parameters, args, named);
  return choice(closure.returns.map((value) => substitute(value, bound)));
}

export function append(list: Value, item: Value): Value {
  if (list.kind === "list") return { kind: "list", items: [...list.items, item] };
  if (list.kind === "choice") return choice(list.options.map((option) => append(option, item)));
  // A container that was built empty and is filled later: `seq = nn.Sequential(); seq.append(…)`.
  if (list.kind === "call") return { ...list, args: [...list.args, item] };
  return list;
}

export function addEntry(target: Value, entry: Entry): Value {
  if (target.kind === "dict") return { kind: "dict", entries: [...target.entries, entry] };
  if (target.kind === "call") return { ...target, args: [...target.args, { kind: "dict", entries: [entry] }] };
  return target;
}

/** What a loop over it yields. */
export function element(value: Value): Value {
  switch (value.kind) {
    case "list":
      return choice(value.items.map((item) => (item.kind === "many" ? item.item : item.kind === "spread" ? element(item.value) : item)));
    case "self":
      return { kind: "self", path: joinPath(value.path, "*") };
    case "choice":
      return choice(value.options.map(element));
    default:
      return unknown;
  }
}

export function joinPath(...parts: readonly string[]): string {
  return parts.filter((part) => part !== "").join(".");
}
