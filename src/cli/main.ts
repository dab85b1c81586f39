import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { exitCodes } from "../helper/exit";
import type { Io } from "./io";
import { runCli } from "./program";
import { workerSolver } from "./worker_solver";

const dist = dirname(fileURLToPath(import.meta.url));
const controller = new AbortController();

/** The first time it stops what runs, in order; the second time it doesn't wait. */
const stop = (): void => {
  if (controller.signal.aborted) process.exit(exitCodes.cancelled);
  controller.abort();
};
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, stop);
// `monet show plan.json | head` closes the pipe early, which is no error.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(exitCodes.ok);
  throw error;
});

const io: Io = {
  out: (text) => process.stdout.write(text),
  err: (text) => process.stderr.write(text),
  errIsTerminal: process.stderr.isTTY,
  cwd: process.cwd(),
  env: process.env,
  signal: controller.signal,
  dist,
  packages: join(dist, "..", "python"),
};

process.exitCode = await runCli(process.argv.slice(2), io, workerSolver(join(dist, "solver-worker.mjs")));
