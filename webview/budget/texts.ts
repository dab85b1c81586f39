import * as l10n from "@vscode/l10n";
import { forgottenUnit, formatBytes, formatPercent, parseBudget } from "../../src/core/units";
import type { ApplyStep, BudgetPoint } from "../../src/protocol";

/** An overhead as people say it. */
export function slower(overhead: number): string {
  const text = formatPercent(Math.abs(overhead));
  if (text === "0.0%") return l10n.t("no slower");
  return overhead > 0 ? l10n.t("{0} slower", text) : l10n.t("{0} faster", text);
}

/** No plan can be faster, as far as people are told. */
export const isBest = ({ overhead, bound }: BudgetPoint): boolean => bound !== null && overhead - bound < 0.0005;

/** That the plan is written, and what another Apply is good for. */
export function appliedText(left: readonly ApplyStep[]): string {
  const written = l10n.t("✓ This plan is in the plan file beside the model.");
  const inScript = left.includes("script");
  const inEnvironment = left.includes("runtime");
  if (!inScript && !inEnvironment) return written;
  const more = inScript && inEnvironment ? l10n.t("Apply again to insert the two lines into a script or to install the runtime.")
    : inScript ? l10n.t("Apply again to insert the two lines into a script.")
    : l10n.t("Apply again to install the runtime.");
  return `${written} ${more}`;
}

/** What is wrong with a budget that was typed; null where it can be searched for. */
export function budgetProblem(text: string): string | null {
  const budget = parseBudget(text);
  if (budget === null) return l10n.t("“{0}” is no budget. Write bytes with a unit, such as 6.5 GiB or 800 MiB, or a share such as 60%.", text);
  const bytes = budget.kind === "bytes" ? budget.bytes : Number.POSITIVE_INFINITY;
  const forgotten = forgottenUnit(bytes);
  if (forgotten === null) return null;
  const said = formatBytes(bytes);
  return forgotten.percent === null
    ? l10n.t("{0} is no budget: a number without a unit is bytes. Write a unit, as in 6.5 GiB or 800 MiB.", said)
    : l10n.t("{0} is no budget: a number without a unit is bytes. Write {1}% for a share, or a unit, as in 6.5 GiB or 800 MiB.", said, forgotten.percent);
}
