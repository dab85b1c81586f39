import type { Result } from "./result";

const whole = (value: number | null): string => (value === null || !Number.isFinite(value) ? "–" : String(Math.round(value)));
const percent = (share: number | null, digits = 2): string => (share === null || !Number.isFinite(share) ? "–" : `${(share * 100).toFixed(digits)}%`);
const signed = (share: number | null): string => (share !== null && share >= 0 && Number.isFinite(share) ? `+${percent(share)}` : percent(share));
const seconds = (value: number | null): string => (value === null ? "–" : value.toFixed(1));

const columns: readonly (readonly [title: string, cell: (result: Result) => string])[] = [
  ["GiB", ({ budgetGib }) => budgetGib.toFixed(2)],
  ["Gurobi", ({ best }) => (best?.status === "infeasible" ? "infeasible" : whole(best?.objective ?? null))],
  ["bound", ({ best }) => whole(best?.bound ?? null)],
  ["gap", ({ best }) => percent((best?.gap_percent ?? NaN) / 100)],
  ["median", ({ objective }) => whole(objective.median)],
  ["best", ({ objective }) => whole(objective.best)],
  ["worst", ({ objective }) => whole(objective.worst)],
  ["on Gurobi", ({ aboveGurobi }) => signed(aboveGurobi)],
  ["our bound", ({ bound }) => whole(bound)],
  ["our gap", ({ gap }) => percent(gap)],
  ["search s", ({ seconds: { search } }) => seconds(search)],
  ["LP s", ({ seconds: { lp } }) => seconds(lp)],
  ["bound s", ({ seconds: { bound } }) => seconds(bound)],
  ["check", ({ problems, schedules }) => (problems.length > 0 ? "FAILED" : schedules === 0 ? "nothing" : "passed")],
];

/** One row per budget, and below it what failed. */
export function table(results: readonly Result[]): string {
  const cells = results.map((result) => columns.map(([, cell]) => cell(result)));
  const widths = columns.map(([title], at) => Math.max(title.length, ...cells.map((row) => row[at]?.length ?? 0)));
  const line = (row: readonly string[]): string => row.map((cell, at) => cell.padStart(widths[at] ?? 0)).join("  ");
  const failures = results.flatMap(({ budgetGib, problems }) => problems.map((problem) => `  ${budgetGib} GiB, ${problem}`));
  return [line(columns.map(([title]) => title)), ...cells.map(line), ...failures].join("\n");
}

interface Target {
  readonly what: string;
  readonly concerns: (result: Result) => boolean;
  /** What is measured, to be at most `limit`; null counts as a miss. */
  readonly value: (result: Result) => number | null;
  readonly limit: number;
  readonly show: (value: number) => string;
}

const feasible = ({ best }: Result): boolean => best?.status !== "infeasible";
const known = ({ best }: Result): boolean => best !== null && best.objective !== null;
const full = ({ mode }: Result): boolean => mode === "icmn";
const gap = ({ gap }: Result): number | null => gap;
const above = ({ aboveGurobi }: Result): number | null => aboveGurobi;
const smaller = ["unet", "vgg16"];

const targets: readonly Target[] = [
  { what: "full mode: median at most 0.1% above Gurobi", concerns: (r) => full(r) && known(r), value: above, limit: 0.001, show: signed },
  {
    what: "ResNet-50, full mode, 5 and 6 GiB: at least 0.4% below Gurobi",
    concerns: (r) => full(r) && known(r) && r.model === "resnet50" && (r.budgetGib === 5 || r.budgetGib === 6),
    value: above, limit: -0.004, show: signed,
  },
  { what: "other modes: median at most 0.2% above Gurobi", concerns: (r) => r.mode !== null && !full(r) && known(r), value: above, limit: 0.002, show: signed },
  { what: "full mode: certified gap, ResNet-50: at most 1%", concerns: (r) => r.model === "resnet50" && full(r) && feasible(r), value: gap, limit: 0.01, show: percent },
  { what: "full mode: certified gap, UNet and VGG-16: at most 3%", concerns: (r) => smaller.includes(r.model) && full(r) && feasible(r), value: gap, limit: 0.03, show: percent },
  { what: "search and bound, slowest seed: at most 10 s", concerns: () => true, value: (r) => r.seconds.total, limit: 10, show: (value) => `${value.toFixed(1)} s` },
];

/** Each target with how many points meet it and the one that is furthest from it. */
export function summary(results: readonly Result[]): string {
  return targets.flatMap(({ what, concerns, value, limit, show }) => {
    const measured = results.filter(concerns).map((result) => ({ result, value: value(result) ?? Infinity }));
    const [first, ...others] = measured;
    if (first === undefined) return [];
    const worst = others.reduce((furthest, next) => (next.value > furthest.value ? next : furthest), first);
    const met = measured.filter(({ value }) => value <= limit).length;
    const { model, mode, budgetGib } = worst.result;
    return `${met === measured.length ? "met   " : "missed"}  ${what}: ${met} of ${measured.length} points; worst ${worst.value === Infinity ? "none" : show(worst.value)} (${model} ${mode ?? ""} ${budgetGib} GiB)`;
  }).join("\n");
}
