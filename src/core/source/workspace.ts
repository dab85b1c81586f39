import type { Binding, ClassOutline, FileOutline, FunctionOutline, Value } from "./outline";

export type Definition =
  | { readonly kind: "class"; readonly file: FileOutline; readonly outline: ClassOutline }
  | { readonly kind: "function"; readonly file: FileOutline; readonly outline: FunctionOutline }
  | { readonly kind: "object"; readonly file: FileOutline; readonly outline: Binding }
  | { readonly kind: "external"; readonly name: string };

export type ClassDefinition = Extract<Definition, { kind: "class" }>;

/** Base classes of well-known libraries that are modules. */
const moduleBases = /^torch\.nn\.(\w+\.)*[A-Z]\w*$|(^|\.)(LightningModule|\w*PreTrainedModel)$/;

const notModules = new Set(["Parameter", "Buffer", "UninitializedParameter", "UninitializedBuffer"]);

/** `torch.nn.modules.conv.Conv2d` and `torch.nn.Conv2d` are the same. */
export function torchModule(name: string): string | null {
  const match = /^torch\.nn\.(?:\w+\.)*([A-Z]\w*)$/.exec(name);
  const type = match?.[1];
  return type === undefined || notModules.has(type) ? null : type;
}

/** Several files that know each other by their imports. */
export class Workspace {
  private readonly byModule = new Map<string, FileOutline[]>();
  private readonly isModule = new Map<ClassOutline, boolean>();

  constructor(readonly files: readonly FileOutline[]) {
    for (const file of files) {
      // A folder of the path may be where Python starts to look, so every ending of the module name counts.
      const parts = file.module.split(".");
      parts.forEach((_, index) => {
        const name = parts.slice(index).join(".");
        this.byModule.set(name, [...(this.byModule.get(name) ?? []), file]);
      });
    }
  }

  find(name: string, near: FileOutline, seen: ReadonlySet<string> = new Set()): Definition {
    const external: Definition = { kind: "external", name };
    const key = `${near.path}:${name}`;
    if (name.startsWith("torch.") || seen.has(key)) return external;
    const parts = name.split(".");
    for (let count = parts.length - 1; count >= 0; count -= 1) {
      const file = this.file(parts.slice(0, count).join("."), near);
      if (file === undefined) continue;
      const found = this.member(file, parts.slice(count), new Set([...seen, key]));
      if (found !== undefined) return found;
    }
    return external;
  }

  private file(module: string, near: FileOutline): FileOutline | undefined {
    if (module === near.module) return near;
    const files = this.byModule.get(module) ?? [];
    const exact = files.find((file) => file.module === module);
    if (exact !== undefined) return exact;
    const shared = (file: FileOutline): number => {
      let length = 0;
      while (length < file.path.length && file.path[length] === near.path[length]) length += 1;
      return length;
    };
    return [...files].sort((a, b) => shared(b) - shared(a))[0];
  }

  private member(file: FileOutline, names: readonly string[], seen: ReadonlySet<string>): Definition | undefined {
    const [head = "", ...rest] = names;
    const asClass = file.classes.get(names.join("."));
    if (asClass !== undefined) return { kind: "class", file, outline: asClass };
    if (rest.length === 0) {
      const asFunction = file.functions.get(head);
      if (asFunction !== undefined) return { kind: "function", file, outline: asFunction };
      const asObject = file.objects.get(head);
      if (asObject !== undefined) return { kind: "object", file, outline: asObject };
    }
    const imported = file.imports.get(head);
    if (imported !== undefined) return this.find([imported, ...rest].join("."), file, seen);
    for (const wildcard of file.wildcards) {
      const found = this.find(`${wildcard}.${names.join(".")}`, file, seen);
      if (found.kind !== "external" || torchModule(found.name) !== null) return found;
    }
    return undefined;
  }

  /** The class itself and its base classes in the workspace, nearest first. */
  lineage(definition: ClassDefinition): ClassDefinition[] {
    const found: ClassDefinition[] = [];
    const visit = (each: ClassDefinition): void => {
      if (found.some(({ outline }) => outline === each.outline)) return;
      found.push(each);
      for (const base of each.outline.bases) {
        const parent = this.find(base, each.file);
        if (parent.kind === "class") visit(parent);
      }
    };
    visit(definition);
    return found;
  }

  /** The container of torch.nn that it extends, if any. */
  containerBase(definition: ClassDefinition): boolean {
    return this.lineage(definition).some(({ file, outline }) =>
      outline.bases.some((base) => {
        const parent = this.find(base, file);
        return parent.kind === "external" && containers.has(torchModule(parent.name) ?? "");
      }),
    );
  }

  isModel(definition: ClassDefinition): boolean {
    const known = this.isModule.get(definition.outline);
    if (known !== undefined) return known;
    this.isModule.set(definition.outline, false);
    const answer = definition.outline.bases.some((base) => {
      const parent = this.find(base, definition.file);
      if (parent.kind === "class") return this.isModel(parent);
      if (parent.kind !== "external") return false;
      return (moduleBases.test(parent.name) && !notModules.has(parent.name.split(".").at(-1) ?? "")) || looksLikeModel(definition.outline);
    });
    this.isModule.set(definition.outline, answer);
    return answer;
  }
}

export const containers: ReadonlySet<string> = new Set(["Sequential", "ModuleList", "ModuleDict"]);

/** A class whose base we can't see, but that has `forward` and makes layers of torch. */
function looksLikeModel(outline: ClassOutline): boolean {
  if (!outline.methods.has("forward")) return false;
  const makesLayer = (value: Value): boolean =>
    value.kind === "call" && value.callee.kind === "name" && torchModule(value.callee.name) !== null;
  return [...outline.methods.values()].some((method) => method.bindings.some((binding) => makesLayer(binding.value)));
}
