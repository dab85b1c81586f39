/** Runs Python's `monet_torch` and turns what it says into progress, a result, or one sentence. */
import { delimiter } from "node:path";
import type { Interpreter } from "./interpreter";
import { runProcess, type Ended } from "./process";
import { UserError } from "./user_error";

/** Codes of `python/monet_torch/__main__.py`. */
const wrongWords = "M127";
const noTorch = "M401";

export interface Progress {
  readonly stage: string;
  readonly done: number;
  readonly total: number;
  readonly operator: string | null;
}

export interface HelperOptions {
  readonly interpreter: Interpreter;
  /** The folder that holds the package `monet_torch`. */
  readonly packages: string;
  readonly cwd: string;
  readonly env: NodeJS.ProcessEnv;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress: (progress: Progress) => void;
}

export interface HelperResult {
  /** What it printed besides progress. */
  readonly output: string;
  /** `verify` found a difference. */
  readonly differs: boolean;
}

/**
 * As `python -m monet_torch`, but with the working folder last on the search path instead of first: a model there
 * finds what it imports, and a stray `json.py` does not stand in for Python's own. (`-m` and `-c` put it first
 * unless PYTHONSAFEPATH is set, which Python 3.10 does not know.)
 */
const start = 'import sys; sys.path = [folder for folder in sys.path if folder]; import os, runpy; sys.path.append(os.getcwd()); runpy.run_module("monet_torch", run_name="__main__", alter_sys=True)';

/** The error that ended it, as `python/monet_torch/errors.py` writes it; file and line where it is in the person's own text. */
export interface HelperError {
  readonly code: string;
  readonly message: string;
  readonly file?: string;
  readonly line?: number;
}

function parseObject(line: string): Readonly<Record<string, unknown>> {
  if (!line.startsWith("{")) return {};
  try {
    return JSON.parse(line) as Record<string, unknown>;
  } catch {
    return {};
  }
}

/** Null for a line that tells of no error. */
export function parseError(line: string): HelperError | null {
  const { error } = parseObject(line);
  if (typeof error !== "object" || error === null) return null;
  const { code, message, file, line: at } = error as Record<string, unknown>;
  if (typeof code !== "string" || typeof message !== "string") return null;
  return { code, message, ...(typeof file === "string" && typeof at === "number" && { file, line: at }) };
}

/** Null for a line that is no progress. */
export function parseProgress(line: string): Progress | null {
  const { stage, done, total, operator } = parseObject(line);
  if (typeof stage !== "string" || typeof done !== "number" || typeof total !== "number") return null;
  return { stage, done, total, operator: typeof operator === "string" ? operator : null };
}

export async function runHelper(command: "profile" | "verify" | "export" | "calibrate", args: readonly string[], options: HelperOptions): Promise<HelperResult> {
  const { interpreter, packages, cwd, env, signal, onProgress } = options;
  const output: string[] = [];
  let told: HelperError | null = null;
  const onLine = (line: string): void => {
    const progress = parseProgress(line);
    const error = parseError(line);
    if (progress !== null) onProgress(progress);
    else if (error !== null) told = error;
    else output.push(line);
  };
  const pythonPath = [packages, env["PYTHONPATH"]].filter((part) => part !== undefined && part !== "").join(delimiter);
  let ended: Ended;
  try {
    ended = await runProcess(interpreter.path, ["-c", start, command, ...args, "--progress", "-", "--tied"], {
      cwd,
      env: { ...env, PYTHONPATH: pythonPath, PYTHONSAFEPATH: "1", PYTHONUNBUFFERED: "1", PYTHONIOENCODING: "utf-8" },
      signal,
      onLine,
      tied: true,
    });
  } catch (error) {
    if (error instanceof Error && "code" in error) {
      throw new UserError("M703", "environment", `Python at '${interpreter.path}' (found by ${interpreter.foundBy}) can't be started: ${error.message}.`, { known: { id: "python-cannot-start", path: interpreter.path, reason: error.message } });
    }
    throw error;
  }
  if (ended.code === 0) return { output: output.join("\n"), differs: false };
  if (ended.code === 1 && command === "verify" && errorSentence(ended.stderr) === null && !ended.stderr.includes("Traceback")) {
    return { output: output.join("\n"), differs: true };
  }
  throw errorOf(ended, interpreter, told);
}

/** The sentence after `error: `, which is the helper's last word. It is all there is where the helper's own words were wrong. */
function errorSentence(stderr: string): string | null {
  const pieces = stderr.split(/^(?:python -m monet_torch[^:\n]*: )?error: /m);
  return pieces.length > 1 ? (pieces.at(-1)?.trim() ?? null) : null;
}

/** `told` is the error that it wrote before it ended, if it came to that. */
export function errorOf({ code, signal, stderr }: Ended, interpreter: Interpreter, told: HelperError | null = null): UserError {
  const sentence = errorSentence(stderr);
  const [, text = sentence ?? "", named = wrongWords] = /^(.*) \[(M\d+)\]$/s.exec(sentence ?? "") ?? [];
  const { code: known, message, ...place } = told ?? { code: named, message: text };
  if (sentence !== null && code === 2) return new UserError(known, "input", message, place);
  if (sentence !== null && code === 4) return new UserError(known, "environment", message, known === noTorch ? { missing: "torch", python: interpreter.path } : {});
  const missing = /No module named '?([\w.]+)'?/.exec(stderr)?.[1];
  if (missing === "monet_torch" || missing === "torch") {
    return new UserError("M704", "environment", `Python at '${interpreter.path}' (found by ${interpreter.foundBy}) has no ${missing}: install it there or name another Python with --python.`, {
      missing,
      python: interpreter.path,
      known: { id: "no-package", path: interpreter.path, name: missing },
    });
  }
  const how = signal === null ? `with exit code ${code ?? "?"}` : `by ${signal}${signal === "SIGKILL" ? ", perhaps because memory ran out" : ""}`;
  const last = sentence ?? stderr.trim().split("\n").at(-1)?.trim() ?? "";
  return new UserError("M705", "crash", `The Python helper stopped ${how}${last === "" ? "" : `: ${last}`}`, { stderr, known: { id: "helper-stopped", code, signal, last } });
}
