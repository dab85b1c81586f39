/** What went wrong for the person: their input, a budget that can't be met, their environment, or our helper. */
export type ErrorKind = "input" | "infeasible" | "environment" | "crash";

/** An error that is shown as its one sentence; anything else is unexpected. */
export class UserError extends Error {
  override readonly name = "UserError";

  constructor(
    readonly kind: ErrorKind,
    message: string,
    /** Further facts for a program that reads the error. */
    readonly facts: Readonly<Record<string, unknown>> = {},
  ) {
    super(message);
  }
}

/** The person stopped it. */
export class Cancelled extends Error {
  override readonly name = "Cancelled";

  constructor() {
    super("cancelled");
  }
}
