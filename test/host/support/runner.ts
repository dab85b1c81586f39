/** As little of a test runner as the extension host needs: tests run in order, and tell what became of each. */
import { writeFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";

export interface Outcome {
  readonly title: string;
  readonly milliseconds: number;
  /** The stack of what was thrown; null where the test passed. */
  readonly error: string | null;
}

/** What one window leaves behind, as JSON. */
export interface Report {
  readonly outcomes: readonly Outcome[];
  /** Numbers to be shown, not judged. */
  readonly notes: readonly string[];
}

const tests: { title: string; body: () => Promise<void> | void }[] = [];
const notes: string[] = [];
const allowed = 300_000;

export function test(title: string, body: () => Promise<void> | void): void {
  tests.push({ title, body });
}

export function note(text: string): void {
  notes.push(text);
}

/** Asks again until the answer is one; as long as a machine with much else to do may take. */
export async function until<T>(what: string, ask: () => Promise<T | null | undefined | false> | T | null | undefined | false, milliseconds = 60_000): Promise<T> {
  const end = Date.now() + milliseconds;
  for (;;) {
    const answer = await ask();
    if (answer !== null && answer !== undefined && answer !== false) return answer;
    if (Date.now() > end) throw new Error(`Waited ${milliseconds / 1000} s in vain: ${what}.`);
    await sleep(50);
  }
}

async function outcome({ title, body }: (typeof tests)[number]): Promise<Outcome> {
  const started = performance.now();
  const timer = new AbortController();
  try {
    const late = sleep(allowed, undefined, { signal: timer.signal }).then(() => { throw new Error(`This took more than ${allowed / 1000} s.`); });
    await Promise.race([body(), late]);
    return { title, milliseconds: performance.now() - started, error: null };
  } catch (error) {
    return { title, milliseconds: performance.now() - started, error: error instanceof Error ? (error.stack ?? error.message) : String(error) };
  } finally {
    timer.abort();
  }
}

/** Called by the extension host. */
export async function run(report: string): Promise<void> {
  const outcomes: Outcome[] = [];
  for (const each of tests) outcomes.push(await outcome(each));
  await writeFile(report, JSON.stringify({ outcomes, notes } satisfies Report));
}
