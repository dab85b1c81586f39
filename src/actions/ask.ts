/** What can't be known from the source is asked once, with a good guess ready. */
import * as vscode from "vscode";
import { autocasts, batchOf, optimizers, specProblem, withBatch, type ModelConfig } from "../core/config";
import { askText, back, choose, type Answer } from "./quick_input";

function wrongSpec(text: string): string | null {
  switch (specProblem(text)) {
    case "syntax":
      return vscode.l10n.t("Write dtype[sizes], as float32[8,3,224,224], or int64[2,256]<50257 for integers below 50257.");
    case "dtype":
      return vscode.l10n.t("This element type is not known: write float32, bfloat16, int64, bool or the like.");
    case "zero":
      return vscode.l10n.t("Every size is 1 or more.");
    case "range":
      return vscode.l10n.t("A range is for integers and starts at 1, as int64[2,256]<50257.");
    case null:
      return null;
  }
}

const wrongBatch = (text: string): string | null => (/^\s*[1-9]\d{0,8}\s*$/.test(text) ? null : vscode.l10n.t("Write a number from 1 up."));

function wrongArguments(text: string): string | null {
  if (text.trim() === "") return null;
  try {
    const value = JSON.parse(text) as unknown;
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return null;
  } catch {
    // Said below.
  }
  return vscode.l10n.t('Write a JSON object, as {"width": 64}.');
}

/** Without inputs, an entry function names the model: it gives inputs and loss itself. Null: the person left. */
export async function askConfig(name: string, guess: ModelConfig): Promise<ModelConfig | null> {
  const title = vscode.l10n.t("What does {0} take?", name);
  let config = guess;
  for (let step = 1; ; ) {
    const inputs = config.inputs.length;
    const steps = inputs + (batchOf(config.inputs) === null ? 1 : 2);
    const here = { title, step, steps, canGoBack: step > 1 };
    const answer = step <= inputs ? await askInput(config, step - 1, here) : step < steps ? await askBatch(config, here) : await askMore(name, config, here);
    if (answer === null || (answer !== back && step === steps)) return answer;
    if (answer === back) step -= 1;
    else {
      // An input that was taken away leaves its place to the next.
      if (answer.inputs.length === inputs) step += 1;
      config = answer;
    }
  }
}

interface Step {
  readonly title: string;
  readonly step?: number;
  readonly steps?: number;
  readonly canGoBack: boolean;
}

/** An empty text takes away an input other than the first. */
async function askInput(config: ModelConfig, index: number, step: Step): Promise<Answer<ModelConfig>> {
  const text = await askText({
    ...step,
    value: config.inputs[index] ?? "",
    prompt: index === 0
      ? vscode.l10n.t("The input: dtype[batch, sizes], integers below a number as int64[2,256]<50257. An argument by its name: mask=bool[8,64]; an entry of a dict: batch.tokens=int64[8,64]<1000.")
      : vscode.l10n.t("Input {0}: dtype[batch, sizes]. An argument by its name: mask=bool[8,64]; an entry of a dict: batch.tokens=int64[8,64]<1000. Empty: none.", index + 1),
    placeholder: "float32[8,3,224,224]",
    check: (each) => (index > 0 && each.trim() === "" ? null : wrongSpec(each)),
  });
  if (typeof text !== "string") return text;
  const inputs = [...config.inputs];
  inputs.splice(index, 1, ...(text === "" ? [] : [text]));
  return { ...config, inputs };
}

async function askBatch(config: ModelConfig, step: Step): Promise<Answer<ModelConfig>> {
  const text = await askText({
    ...step,
    value: String(batchOf(config.inputs) ?? 1),
    prompt: vscode.l10n.t("The batch size on this device. It can be changed later, in the memory budget view."),
    check: wrongBatch,
  });
  return typeof text === "string" ? withBatch(config, Number(text)) : text;
}

interface More extends vscode.QuickPickItem {
  readonly edit: ((config: ModelConfig) => Promise<Answer<ModelConfig>>) | null;
}

/** Enter goes on; everything else is for who needs it. Who leaves one of its questions comes back to the list. */
async function askMore(name: string, start: ModelConfig, step: Step): Promise<Answer<ModelConfig>> {
  let config = start;
  for (;;) {
    const items = moreItems(name, config);
    const chosen = await choose(items, { ...step, placeholder: vscode.l10n.t("Enter goes on"), active: items[0] });
    if (chosen === back) return config === start ? back : askMore(name, start, step);
    if (chosen === null) return null;
    if (chosen.edit === null) return config;
    const changed = await chosen.edit(config);
    if (changed !== null && changed !== back) config = changed;
  }
}

function moreItems(name: string, config: ModelConfig): More[] {
  const { inputs, targets = [], loss, optimizer = "none", autocast, device = "auto", kwargs = {}, part } = config;
  const step = (title: string): Step => ({ title: `${name}: ${title}`, canGoBack: true });
  const none = vscode.l10n.t("none");
  const item = (label: string, description: string, edit: (before: ModelConfig) => Promise<Answer<ModelConfig>>): More => ({ label, description, edit });
  const editInput = (index: number) => (before: ModelConfig): Promise<Answer<ModelConfig>> => askInput(before, index, step(vscode.l10n.t("Input {0}", index + 1)));
  const data = [
    ...inputs.slice(1).map((spec, k) => item(`$(edit) ${vscode.l10n.t("Input {0}", k + 2)}`, spec, editInput(k + 1))),
    item(`$(add) ${vscode.l10n.t("Add another input")}`, "", editInput(inputs.length)),
    item(`$(symbol-function) ${vscode.l10n.t("Loss")}`, [loss ?? vscode.l10n.t("the sum of the outputs"), ...targets].join("  "), (before) => askLoss(before, step(vscode.l10n.t("Loss")))),
  ];
  return [
    { label: `$(check) ${vscode.l10n.t("Go on")}`, description: inputs.join("  "), edit: null },
    { label: vscode.l10n.t("More"), kind: vscode.QuickPickItemKind.Separator, edit: null },
    ...(inputs.length === 0 ? [] : data),
    item(`$(history) ${vscode.l10n.t("Optimizer")}`, optimizer, (before) =>
      askOne(before, "optimizer", optimizers, step(vscode.l10n.t("The optimizer whose states are counted"))),
    ),
    item(`$(symbol-ruler) ${vscode.l10n.t("Autocast")}`, autocast ?? none, (before) => askOne(before, "autocast", [none, ...autocasts], step(vscode.l10n.t("Autocast")))),
    item(`$(circuit-board) ${vscode.l10n.t("Device")}`, device, (before) =>
      askString(before, "device", vscode.l10n.t("auto, cpu, cuda, cuda:1, or the name of a card to estimate for, as A100."), step(vscode.l10n.t("Device"))),
    ),
    item(`$(symbol-class) ${vscode.l10n.t("Part")}`, part ?? vscode.l10n.t("the whole model"), (before) =>
      askString(before, "part", vscode.l10n.t("A submodule to plan by itself, as encoder, or encoder.layers.* for several alike. Empty: the whole model."), step(vscode.l10n.t("Part"))),
    ),
    item(`$(symbol-parameter) ${vscode.l10n.t("Arguments")}`, Object.keys(kwargs).length === 0 ? none : JSON.stringify(kwargs), (before) => askArguments(before, step(vscode.l10n.t("Arguments")))),
  ];
}

/** An empty text, or what stands for nothing, takes the key away. */
function put<Key extends keyof ModelConfig>(config: ModelConfig, key: Key, value: ModelConfig[Key] | undefined): ModelConfig {
  return Object.fromEntries(Object.entries<unknown>({ ...config, [key]: value }).filter(([, each]) => each !== undefined)) as unknown as ModelConfig;
}

async function askString(config: ModelConfig, key: "device" | "loss" | "part", prompt: string, step: Step): Promise<Answer<ModelConfig>> {
  const text = await askText({ ...step, value: config[key] ?? "", prompt, check: () => null });
  return typeof text === "string" ? put(config, key, text === "" ? undefined : text) : text;
}

async function askOne(config: ModelConfig, key: "optimizer" | "autocast", values: readonly string[], step: Step): Promise<Answer<ModelConfig>> {
  const items = values.map((label) => ({ label }));
  const chosen = await choose(items, { ...step, active: items.find(({ label }) => label === config[key]) });
  if (chosen === null || chosen === back) return chosen;
  const known = key === "optimizer" ? optimizers.find((each) => each === chosen.label) : autocasts.find((each) => each === chosen.label);
  return put(config, key, known);
}

async function askLoss(config: ModelConfig, step: Step): Promise<Answer<ModelConfig>> {
  const named = await askString(config, "loss", vscode.l10n.t("A function or class that the model's file defines or imports, as F.cross_entropy; it takes the output and the targets. Empty: the sum of the outputs."), step);
  if (named === null || named === back || named.loss === undefined) return named === null || named === back ? named : put(named, "targets", undefined);
  const batch = batchOf(named.inputs) ?? 1;
  const text = await askText({
    ...step,
    value: named.targets?.join(" ") ?? `int64[${batch}]<1000`,
    prompt: vscode.l10n.t("What the loss takes besides the output, written like an input; several with a space between."),
    check: (each) => words(each).map(wrongSpec).find((wrong) => wrong !== null) ?? null,
  });
  return typeof text === "string" ? put(named, "targets", words(text).length === 0 ? undefined : words(text)) : text;
}

const words = (text: string): string[] => text.split(/\s+/).filter((word) => word !== "");

async function askArguments(config: ModelConfig, step: Step): Promise<Answer<ModelConfig>> {
  const text = await askText({
    ...step,
    value: config.kwargs === undefined ? "" : JSON.stringify(config.kwargs),
    prompt: vscode.l10n.t('Arguments for the model\'s class or function, as {"width": 64}.'),
    check: wrongArguments,
  });
  return typeof text === "string" ? put(config, "kwargs", text === "" ? undefined : (JSON.parse(text) as Record<string, unknown>)) : text;
}
