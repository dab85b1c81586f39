/** A part of a model, named as its modules are (`encoder.layers.*`). */

/** Lines of Python that apply a plan to a part of `model`, or to each of its parts. */
export function applyLines(part: string, plan: string): string {
  const lines: string[] = [];
  let at = "model";
  for (const step of part.split(".")) {
    if (step === "*") {
      lines.push(`${"    ".repeat(lines.length)}for part${lines.length || ""} in ${at}:`);
      at = `part${lines.length - 1 || ""}`;
    } else at += /^\d+$/.test(step) ? `[${step}]` : `.${step}`;
  }
  return [...lines, `${"    ".repeat(lines.length)}monet_torch.apply(${at}, ${JSON.stringify(plan)})`].join("\n");
}

/** The parts that a sentence of the helper offers, those that keep most first. */
export const partsOffered = (sentence: string): string[] => [...sentence.matchAll(/--part '([^']+)'/g)].flatMap(([, part]) => (part === undefined ? [] : [part]));
