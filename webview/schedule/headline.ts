/** The five numbers that answer "is it good?". */
import * as l10n from "@vscode/l10n";
import { formatBytes, formatDuration, formatPercent } from "../../src/core/units";
import type { ScheduleState } from "../../src/protocol";

export interface Headline {
  readonly title: string;
  readonly value: string;
  readonly note: string;
  readonly good?: boolean;
}

/** A bound that says this little is said to. */
const tight = 0.1;

export function headlines(state: ScheduleState): Headline[] {
  const { peak, eagerPeak, budget, overhead, recomputeTime, gap, kept, offloaded, recomputed, changed } = state;
  const saved = peak / eagerPeak - 1;
  return [
    { title: l10n.t("Peak memory"), value: formatBytes(peak), note: l10n.t("eager {0}", formatBytes(eagerPeak)) },
    { title: l10n.t("Saved"), value: formatPercent(saved), note: budget === null ? l10n.t("no budget") : peak <= budget ? l10n.t("within budget {0}", formatBytes(budget)) : l10n.t("above budget {0}", formatBytes(budget)), good: saved < 0 && (budget === null || peak <= budget) },
    { title: l10n.t("Step time"), value: formatPercent(overhead, { sign: true }), note: l10n.t("{0} recomputed", formatDuration(recomputeTime)) },
    { title: l10n.t("Any other plan"), ...proven(gap) },
    { title: l10n.t("Activations"), value: offloaded === 0 ? l10n.t("{0} kept · {1} recomputed", kept, recomputed) : l10n.t("{0} kept · {1} offloaded · {2} recomputed", kept, offloaded, recomputed), note: changedText(changed) },
  ];
}

/** A gap as what another plan could gain: unlike the gap it is never more than the whole step. */
function proven(gap: number | null): Pick<Headline, "value" | "note"> {
  if (gap === null) return { value: "–", note: l10n.t("nothing proven") };
  const gain = 1 - 1 / (1 + Math.max(0, gap));
  if (gain < 0.0005) return { value: l10n.t("no faster"), note: l10n.t("proven for this budget") };
  return { value: l10n.t("at most {0} faster", formatPercent(gain)), note: gain < tight ? l10n.t("proven for this budget") : l10n.t("a loose bound: how much is really possible is not known") };
}

function changedText(changed: number): string {
  if (changed === 0) return l10n.t("all operators as in eager");
  return changed === 1 ? l10n.t("1 operator runs another way") : l10n.t("{0} operators run another way", changed);
}

export const titleOf = ({ model }: ScheduleState): string => l10n.t("{0} · training step", model.name);

export function subtitleOf({ model, line, inputs, batch, device }: ScheduleState): string {
  return [
    ...(batch === null ? [] : [l10n.t("batch {0}", batch)]),
    ...inputs,
    device.estimated ? l10n.t("{0} (estimated)", device.name) : device.name,
    `${model.file}:${line}`,
  ].join(" · ");
}
