/** Each file of test/host runs in a window of its own; here its tests are told one by one. */
import { describe, expect, test } from "vitest";
import type { Outcome } from "../host/support/runner";
import { Editor } from "./support/editor";
import { runInHost } from "./support/host";

interface Session {
  readonly file: string;
  readonly trusted?: boolean;
  readonly standIns?: readonly string[];
}

const sessions: readonly Session[] = [{ file: "extension.host.test.ts" }, { file: "editor.host.test.ts" }, { file: "actions.host.test.ts" }];

/** A file whose window fails is one failed test of its own. */
async function outcomesOf({ file, trusted = true, standIns = [] }: Session): Promise<readonly Outcome[]> {
  const editor = await Editor.start({ trusted });
  try {
    const place = await editor.folder("examples/resnet50.py", "examples/gpt2.py");
    return (await runInHost(editor, file, place, standIns)).outcomes;
  } catch (error) {
    return [{ title: "the window runs its tests", milliseconds: 0, error: error instanceof Error ? (error.stack ?? error.message) : String(error) }];
  } finally {
    await editor.close();
  }
}

for (const session of sessions) {
  const outcomes = await outcomesOf(session);
  describe(session.file, () => {
    for (const { title, error } of outcomes) test(title, () => { expect(error).toBeNull(); });
  });
}
