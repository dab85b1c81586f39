import { check } from "./check";
import type { Instance } from "./instance";
import type { Schedule } from "./schedule";

const fastest = (ms: readonly number[]): number => {
  const working = ms.flatMap((each, algorithm) => (each < 0 ? [] : [{ each, algorithm }]));
  return working.reduce((best, next) => (next.each < best.each ? next : best)).algorithm;
};

/** Everything that a later first path needs is kept, nothing runs again or in place, and each convolution takes its fastest algorithm. */
export function eagerSchedule({ fwd, bwd, T }: Instance): Schedule {
  const empty = (): number[][] => Array.from({ length: T }, () => []);
  const computed = empty();
  computed[0] = fwd.filter(({ kind }) => kind === "fwd").map(({ id }) => id);
  const S: number[][] = [...empty(), []];
  const needed = new Set<number>();
  // b(t) finds what it needs in S[t+1]; S[1] is all that the backward pass needs.
  for (let t = T - 1; t >= 0; t--) {
    for (const i of bwd[t - 1]?.deps_fwd[0] ?? []) needed.add(i);
    S[t + 1] = [...needed].sort((a, b) => a - b);
  }
  const RF = [...fwd, ...bwd].flatMap(({ id, conv_idx, ms }) =>
    conv_idx === undefined ? [] : [[Math.max(0, id - fwd.length + 1), conv_idx, fastest(ms)] as const]);
  return { R: computed, P: computed, S, M: Array.from({ length: T }, () => 0), IP: empty(), RF };
}

const gib = 2 ** 30;

export const eagerPeak = (instance: Instance): number => check(instance, eagerSchedule(instance), Infinity).peakBytes;

/** No schedule takes less: each backward node beside its gradients and the smallest of what its paths need. */
export function leastPeak({ fwd, bwd }: Instance): number {
  const size = (id: number): number => fwd[id]?.mem_bytes ?? 0;
  const needs = bwd.map(({ mem_bytes, fixed_mem_bytes, local_mem_bytes, deps_fwd, ws_mib, ms }) => {
    const workspace = Math.min(...ws_mib.filter((_, at) => (ms[at] ?? 0) >= 0)) * 2 ** 20;
    return workspace + local_mem_bytes + fixed_mem_bytes + mem_bytes + Math.min(...deps_fwd.map((path) => path.reduce((all, id) => all + size(id), 0)));
  });
  return Math.max(...needs);
}

/** Every whole GiB between what is needed at least and what eager takes. */
export function ladder(instance: Instance): readonly number[] {
  const from = Math.ceil(leastPeak(instance) / gib);
  const to = Math.floor(eagerPeak(instance) / gib);
  return Array.from({ length: Math.max(0, to - from + 1) }, (_, at) => from + at);
}
