/** Puts outlines together: which classes are models, their layers, and where these are called. */
import { Callers } from "./callers";
import { inputHint } from "./hints";
import { compareText, comparePlaces, LayerReader, type BuildCall, type BuiltLayer } from "./layers";
import type { FileOutline, FunctionOutline, Value } from "./outline";
import { isEntryName } from "./names";
import { covers, segments } from "./patterns";
import type { Call, InputHint, Layer, Model, ModelRef, ModelSource, SourceFile } from "./types";
import { substitute, bindArguments } from "./values";
import { Workspace, type ClassDefinition } from "./workspace";

interface Method {
  readonly file: FileOutline;
  readonly outline: FunctionOutline;
}

export function readModels(files: readonly FileOutline[]): SourceFile[] {
  const reader = new ModelReader(new Workspace(files));
  return files.map((file) => reader.file(file));
}

/** Of models whose first layer is a model. */
const maxDepth = 12;

class ModelReader {
  private readonly callers: Callers;
  private readonly layers = new Map<object, BuiltLayer[]>();
  private readonly models = new Map<object, Model | null>();

  constructor(private readonly workspace: Workspace) {
    this.callers = new Callers(workspace);
  }

  file(file: FileOutline): SourceFile {
    const models: Model[] = [];
    for (const outline of file.classes.values()) {
      const definition: ClassDefinition = { kind: "class", file, outline };
      if (!this.workspace.isModel(definition)) continue;
      const model = this.model(definition);
      if (model !== null) models.push(model);
    }
    models.sort((a, b) => comparePlaces(a.range, b.range));
    return { path: file.path, models, sources: this.sources(file) };
  }

  private layersOf(definition: ClassDefinition): BuiltLayer[] {
    const known = this.layers.get(definition.outline);
    if (known !== undefined) return known;
    this.layers.set(definition.outline, []);
    const layers = new LayerReader(this.workspace, this.callers, definition).read();
    this.layers.set(definition.outline, layers);
    return layers;
  }

  /** Null while it is being read: a model that holds itself. */
  private model(definition: ClassDefinition): Model | null {
    const known = this.models.get(definition.outline);
    if (known !== undefined) return known;
    this.models.set(definition.outline, null);
    const { file, outline } = definition;
    const methods = this.forwardMethods(definition);
    const all = methods.flatMap((method) => method.outline.calls);
    const named = this.layersOf(definition);
    const built = [...named, ...this.unknownLayers(definition, all, named)];
    built.sort((a, b) => compareText(a.layer.file, b.layer.file) || comparePlaces(a.layer.range, b.layer.range));
    const layers = built.map(({ layer }) => layer);
    const calls = all.flatMap((call) => this.callOfLayer(call, layers));
    const [forward] = methods;
    const model: Model = {
      file: file.path,
      name: outline.name,
      range: outline.range,
      nameRange: outline.nameRange,
      bases: outline.bases,
      layers,
      calls,
      forward: forward?.outline.range ?? null,
      methods: methods.map((method) => ({ file: method.file.path, range: method.outline.range })),
      input: this.hintOf(definition, null, calls, this.callers.isPart(outline), 0),
    };
    this.models.set(outline, model);
    return model;
  }

  private definitionOf(ref: ModelRef): ClassDefinition | null {
    const file = this.workspace.files.find((each) => each.path === ref.file);
    const outline = file?.classes.get(ref.name);
    return file === undefined || outline === undefined ? null : { kind: "class", file, outline };
  }

  /** What goes in if it is built by `call`; null: by itself, with the defaults of its own parameters. */
  private hintOf(definition: ClassDefinition, call: BuildCall | null, calls: readonly Call[], isPart: boolean, depth: number): InputHint | null {
    const init = this.workspace.lineage(definition).find(({ outline }) => outline.methods.has("__init__"))?.outline;
    const candidates: Callers["candidates"] = (target, parameters, file) => {
      const known = this.callers.candidates(target, parameters, file);
      return target === init ? sizedBy(bindArguments(parameters, call?.args ?? [], call?.named ?? []), known) : known;
    };
    return inputHint(new LayerReader(this.workspace, { candidates }, definition).read(), calls, isPart, (ref, inner) => {
      const part = this.definitionOf(ref);
      const model = part === null || depth > maxDepth ? null : this.model(part);
      return part === null || model === null ? null : this.hintOf(part, inner, model.calls, isPart, depth + 1);
    });
  }

  /** `forward`, and every method that it reaches through `self`. */
  private forwardMethods(definition: ClassDefinition): Method[] {
    const lineage = this.workspace.lineage(definition);
    const found: Method[] = [];
    const visit = (name: string): void => {
      const owner = lineage.find(({ outline }) => outline.methods.has(name));
      const outline = owner?.outline.methods.get(name);
      if (owner === undefined || outline === undefined || found.some((method) => method.outline === outline)) return;
      found.push({ file: owner.file, outline });
      for (const call of outline.calls) if (call.path !== null && !call.path.includes(".")) visit(call.path);
    };
    visit("forward");
    return found;
  }

  /** Attributes that are called like layers, though the source doesn't tell what they are. */
  private unknownLayers(definition: ClassDefinition, calls: readonly Call[], known: readonly BuiltLayer[]): BuiltLayer[] {
    const lineage = this.workspace.lineage(definition);
    const methods = new Set(lineage.flatMap(({ outline }) => [...outline.methods.keys()]));
    const found = new Map<string, BuiltLayer>();
    for (const { path } of calls) {
      if (path === null || found.has(path) || methods.has(path) || known.some(({ layer }) => matches(layer, path))) continue;
      for (const { file, outline } of lineage) {
        const binding = [...outline.methods.values()].flatMap((method) => method.bindings).find((each) => each.path === path);
        if (binding === undefined) continue;
        const { value } = binding;
        const type = value.kind === "call" && value.callee.kind === "name" ? (value.callee.name.split(".").at(-1) ?? null) : null;
        const layer: Layer = {
          file: file.path,
          range: value.kind === "call" ? value.range : binding.range,
          nameRange: binding.nameRange,
          paths: [path],
          type,
          container: false,
          models: [],
        };
        found.set(path, { layer, call: null });
        break;
      }
    }
    return [...found.values()];
  }

  /** The call with the path of the layer that it runs; nothing where it runs none. */
  private callOfLayer(call: Call, layers: readonly Layer[]): Call[] {
    if (call.path === null || layers.some((layer) => matches(layer, call.path ?? ""))) return [call];
    const path = segments(call.path);
    for (const layer of layers) {
      for (const pattern of layer.paths) {
        const prefix = segments(pattern);
        if (prefix.length === 0 || prefix.length >= path.length || !covers(prefix, path)) continue;
        const rest = path.slice(prefix.length);
        for (const ref of layer.models) {
          const definition = this.definitionOf(ref);
          if (definition === null) continue;
          if (this.layersOf(definition).some((inner) => inner.layer.paths.some((each) => covers(rest, segments(each))))) return [call];
          const isMethod = this.workspace.lineage(definition).some(({ outline }) => outline.methods.has(rest.join(".")));
          if (isMethod) return [{ ...call, path: path.slice(0, prefix.length).join(".") }];
        }
      }
    }
    return [];
  }

  private sources(file: FileOutline): ModelSource[] {
    const found: ModelSource[] = [];
    for (const fn of file.functions.values()) {
      const isEntry = isEntryName(fn.name);
      const models = this.made(isEntry ? fn.returns.flatMap(firstOf) : fn.returns, file, 0);
      if (isEntry || models.length > 0) found.push({ kind: isEntry ? "entry" : "function", name: fn.name, range: fn.range, models });
    }
    for (const [name, binding] of file.objects) {
      const models = this.made([binding.value], file, 0);
      if (models.length > 0) found.push({ kind: "object", name, range: binding.range, models });
    }
    return found.sort((a, b) => comparePlaces(a.range, b.range));
  }

  private made(values: readonly Value[], file: FileOutline, depth: number): ModelRef[] {
    if (depth > 8) return [];
    const found = values.flatMap((value): ModelRef[] => {
      if (value.kind === "choice") return this.made(value.options, file, depth + 1);
      if (value.kind !== "call" || value.callee.kind !== "name") return [];
      const target = this.workspace.find(value.callee.name, file);
      if (target.kind === "class") return this.workspace.isModel(target) ? [{ file: target.file.path, name: target.outline.name }] : [];
      if (target.kind !== "function") return [];
      const bound = bindArguments(target.outline.parameters, value.args, value.named);
      return this.made(
        target.outline.returns.map((returned) => substitute(returned, bound)),
        target.file,
        depth + 1,
      );
    });
    return [...new Map(found.map((ref) => [`${ref.file}:${ref.name}`, ref])).values()];
  }
}

/** `return model, inputs, loss_fn`: the model. */
function firstOf(value: Value): Value[] {
  if (value.kind === "choice") return value.options.flatMap(firstOf);
  return value.kind === "list" ? value.items.slice(0, 1) : [];
}

/** Sizes are those of this one call; others may tell which classes it is built from. */
function sizedBy(own: ReadonlyMap<string, Value>, known: ReadonlyMap<string, Value>): Map<string, Value> {
  const isSize = (value: Value): boolean => value.kind === "number" || (value.kind === "choice" && value.options.some(isSize));
  return new Map([...[...known].filter(([, value]) => !isSize(value)), ...own]);
}

function matches(layer: Layer, path: string): boolean {
  const called = segments(path);
  return layer.paths.some((pattern) => {
    const own = segments(pattern);
    return own.length === called.length && covers(own, called);
  });
}
