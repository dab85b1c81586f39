import * as l10n from "@vscode/l10n";
import { formatPercent } from "../../src/core/units";

/** An overhead as people say it. */
export function slower(overhead: number): string {
  const text = formatPercent(Math.abs(overhead));
  if (text === "0.0%") return l10n.t("no slower");
  return overhead > 0 ? l10n.t("{0} slower", text) : l10n.t("{0} faster", text);
}
