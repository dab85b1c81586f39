/** Each file of test/host runs in a window of its own; here its tests are told one by one. */
import { join } from "node:path";
import { describe, test } from "vitest";
import type { Outcome } from "../host/support/runner";
import { Editor } from "./support/editor";
import { root } from "./support/installation";
import { runInHost } from "./support/host";

const tests = join(root, "test", "host");

interface Session {
  readonly file: string;
  readonly trusted?: boolean;
  readonly folders?: number;
  readonly files?: readonly string[];
  readonly standIns?: readonly string[];
}

/** The longest first. */
const sessions: readonly Session[] = [
  { file: "actions.host.test.ts" },
  { file: "extension.host.test.ts" },
  { file: "editor.host.test.ts" },
  { file: "python.host.test.ts", standIns: ["ms-python.python", "ms-python.vscode-python-envs"] },
  { file: "trust.host.test.ts", trusted: false },
  { file: "roots.host.test.ts", folders: 2 },
  { file: "start.host.test.ts", files: [] },
];

/** A file whose window fails is one failed test of its own. */
async function outcomesOf({ file, trusted = true, folders = 1, files = ["examples/resnet50.py", "examples/gpt2.py"], standIns = [] }: Session): Promise<readonly Outcome[]> {
  const editor = await Editor.start({ trusted, others: standIns.map((name) => join(tests, "stand-ins", name)) });
  try {
    const opened: string[] = [];
    for (let at = 0; at < folders; at++) opened.push(await editor.folder(...files));
    const place = folders === 1 ? (opened[0] ?? "") : await editor.workspace(opened);
    return (await runInHost(editor, join(tests, file), place)).outcomes;
  } catch (error) {
    return [{ title: "the window runs its tests", milliseconds: 0, error: error instanceof Error ? (error.stack ?? error.message) : String(error) }];
  } finally {
    await editor.close();
  }
}

/** Windows at a time: each mostly waits for the one Python that it runs. */
const lanes = 2;
const found = new Map<Session, readonly Outcome[]>();
const waiting = [...sessions];
await Promise.all(Array.from({ length: lanes }, async () => {
  for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) found.set(next, await outcomesOf(next));
}));

for (const session of sessions) {
  describe(session.file, () => {
    for (const { title, error } of found.get(session) ?? []) {
      test(title, () => {
        if (error !== null) throw new Error(error);
      });
    }
  });
}
