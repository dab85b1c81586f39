import type { BuildCall, BuiltLayer } from "./layers";
import { covers, segments } from "./patterns";
import type { Call, InputHint, ModelRef } from "./types";
import type { Value } from "./outline";

function sizeOf(value: Value | undefined): number | null {
  if (value?.kind === "number") return value.value;
  return value?.kind === "choice" ? sizeOf(value.options.find((option) => option.kind === "number")) : null;
}

/** Sizes that a first try can afford. */
const images: Readonly<Record<string, (channels: number) => string>> = {
  Conv1d: (channels) => `float32[8,${channels},1024]`,
  Conv2d: (channels) => `float32[8,${channels},224,224]`,
  Conv3d: (channels) => `float32[2,${channels},16,112,112]`,
};

/** Layers that take whatever the next one takes. */
const passive = /^(Flatten|Identity|Dropout\w*|ReLU6?|GELU|SiLU)$/;

/** A class that is built inside of another takes what that one hands on: where its own text doesn't say how much, a guess would be wrong. */
function hintOf({ layer, call }: BuiltLayer, isPart: boolean): InputHint | null {
  const argument = (index: number, name: string): number | null =>
    sizeOf(call?.named.find((entry) => entry.key === name)?.value ?? call?.args[index]);
  const image = images[layer.type ?? ""];
  if (image !== undefined) {
    const channels = argument(0, "in_channels") ?? (isPart ? null : 3);
    return channels === null ? null : { kind: "image", spec: image(channels) };
  }
  if (layer.type === "Embedding") {
    const words = argument(0, "num_embeddings") ?? (isPart ? null : 1000);
    return words === null ? null : { kind: "tokens", spec: `int64[2,256]<${words}` };
  }
  const features = layer.type === "Linear" ? argument(0, "in_features") : null;
  return features === null ? null : { kind: "features", spec: `float32[8,${features}]` };
}

/** The first layer that `forward` calls says what goes in, if it is of a kind that tells. */
export function inputHint(
  layers: readonly BuiltLayer[], calls: readonly Call[], isPart: boolean, hintOfModel: (ref: ModelRef, call: BuildCall | null) => InputHint | null,
): InputHint | null {
  const called = calls.find((call) => call.path !== null && call.method === "forward")?.path;
  // A container without a forward of its own begins with its first layer.
  const first = called ?? layers.find(({ layer }) => layer.paths.some((path) => path === "0" || path === "*"))?.layer.paths[0];
  if (first === undefined) return null;
  const path = segments(first);
  const inside = layers.filter(({ layer }) => layer.paths.some((pattern) => covers(path, segments(pattern)) || covers(segments(pattern), path)));
  for (const built of inside) {
    if (built.layer.container || passive.test(built.layer.type ?? "")) continue;
    const hint = hintOf(built, isPart);
    if (hint !== null) return hint;
    const [model] = built.layer.models;
    return model === undefined ? null : hintOfModel(model, built.call);
  }
  return null;
}
