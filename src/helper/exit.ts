import type { ErrorKind } from "./user_error";

/** docs/cli.md lists them for people. */
export const exitCodes = { ok: 0, differs: 1, input: 2, infeasible: 3, environment: 4, crash: 5, cancelled: 130 } as const;

export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

export function exitCodeOf(kind: ErrorKind): ExitCode {
  return exitCodes[kind];
}
