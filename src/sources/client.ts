/** The host's side of the source worker: it passes on what happens, and asks. The worker starts with the first question. */
import { Worker } from "node:worker_threads";
import type { Insertion, PlanUse, TracedOperator } from "../core/source/index";
import { Cancelled } from "../helper/user_error";
import { Disposable } from "../base/disposable";
import { applyChange, type Answer, type Answers, type Message, type News, type Question, type TextChange } from "./protocol";
import type { Placement, Snapshot, SourceView } from "./types";

interface Pending {
  readonly question: Question;
  readonly resolve: (answer: Answers[keyof Answers]) => void;
  readonly reject: (error: Error) => void;
}

interface Log {
  readonly error: (message: string) => void;
}

export class Sources extends Disposable {
  private worker: Worker | null = null;
  private starting: NodeJS.Immediate | undefined;
  /** Whether the worker has answered anything, so that another one is worth a try when it crashes. */
  private proven = true;
  private readonly pending = new Map<number, Pending>();
  private asked = 0;
  /** What a new worker has to be told. */
  private readonly documents = new Map<string, string>();
  private roots: readonly string[] = [];
  /** Who asks again before anything has happened gets the same answer. */
  private readonly readings = new Map<string, Promise<SourceView | null>>();
  /** Where an edit moved nothing, the view stays the same object, and what was made of it holds. */
  private readonly views = new Map<string, SourceView | null>();

  constructor(
    private readonly bundle: URL,
    private readonly log: Log,
  ) {
    super();
  }

  open(path: string, text: string): void {
    this.documents.set(path, text);
    this.tell({ kind: "open", path, text });
  }

  change(path: string, changes: readonly TextChange[]): void {
    const text = this.documents.get(path);
    if (text === undefined) return;
    this.documents.set(path, changes.reduce(applyChange, text));
    this.tell({ kind: "change", path, changes });
  }

  close(path: string): void {
    this.documents.delete(path);
    this.tell({ kind: "close", path });
  }

  changedOnDisk(path: string): void {
    this.tell({ kind: "disk", path });
  }

  /** The workspace folders. */
  setRoots(roots: readonly string[]): void {
    this.roots = [...roots];
    this.tell({ kind: "roots", roots: this.roots });
  }

  /** The models of a file as they stand now; null if there is no such file. */
  read(path: string): Promise<SourceView | null> {
    const known = this.readings.get(path);
    if (known !== undefined) return known;
    const reading = this.ask<"read">({ kind: "read", path });
    this.readings.set(path, reading);
    const forget = (): void => {
      if (this.readings.get(path) === reading) this.readings.delete(path);
    };
    reading.then(forget, forget);
    return reading;
  }

  /** The newest texts of a file and of all that it imports from the workspace; none if there is no such file. */
  texts(path: string): Promise<Snapshot> {
    return this.ask<"texts">({ kind: "texts", path });
  }

  /** Where operators that were traced from these texts stand in them; null if they don't define the model. */
  place(path: string, name: string, snapshot: Snapshot, operators: readonly TracedOperator[]): Promise<Placement | null> {
    const plain = operators.map(({ id, module, module_type, source }) => ({ id, module, module_type, source }));
    return this.ask<"place">({ kind: "place", path, name, snapshot, operators: plain });
  }

  /** Edits of a training script that let it run by a plan, one for each place where it builds the model. */
  insertions(path: string, use: PlanUse): Promise<readonly Insertion[]> {
    return this.ask<"insertions">({ kind: "insertions", path, use });
  }

  override dispose(): void {
    super.dispose();
    void this.worker?.terminate();
    this.worker = null;
    this.rejectAll(new Cancelled());
  }

  private tell(news: News): void {
    this.readings.clear();
    this.worker?.postMessage(news satisfies Message);
  }

  private ask<Kind extends keyof Answers>(question: Extract<Question, { kind: Kind }>): Promise<Answers[Kind]> {
    if (this.isDisposed) return Promise.reject(new Cancelled());
    return new Promise<Answers[keyof Answers]>((resolve, reject) => {
      this.asked += 1;
      this.pending.set(this.asked, { question, resolve, reject });
      if (this.worker === null) this.startSoon();
      else this.send(this.worker, this.asked, question);
    }) as Promise<Answers[Kind]>;
  }

  private send(worker: Worker, id: number, question: Question): void {
    worker.postMessage({ kind: "ask", id, question } satisfies Message);
  }

  /** A thread takes a while to make, and the window waits for who activates. */
  private startSoon(): void {
    this.starting ??= setImmediate(() => {
      this.starting = undefined;
      if (this.worker === null && !this.isDisposed) this.start();
    });
  }

  private start(): void {
    const worker = new Worker(this.bundle);
    this.worker = worker;
    this.proven = false;
    worker.postMessage({ kind: "roots", roots: this.roots } satisfies Message);
    for (const [path, text] of this.documents) worker.postMessage({ kind: "open", path, text } satisfies Message);
    for (const [id, { question }] of this.pending) this.send(worker, id, question);
    worker.on("message", (answer: Answer) => {
      this.proven = true;
      this.receive(answer);
    });
    let reason = "it ended by itself";
    worker.on("error", (error) => {
      reason = error instanceof Error ? (error.stack ?? error.message) : String(error);
    });
    worker.on("exit", () => {
      if (this.worker === worker) this.crashed(reason);
    });
  }

  private receive(answer: Answer): void {
    const pending = this.pending.get(answer.id);
    this.pending.delete(answer.id);
    if ("view" in answer) pending?.resolve(this.viewOf(answer.path, answer.view));
    else if ("answer" in answer) pending?.resolve(answer.answer);
    else pending?.reject(new Error(`The source worker failed: ${answer.error}`));
  }

  private viewOf(path: string, text: string | null): SourceView | null {
    if (text !== null) this.views.set(path, JSON.parse(text) as SourceView | null);
    return this.views.get(path) ?? null;
  }

  /** A question that crashes the worker again has had its second try. */
  private crashed(reason: string): void {
    this.worker = null;
    this.log.error(`The source worker crashed: ${reason}`);
    if (!this.proven) this.rejectAll(new Error(`The source worker crashed: ${reason}`));
    else if (this.pending.size > 0) this.start();
  }

  private rejectAll(error: Error): void {
    const pending = [...this.pending.values()];
    this.pending.clear();
    for (const { reject } of pending) reject(error);
  }
}
