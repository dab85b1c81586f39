/** What the host sends to a schedule panel, and when. */
import { readFileSync } from "node:fs";
import { expect, it, vi } from "vitest";
import type { Context } from "../../src/context";
import { parseGraph } from "../../src/core/graph";
import { explained } from "../../src/core/numbers";
import { parsePlan } from "../../src/core/plan";
import type { FromSchedule, ToSchedule } from "../../src/protocol";
import { SchedulePanels } from "../../src/views/schedule";
import type { Model } from "../../src/workspace";

const editor = vi.hoisted(() => {
  const nothing = { dispose: (): void => undefined };
  const shown: string[] = [];
  const posted: unknown[] = [];
  let receive: (message: unknown) => void = () => undefined;
  let opened: (argument: unknown) => void = () => undefined;
  let gone: () => void = () => undefined;
  const panel = {
    webview: {
      cspSource: "", options: {}, html: "",
      asWebviewUri: String,
      postMessage: (message: unknown): void => { posted.push(message); },
      onDidReceiveMessage: (listener: typeof receive) => { receive = listener; return nothing; },
    },
    onDidDispose: (listener: typeof gone) => { gone = listener; return nothing; },
    dispose: (): void => { gone(); },
    reveal: (): void => undefined,
  };
  return {
    shown, posted,
    say: (message: FromSchedule): void => { receive(message); },
    open: (argument: unknown): void => { opened(argument); },
    api: {
      window: {
        registerWebviewPanelSerializer: () => nothing,
        createWebviewPanel: () => panel,
        onDidChangeTextEditorSelection: () => nothing,
        visibleTextEditors: [],
        tabGroups: { all: [] },
        showTextDocument: (uri: string) => { shown.push(uri); return Promise.resolve({ revealRange: (): void => undefined }); },
      },
      commands: { registerCommand: (_: string, command: typeof opened) => { opened = command; return nothing; } },
      env: { language: "en" },
      l10n: { t: String },
      ViewColumn: { Beside: -2, One: 1 },
      TextEditorRevealType: { InCenterIfOutsideViewport: 2 },
      Uri: { joinPath: (...parts: unknown[]) => parts.join("/"), file: String },
      Position: vi.fn(),
      Range: vi.fn(),
      Selection: vi.fn(),
    },
  };
});
vi.mock("vscode", () => editor.api);

const read = (name: string): string => readFileSync(new URL(`../fixtures/example.${name}.json`, import.meta.url), "utf8");
const graph = parseGraph(read("graph"));
const plan = parsePlan(read("plan"), graph);

function modelOf(state: Partial<Model> = {}): Model {
  const uri = { fsPath: "/people/ada/net.py", toString: () => "file:///people/ada/net.py" };
  return { id: "file:///people/ada/net.py#Net", name: "Net", file: "net.py", uri, profile: { graph, files: [] }, explained: explained(graph, plan), plan, budget: 1000, freshness: "fresh", ...state } as unknown as Model;
}

function opened(first: Model): { readonly tell: (model: Model) => Promise<void> } {
  let current = first;
  let changed: (event: { model: Model }) => void = () => undefined;
  const models = {
    get active() { return current; },
    get: () => current,
    view: () => null,
    marks: () => null,
    onDidChange: (listener: typeof changed) => { changed = listener; return { dispose: (): void => undefined }; },
  };
  new SchedulePanels({ models, extension: { extensionUri: "" }, log: { warn: vi.fn() } } as unknown as Context);
  editor.posted.length = 0;
  editor.open(undefined);
  editor.say({ kind: "ready" });
  return {
    tell: async (model) => {
      current = model;
      changed({ model });
      await new Promise((resolve) => setTimeout(resolve, 60));
    },
  };
}

const kinds = (): unknown[] => (editor.posted as ToSchedule[]).map((message) => (message.kind === "state" ? [message.state.stale, message.picture === null] : message.kind));

it("is sent no picture that it has, and nothing where only what runs has changed", async () => {
  const { tell } = opened(modelOf());
  await tell(modelOf({ running: { text: "profiling 3 of 9", fraction: 0.3 } }));
  expect(kinds()).toEqual(["start"]);
  await tell(modelOf({ freshness: "stale" }));
  expect(kinds()).toEqual(["start", [true, true]]);
  await tell(modelOf({ plan: { ...plan }, freshness: "stale" }));
  expect(kinds()).toEqual(["start", [true, true], [true, false]]);
});

it("a line of a file beside the model or far from it is found", async () => {
  const elsewhere = { ...graph, operators: graph.operators.map((operator, id) => ({ ...operator, source: { file: id === 0 ? "/usr/lib/torchvision/resnet.py" : "blocks/res.py", line: 1, column: 0 } })) };
  opened(modelOf({ profile: { graph: elsewhere, files: [] } as unknown as Model["profile"] }));
  editor.say({ kind: "reveal", operator: 0 });
  editor.say({ kind: "reveal", operator: 1 });
  await vi.waitFor(() => { expect(editor.shown).toEqual(["/usr/lib/torchvision/resnet.py", "/people/ada/blocks/res.py"]); });
});
