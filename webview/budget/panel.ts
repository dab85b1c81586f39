import * as l10n from "@vscode/l10n";
import { formatBytes, formatPercent } from "../../src/core/units";
import { chosenPoint, type BudgetPoint, type BudgetResult, type BudgetState, type FromBudget, type Verified } from "../../src/protocol";
import { button, dropdown, setChoices, textField, type Choice } from "../components";
import { el, setText } from "../dom";
import { Bar } from "./bar";
import { Chart } from "./chart";
import { Sender } from "./sender";
import { Slider } from "./slider";
import { appliedText, budgetProblem, isBest, slower } from "./texts";

type Send = (message: FromBudget) => void;

/** Built once; `show` changes what differs, so that focus and drag survive every message. */
export class BudgetPanel {
  readonly element = el("div", { class: "panel" });
  private state: BudgetState | null = null;
  /** Budgets go out through here, and the host's echo of an older one doesn't move the slider back. */
  private readonly sender: Sender;

  private readonly name = el("h1");
  private readonly models = dropdown(l10n.t("Model"), (id) => { this.send({ kind: "model", id }); });
  private readonly file = el("p", { class: "muted file" });
  private readonly freshness = el("span", { class: "freshness" });
  private readonly device = el("p", { class: "muted" });
  private readonly batch = textField(l10n.t("Batch size"), (text) => { this.changeBatch(text); }, { class: "batch", size: 5, title: l10n.t("Enter applies it"), "aria-describedby": "batch-problem" });
  private readonly batchProblem = el("p", { class: "problem", id: "batch-problem", role: "alert" });
  private readonly batchRow = el("label", { class: "batch" }, el("span", {}, l10n.t("Batch")), this.batch);
  private readonly largest = button(l10n.t("Largest batch here"), () => { this.send({ kind: "largest" }); }, { appearance: "secondary", class: "largest", title: l10n.t("Searches the largest batch within this budget") });
  private readonly largestText = el("span", { class: "muted" });
  private readonly useLargest = button("", () => { this.changeBatch(String(this.state?.result?.largest?.batch ?? "")); }, { appearance: "secondary" });
  private readonly largestRow = el("div", { class: "row largest", "aria-live": "polite" }, this.largest, this.largestText, this.useLargest);

  private readonly notices = el("div", { class: "notices", "aria-live": "polite" });
  private readonly progress = el("progress", { "aria-label": l10n.t("Progress") });
  private readonly progressText = el("span");
  private readonly running = el("section", { class: "running" },
    this.progressText,
    el("div", { class: "row" }, this.progress, this.command(l10n.t("Cancel"), "cancel")));
  private readonly welcome = el("section", { class: "welcome" });

  private readonly bar = new Bar();
  private readonly peak = el("b");
  private readonly peakNote = el("span", { class: "muted" });
  private readonly costTitle = el("span", { class: "muted" });
  private readonly cost = el("b");
  private readonly costNote = el("span", { class: "muted" });
  private readonly chart = new Chart((bytes) => { this.move(bytes); });
  private readonly slider = new Slider((bytes) => { this.move(bytes); });
  private readonly exact = textField(l10n.t("Exact budget"), (text) => { this.typeExact(text); }, { class: "exact", size: 9, title: l10n.t("Enter searches a plan for exactly this budget"), "aria-describedby": "exact-problem" });
  private readonly exactProblem = el("p", { class: "problem", id: "exact-problem", role: "alert" });
  private readonly cards = dropdown(l10n.t("Fits this card"), (name) => { this.pickCard(name); }, { class: "cards" });
  private readonly outcome = el("div", { class: "outcome", "aria-live": "polite" });
  private readonly apply = this.command(l10n.t("Apply"), "apply", "primary");
  private readonly result = el("div", { class: "result" },
    this.bar.element,
    el("div", { class: "numbers" },
      el("div", {}, el("span", { class: "muted" }, l10n.t("Peak")), this.peak, this.peakNote),
      el("div", {}, this.costTitle, this.cost, this.costNote)),
    this.chart.element,
    this.slider.element,
    this.chart.labels,
    el("div", { class: "row fields" },
      el("label", {}, el("span", { class: "muted" }, l10n.t("Budget")), this.exact),
      el("label", {}, el("span", { class: "muted" }, l10n.t("or fits")), this.cards)),
    this.exactProblem,
    this.largestRow,
    el("div", { class: "row actions" }, this.apply, this.command(l10n.t("Verify"), "verify"), this.command(l10n.t("Schedule"), "schedule")),
    this.outcome);

  constructor(private readonly send: Send) {
    this.sender = new Sender((bytes) => { send({ kind: "budget", bytes }); });
    this.element.append(
      el("header", {}, el("div", { class: "row title" }, this.name, this.models, this.freshness), this.file, this.device, this.batchRow, this.batchProblem),
      this.notices, this.running, this.welcome, this.result);
    this.exact.addEventListener("input", () => { setText(this.exactProblem, ""); });
    this.batch.addEventListener("input", () => { setText(this.batchProblem, ""); });
  }

  show(state: BudgetState): void {
    const { model, models, result } = state;
    if (this.state?.model?.id !== model?.id) {
      this.sender.forget();
      setText(this.batchProblem, "");
    }
    this.state = state;
    const several = models.length > 1 && model !== null;
    this.name.hidden = several;
    this.models.hidden = !several;
    setText(this.name, model?.name ?? l10n.t("No model"));
    if (several) setChoices(this.models, modelChoices(models), model.id);
    setText(this.file, model?.file ?? "");
    this.element.dataset["freshness"] = result === null ? "none" : state.stale ? "stale" : "fresh";
    setText(this.freshness, result === null ? "" : state.stale ? l10n.t("stale") : l10n.t("fresh ✓"));
    this.showRunning(state);
    this.showNotices(state);
    this.showWelcome(state);
    this.device.hidden = result === null;
    this.batchRow.hidden = typeof result?.batch !== "number";
    this.result.hidden = result === null;
    if (result !== null) this.showResult(result, state);
  }

  private showRunning({ running }: BudgetState): void {
    this.running.hidden = running === null;
    if (running === null) return;
    setText(this.progressText, running.text);
    if (running.fraction === null) this.progress.removeAttribute("value");
    else this.progress.value = running.fraction;
  }

  private showNotices({ problem, stale, trusted, running, result, model }: BudgetState): void {
    const notice = (kind: string, text: string, ...actions: Node[]): HTMLElement => el("section", { class: `notice ${kind}` }, el("p", {}, text), ...actions);
    const notices: Node[] = [];
    if (problem !== null) {
      const { title, id } = problem.action;
      notices.push(notice("error", problem.text, this.command(title, id)));
    }
    if (!trusted && model !== null) {
      notices.push(notice("info", l10n.t("This workspace is not trusted, so MONeT runs none of its Python. Reading models and saved results still works."), this.command(l10n.t("Manage Trust"), "trust")));
    }
    if (stale && running === null) notices.push(notice("warning", l10n.t("The model has changed since it was profiled."), ...(trusted ? [this.command(l10n.t("Profile again"), "retry")] : [])));
    if (result?.outdated === true) notices.push(notice("info", l10n.t("These numbers are of another batch size or an older profile; new ones are on their way.")));
    // What is said already must not be announced again.
    const key = notices.map(({ textContent }) => textContent).join("\n");
    if (this.notices.dataset["key"] === key) return;
    this.notices.dataset["key"] = key;
    this.notices.replaceChildren(...notices);
  }

  private showWelcome({ model, result, running, trusted }: BudgetState): void {
    this.welcome.hidden = result !== null || running !== null || (model !== null && !trusted);
    const key = model === null ? "none" : "unprofiled";
    if (this.welcome.hidden || this.welcome.dataset["key"] === key) return;
    this.welcome.dataset["key"] = key;
    if (model === null) {
      this.welcome.replaceChildren(el("p", {}, l10n.t("Open a Python file that defines a PyTorch model (a class of torch.nn.Module) to see where its training memory goes.")));
      return;
    }
    this.welcome.replaceChildren(
      el("p", {}, l10n.t("Not profiled yet. Optimizing does this:")),
      el("ol", {},
        el("li", {}, l10n.t("asks for the input's shape, with a guess ready;")),
        el("li", {}, l10n.t("runs each operator of the model in your Python environment, to measure its time and memory;")),
        el("li", {}, l10n.t("plans what to keep and what to recompute, for every memory budget."))),
      el("p", { class: "muted" }, l10n.t("Your files stay as they are, and nothing leaves this machine.")),
      this.command(l10n.t("Optimize memory"), "optimize", "primary"));
  }

  private showResult(result: BudgetResult, { cards, running }: BudgetState): void {
    const { device, torch, part, opaque, points, eager, outdated, refining } = result;
    const budget = this.sender.current(result.budget);
    const at = chosenPoint(points, budget);
    const point = points[at];
    if (point === undefined) return;
    setText(this.device, [device.estimated ? l10n.t("{0} (estimated)", device.name) : device.name, formatBytes(device.totalBytes), ...(torch === "" ? [] : [`torch ${torch}`]), ...(part === null ? [] : [l10n.t("{0} alone", part)]), ...(opaque === 0 ? [] : [opaque === 1 ? l10n.t("1 opaque block") : l10n.t("{0} opaque blocks", opaque)])].join(" · "));
    if (result.batch !== null && document.activeElement !== this.batch && this.batchProblem.textContent === "") this.batch.value = String(result.batch);

    this.bar.show(result, point, budget);
    setText(this.peak, formatBytes(point.peak));
    setText(this.peakNote, l10n.t("eager {0}", formatBytes(eager.peak)));
    setText(this.costTitle, point.overhead < -0.0005 ? l10n.t("Faster by") : l10n.t("Slower by"));
    setText(this.cost, formatPercent(Math.abs(point.overhead)));
    setText(this.costNote, provenText(point));

    this.result.classList.toggle("outdated", outdated);
    this.chart.show(points, budget, outdated);
    this.slider.show(points, budget, `${formatBytes(point.peak)}, ${slower(point.overhead)}`);
    if (document.activeElement !== this.exact) this.exact.value = formatBytes(Math.min(budget, Math.max(eager.peak, points.at(-1)?.peak ?? 0)));
    setChoices(this.cards, this.cardChoices(result, cards), cards.find(({ bytes }) => this.usable(bytes) === budget)?.name ?? "");
    this.showLargest(result, running !== null);
    this.showOutcome(result, this.warning(result, point, running !== null), refining && !isBest(point) ? budget : null);
  }

  private showLargest({ largest, grows, batch }: BudgetResult, running: boolean): void {
    this.largestRow.hidden = !grows || running;
    setText(this.largestText, largest === null ? "" : largest.batch === 0 ? l10n.t("not even one sample fits") : l10n.t("{0} samples, {1}", largest.batch, slower(largest.overhead)));
    this.useLargest.hidden = largest === null || largest.batch === 0 || largest.batch === batch;
    setText(this.useLargest, l10n.t("Use {0}", largest?.batch ?? ""));
  }

  private warning({ complete, budget }: BudgetResult, { peak }: BudgetPoint, running: boolean): string | null {
    if (running) return null;
    if (!complete) return l10n.t("The search for plans was stopped. Optimize memory goes on with it.");
    return this.sender.current(budget) < peak ? l10n.t("No plan is known below {0}. This is the least.", formatBytes(peak)) : null;
  }

  private showOutcome({ applied, left, verified, device, reserve, points }: BudgetResult, tooSmall: string | null, searched: number | null): void {
    const line = (kind: string, text: string): HTMLElement => el("p", { class: kind }, text);
    const least = points[0]?.peak ?? 0;
    const lines = [
      ...(tooSmall === null ? [] : [line("warning", tooSmall)]),
      ...(least > device.totalBytes - reserve ? [line("warning", l10n.t("Even the least plan is more than this device has."))] : []),
      ...(searched === null ? [] : [line("muted refining", l10n.t("Searching for a better plan within {0}…", formatBytes(searched)))]),
      ...(applied ? [line("good", appliedText(left))] : []),
      ...(verified === null ? [] : verifiedLines(verified).map(([kind, text]) => line(kind, text))),
    ];
    const key = lines.map(({ textContent }) => textContent).join("\n");
    if (this.outcome.dataset["key"] === key) return;
    this.outcome.dataset["key"] = key;
    this.outcome.replaceChildren(...lines);
  }

  /** The same share of a card is left alone as of the device that was profiled. */
  private usable(bytes: number): number {
    const { result } = this.state ?? { result: null };
    const share = result === null || result.device.totalBytes === 0 ? 0 : result.reserve / result.device.totalBytes;
    return Math.round(bytes * (1 - share));
  }

  private cardChoices({ points }: BudgetResult, cards: BudgetState["cards"]): Choice[] {
    const choices = cards.map(({ name, bytes }): Choice => {
      const usable = this.usable(bytes);
      const point = points[chosenPoint(points, usable)];
      const fits = point !== undefined && point.peak <= usable;
      return { value: name, disabled: !fits, label: l10n.t("{0} {1}: {2}", name, formatBytes(bytes).replace(/\.0+ /, " "), fits ? slower(point.overhead) : l10n.t("too small")) };
    });
    return [{ value: "", label: l10n.t("a card…") }, ...choices];
  }

  private pickCard(name: string): void {
    const card = this.state?.cards.find((each) => each.name === name);
    if (card !== undefined) this.move(this.usable(card.bytes));
  }

  /** The view answers from the points that it holds; the host follows. */
  private move(bytes: number): void {
    const { state } = this;
    if (!state?.result) return;
    this.sender.move(bytes);
    this.showResult({ ...state.result, verified: null, applied: false }, state);
  }

  private typeExact(text: string): void {
    const problem = budgetProblem(text);
    setText(this.exactProblem, problem ?? "");
    if (problem !== null) return;
    this.sender.forget();
    this.send({ kind: "exact", text: text.trim() });
  }

  private changeBatch(text: string): void {
    const batch = Number(text.trim());
    const isSize = Number.isSafeInteger(batch) && batch > 0;
    setText(this.batchProblem, isSize ? "" : l10n.t("“{0}” is no batch size. Write a number from 1 up.", text));
    if (isSize) this.send({ kind: "batch", batch });
  }

  private command(title: string, command: Extract<FromBudget, { kind: "run" }>["command"], appearance = "secondary"): HTMLElement {
    return button(title, () => { this.send({ kind: "run", command }); }, { appearance, "data-command": command });
  }
}

/** Names, with their files where a name alone could be two. */
function modelChoices(models: BudgetState["models"]): Choice[] {
  return models.map(({ id, name, file }) => ({ value: id, label: models.filter((other) => other.name === name).length > 1 ? `${name} · ${file}` : name }));
}

function provenText(point: BudgetPoint): string {
  const { bound } = point;
  if (bound === null) return l10n.t("nothing proven");
  if (isBest(point)) return l10n.t("proven best");
  return l10n.t("proven: ≥ {0}", formatPercent(bound));
}

function verifiedLines({ equal, compared, withinBudget, peak, eagerPeak, overhead, overheadLow, overheadHigh }: Verified): [string, string][] {
  return [
    equal
      ? ["good", l10n.t("✓ Verified: {0} tensors are equal to eager's.", compared)]
      : ["error", l10n.t("Not equal: of {0} compared tensors some differ from eager's.", compared)],
    [withinBudget ? "muted" : "warning", withinBudget
      ? l10n.t("Measured peak {0} (eager {1}).", formatBytes(peak), formatBytes(eagerPeak))
      : l10n.t("Measured peak {0} is above the budget (eager {1}).", formatBytes(peak), formatBytes(eagerPeak))],
    ["muted", l10n.t("Measured: {0}, between {1} and {2}.", slower(overhead), formatPercent(overheadLow, { sign: true }), formatPercent(overheadHigh, { sign: true }))],
  ];
}
