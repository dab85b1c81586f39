/** What runs for a model: one at a time, with a notification that tells how far it is and stops it at once. */
import * as vscode from "vscode";
import type { Progress } from "../helper/helper";
import { Cancelled } from "../helper/user_error";
import { Disposable } from "../base/disposable";
import type { Model, Models } from "../workspace";
import { Pace } from "./pace";
import { Marks, versionsNow } from "./marks";
import { ofModel, problemOf, type Again } from "./problems";
import { Queue } from "./queue";

export interface Job {
  readonly signal: AbortSignal;
  /** Shown at most ten times a second. `part` is the share of the whole job that this stage covers. */
  readonly report: (progress: Progress, part?: readonly [from: number, to: number]) => void;
}

interface Running {
  readonly stop: AbortController;
  readonly ended: Promise<void>;
}

export class Jobs extends Disposable {
  private readonly queue = new Queue();
  private readonly running = new Map<string, Running>();
  private readonly marks: Marks;

  constructor(private readonly models: Models, manual: string) {
    super();
    this.marks = this.register(new Marks(models, manual));
  }

  isRunning(model: Model): boolean {
    return this.running.has(model.id);
  }

  /** A newer run of the same model takes the place of the one before. `again` is what the person tries again where it fails. */
  async run<T>(model: Model, outer: AbortSignal | null, work: (job: Job) => Promise<T>, again: Again = "retry"): Promise<T> {
    // Of several that waited for the same one, the first has begun: it must end too.
    while (this.running.has(model.id)) await this.cancel(model);
    const stop = new AbortController();
    const forward = (): void => { stop.abort(); };
    outer?.addEventListener("abort", forward, { once: true });
    if (outer?.aborted === true) stop.abort();
    const done = this.shown(model, stop, work, again);
    const running = { stop, ended: done.then(() => undefined, () => undefined) };
    this.running.set(model.id, running);
    try {
      return await done;
    } finally {
      outer?.removeEventListener("abort", forward);
      if (this.running.get(model.id) === running) this.running.delete(model.id);
    }
  }

  async cancel(model: Model): Promise<void> {
    const before = this.running.get(model.id);
    before?.stop.abort();
    await before?.ended;
  }

  cancelAll(): void {
    for (const { stop } of this.running.values()) stop.abort();
  }

  override dispose(): void {
    this.cancelAll();
    super.dispose();
  }

  private async shown<T>(model: Model, stop: AbortController, work: (job: Job) => Promise<T>, again: Again): Promise<T> {
    this.models.update(model, { running: { text: vscode.l10n.t("Starting"), fraction: null }, problem: null });
    const options = { location: vscode.ProgressLocation.Notification, cancellable: true, title: vscode.l10n.t("MONeT: {0}", model.name) };
    let began = versionsNow();
    try {
      return await vscode.window.withProgress(options, (notification, token) => {
        token.onCancellationRequested(() => { stop.abort(); });
        const say = (text: string, fraction: number | null, step: number): void => {
          notification.report({ message: text, increment: step });
          this.models.update(model, { running: { text, fraction } });
        };
        const report = reporter(say);
        const begin = (): Promise<T> => {
          began = versionsNow();
          return work({ signal: stop.signal, report });
        };
        return this.queue.run(stop.signal, begin, () => { say(vscode.l10n.t("Waiting for another model"), null, 0); });
      });
    } catch (error) {
      const cancelled = error instanceof Cancelled || stop.signal.aborted;
      if (!cancelled) {
        this.models.update(model, { problem: problemOf(error, again) });
        this.marks.mark(model, error, began);
      }
      throw cancelled ? new Cancelled() : ofModel(error, model);
    } finally {
      // What was stopped may have made way for another batch size.
      this.models.update(model, stop.signal.aborted ? { running: null } : { running: null, outdated: false });
    }
  }
}

function reporter(say: (text: string, fraction: number | null, step: number) => void): Job["report"] {
  const pace = new Pace();
  let last = 0;
  let shown = 0;
  return (progress, [from, to] = [0, 1]) => {
    const { stage, done, total } = progress;
    const now = Date.now();
    const left = pace.left(stage, done, total, now);
    if (now - last < 100 && done < total) return;
    last = now;
    // A stage of one step says nothing before it is over.
    const fraction = total > 1 ? from + (to - from) * Math.min(1, done / total) : null;
    const step = fraction === null ? 0 : Math.max(0, fraction - shown);
    shown += step;
    say(progressText(progress, left), fraction, step * 100);
  };
}

/** `Profiling operator 34 of 160, 21%, 12 s left`. */
export function progressText({ stage, done, total }: Progress, left: number | null): string {
  const percent = total > 0 ? Math.floor((100 * Math.min(done, total)) / total) : 0;
  switch (stage) {
    case "trace":
      return vscode.l10n.t("Tracing the model");
    case "profile":
      return left === null
        ? vscode.l10n.t("Profiling operator {0} of {1}, {2}%", Math.min(done + 1, total), total, percent)
        : vscode.l10n.t("Profiling operator {0} of {1}, {2}%, {3} left", Math.min(done + 1, total), total, percent, seconds(left));
    case "frontier":
      return left === null
        ? vscode.l10n.t("Finding plans, {0} of {1} budgets", done, total)
        : vscode.l10n.t("Finding plans, {0} of {1} budgets, {2} left", done, total, seconds(left));
    case "batch":
      return vscode.l10n.t("Measuring with another batch, {0}%", percent);
    case "largest batch":
      return vscode.l10n.t("Finding the largest batch");
    case "least memory":
      return vscode.l10n.t("Finding the plan of least memory");
    case "eager step":
    case "eager step again":
      return vscode.l10n.t("Running an eager step ({0} of {1})", done + 1, total);
    case "eager memory":
      return vscode.l10n.t("Measuring the eager step's memory ({0} of {1})", done + 1, total);
    case "planned step":
      return vscode.l10n.t("Running a planned step ({0} of {1})", done + 1, total);
    case "planned memory":
      return vscode.l10n.t("Measuring the planned step's memory ({0} of {1})", done + 1, total);
    case "export":
      return vscode.l10n.t("Writing checkpoint policies, and running steps by them");
    case "timing":
      return vscode.l10n.t("Timing both steps ({0} of {1})", done + 1, total);
    default:
      return stage;
  }
}

function seconds(milliseconds: number): string {
  const whole = Math.max(1, Math.round(milliseconds / 1000));
  return whole < 60 ? vscode.l10n.t("{0} s", whole) : vscode.l10n.t("{0} min {1} s", Math.floor(whole / 60), whole % 60);
}
