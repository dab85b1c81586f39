/** What a person reads in the editor about numbers of the core. */
import { l10n } from "vscode";
import type { Graph } from "../core/graph";
import type { Numbers } from "../core/numbers";
import { formatBytes, formatDuration, formatPercent } from "../core/units";
import type { Why } from "../core/why";

/** What the editor shows of an inlay hint by default. */
const hintLength = 43;

export const staleText = (text: string): string => l10n.t("stale · {0}", text);

export interface Standing {
  /** The code has changed since it was profiled. */
  readonly stale: boolean;
  /** The device wasn't there: times come from a table. */
  readonly estimated: boolean;
}

/** `◆ 392 MiB kept · ↻ 98 MiB recomputed +1.2 ms`, in fewer words where that is too long; null where there is nothing to say. */
export function hintText({ kept, offloaded, recomputed, recomputeTime }: Numbers, { stale, estimated }: Standing): string | null {
  const keeps = kept > 0;
  const recomputes = recomputed > 0 || recomputeTime > 0;
  const offloads = offloaded > 0;
  if (!keeps && !offloads && !recomputes) return null;
  const time = recomputeTime > 0 ? `+${estimated ? "~" : ""}${formatDuration(recomputeTime)}` : "";
  const again = recomputed > 0 ? `↻ ${formatBytes(recomputed)}` : "↻";
  const away = offloads ? `⇄ ${formatBytes(offloaded)}` : "";
  const inFull = [keeps ? l10n.t("◆ {0} kept", formatBytes(kept)) : "", offloads ? l10n.t("{0} offloaded", away) : "", recomputes ? l10n.t("{0} recomputed {1}", again, time).trim() : ""];
  const inShort = [keeps ? `◆ ${formatBytes(kept)}` : "", away, recomputes ? `${again} ${time}`.trim() : ""];
  const ways = [inFull, [inFull[0], inFull[1], inShort[2]], [inFull[0], inShort[1], inShort[2]], inShort, [inShort[0], away, recomputes ? again : ""]].map((parts) => parts.filter((part) => part !== "").join(" · ")).map((text) => (stale ? staleText(text) : text));
  return ways.find((text) => text.length <= hintLength) ?? ways.at(-1) ?? null;
}

/** `peak 7.43 GiB → 3.60 GiB (+6.1%)`. */
export function peakText(eagerPeak: number, { peak, overhead }: { readonly peak: number; readonly overhead: number }, estimated: boolean): string {
  const values = [formatBytes(eagerPeak), formatBytes(peak), formatPercent(overhead, { sign: true })] as const;
  return estimated ? l10n.t("estimated peak {0} → {1} ({2})", ...values) : l10n.t("peak {0} → {1} ({2})", ...values);
}

/** What the numbers come from. */
export function deviceText({ name, estimated }: Graph["device"]): string {
  return estimated ? l10n.t("Estimated for {0}", name) : l10n.t("Measured on {0}", name);
}

/** Why a tensor is kept or recomputed: what the step would be otherwise. The budget is null where there is no limit. */
export function whyText(answer: Why, graph: Graph, budget: number | null): string {
  const { otherwise, rent } = answer;
  const effect = effectText(answer, graph, budget);
  if (otherwise === null || rent === null) return effect;
  if (rent < 1) return l10n.t("{0} While it is held, memory is not short.", effect);
  return l10n.t("{0} The memory that keeping it takes is worth {1} of recomputing elsewhere.", effect, formatDuration(rent));
}

function effectText({ does, otherwise, peak, time }: Why, graph: Graph, budget: number | null): string {
  if (otherwise === null) return l10n.t("It is always kept: the step returns it, an opaque block saves it, or its operator must not run twice.");
  const place = momentText(graph, otherwise.at);
  const rise = otherwise.peak - peak;
  if (does === "keeps") {
    const cost = formatDuration(Math.max(0, otherwise.time - time));
    if (rise > 0) return l10n.t("Recomputing it would take {0} more and raise the peak to {1} ({2}).", cost, formatBytes(otherwise.peak), place);
    if (rise === 0) return l10n.t("Recomputing it would take {0} more and not lower the peak.", cost);
    return l10n.t("Recomputing it would take {0} more and lower the peak by {1}, which this budget doesn't need.", cost, formatBytes(-rise));
  }
  const gain = formatDuration(Math.max(0, time - otherwise.time));
  if (does === "offloads") {
    if (rise <= 0) return l10n.t("Keeping it on the device would take {0} less and not raise the peak.", gain);
    return l10n.t("Keeping it on the device would take {0} less and raise the peak to {1} ({2}).", gain, formatBytes(otherwise.peak), place);
  }
  if (rise <= 0) return l10n.t("Keeping it would take {0} less and not raise the peak.", gain);
  if (budget === null || otherwise.peak <= budget) return l10n.t("Keeping it would take {0} less and raise the peak to {1} ({2}).", gain, formatBytes(otherwise.peak), place);
  return l10n.t("Keeping it would raise the peak to {0} ({1}), {2} over the budget.", formatBytes(otherwise.peak), place, formatBytes(otherwise.peak - budget));
}

type Moment = NonNullable<Why["otherwise"]>["at"];

function momentText({ operators }: Graph, { kind, operator }: Moment): string {
  const found = operators[operator];
  const name = found === undefined ? "" : found.module === "" ? found.op : found.module;
  if (kind === "forward") return l10n.t("at {0} forward", name);
  return kind === "recompute" ? l10n.t("where {0} is recomputed", name) : l10n.t("at {0} backward", name);
}
