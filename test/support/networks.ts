import { Random } from "../../src/core/solve/random";
import type { Gradient, Graph, Implementation, Operator, Value } from "../../src/core/graph";

/** Sizes and times of a plausible CPU: what matters to a planner is that convolutions cost far more than what lies between them. */
const flopsPerNs = 60;
const bytesPerNs = 8;

interface OperatorSpec {
  readonly inputs: readonly number[];
  readonly shape: readonly number[];
  readonly flops?: number;
  readonly saves?: "input" | "output" | "inputs" | "both" | "none";
  readonly internal?: number;
  readonly inPlace?: boolean;
  readonly random?: boolean;
  readonly workspace?: number;
  readonly gradients?: readonly Gradient[];
  readonly view?: boolean;
}

/** Builds a graph of the format operator by operator. */
class Net {
  readonly values: Value[] = [];
  readonly operators: Operator[] = [];

  constant(kind: "input" | "parameter", shape: readonly number[]): number {
    return this.value(kind, shape, null, kind === "parameter");
  }

  op(name: string, spec: OperatorSpec): number {
    const id = this.operators.length;
    const base = this.values[spec.inputs[0]!]!;
    const output = this.value("activation", spec.shape, id, true, spec.view === true ? base.storage : undefined);
    const out = this.values[output]!;
    const activations = spec.inputs.map((k) => this.values[k]!.storage).filter((k) => this.values[k]!.kind === "activation");
    const saves = { input: activations.slice(0, 1), inputs: activations, output: [output], both: [...activations, output], none: [] }[spec.saves ?? "none"];
    const moved = spec.view === true ? 0 : [...spec.inputs, output].reduce((sum, k) => sum + 4 * elements(this.values[k]!.shape), 0);
    const time = spec.view === true ? 0 : Math.round((spec.flops ?? 0) / flopsPerNs + moved / bytesPerNs + 2000);
    const internal = spec.internal ?? 0;
    const gradients =
      spec.gradients ??
      spec.inputs.flatMap((k, input) => (this.values[k]!.requires_grad ? [{ input, bytes: 4 * elements(this.values[k]!.shape), alias: null, dense: true, view: false }] : []));
    const fresh = gradients.reduce((sum, gradient) => sum + gradient.bytes, 0);
    const workspace = spec.workspace ?? 0;
    const implementation: Implementation = {
      name: "eager",
      exactness: "bitwise",
      saves: [...new Set(saves)].sort((a, b) => a - b),
      internal_bytes: internal,
      forward: { time, peak: out.bytes + internal + workspace },
      recompute: { time, peak: out.bytes + internal + workspace },
      backward: gradients.length === 0 ? null : { time: 2 * time, peak: fresh + workspace, gradients },
    };
    this.operators.push({
      id, op: `aten.${name}`, module: `${name}${id}`, module_type: name, part: "model", source: null,
      inputs: spec.inputs, outputs: [output], in_place: spec.inPlace ?? false, random: spec.random ?? false, pinned: false, implementations: [implementation],
    });
    return output;
  }

  private value(kind: Value["kind"], shape: readonly number[], producer: number | null, requiresGrad: boolean, storage?: number): number {
    const id = this.values.length;
    this.values.push({
      id, name: `v${id}`, kind, shape, dtype: "float32", bytes: storage === undefined ? 4 * elements(shape) : 0, storage: storage ?? id, producer, requires_grad: requiresGrad,
    });
    return id;
  }

  conv(x: number, channels: number, kernel: number, stride = 1): number {
    const [batch = 1, from = 1, height = 1, width = 1] = this.values[x]!.shape;
    const shape = [batch, channels, Math.ceil(height / stride), Math.ceil(width / stride)];
    const weight = this.constant("parameter", [channels, from, kernel, kernel]);
    return this.op("conv2d", { inputs: [x, weight], shape, flops: 2 * elements(shape) * from * kernel * kernel, saves: "input", workspace: kernel === 1 ? 0 : elements(shape) });
  }

  norm(x: number): number {
    const { shape } = this.values[x]!;
    const channels = shape[1]!;
    const inputs = [x, this.constant("parameter", [channels]), this.constant("parameter", [channels])];
    return this.op("batch_norm", { inputs, shape, saves: "input", internal: 8 * channels });
  }

  relu(x: number): number {
    return this.op("relu_", { inputs: [x], shape: this.values[x]!.shape, saves: "output", inPlace: true });
  }

  add(a: number, b: number, inPlace: boolean): number {
    const gradients = [0, 1].map((input) => ({ input, bytes: 0, alias: 0, dense: true, view: false }));
    return this.op(inPlace ? "add_" : "add", { inputs: [a, b], shape: this.values[a]!.shape, inPlace, gradients });
  }

  pool(x: number, stride: number): number {
    const [batch = 1, channels = 1, height = 1, width = 1] = this.values[x]!.shape;
    const shape = [batch, channels, Math.ceil(height / stride), Math.ceil(width / stride)];
    return this.op("max_pool2d", { inputs: [x], shape, saves: "input", internal: 8 * elements(shape) });
  }

  linear(x: number, features: number, weight?: number): number {
    const { shape } = this.values[x]!;
    const from = shape.at(-1)!;
    const out = [...shape.slice(0, -1), features];
    return this.op("linear", { inputs: [x, weight ?? this.constant("parameter", [features, from])], shape: out, flops: 2 * elements(out) * from, saves: "input" });
  }

  layerNorm(x: number): number {
    const { shape } = this.values[x]!;
    const features = shape.at(-1)!;
    return this.op("layer_norm", {
      inputs: [x, this.constant("parameter", [features]), this.constant("parameter", [features])], shape, saves: "input", internal: (8 * elements(shape)) / features,
    });
  }

  dropout(x: number): number {
    const { shape } = this.values[x]!;
    return this.op("dropout", { inputs: [x], shape, internal: elements(shape), random: true });
  }

  loss(x: number): number {
    return this.op("sum", { inputs: [x], shape: [], gradients: [{ input: 0, bytes: 4, alias: null, dense: false, view: false }] });
  }

  finish(name: string, output: number): Graph {
    const total = (kind: Value["kind"]): number => this.values.filter((value) => value.kind === kind).reduce((sum, value) => sum + value.bytes, 0);
    return {
      format: "monet-graph", version: 1, hash: name, structure: name,
      made_from: { model: name },
      device: { type: "cpu", name: "generated", total_bytes: 2 ** 35, estimated: false },
      fixed: { parameters: total("parameter"), buffers: 0, inputs: total("input"), gradients: 0, optimizer: 2 * total("parameter") },
      gradients: "fresh",
      rng_state_bytes: 5056,
      values: this.values, operators: this.operators, outputs: [output],
    };
  }
}

const elements = (shape: readonly number[]): number => shape.reduce((product, extent) => product * extent, 1);

export function resnet50(batch = 8, blocks: readonly number[] = [3, 4, 6, 3]): Graph {
  const net = new Net();
  let x = net.pool(net.relu(net.norm(net.conv(net.constant("input", [batch, 3, 224, 224]), 64, 7, 2))), 2);
  blocks.forEach((count, stage) => {
    const width = 64 * 2 ** stage;
    for (let k = 0; k < count; k++) {
      const stride = k === 0 && stage > 0 ? 2 : 1;
      const identity = k === 0 ? net.norm(net.conv(x, 4 * width, 1, stride)) : x;
      const squeezed = net.relu(net.norm(net.conv(x, width, 1)));
      const spread = net.relu(net.norm(net.conv(squeezed, width, 3, stride)));
      x = net.relu(net.add(net.norm(net.conv(spread, 4 * width, 1)), identity, true));
    }
  });
  const channels = net.values[x]!.shape[1]!;
  const pooled = net.op("mean", { inputs: [x], shape: [batch, channels] });
  return net.finish("resnet50", net.loss(net.linear(pooled, 1000)));
}

export function unet(batch = 1, size = 256, depth = 4): Graph {
  const net = new Net();
  const double = (x: number, channels: number): number => net.relu(net.norm(net.conv(net.relu(net.norm(net.conv(x, channels, 3))), channels, 3)));
  let x = double(net.constant("input", [batch, 3, size, size]), 32);
  const skips: number[] = [];
  for (let level = 1; level <= depth; level++) {
    skips.push(x);
    x = double(net.pool(x, 2), 32 * 2 ** level);
  }
  for (let level = depth - 1; level >= 0; level--) {
    const skip = skips.pop()!;
    const [b = 1, channels = 1, height = 1, width = 1] = net.values[skip]!.shape;
    const up = net.op("upsample", { inputs: [net.conv(x, channels, 1)], shape: [b, channels, height, width] });
    x = double(net.op("cat", { inputs: [skip, up], shape: [b, 2 * channels, height, width] }), channels);
  }
  return net.finish("unet", net.loss(net.conv(x, 2, 1)));
}

export function gpt(batch = 2, tokens = 256, layers = 12, width = 768, heads = 12, vocabulary = 50257): Graph {
  const net = new Net();
  const ids = net.constant("input", [batch, tokens]);
  const table = net.constant("parameter", [vocabulary, width]);
  const flat = [batch, tokens, width];
  let x = net.dropout(net.op("embedding", { inputs: [ids, table], shape: flat }));
  for (let k = 0; k < layers; k++) {
    const qkv = net.linear(net.layerNorm(x), 3 * width);
    const split = net.op("view", { inputs: [qkv], shape: [batch, tokens, 3 * width], view: true, gradients: [{ input: 0, bytes: 0, alias: 0, dense: true, view: false }] });
    const attended = net.op("attention", {
      inputs: [split], shape: flat, saves: "input", internal: 3 * 4 * batch * heads * tokens * tokens, random: true,
      flops: 4 * batch * tokens * tokens * width, workspace: 4 * batch * heads * tokens * tokens,
    });
    x = net.add(x, net.dropout(net.linear(attended, width)), false);
    const wide = net.op("gelu", { inputs: [net.linear(net.layerNorm(x), 4 * width)], shape: [batch, tokens, 4 * width], saves: "input" });
    x = net.add(x, net.dropout(net.linear(wide, width)), false);
  }
  return net.finish("gpt", net.loss(net.linear(net.layerNorm(x), vocabulary, table)));
}

/** Blocks of layers that each see all before them in the block; between blocks half the channels and half the size. */
export function densenet(blocks: readonly number[] = [6, 12, 24, 16], batch = 8, growth = 32): Graph {
  const net = new Net();
  let x = net.pool(net.relu(net.norm(net.conv(net.constant("input", [batch, 3, 224, 224]), 2 * growth, 7, 2))), 2);
  blocks.forEach((count, k) => {
    for (let layer = 0; layer < count; layer++) {
      const narrow = net.conv(net.relu(net.norm(x)), 4 * growth, 1);
      const fresh = net.conv(net.relu(net.norm(narrow)), growth, 3);
      const [b = 1, channels = 1, height = 1, width = 1] = net.values[x]!.shape;
      x = net.op("cat", { inputs: [x, fresh], shape: [b, channels + growth, height, width] });
    }
    if (k < blocks.length - 1) x = net.pool(net.conv(net.relu(net.norm(x)), Math.floor(net.values[x]!.shape[1]! / 2), 1), 2);
  });
  const [b = 1, channels = 1] = net.values[x]!.shape;
  return net.finish("densenet", net.loss(net.linear(net.op("mean", { inputs: [x], shape: [b, channels] }), 1000)));
}

/** Operators that each read one of the last few values, and some a second: no blocks, no cuts. */
export function tangle(operators: number, seed = 1): Graph {
  const net = new Net();
  const random = new Random(seed);
  const values = [net.conv(net.constant("input", [4, 3, 64, 64]), 32, 3)];
  const recent = (): number => values.at(-1 - random.below(Math.min(8, values.length)))!;
  while (net.operators.length < operators - 1) {
    const dice = random.next();
    values.push(dice < 0.3 ? net.conv(recent(), 32, 3) : dice < 0.55 ? net.norm(recent()) : dice < 0.8 ? net.relu(net.norm(recent())) : net.add(recent(), recent(), false));
  }
  return net.finish("tangle", net.loss(values.at(-1)!));
}

/** A plain chain: convolutions and what lies between. */
export function chain(length: number): Graph {
  const net = new Net();
  let x = net.constant("input", [4, 8, 16, 16]);
  for (let k = 0; k < length; k++) x = net.relu(net.norm(net.conv(x, 8, 3)));
  return net.finish(`chain${length}`, net.loss(x));
}
