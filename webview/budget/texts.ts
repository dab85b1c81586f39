import * as l10n from "@vscode/l10n";
import { formatPercent } from "../../src/core/units";
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
