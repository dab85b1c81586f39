/** A child process that never outlives us: it has a process group of its own, which is killed as a whole. */
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { createInterface } from "node:readline";
import { Cancelled } from "./user_error";

export interface ProcessOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly signal?: AbortSignal | undefined;
  readonly onLine: (line: string) => void;
  /** Its standard input stays open as long as we live, so that it can end when we do, however that comes. */
  readonly tied?: boolean;
}

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stderr: string;
}

/** Milliseconds in which it may stop by itself: enough to take away a half-written file, and less than a large operator may run on. */
const grace = 500;

/** The end is what tells what went wrong. */
const stderrLimit = 64 * 1024;

function killGroup(child: ChildProcess, signal: "SIGTERM" | "SIGKILL"): void {
  if (child.pid === undefined) return;
  if (process.platform === "win32") {
    spawnSync("taskkill", ["/pid", String(child.pid), "/t", "/f"]);
    return;
  }
  try {
    process.kill(-child.pid, signal);
  } catch {
    // The whole group has ended already.
  }
}

export function runProcess(program: string, args: readonly string[], options: ProcessOptions): Promise<Ended> {
  return new Promise((resolve, reject) => {
    if (options.signal?.aborted === true) {
      reject(new Cancelled());
      return;
    }
    const child = spawn(program, args, {
      cwd: options.cwd,
      env: options.env,
      stdio: ["pipe", "pipe", "pipe"],
      detached: process.platform !== "win32",
      windowsHide: true,
    });
    child.stdin.on("error", () => undefined); // it has closed its own end
    if (options.tied !== true) child.stdin.end();
    let stderr = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr = (stderr + text).slice(-stderrLimit);
    });
    createInterface({ input: child.stdout, crlfDelay: Number.POSITIVE_INFINITY }).on("line", options.onLine);

    let timer: NodeJS.Timeout | undefined;
    const onAbort = (): void => {
      killGroup(child, "SIGTERM");
      timer = setTimeout(() => {
        killGroup(child, "SIGKILL");
      }, grace);
    };
    const onExit = (): void => {
      killGroup(child, "SIGKILL");
    };
    options.signal?.addEventListener("abort", onAbort, { once: true });
    process.once("exit", onExit);
    const settle = (): void => {
      clearTimeout(timer);
      options.signal?.removeEventListener("abort", onAbort);
      process.removeListener("exit", onExit);
    };
    child.once("error", (error) => {
      settle();
      reject(error);
    });
    child.once("exit", () => {
      // A grandchild that holds the pipes open would keep us waiting for `close`.
      if (options.signal?.aborted === true) killGroup(child, "SIGKILL");
    });
    child.once("close", (code, signal) => {
      settle();
      if (options.signal?.aborted === true) reject(new Cancelled());
      else resolve({ code, signal, stderr });
    });
  });
}
