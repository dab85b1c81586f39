/** Memory and time of a place in the model: a layer, a call, a module, the whole. Operators of loops and shared layers are summed. */
import { chosen, explain, keptBytes, offloadedBytes, type Explanation, type OperatorRow } from "./explain";
import type { Gradient, Graph, Operator } from "./graph";
import type { Plan } from "./plan";

export interface Numbers {
  /** Their ids, ascending. */
  readonly operators: readonly number[];
  /** Nanoseconds, by the chosen implementations, without what is recomputed. */
  readonly forward: number;
  readonly backward: number;
  /** Bytes of the tensors that they make. */
  readonly output: number;
  /** Bytes that their backward unpacks: activations, each storage once, and internals. */
  readonly saved: number;
  /** The most that any of them takes beyond what it leaves behind. */
  readonly workspace: number;
  /** Bytes that they make and that are held from forward to backward, by the plan and by eager. */
  readonly kept: number;
  readonly keptByEager: number;
  /** Bytes that they make and that are in host memory for a while. */
  readonly offloaded: number;
  /** Bytes of what the plan makes again in backward, and the nanoseconds that all these runs take. */
  readonly recomputed: number;
  readonly recomputeTime: number;
  /** Nanoseconds beyond eager: recomputes, and slower or faster implementations. */
  readonly extraTime: number;
}

/** A plan with everything that the surfaces ask of it, computed once. */
export interface Explained {
  readonly graph: Graph;
  readonly plan: Plan;
  readonly explanation: Explanation;
}

export const explained = (graph: Graph, plan: Plan): Explained => ({ graph, plan, explanation: explain(graph, plan) });

export function numbersOf({ graph, plan, explanation }: Explained, ids: readonly number[]): Numbers {
  const saved = new Set<number>();
  let [forward, backward, output, internals, workspace] = [0, 0, 0, 0, 0];
  let [kept, keptByEager, offloaded, recomputed, recomputeTime, extraTime] = [0, 0, 0, 0, 0, 0];
  for (const id of ids) {
    const operator = graph.operators[id];
    const row = explanation.operators[id];
    if (operator === undefined || row === undefined) continue;
    const implementation = chosen(operator, plan);
    forward += row.forwardTime;
    backward += implementation.backward?.time ?? 0;
    const made = madeBytes(graph, operator);
    output += made;
    if (implementation.backward !== null) {
      for (const storage of implementation.saves) saved.add(storage);
      internals += implementation.internal_bytes;
    }
    workspace = Math.max(workspace, workspaceOf(graph, operator, plan));
    kept += keptBytes(row.tensors);
    keptByEager += keptBytes(row.tensors) + row.savedBytes;
    offloaded += offloadedBytes(row.tensors);
    recomputed += recomputedBytes(row);
    recomputeTime += row.recomputeTime;
    extraTime += row.extraTime;
  }
  const savedBytes = [...saved].reduce((sum, id) => sum + (graph.values[id]?.bytes ?? 0), internals);
  return { operators: ids, forward, backward, output, saved: savedBytes, workspace, kept, keptByEager, offloaded, recomputed, recomputeTime, extraTime };
}

/** Bytes of the storages that an operator makes. */
export function madeBytes(graph: Graph, { outputs }: Operator): number {
  return outputs.reduce((sum, id) => sum + (graph.values[id]?.storage === id ? graph.values[id].bytes : 0), 0);
}

/** The most an operator takes at any moment beyond what it leaves behind, over forward and backward. */
export function workspaceOf(graph: Graph, operator: Operator, plan: Plan | null): number {
  const { forward, backward, internal_bytes: internal } = chosen(operator, plan);
  const inForward = forward.peak - madeBytes(graph, operator) - internal;
  const made = (gradients: readonly Gradient[] = []): number => gradients.reduce((sum, { alias, bytes }) => sum + (alias === null ? bytes : 0), 0);
  const { rest } = backward ?? {};
  return Math.max(0, inForward, (backward?.peak ?? 0) - made(backward?.gradients), (rest?.peak ?? 0) - made(rest?.gradients));
}

function recomputedBytes({ tensors }: OperatorRow): number {
  return tensors.reduce((sum, { fate, bytes }) => (fate === "recomputed" || fate === "retained" ? sum + bytes : sum), 0);
}

/** A part of the module tree. The root has the path "". */
export interface ModuleNode {
  readonly path: string;
  /** Its own name, the last part of the path. */
  readonly name: string;
  readonly type: string;
  readonly operators: readonly number[];
  readonly children: readonly ModuleNode[];
}

/** The modules that run operators, as a tree in order of first use. */
export function moduleTree(graph: Graph): ModuleNode {
  interface Building { path: string; name: string; type: string; operators: number[]; children: Map<string, Building> }
  const root: Building = { path: "", name: "", type: "", operators: [], children: new Map() };
  for (const operator of graph.operators) {
    let node = root;
    node.operators.push(operator.id);
    const names = operator.module === "" ? [] : operator.module.split(".");
    names.forEach((name, depth) => {
      const known = node.children.get(name);
      const child = known ?? { path: names.slice(0, depth + 1).join("."), name, type: "", operators: [], children: new Map<string, Building>() };
      if (known === undefined) node.children.set(name, child);
      child.operators.push(operator.id);
      node = child;
    });
    if (node.type === "") node.type = operator.module_type.split(".").at(-1) ?? "";
  }
  const finish = (node: Building): ModuleNode => ({ ...node, children: [...node.children.values()].map(finish) });
  return finish(root);
}
