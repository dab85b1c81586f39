import type { BackwardNode, ForwardNode, Instance } from "./instance";
import type { Schedule } from "./schedule";

export interface Verdict {
  /** In units of 10 µs. */
  readonly objective: number;
  /** The largest left side of any memory row. */
  readonly peakBytes: number;
  /** Rows of the program that do not hold, as sentences. */
  readonly violations: readonly string[];
}

/**
 * MONeT's integer program, row by row as the README beside the instances writes it, in its letters:
 * t a stage, i, j, u, v forward columns, p a path, c an algorithm. No solver is involved: what a solver
 * claims is judged here.
 */
export function check(instance: Instance, schedule: Schedule, budgetBytes: number): Verdict {
  const shape = misshapen(instance, schedule);
  if (shape.length > 0) return { objective: NaN, peakBytes: NaN, violations: shape };
  const program = new Program(instance, schedule);
  const { peak, violations } = memory(program, budgetBytes / 1024);
  return { objective: objective(program), peakBytes: peak * 1024, violations: [...logic(program), ...violations] };
}

const kibOf = (bytes: number): number => Math.ceil(bytes / 1024);
const kibOfWorkspace = (mib: number): number => Math.ceil(mib * 1024);
const cost = (ms: number): number => Math.ceil(ms * 100);

/** What has to hold before the rows can be read at all. */
function misshapen({ V, T, bwd, fwd }: Instance, { R, P, S, M, IP, RF }: Schedule): string[] {
  const found: string[] = [];
  for (const [letter, stages, expected] of [["R", R, T], ["P", P, T], ["S", S, T + 1], ["IP", IP, T]] as const) {
    if (stages.length !== expected) found.push(`${letter} has ${stages.length} stages instead of ${expected}`);
    if (stages.some((stage) => stage.some((i) => !Number.isInteger(i) || i < 0 || i >= V))) found.push(`${letter} names a forward node that is none`);
  }
  if (M.length !== T) found.push(`M has ${M.length} stages instead of ${T}`);
  const algorithms = new Map([...fwd, ...bwd].map(({ conv_idx, ms }) => [conv_idx, ms.length]));
  if (RF.some(([t, l, c]) => !(t >= 0 && t < T) || !(c >= 0 && c < (algorithms.get(l) ?? 0)))) found.push("RF names a stage, convolution or algorithm that is none");
  return found;
}

/** Nodes and variables by their indices. */
class Program {
  readonly V: number;
  readonly T: number;
  readonly R: Binary;
  readonly P: Binary;
  readonly S: Binary;
  readonly IP: Binary;
  private readonly chosen = new Map<string, Set<number>>();

  constructor(
    readonly instance: Instance,
    private readonly schedule: Schedule,
  ) {
    this.V = instance.V;
    this.T = instance.T;
    this.R = binary(schedule.R, this.V);
    this.P = binary(schedule.P, this.V);
    this.S = binary(schedule.S, this.V);
    this.IP = binary(schedule.IP, this.V);
    for (const [t, l, c] of schedule.RF) {
      const key = `${t} ${l}`;
      this.chosen.set(key, (this.chosen.get(key) ?? new Set()).add(c));
    }
  }

  forward(i: number): ForwardNode {
    return present(this.instance.fwd[i]);
  }

  /** b(t); stage 0 has the loss in its place. */
  backward(t: number): BackwardNode | ForwardNode {
    return t === 0 ? this.forward(this.instance.loss) : present(this.instance.bwd[t - 1]);
  }

  node(id: number): BackwardNode | ForwardNode {
    return id <= this.instance.loss ? this.forward(id) : this.backward(id - this.instance.loss);
  }

  /** D(t, ·): forward tensors that each path of b(t) needs. */
  needs(t: number): readonly (readonly number[])[] {
    const b = this.backward(t);
    return b.kind === "bwd" ? b.deps_fwd : b.args;
  }

  path(t: number): number {
    return present(this.schedule.M[t]);
  }

  /** The c with RF[t,l,c] = 1, for the convolution at this node. */
  algorithms(t: number, { conv_idx }: ForwardNode | BackwardNode): readonly number[] {
    return [...(this.chosen.get(`${t} ${conv_idx ?? -1}`) ?? [])];
  }
}

type Binary = (t: number, i: number) => 0 | 1;

function binary(stages: readonly (readonly number[])[], V: number): Binary {
  const ones = new Uint8Array(stages.length * V);
  for (const [t, stage] of stages.entries()) for (const i of stage) ones[t * V + i] = 1;
  return (t, i) => (ones[t * V + i] === 1 ? 1 : 0);
}

function present<T>(value: T | undefined): T {
  if (value === undefined) throw new RangeError("An index of the program is out of range.");
  return value;
}

function* range(from: number, to: number): Generator<number> {
  for (let at = from; at < to; at++) yield at;
}

function sum(items: Iterable<number>, term: (item: number) => number): number {
  let total = 0;
  for (const item of items) total += term(item);
  return total;
}

/** The same over from ≤ i < to. */
function sumOver(from: number, to: number, term: (i: number) => number): number {
  let total = 0;
  for (let i = from; i < to; i++) total += term(i);
  return total;
}

function objective(program: Program): number {
  const { T, V, R, IP } = program;
  return sumOver(0, T, (t) => {
    const forward = sumOver(0, V, (i) => {
      const node = program.forward(i);
      if (node.conv_idx !== undefined) return sum(program.algorithms(t, node), (c) => cost(present(node.ms[c])));
      const ms = t === 0 ? node.ms : (node.re_ms ?? node.ms);
      const inPlace = IP(t, i) === 1 && node.ip_ms !== undefined ? cost(present(node.ip_ms[0])) - cost(present(node.ms[0])) : 0;
      return R(t, i) * cost(present(ms[0])) + inPlace;
    });
    if (t === 0) return forward;
    const b = program.backward(t);
    if (b.conv_idx !== undefined) return forward + sum(program.algorithms(t, b), (c) => cost(present(b.ms[c])));
    return forward + cost(b.ms[program.path(t)] ?? NaN);
  });
}

function logic(program: Program): string[] {
  const { instance, T, V, R, P, S, IP } = program;
  const found: string[] = [];
  const name = (id: number): string => `${id} ${program.node(id).op}`;

  for (const i of range(0, V)) {
    if (S(0, i) === 1) found.push(`${name(i)} is stored before anything is computed`);
    if (program.forward(i).kind === "fwd" && R(0, i) === 0) found.push(`stage 0: ${name(i)} is not computed in the forward pass`);
  }

  for (const t of range(0, T)) {
    const fail = (what: string): number => found.push(`stage ${t}: ${what}`);

    for (const i of range(0, V)) {
      const node = program.forward(i);
      if (S(t + 1, i) > S(t, i) + P(t, i)) fail(`${name(i)} is stored and was neither stored nor computed (or was overwritten)`);
      if (P(t, i) > R(t, i)) fail(`${name(i)} is present and not computed`);
      if (IP(t, i) > R(t, i)) fail(`${name(i)} runs in place and is not computed`);
      if (IP(t, i) === 1 && (node.inplace_of === undefined || !instance.do_inplace)) fail(`${name(i)} can't run in place and does`);
      if (!instance.do_inplace && P(t, i) !== R(t, i)) fail(`${name(i)} is overwritten where nothing runs in place`);
      for (const u of node.args[0]) {
        if (R(t, i) > R(t, u) + S(t, u)) fail(`${name(i)} is computed from ${name(u)}, which is neither computed nor stored`);
      }
      for (const [, n] of node.intermediates ?? []) {
        if (R(t, n) > R(t, i)) fail(`${name(n)} is computed without ${name(i)}`);
        if (node.inplace_of === undefined) continue;
        if (IP(t, n) < IP(t, i) + R(t, n) - 1) fail(`${name(n)} is computed out of place while ${name(i)} runs in place`);
        if (IP(t, n) > IP(t, i)) fail(`${name(n)} runs in place while ${name(i)} does not`);
      }
      const u = node.inplace_of;
      if (node.kind === "fwd" && u !== undefined) {
        if (P(t, u) < R(t, u) - 2 * IP(t, i)) fail(`${name(u)} is computed and not overwritten by ${name(i)}, and yet not present`);
        if (P(t, u) > 2 - 2 * IP(t, i)) fail(`${name(u)} is overwritten by ${name(i)} and yet present`);
        if (S(t + 1, u) > 2 - 2 * IP(t, i)) fail(`${name(u)} is overwritten by ${name(i)} and yet stored`);
      }
      if (node.conv_idx !== undefined && R(t, i) > program.algorithms(t, node).length) fail(`${name(i)} is computed by no algorithm`);
    }

    const needed = program.needs(t)[program.path(t)];
    const b = program.backward(t);
    if (needed === undefined || (t === 0 && program.path(t) !== 0)) fail(`${name(b.id)} takes path ${program.path(t)}, which it does not have`);
    for (const u of t === 0 ? [] : (needed ?? [])) {
      if (P(t, u) + S(t + 1, u) === 0) fail(`${name(b.id)} needs ${name(u)}, which is neither present nor stored`);
    }
    if (t > 0 && b.conv_idx !== undefined && program.algorithms(t, b).length === 0) fail(`${name(b.id)} is computed by no algorithm`);

    for (const { id, conv_idx, ms } of [...instance.fwd, ...instance.bwd]) {
      if (conv_idx === undefined) continue;
      const algorithms = program.algorithms(t, program.node(id));
      if (algorithms.length > 0 && id > instance.loss && id !== instance.loss + t) fail(`${name(id)} is computed in a stage that is not its own`);
      for (const c of algorithms) if (present(ms[c]) < 0) fail(`${name(id)} is computed by algorithm ${c}, which failed`);
    }
  }
  return found;
}

/** The largest left side in KiB, and of each stage the row that exceeds the budget most. */
function memory(program: Program, budget: number): { peak: number; violations: string[] } {
  const { instance, T, V, R, S, IP } = program;
  const { loss } = instance;
  const ram = instance.fwd.map(({ mem_bytes }) => kibOf(mem_bytes));
  const local = instance.fwd.map(({ local_mem_bytes }) => kibOf(local_mem_bytes));
  const localTensors = instance.fwd.map(({ local_tensors }) => new Set(local_tensors));
  const size = (i: number): number => present(ram[i]);
  const fixed = (id: number): number => kibOf(program.node(id).fixed_mem_bytes);

  /** W(t, j). */
  const workspace = (t: number, j: number): number => {
    const node = program.forward(j);
    const out = t === 0 ? node.ws_mib : (node.re_ws_mib ?? node.ws_mib);
    if (node.conv_idx !== undefined) return sum(program.algorithms(t, node), (c) => kibOfWorkspace(present(out[c])));
    const plain = kibOfWorkspace(present(out[0]));
    const inPlace = node.ip_ms === undefined ? plain : kibOfWorkspace(present(node.ip_ws_mib?.[0]));
    return R(t, j) * plain + IP(t, j) * (inPlace - plain);
  };

  const violations: string[] = [];
  let peak = 0;
  for (const t of range(0, T)) {
    let worst = { kib: 0, row: "" };
    const row = (kib: number, what: () => string): void => {
      if (kib > worst.kib) worst = { kib, row: what() };
    };
    const b = program.backward(t);
    const needed = new Set(program.needs(t)[program.path(t)]);
    const localOfB = t === 0 ? 0 : kibOf(b.local_mem_bytes);
    const G = fixed(b.id - 1) + localOfB;

    for (const j of range(0, V)) {
      const before = (i: number): number => size(i) * S(t, i);
      const after = (i: number): number => size(i) * S(t + 1, i);
      const K = sum(needed, (i) => (i < j ? size(i) * (1 - S(t + 1, i)) : 0));
      const a = G + sumOver(j, V, before) + sumOver(0, j, after) + K;
      row(a, () => `row (a) before ${j} ${program.forward(j).op}`);

      const locals = present(localTensors[j]);
      const computing = workspace(t, j) + (size(j) + present(local[j])) * R(t, j);
      const others = sumOver(0, j, (i) => (locals.has(i) ? 0 : after(i)));
      row(G + computing + sumOver(j + 1, V, before) + others + K, () => `row (b) at ${j} ${program.forward(j).op}`);
    }

    if (t > 0) {
      const workspaceOfB = b.conv_idx === undefined ? kibOfWorkspace(b.ws_mib[program.path(t)] ?? NaN) : sum(program.algorithms(t, b), (c) => kibOfWorkspace(present(b.ws_mib[c])));
      const held = sum(needed, size) + sumOver(0, loss + 1, (i) => (needed.has(i) ? 0 : size(i) * S(t + 1, i)));
      row(workspaceOfB + localOfB + fixed(b.id) + kibOf(b.mem_bytes) + held, () => `row (c) at ${b.id} ${b.op}`);
    }

    peak = Math.max(peak, worst.kib);
    if (worst.kib > budget) violations.push(`stage ${t}: ${worst.row} takes ${worst.kib} KiB of ${budget} KiB`);
  }
  return { peak, violations };
}
