/** What is known of each model: its source, its training graph, its frontier, the chosen plan, and whether that is fresh. */
import { readFile } from "node:fs/promises";
import * as vscode from "vscode";
import { configOf } from "./core/config";
import { explained, type Explained } from "./core/numbers";
import { fixedBytes, parseGraph, type Graph } from "./core/graph";
import { layersAtPeak, type Layers } from "./core/picture";
import { planText, type Plan } from "./core/plan";
import { isUse } from "./core/source/index";
import { eagerPlan } from "./core/solve/draft";
import { parseFrontier, type FoundPlans } from "./core/frontier_document";
import { defaultFile } from "./helper/files";
import { wasTracedFrom } from "./helper/traced_from";
import { applySteps, chosenPoint, type ApplyStep, type BudgetPoint, type Verified } from "./protocol";
import type { Sources } from "./sources/client";
import { places } from "./sources/places";
import type { Place, Placement, Snapshot, SourceView } from "./sources/types";
import { Disposable } from "./base/disposable";
import type { Edits } from "./editor/edits";

export type Freshness = "none" | "fresh" | "stale";

/** Something that the person started for a model. */
export interface Running {
  readonly text: string;
  /** Null while it is unknown. */
  readonly fraction: number | null;
}

export interface Problem {
  readonly text: string;
  readonly action: { readonly title: string; readonly id: "retry" | "change" | "verify" | "export" | "part" | "log" | "python" };
  /** One that can be planned, where the whole can't. */
  readonly part?: string;
}

/** A model that was profiled, with the plans that were found for it. */
export interface Profile extends FoundPlans {
  readonly graph: Graph;
  readonly points: readonly BudgetPoint[];
  readonly eager: { readonly peak: number; readonly time: number; readonly layers: Layers };
  readonly placement: Placement | null;
  /** The model's own file and what it imports from the workspace, by absolute path. */
  readonly files: readonly string[];
  /** Plans were searched for to the end, and not stopped before. */
  readonly complete: boolean;
}

export class Model {
  profile: Profile | null = null;
  freshness: Freshness = "none";
  running: Running | null = null;
  problem: Problem | null = null;
  /** What a real step gave, and for which plan. */
  measured: { readonly plan: Plan; readonly result: Verified } | null = null;
  /** The text of the plan file beside the model; null where there is none. */
  planFile: string | null = null;
  /** What Apply still offers to do; what was done before this window is unknown to it. */
  left: readonly ApplyStep[] = applySteps;
  /** Bytes of the whole device; the chosen plan is the fastest that fits. */
  budget = Number.POSITIVE_INFINITY;
  /** A plan for exactly this budget is being searched. */
  refining = false;
  /** The largest batch that was found, for which budget of which graph. */
  largest: { readonly graph: Graph; readonly budget: number; readonly batch: number; readonly overhead: number } | null = null;
  /** A profile of another batch size is on its way. */
  outdated = false;
  private chosen: { plan: Plan; explained: Explained } | null = null;

  constructor(
    readonly uri: vscode.Uri,
    /** The NAME of FILE:NAME: a class, a function or an object. */
    readonly name: string,
  ) {}

  get id(): string {
    return modelId(this.uri, this.name);
  }

  /** Relative to the workspace folder, and with its name where there are several. */
  get file(): string {
    return vscode.workspace.asRelativePath(this.uri);
  }

  fileOf(kind: "graph" | "plan" | "frontier" | "snapshot"): string {
    return defaultFile(this.uri.fsPath, this.name, kind);
  }

  /** The last point whose peak fits; the least one where none does. */
  get selected(): number {
    return chosenPoint(this.profile?.points ?? [], this.budget);
  }

  /** The part of the model that was profiled; null: the whole. */
  get part(): string | null {
    return this.profile === null ? null : (configOf(this.profile.graph).part ?? null);
  }

  /** The plan file beside the model holds the chosen plan, for whatever budget. */
  get applied(): boolean {
    const { plan, planFile } = this;
    if (plan === null || planFile === null) return false;
    try {
      return planText({ ...(JSON.parse(planFile) as Plan), budget: plan.budget }) === planText(plan);
    } catch {
      return false;
    }
  }

  /** What a real step gave with the chosen plan. */
  get verified(): Verified | null {
    const { measured, plan } = this;
    return measured !== null && measured.plan === plan ? measured.result : null;
  }

  get plan(): Plan | null {
    return this.profile?.plans[this.selected] ?? null;
  }

  /** The chosen plan as it is handed on: held to the budget that the person chose, whatever it was found for. */
  get planToApply(): Plan | null {
    const { plan } = this;
    return plan === null ? null : { ...plan, budget: Math.max(plan.predicted.peak, Math.min(this.budget, plan.predicted.eager_peak)) };
  }

  /** The chosen plan with its numbers; null before the model was profiled. */
  get explained(): Explained | null {
    const { plan, profile } = this;
    if (plan === null || profile === null) return null;
    if (this.chosen?.plan !== plan) this.chosen = { plan, explained: explained(profile.graph, plan) };
    return this.chosen.explained;
  }
}

export const modelId = (uri: vscode.Uri, name: string): string => `${uri.toString()}#${name}`;

/** The marks of one file: its places with the numbers of the model that was profiled last. */
export interface Marks {
  readonly model: Model;
  readonly explained: Explained;
  readonly stale: boolean;
  readonly places: readonly Place[];
}

/** A step that takes longer than this is nothing to begin with. */
const bearable = 0.25;

/** Before a frontier is found there is eager's plan. */
const ladderOf = (graph: Graph, found: FoundPlans | null): FoundPlans =>
  found !== null && found.plans.length > 0 ? { plans: found.plans, exactness: found.exactness } : { plans: [eagerPlan(graph)], exactness: "bitwise" };

/** Where the slider stands first: half of what activations take, or the least that is bearable. */
function startingBudget({ graph, eager, points }: Profile): number {
  const fixed = fixedBytes(graph);
  const least = points.find(({ overhead }) => overhead <= bearable) ?? points.at(-1);
  return Math.max(least?.peak ?? 0, fixed + Math.floor((eager.peak - fixed) / 2));
}

function point(graph: Graph, plan: Plan): BudgetPoint {
  const { peak, time, eager_time: eagerTime } = plan.predicted;
  return {
    peak, time,
    overhead: time / eagerTime - 1,
    bound: plan.bound === null ? null : plan.bound.time / eagerTime - 1,
    layers: layersAtPeak(graph, plan),
  };
}

export type Change = "source" | "profile" | "choice" | "state" | "active";

export class Models extends Disposable {
  private readonly changed = this.register(new vscode.EventEmitter<{ change: Change; model: Model | null; uri: vscode.Uri | null }>());
  readonly onDidChange = this.changed.event;
  private readonly byId = new Map<string, Model>();
  private readonly views = new Map<string, SourceView>();
  /** What was saved for a new model is on its way. */
  private readonly arriving = new Map<string, Promise<void>>();
  private readonly marked = new Map<string, { view: SourceView; plan: Plan; stale: boolean; /** Null: the model does not reach into the file. */ marks: Marks | null }>();
  private current: Model | null = null;

  constructor(
    readonly sources: Sources,
    private readonly memory: vscode.Memento,
    private readonly log: vscode.LogOutputChannel,
    /** A name that is gone from a text in the middle of being edited may come back. */
    private readonly edits: Pick<Edits, "isUnsettled">,
  ) {
    super();
  }

  /** The model that the side panel shows. */
  get active(): Model | null {
    return this.current;
  }

  set active(model: Model | null) {
    if (this.current === model) return;
    this.current = model;
    this.fire("active", model);
  }

  get all(): readonly Model[] {
    return [...this.byId.values()];
  }

  get(id: string): Model | null {
    return this.byId.get(id) ?? null;
  }

  /** The models of one file in order of its text; those of an unread file are found by `read`. */
  of(uri: vscode.Uri): readonly Model[] {
    return this.all.filter((model) => model.uri.toString() === uri.toString());
  }

  view(uri: vscode.Uri): SourceView | null {
    return this.views.get(uri.toString()) ?? null;
  }

  /** Reads the newest text of a file, makes its models known and loads what was saved for them. */
  async read(uri: vscode.Uri): Promise<SourceView | null> {
    const view = await this.sources.read(uri.fsPath);
    if (view === null || this.isDisposed) return null;
    const key = uri.toString();
    this.views.set(key, view);
    const names = new Set([...view.file.sources.filter((source) => !isUse(source, view.path)), ...view.file.models].map(({ name }) => name));
    for (const name of names) await this.know(uri, name);
    // A newer text was read meanwhile.
    if (this.views.get(key) !== view) return view;
    for (const model of this.of(uri)) {
      if (names.has(model.name) || model.running !== null || (model.profile !== null && this.edits.isUnsettled(key))) continue;
      this.byId.delete(model.id);
      if (this.current === model) this.active = null;
    }
    for (const model of this.of(uri)) this.refresh(model, view);
    this.fire("source", null, uri);
    return view;
  }

  /** Who reads a file while another does waits for the same models. */
  private async know(uri: vscode.Uri, name: string): Promise<void> {
    const id = modelId(uri, name);
    if (!this.byId.has(id)) {
      const model = new Model(uri, name);
      this.byId.set(id, model);
      this.arriving.set(id, this.load(model).finally(() => this.arriving.delete(id)));
    }
    await this.arriving.get(id);
  }

  /** Loads what was saved for a model, from its .monet folder. A file that can't be read counts as none and is said in the log. */
  async load(model: Model): Promise<void> {
    const graph = await this.readSaved(model.fileOf("graph"), parseGraph);
    if (graph === null) {
      model.profile = null;
      model.freshness = "none";
      this.fire("profile", model);
      return;
    }
    const frontier = await this.readSaved(model.fileOf("frontier"), (text) => parseFrontier(text, graph));
    const snapshot = await this.readSaved(model.fileOf("snapshot"), (text) => JSON.parse(text) as { graph: string; files: Snapshot });
    // What this window has written itself is no news: who works with the profile goes on with it.
    if (model.profile?.graph.hash === graph.hash && JSON.stringify(ladderOf(graph, model.profile)) === JSON.stringify(ladderOf(graph, frontier))) {
      this.update(model, { planFile: await this.readPlanFile(model) });
      return;
    }
    await this.setProfile(model, graph, frontier, snapshot?.graph === graph.hash ? snapshot.files : null);
  }

  private readPlanFile(model: Model): Promise<string | null> {
    return this.readSaved(model.fileOf("plan"), (text) => text);
  }

  private async readSaved<T>(file: string, parse: (text: string) => T): Promise<T | null> {
    try {
      return parse(await readFile(file, "utf8"));
    } catch (error) {
      const missing = error instanceof Error && "code" in error && error.code === "ENOENT";
      if (!missing) this.log.warn(`${file}: ${error instanceof Error ? error.message : String(error)}`);
      return null;
    }
  }

  async setProfile(model: Model, graph: Graph, frontier: FoundPlans | null, snapshot: Snapshot | null): Promise<void> {
    const texts = snapshot ?? (await this.sources.texts(model.uri.fsPath));
    const found = await this.sources.place(model.uri.fsPath, model.name, texts, graph.operators);
    // Profiled by the command line, from a text that is gone: its marks are shown where they fit, and never as fresh.
    const isOther = snapshot === null && !wasTracedFrom(graph.made_from.sources ?? {}, model.uri.fsPath, texts[model.uri.fsPath] ?? "");
    const placement = found !== null && isOther ? { ...found, fingerprint: "" } : found;
    const { plans, exactness } = ladderOf(graph, frontier);
    const [first] = plans;
    if (first === undefined) return;
    const { eager_peak: peak, eager_time: time } = first.predicted;
    model.profile = { graph, plans, exactness, points: plans.map((plan) => point(graph, plan)), eager: { peak, time, layers: layersAtPeak(graph, null) }, placement, files: Object.keys(texts), complete: frontier !== null };
    model.budget = this.startingBudget(model, model.profile);
    model.outdated = false;
    model.planFile = await this.readPlanFile(model);
    const view = this.views.get(model.uri.toString());
    model.freshness = "fresh";
    if (view !== undefined) this.refresh(model, view);
    this.fire("profile", model);
  }

  /** Other plans of the same graph. */
  setFrontier(model: Model, { plans, exactness }: FoundPlans, complete: boolean): void {
    const { profile } = model;
    if (profile === null) return;
    model.profile = { ...profile, complete, plans, exactness, points: plans.map((plan) => point(profile.graph, plan)) };
    model.budget = this.startingBudget(model, model.profile);
    this.fire("profile", model);
  }

  private startingBudget(model: Model, profile: Profile): number {
    return this.memory.get<number>(`budget ${model.id}`) ?? startingBudget(profile);
  }

  choose(model: Model, budget: number): void {
    if (model.budget === budget) return;
    model.budget = budget;
    void this.memory.update(`budget ${model.id}`, budget);
    this.fire("choice", model);
  }

  update(model: Model, state: Partial<Pick<Model, "running" | "problem" | "measured" | "largest" | "refining" | "outdated" | "planFile" | "left">>): void {
    Object.assign(model, state);
    this.fire("state", model);
  }

  /** The places of a file, by the active model where it reaches into that file, else by any profiled model that does. */
  marks(uri: vscode.Uri): Marks | null {
    const view = this.view(uri);
    if (view === null) return null;
    const profiled = this.all.filter((model) => model.profile !== null).sort((a, b) => Number(b === this.current) - Number(a === this.current));
    for (const model of profiled) {
      const { explained: numbers, plan } = model;
      const placement = model.profile?.placement ?? null;
      if (numbers === null || plan === null || placement === null) continue;
      const key = `${uri.toString()} ${model.id}`;
      const known = this.marked.get(key);
      const stale = model.freshness === "stale";
      if (known?.view === view && known.plan === plan && known.stale === stale) {
        if (known.marks === null) continue;
        return known.marks;
      }
      const found = places(placement, view.file);
      const marks = found.length === 0 ? null : { model, explained: numbers, stale, places: found };
      this.marked.set(key, { view, plan, stale, marks });
      if (marks !== null) return marks;
    }
    return null;
  }

  /** A file that is gone has no models. What was saved for them stays. */
  forget(uri: vscode.Uri): void {
    this.views.delete(uri.toString());
    for (const model of this.of(uri)) this.byId.delete(model.id);
    if (this.current?.uri.toString() === uri.toString()) this.active = null;
    this.fire("source", null, uri);
  }

  private refresh(model: Model, view: SourceView): void {
    const placement = model.profile?.placement;
    const before = model.freshness;
    if (model.profile === null) model.freshness = "none";
    else model.freshness = placement !== null && placement !== undefined && view.fingerprints[model.name] === placement.fingerprint ? "fresh" : "stale";
    if (model.freshness !== before) this.fire("state", model);
  }

  private fire(change: Change, model: Model | null, uri: vscode.Uri | null = null): void {
    if (!this.isDisposed) this.changed.fire({ change, model, uri });
  }
}
