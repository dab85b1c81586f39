/** What a file of clicks does besides its tests. */
import { basename } from "node:path";
import { afterAll, afterEach, beforeAll } from "vitest";
import { Editor } from "./editor";
import type { ServerOptions } from "./server";

/** Starts an editor for the tests of a file, and closes it after them. Of a test that fails, each window is kept as a picture. */
export function inEditor(prepare: (editor: Editor) => Promise<void>, options: Partial<ServerOptions> = {}): void {
  let editor: Editor | null = null;

  beforeAll(async () => {
    editor = await Editor.start(options);
    await prepare(editor);
  });

  afterEach(async ({ task }) => {
    if (task.result?.state !== "fail") return;
    const name = `failed ${basename(task.file.name, ".e2e.test.ts")} ${task.name.replaceAll(/\W+/g, " ")}`;
    for (const [at, window] of (editor?.windows ?? []).entries()) await window.screenshot(at === 0 ? name : `${name} ${at + 1}`);
  });

  afterAll(async () => {
    await editor?.close();
  });
}
