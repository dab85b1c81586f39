/** The thread that parses, so that typing never waits. What is told holds at once; readings wait until nothing more is said. */
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { parentPort } from "node:worker_threads";
import { Analyst } from "./analyst";
import { Files } from "./files";
import type { Answer, Message, Question } from "./protocol";
import { pythonParser } from "./read";

const files = new Files(await pythonParser(dirname(fileURLToPath(import.meta.url))));
const analyst = new Analyst(files);
const send = (answer: Answer): void => parentPort?.postMessage(answer);

/** Those who wait for the same file get the same answer. */
const waiting = new Map<string, number[]>();
/** The last view of each file that was sent. */
const sent = new Map<string, string>();

function answer(ids: readonly number[], question: Question): void {
  try {
    const given = analyst.answer(question);
    if (question.kind !== "read") {
      for (const id of ids) send({ id, answer: given });
      return;
    }
    const { path } = question;
    const text = JSON.stringify(given);
    for (const id of ids) send({ id, path, view: sent.get(path) === text ? null : text });
    sent.set(path, text);
  } catch (error) {
    const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
    for (const id of ids) send({ id, error: message });
  }
}

/** One at a time: what was said meanwhile is heard before the next. */
function next(): void {
  const [first] = waiting;
  if (first === undefined) return;
  const [path, ids] = first;
  waiting.delete(path);
  answer(ids, { kind: "read", path });
  if (waiting.size > 0) setImmediate(next);
}

parentPort?.on("message", (message: Message) => {
  if (message.kind !== "ask") files.hear(message);
  else if (message.question.kind !== "read") answer([message.id], message.question);
  else {
    if (waiting.size === 0) setImmediate(next);
    const { path } = message.question;
    waiting.set(path, [...(waiting.get(path) ?? []), message.id]);
  }
});
