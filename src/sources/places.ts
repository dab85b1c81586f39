/** From operators to places in the source that outlive edits, and back to ranges in the newest text. */
import { perObject } from "../base/per_object";
import { isSameRange } from "../core/source/syntax";
import type { Call, Layer, Matching, Model, ModelRef, Range, SourceFile } from "../core/source/index";
import type { Place, Placement } from "./types";

type PlacedLayer = Placement["layers"][number];
type PlacedCall = Placement["calls"][number];

/** Layers and calls of a base class belong to the class in which they are written, whichever class was traced. */
export function placementOf({ layers, calls, models }: Matching, fingerprint: string): Placement {
  const all = models.map(({ model }) => model);
  const placedLayers = new Merged<PlacedLayer>();
  for (const { model, layer, all: operators } of layers) {
    if (operators.length === 0) continue;
    const home = whereWritten(layer, model, all, (each) => each.layers);
    const { paths, type } = home.layers.find((own) => isSame(own, layer)) ?? layer;
    const placed = { model: refOf(home), paths, type, operators };
    placedLayers.add(layerKey(placed), placed);
  }
  const placedCalls = new Merged<PlacedCall>();
  for (const { model, call, operators } of calls) {
    if (operators.length === 0) continue;
    const home = whereWritten(call, model, all, (each) => each.calls);
    for (const { name } of namedCalls(home).filter((own) => isSame(own.call, call))) placedCalls.add(callKey(name), { ...name, operators });
  }
  return {
    fingerprint,
    layers: placedLayers.list(),
    calls: placedCalls.list(),
    models: models.filter((each) => each.all.length > 0).map((each) => ({ model: refOf(each.model), operators: each.all })),
  };
}

/** Where these operators stand in a file now. Places without operators are left out, and each range is there once. */
export function places(placement: Placement, file: SourceFile): Place[] {
  const found = new Merged<Place>();
  const add = (place: Place): void => {
    found.add(`${place.kind} ${rangeKey(place.range)}`, place);
  };
  const { models, layers, calls } = byKey(placement);
  // A layer whose type was edited is found by its path, unless another one there has kept the type.
  const kept = new Set(file.models.flatMap((model) => model.layers.map((layer) => layerKey({ ...layer, model }))));
  const edited = new Map(placement.layers.filter((each) => !kept.has(layerKey(each))).map((each) => [pathKey(each), each.operators]));
  for (const model of file.models) {
    const ref = refOf(model);
    add({ kind: "model", range: model.nameRange, label: model.name, type: null, operators: models.get(refKey(ref)) ?? [], model: ref });
    for (const layer of model.layers) {
      if (layer.file !== file.path) continue;
      const key = { ...layer, model };
      add({ kind: "layer", range: statementOf(layer), label: layerLabel(layer), type: layer.type, operators: layers.get(layerKey(key)) ?? edited.get(pathKey(key)) ?? [], model: ref });
    }
    for (const { call, name } of namedCalls(model)) {
      if (call.file !== file.path) continue;
      const label = shortened(name.callee.replace(/^torch\.nn\.functional\./, "F."));
      add({ kind: "call", range: call.range, label, type: null, operators: calls.get(callKey(name)) ?? [], model: ref });
    }
  }
  return found.list();
}

/** The same for every edit of the file. */
const byKey = perObject((placement: Placement) => ({
  models: new Map(placement.models.map((each) => [refKey(each.model), each.operators])),
  layers: new Map(placement.layers.map((each) => [layerKey(each), each.operators])),
  calls: new Map(placement.calls.map((each) => [callKey(each), each.operators])),
}));

interface NamedCall {
  readonly call: Call;
  readonly name: Omit<PlacedCall, "operators">;
}

function namedCalls(model: Model): NamedCall[] {
  const counts = new Map<string, number>();
  return model.calls.map((call) => {
    const { method } = call;
    const callee = calleeOf(call);
    const key = `${method} ${callee}`;
    const nth = counts.get(key) ?? 0;
    counts.set(key, nth + 1);
    return { call, name: { model: refOf(model), method, callee, nth } };
  });
}

/** Things of one key are one, with the operators of all, ascending; those without operators are none. */
class Merged<T extends { readonly operators: readonly number[] }> {
  private readonly found = new Map<string, { readonly thing: T; readonly all: (readonly number[])[] }>();

  add(key: string, thing: T): void {
    if (thing.operators.length === 0) return;
    const entry = this.found.get(key);
    if (entry === undefined) this.found.set(key, { thing, all: [thing.operators] });
    else entry.all.push(thing.operators);
  }

  list(): T[] {
    return [...this.found.values()].map(({ thing, all }) => ({ ...thing, operators: [...new Set(all.flat())].sort((a, b) => a - b) }));
  }
}

type Written = Layer | Call;

/** The innermost class around a place that has it too; the model itself where it stands outside of any, as in a factory. */
function whereWritten(place: Written, model: Model, models: readonly Model[], of: (model: Model) => readonly Written[]): Model {
  const around = models.filter(
    (each) => each.file === place.file && isWithin(place.range, each.range) && of(each).some((own) => isSame(own, place)),
  );
  return around.reduce<Model | null>((best, each) => (best === null || isWithin(each.range, best.range) ? each : best), null) ?? model;
}

function isSame(a: Written, b: Written): boolean {
  return a.file === b.file && isSameRange(a.range, b.range) && ("type" in a ? a.type : calleeOf(a)) === ("type" in b ? b.type : calleeOf(b));
}

function isWithin(inner: Range, outer: Range): boolean {
  const starts = inner.start.line - outer.start.line || inner.start.column - outer.start.column;
  const ends = outer.end.line - inner.end.line || outer.end.column - inner.end.column;
  return starts >= 0 && ends >= 0;
}

/** From the name to the end, where the name stands right before. */
function statementOf({ range, nameRange }: Layer): Range {
  const isBefore = nameRange !== null && nameRange.start.line <= range.start.line && range.start.line <= nameRange.end.line + 1 && isWithin(range, { start: nameRange.end, end: range.end });
  return isBefore ? { start: nameRange.start, end: range.end } : range;
}

const longest = 40;
const shortened = (text: string): string => (text.length > longest ? `${text.slice(0, longest - 1)}…` : text);

const maxNames = 3;

function layerLabel({ paths }: Layer): string {
  const names = paths.slice(0, maxNames).map((path) => `self.${path}`);
  return `${names.join(", ")}${paths.length > maxNames ? ", …" : ""}`;
}

const calleeOf = ({ path, name }: Call): string => (path === null ? (name ?? "") : `self.${path}`);

const refOf = ({ file, name }: ModelRef): ModelRef => ({ file, name });
const refKey = ({ file, name }: ModelRef): string => `${file}:${name}`;
const rangeKey = ({ start, end }: Range): string => `${start.line}:${start.column}-${end.line}:${end.column}`;
const pathKey = ({ model, paths }: Pick<PlacedLayer, "model" | "paths">): string => [refKey(model), ...paths].join(" ");
const layerKey = (layer: Pick<PlacedLayer, "model" | "paths" | "type">): string => `${pathKey(layer)} ${layer.type ?? ""}`;
const callKey = ({ model, method, callee, nth }: Omit<PlacedCall, "operators">): string => [refKey(model), method, callee, nth].join(" ");
