import { integers, lists, readDocument } from "./document";

/**
 * A published training step with what every operator and implementation costs. Field names are those of the document;
 * the README beside the published instances says what they mean and which program they pose.
 */
export interface Instance {
  readonly format: "monet-instance-v1";
  readonly model: string;
  readonly batch_size: number;
  readonly mode: string;
  readonly select_conv_algo: boolean;
  readonly do_inplace: boolean;
  /** The id of the dummy node between forward and backward. */
  readonly loss: number;
  /** Forward columns: `loss + 1`. */
  readonly V: number;
  /** Stages: the forward pass, then one per backward node. */
  readonly T: number;
  readonly n_nodes: number;
  /** Forward nodes and the loss; ids are places. */
  readonly fwd: readonly ForwardNode[];
  /** Backward nodes; the first has the id `loss + 1`. */
  readonly bwd: readonly BackwardNode[];
}

interface Node {
  readonly id: number;
  readonly op: string;
  readonly mem_bytes: number;
  readonly fixed_mem_bytes: number;
  readonly local_mem_bytes: number;
  readonly local_tensors: readonly number[];
  /** One per algorithm of a convolution whose algorithm is chosen, else one per path. */
  readonly ws_mib: readonly number[];
  readonly ms: readonly number[];
  /** Only where the algorithm of a convolution is chosen: its place in RF. */
  readonly conv_idx?: number;
}

export interface ForwardNode extends Node {
  readonly kind: "fwd" | "int";
  /** A forward node has one path. */
  readonly args: readonly [inputs: readonly number[]];
  /** Where recomputing differs from computing. */
  readonly re_ws_mib?: readonly number[];
  readonly re_ms?: readonly number[];
  /** Where the node can run in place, over the output of this one. */
  readonly inplace_of?: number;
  readonly ip_ws_mib?: readonly number[];
  readonly ip_ms?: readonly number[];
  /** The int nodes that make what a path of this node's backward needs. */
  readonly intermediates?: readonly (readonly [path: number, node: number])[];
  /** Of an int node. */
  readonly parent?: number;
}

export interface BackwardNode extends Node {
  readonly kind: "bwd";
  readonly fwd_id: number;
  /** Forward tensors that each path needs, the loss among them. */
  readonly deps_fwd: readonly (readonly number[])[];
}

export type Mode = "i" | "im" | "icmn";

const modes: Readonly<Record<string, Mode>> = {
  inplace_normal: "i",
  inplace_multiway: "im",
  inplace_conv_multiway_newnode: "icmn",
};

/** The short name of an instance's mode, if it is one of the three with best-known objectives. */
export const modeOf = ({ mode }: Instance): Mode | null => modes[mode] ?? null;

const whole = { type: "integer", minimum: 0 };
const numbers = { type: "array", items: { type: "number" }, minItems: 1 };
const common = {
  id: whole, op: { type: "string" }, mem_bytes: whole, fixed_mem_bytes: whole, local_mem_bytes: whole, local_tensors: integers,
  ws_mib: numbers, ms: numbers, conv_idx: whole,
};
const always = ["id", "kind", "op", "mem_bytes", "fixed_mem_bytes", "local_mem_bytes", "local_tensors", "ws_mib", "ms"];
const forward = {
  type: "object",
  required: [...always, "args"],
  dependencies: { inplace_of: ["ip_ws_mib", "ip_ms"], re_ms: ["re_ws_mib"] },
  properties: {
    ...common,
    kind: { enum: ["fwd", "int"] },
    args: { ...lists, minItems: 1, maxItems: 1 },
    re_ws_mib: numbers, re_ms: numbers, ip_ws_mib: numbers, ip_ms: numbers, inplace_of: whole, parent: whole,
    intermediates: { type: "array", items: { ...integers, minItems: 2, maxItems: 2 } },
  },
  if: { properties: { kind: { const: "int" } } },
  then: { required: ["parent"] },
};
const backward = {
  type: "object",
  required: [...always, "fwd_id", "deps_fwd"],
  properties: { ...common, kind: { const: "bwd" }, fwd_id: whole, deps_fwd: { ...lists, minItems: 1, maxItems: 3 } },
};
const schema = {
  type: "object",
  required: ["format", "model", "batch_size", "mode", "select_conv_algo", "do_inplace", "loss", "V", "T", "n_nodes", "fwd", "bwd"],
  properties: {
    format: { const: "monet-instance-v1" },
    model: { type: "string" }, mode: { type: "string" }, batch_size: whole,
    select_conv_algo: { type: "boolean" }, do_inplace: { type: "boolean" },
    loss: { type: "integer", minimum: 1 }, V: whole, T: whole, n_nodes: whole,
    fwd: { type: "array", items: forward },
    bwd: { type: "array", items: backward, minItems: 1 },
  },
};

export function parseInstance(text: string, file: string): Instance {
  return readDocument<Instance>(text, file, "MONeT instance", schema, flaw);
}

/** What holds between fields. */
function flaw(instance: Instance): string | null {
  const { loss, V, T, n_nodes, fwd, bwd, select_conv_algo } = instance;
  if (V !== loss + 1 || fwd.length !== V || T !== n_nodes - loss || bwd.length !== T - 1) return "its numbers of nodes contradict each other";
  const nodes = [...fwd, ...bwd];
  const convolutions = new Set<number>();
  for (const [place, node] of nodes.entries()) {
    if (node.id !== place) return `node ${place} has the id ${node.id}`;
    const wrong = node.kind === "bwd" ? backwardFlaw(node, loss) : forwardFlaw(node, fwd);
    if (wrong !== null) return `node ${place} ${wrong}`;
    if (node.ms.length !== node.ws_mib.length) return `node ${place} does not have one workspace for each time`;
    if (node.local_tensors.some((tensor) => tensor >= place)) return `node ${place} needs a tensor that is made later`;
    if (node.conv_idx === undefined) {
      if (node.ms.some((ms) => ms < 0)) return `node ${place} is no convolution and has a negative time`;
    } else {
      if (!select_conv_algo) return `node ${place} chooses an algorithm in a mode that does not`;
      if (node.ms.every((ms) => ms < 0)) return `no algorithm of node ${place} works`;
      convolutions.add(node.conv_idx);
    }
  }
  const chosen = nodes.filter(({ conv_idx }) => conv_idx !== undefined).length;
  if (convolutions.size !== chosen || [...convolutions].some((index) => index >= chosen)) return "its conv_idx do not count its convolutions";
  return null;
}

function forwardFlaw({ id, args, inplace_of, intermediates, parent }: ForwardNode, fwd: readonly ForwardNode[]): string | null {
  if (args[0].some((input) => input >= id)) return "has an input that is made later";
  if (inplace_of !== undefined && inplace_of >= id) return "runs in place over one that is made later";
  if (parent !== undefined && parent >= id) return "comes before its parent";
  if (intermediates?.some(([, int]) => fwd[int]?.parent !== id)) return "has an intermediate that does not name it as parent";
  return null;
}

function backwardFlaw({ deps_fwd, ms, conv_idx }: BackwardNode, loss: number): string | null {
  if (deps_fwd.some((path) => path.some((tensor) => tensor > loss))) return "needs a forward tensor that is none";
  if (conv_idx === undefined && ms.length < deps_fwd.length) return "has fewer times than paths";
  return null;
}
