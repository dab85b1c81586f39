import type { ModelSource, SourceFile } from "./types";

/** Names of what can be trained by itself: functions and objects that give a model first, without what serves only as a layer. */
export function wholeModels({ models, sources }: Pick<SourceFile, "models" | "sources">): string[] {
  const parts = new Set(models.flatMap((model) => model.layers.flatMap((layer) => layer.models.map((ref) => ref.name))));
  const whole = models.filter(({ name }) => !parts.has(name)).map(({ name }) => name);
  const made = sources.map(({ name }) => name);
  return made.length > 0 ? [...made, ...whole.filter((name) => !sources.some((source) => source.models.some((ref) => ref.name === name)))] : whole;
}

/** `model = Net()` in a training script uses a model that another file defines; to profile it there would be to train. */
export function isUse({ kind, models }: ModelSource, path: string): boolean {
  return kind === "object" && models.length > 0 && models.every(({ file }) => file !== path);
}
