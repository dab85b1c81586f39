import type { ExitCode } from "../helper/exit";

/** What a command has to say: for people, and for programs (`--json`). */
export interface Outcome {
  readonly exit: ExitCode;
  readonly text: string;
  readonly json: unknown;
}
