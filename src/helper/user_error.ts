/** What went wrong for the person: their input, a budget that can't be met, their environment, or our helper. */
export type ErrorKind = "input" | "infeasible" | "environment" | "crash";

/** What went wrong with Python, as data: the editor says it in the person's language and in its own terms. */
export type Known =
  | { readonly id: "no-python" }
  | { readonly id: "no-such-python"; readonly path: string; readonly namedBy: string }
  | { readonly id: "python-cannot-start"; readonly path: string; readonly reason: string }
  | { readonly id: "no-package"; readonly path: string; readonly name: string }
  /** By a signal or with an exit code; `last` is the last line that it said. */
  | { readonly id: "helper-stopped"; readonly code: number | null; readonly signal: string | null; readonly last: string };

/** An error that is shown as its one sentence; anything else is unexpected. `code` is its row in docs/errors.md. */
export class UserError extends Error {
  override readonly name = "UserError";

  constructor(
    readonly code: string,
    readonly kind: ErrorKind,
    message: string,
    /** Further facts for a program that reads the error. */
    readonly facts: Readonly<Record<string, unknown>> & { readonly known?: Known } = {},
  ) {
    super(message);
  }
}

/** The row of docs/errors.md for what nobody foresaw. */
export const unexpected = "M709";

/** As people see it: the sentence, and the code by which docs/errors.md says more. */
export function coded(sentence: string, code: string): string {
  return `${sentence} [${code}]`;
}

/** The person stopped it. */
export class Cancelled extends Error {
  override readonly name = "Cancelled";

  constructor() {
    super("cancelled");
  }
}
