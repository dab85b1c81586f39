/** The questions before a model is profiled, answered by a person who is written down. */
import { expect, it, vi } from "vitest";
import { askConfig } from "../../src/actions/ask";
import { guessedInputs } from "../../src/actions/config";
import { readFile, readModels } from "../../src/core/source/index";
import { required } from "../../src/sources/required";
import { pythonParser } from "../core/source/parser";

/** What one question was, and what is done with it: a text is typed, a title is chosen. */
type Act = { readonly type: string } | { readonly pick: string } | "enter" | "escape" | "back";

const person = vi.hoisted((): { acts: unknown[]; seen: string[] } => ({ acts: [], seen: [] }));

vi.mock("vscode", async () => {
  const { l10n } = await import("../editor/english");
  const question = (kind: "text" | "list"): object => {
    const heard: Record<string, (() => void)[]> = {};
    const hear = (name: string) => (listener: () => void): void => { (heard[name] ??= []).push(listener); };
    const fire = (name: string): void => { for (const listener of heard[name] ?? []) listener(); };
    let isOpen = true;
    const self = {
      value: "", title: "", step: 0, totalSteps: 0, items: [] as { label: string }[], selectedItems: [] as { label: string }[], activeItems: [] as { label: string }[],
      onDidChangeValue: hear("value"), onDidAccept: hear("accept"), onDidTriggerButton: hear("button"), onDidHide: hear("hide"),
      dispose: () => undefined,
      hide: () => {
        if (isOpen) fire("hide");
        isOpen = false;
      },
      show: () => {
        person.seen.push(kind === "text" ? self.value : self.title);
        const act = person.acts.shift() as Act | undefined;
        queueMicrotask(() => {
          if (act === undefined || act === "escape") self.hide();
          else if (act === "back") fire("button");
          else {
            if (act !== "enter" && "type" in act) self.value = act.type;
            self.selectedItems = act !== "enter" && "pick" in act ? self.items.filter(({ label }) => label.includes(act.pick)) : self.activeItems;
            fire("accept");
          }
        });
      },
    };
    return self;
  };
  return {
    l10n, QuickPickItemKind: { Separator: -1 }, QuickInputButtons: { Back: {} },
    window: { createInputBox: () => question("text"), createQuickPick: () => question("list") },
  };
});

async function answers(inputs: readonly string[], ...acts: Act[]): Promise<{ config: unknown; seen: readonly string[] }> {
  person.acts = acts;
  person.seen = [];
  return { config: await askConfig("Net", { inputs }), seen: person.seen };
}

it("of an entry function nothing is asked but what it does not say", async () => {
  const { config, seen } = await answers([], { pick: "Optimizer" }, { pick: "adamw" }, "enter");
  expect(config).toEqual({ inputs: [], optimizer: "adamw" });
  expect(seen).toHaveLength(3);
});

it.each(["Loss", "Optimizer", "Autocast", "Device", "Arguments", "Add another input"])("who leaves the question after %s is back at the list, with all answers", async (title) => {
  const { config, seen } = await answers(["float32[8,3]"], { type: "float32[4,5]" }, "enter", { pick: title }, "escape", "enter");
  expect(config).toEqual({ inputs: ["float32[4,5]"] });
  expect(seen.at(-1)).toBe("What does Net take?");
});

it("who leaves the list leaves", async () => {
  expect((await answers(["float32[8,3]"], "enter", "enter", "escape")).config).toBeNull();
});

it("each input is asked for in turn, one that is emptied is gone, and a step back comes to the one before", async () => {
  const guess = ["float32[8,3]", "mask=float32[8,3]", "bias=float32[8,3]"];
  const { config, seen } = await answers(guess, "enter", { type: "mask=bool[8]" }, "back", { type: "" }, { type: "batch.bias=float32[8,1]" }, { type: "4" }, "enter");
  expect(seen).toEqual(["float32[8,3]", "mask=float32[8,3]", "bias=float32[8,3]", "mask=bool[8]", "bias=float32[8,3]", "8", "What does Net take?"]);
  expect(config).toEqual({ inputs: ["float32[4,3]", "batch.bias=float32[4,1]"] });
});

it("as many inputs are guessed as the forward of the model, or of its base class, requires", async () => {
  const text = `
from torch import nn

class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 2)

    def forward(self, x, mask, *rest, scale, extra=None, **named):
        return self.fc(x) * mask * scale

class Net(Base):
    pass

def make():
    return Net()
`;
  const file = readFile(await pythonParser(), "/net.py", text);
  const [read] = readModels([file]);
  const view = { path: "/net.py", file: read!, files: [read!], required: required([file]) };
  const inputs = ["float32[8,6]", "mask=float32[8,6]", "scale=float32[8,6]"];
  for (const name of ["Net", "make", "Base"]) expect(guessedInputs(view, name)).toEqual(inputs);
  expect(guessedInputs({ ...view, required: [] }, "Net")).toEqual(["float32[8,6]"]);
  expect(guessedInputs(null, "Net")).toEqual(["float32[8,3,224,224]"]);
});
