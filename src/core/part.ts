/** A part of a model, named as its modules are (`encoder.layers.*`). */

/** Lines of Python that apply a plan to a part of `model`, or to each of its parts. */
export const applyLines = (part: string, plan: string): string => callLines(part, (at) => `monet_torch.apply(${at}, ${JSON.stringify(plan)})`);

/** The same for any call; null: of the whole model. */
export function callLines(part: string | null, call: (at: string) => string): string {
  const lines: string[] = [];
  let at = "model";
  for (const step of part?.split(".") ?? []) {
    if (step === "*") {
      lines.push(`${"    ".repeat(lines.length)}for part${lines.length || ""} in ${at}:`);
      at = `part${lines.length - 1 || ""}`;
    } else at += /^\d+$/.test(step) ? `[${step}]` : `.${step}`;
  }
  return [...lines, `${"    ".repeat(lines.length)}${call(at)}`].join("\n");
}

/** The sentence without the words of the command line, for who chooses inputs and parts otherwise and is not asked for a file's name. */
export const withoutOptions = (sentence: string): string => sentence.replaceAll(/--(?:part|input|target) '/g, "'").replace(", or name another file with --out", "");

/** The parts that a sentence of the helper offers, those that keep most first. */
export const partsOffered = (sentence: string): string[] => [...sentence.matchAll(/--part '([^']+)'/g)].flatMap(([, part]) => (part === undefined ? [] : [part]));
