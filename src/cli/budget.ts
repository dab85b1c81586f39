/** A budget as a command line has it, and as a sentence says it. */
import { forgottenUnit, formatBytes, parseBudget, type Budget } from "../core/units";
import { UserError } from "../helper/user_error";

export function readBudget(text: string): Budget {
  const budget = parseBudget(text);
  if (budget === null) throw new UserError("M609", "input", `'${text}' is no budget: write bytes (6GiB, 512MiB), a share of what activations take (60%), max, or eager.`);
  return budget;
}

export function saidBudget(bytes: number): string {
  const forgotten = forgottenUnit(bytes);
  if (forgotten === null) return formatBytes(bytes);
  return `${formatBytes(bytes)} (a number without a unit is bytes${forgotten.percent === null ? "" : `, ${forgotten.percent}% a share of what activations take`})`;
}
