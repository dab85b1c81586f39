/**
 * Which operators of a traced step belong to which place in the source. Every operator is the `own` of exactly one
 * layer or model, or is `elsewhere`; `all` adds what runs inside. Operators of loops and shared layers collect.
 */
import { covers, fixedLength, segments } from "./patterns";
import type { Call, Layer, Model, ModelRef, Range, SourceFile } from "./types";

/** The part of a graph's operator that is needed here; lines start at 1, columns at 0 (null: unknown). */
export interface TracedOperator {
  readonly id: number;
  readonly module: string;
  readonly module_type: string;
  readonly source: { readonly file: string; readonly line: number; readonly column: number | null } | null;
}

export interface Matched {
  /** Operators for which this is the innermost known place. */
  readonly own: readonly number[];
  /** These and all that run inside, ascending. */
  readonly all: readonly number[];
}

export interface Matching {
  readonly layers: readonly (Matched & { readonly model: Model; readonly layer: Layer })[];
  readonly calls: readonly { readonly model: Model; readonly call: Call; readonly operators: readonly number[] }[];
  readonly models: readonly (Matched & { readonly model: Model })[];
  readonly elsewhere: readonly number[];
}

/** The models that `NAME` of `FILE:NAME` can stand for: a class, a function or an object of that file. */
export function rootsOf(files: readonly SourceFile[], path: string, name: string): ModelRef[] {
  const file = files.find((each) => sameFile(each.path, path));
  const direct = file?.models.find((model) => model.name === name);
  if (direct !== undefined) return [{ file: direct.file, name }];
  return [...(file?.sources.find((source) => source.name === name)?.models ?? [])];
}

/** A class on the way down, with what is left of the module path there and the layers that matched, outermost first. */
interface Stage {
  readonly model: Model;
  readonly rest: readonly string[];
  readonly levels: readonly (readonly Layer[])[];
}

export function match(files: readonly SourceFile[], roots: readonly ModelRef[], operators: readonly TracedOperator[]): Matching {
  const models = files.flatMap((file) => file.models);
  const finder = new Finder(models);
  const layers = new Collector<Model, Layer>();
  const calls = new Collector<Model, Call>();
  const whole = new Collector<Model, Model>();
  const elsewhere: number[] = [];

  for (const operator of operators) {
    const stages = finder.stages(roots, operator);
    const last = stages.at(-1);
    if (last === undefined) {
      elsewhere.push(operator.id);
      continue;
    }
    for (const stage of stages) {
      whole.inside(stage.model, stage.model, operator.id);
      for (const layer of stage.levels.flat()) layers.inside(stage.model, layer, operator.id);
      for (const call of callsOf(stage, operator)) calls.inside(stage.model, call, operator.id);
    }
    const innermost = last.levels.at(-1)?.[0];
    if (innermost === undefined) whole.own(last.model, last.model, operator.id);
    else layers.own(last.model, innermost, operator.id);
  }

  return {
    layers: models.flatMap((model) => model.layers.map((layer) => ({ model, layer, ...layers.get(model, layer) }))),
    calls: models.flatMap((model) => model.calls.map((call) => ({ model, call, operators: calls.get(model, call).all }))),
    models: models.map((model) => ({ model, ...whole.get(model, model) })),
    elsewhere,
  };
}

/** Lists of operators by model and place: a layer of a base class counts for each class that inherits it. */
class Collector<K, P extends object> {
  private readonly found = new Map<K, Map<P, { own: number[]; all: number[] }>>();

  private at(key: K, place: P): { own: number[]; all: number[] } {
    const places = this.found.get(key) ?? new Map<P, { own: number[]; all: number[] }>();
    this.found.set(key, places);
    const lists = places.get(place) ?? { own: [], all: [] };
    places.set(place, lists);
    return lists;
  }

  own(key: K, place: P, id: number): void {
    this.at(key, place).own.push(id);
  }

  inside(key: K, place: P, id: number): void {
    const { all } = this.at(key, place);
    if (all.at(-1) !== id) all.push(id);
  }

  get(key: K, place: P): Matched {
    return this.found.get(key)?.get(place) ?? { own: [], all: [] };
  }
}

class Finder {
  private readonly byRef = new Map<string, Model>();
  private readonly known = new Map<string, Stage[]>();

  constructor(private readonly models: readonly Model[]) {
    for (const model of models) this.byRef.set(refKey(model), model);
  }

  stages(roots: readonly ModelRef[], operator: TracedOperator): Stage[] {
    const path = segments(operator.module);
    const key = `${operator.module} ${operator.module_type}`;
    const known = this.known.get(key);
    if (known !== undefined) return known;
    const starts = roots.flatMap((ref) => this.byRef.get(refKey(ref)) ?? []);
    const fromRoots = longest(starts.map((model) => this.descend(model, path, operator.module_type, 0)));
    if (fromRoots.length > 0 && (path.length === 0 || fromRoots[0]?.levels.length !== 0)) {
      this.known.set(key, fromRoots);
      return fromRoots;
    }
    return this.fromSource(path, operator) ?? fromRoots;
  }

  /** Where the way down from the root is unknown: the class around the user's line, and the end of the path. */
  private fromSource(path: readonly string[], operator: TracedOperator): Stage[] | null {
    const model = this.models.find((each) => holds(each, operator));
    if (model === undefined) return null;
    for (let skip = 0; skip < path.length; skip += 1) {
      const stages = this.descend(model, path.slice(skip), operator.module_type, 0);
      if (stages.some((stage) => stage.levels.length > 0)) return stages;
    }
    return [{ model, rest: [], levels: [] }];
  }

  private descend(model: Model, rest: readonly string[], type: string, depth: number): Stage[] {
    const shortType = type.split(".").at(-1) ?? type;
    const levels: Layer[][] = [];
    let deeper: Stage[] = [];
    for (let length = 1; length <= rest.length; length += 1) {
      const here = rest.slice(0, length);
      const inside = rest.slice(length);
      let level = mostSpecific(model.layers, here);
      if (inside.length === 0) {
        const typed = level.filter((layer) => layer.type?.split(".").at(-1) === shortType);
        if (typed.length > 0) level = typed;
      }
      const ways = level
        .filter((layer) => layer.models.length > 0 && depth < 50)
        .map((layer) => ({ layer, stages: longest(layer.models.flatMap((ref) => this.into(ref, inside, type, depth + 1))) }));
      const best = Math.max(0, ...ways.map(({ stages }) => reach(stages)));
      const fitting = ways.filter(({ stages }) => inside.length > 0 && reach(stages) === best && best > 0);
      if (fitting.length > 0) level = level.filter((layer) => fitting.some((way) => way.layer === layer));
      if (level.length > 0) levels.push(level);
      const next = longest((fitting.length > 0 ? fitting : ways).map(({ stages }) => stages));
      if (level.length > 0 && next.length > 0) deeper = next;
      else if (level.length > 0) deeper = [];
    }
    return [{ model, rest, levels }, ...deeper];
  }

  private into(ref: ModelRef, rest: readonly string[], type: string, depth: number): Stage[][] {
    const model = this.byRef.get(refKey(ref));
    return model === undefined ? [] : [this.descend(model, rest, type, depth)];
  }
}

const refKey = ({ file, name }: ModelRef): string => `${file}:${name}`;

const reach = (stages: readonly Stage[]): number => stages.reduce((sum, stage) => sum + stage.levels.length, 0);

function longest(ways: readonly Stage[][]): Stage[] {
  return ways.reduce<Stage[]>((best, way) => (best.length === 0 || reach(way) > reach(best) ? way : best), []);
}

/** The layers of exactly this path; where patterns compete, those with most fixed text. Named places come first. */
function mostSpecific(layers: readonly Layer[], path: readonly string[]): Layer[] {
  const scored = layers.flatMap((layer) => {
    const fits = layer.paths.map(segments).filter((pattern) => pattern.length === path.length && covers(pattern, path));
    return fits.length === 0 ? [] : [{ layer, score: Math.max(...fits.map(fixedLength)) }];
  });
  const best = Math.max(0, ...scored.map(({ score }) => score));
  const found = scored.filter(({ score }) => score === best).map(({ layer }) => layer);
  return found.sort((a, b) => Number(a.nameRange === null) - Number(b.nameRange === null));
}

function callsOf({ model, rest }: Stage, operator: TracedOperator): Call[] {
  const byPath = model.calls.filter(({ path }) => (path === null ? rest.length === 0 : covers(segments(path), rest)));
  if (!holds(model, operator)) return byPath.filter((call) => call.path !== null);
  const position = operator.source;
  const around = byPath.filter(({ file, range }) => position !== null && sameFile(file, position.file) && contains(range, position.line - 1, position.column ?? 0));
  if (around.length <= 1) return around;
  const smallest = Math.min(...around.map(({ range }) => extent(range)));
  const onLine = position !== null && (position.column ?? 0) <= 0;
  return onLine && rest.length > 0 ? around : around.filter(({ range }) => extent(range) === smallest);
}

function holds(model: Model, { source }: TracedOperator): boolean {
  if (source === null) return false;
  return model.methods.some(({ file, range }) => sameFile(file, source.file) && contains(range, source.line - 1, 0));
}

function contains({ start, end }: Range, line: number, column: number): boolean {
  if (line < start.line || line > end.line) return false;
  if (column <= 0) return true;
  return (line > start.line || column >= start.column) && (line < end.line || column < end.column);
}

const extent = ({ start, end }: Range): number => (end.line - start.line) * 10_000 + (end.column - start.column);

/** Paths may be relative in one place and absolute in another. */
export function sameFile(a: string, b: string): boolean {
  const [x, y] = [a, b].map((path) => path.replaceAll("\\", "/").replace(/^\.\//, ""));
  return x === y || (x?.endsWith(`/${y ?? ""}`) ?? false) || (y?.endsWith(`/${x ?? ""}`) ?? false);
}
