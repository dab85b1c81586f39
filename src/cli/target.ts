/** `FILE:MODEL` as people type it, checked before any Python is started. */
import { resolve } from "node:path";
import { wholeModels, type FileOutline } from "../core/source/index";
import { UserError } from "../helper/user_error";
import type { Io } from "./io";
import { readSources } from "./sources";

export interface Target {
  readonly file: string;
  readonly model: string;
}

/** For whose model is built somewhere inside, in main() for example. */
const entryHint = ` Where a function builds it, as main() does, add an entry function to that file or to one beside it, and name FILE:monet_entry:

def monet_entry():
    model = Net()                              # built as your script builds it
    inputs = (torch.randn(8, 3, 224, 224),)    # as model(*inputs); a dict for model(**inputs)
    loss_fn = lambda output: output.sum()      # or None
    return model, inputs, loss_fn`;

export function splitTarget(text: string): { file: string; model: string | null } {
  const match = /^(.*\.py):([^:\\/]+)$/.exec(text);
  const [, file, model] = match ?? [];
  return file === undefined || model === undefined ? { file: text, model: null } : { file, model };
}

export async function readTarget(io: Io, text: string): Promise<Target> {
  const { file, model } = splitTarget(text);
  const { asked, outlines } = await readSources(io, file);
  const outline = outlines.get(resolve(io.cwd, file));
  const [source] = asked;
  if (source === undefined || outline === undefined) throw new UserError("M604", "input", `'${file}' is a folder: name a file and a model in it, as FILE:MODEL.`);
  const names = wholeModels(source);
  if (model === null) {
    const [only] = names;
    if (names.length === 1 && only !== undefined) return { file, model: only };
    if (names.length === 0) throw new UserError("M605", "input", `There is no model in '${file}': name a file that defines one (a subclass of torch.nn.Module).${entryHint}`);
    throw new UserError("M606", "input", `Which model of '${file}'? Name one as ${file}:MODEL; it has ${names.join(", ")}.`, { models: names });
  }
  if (!defines(outline, model)) {
    const has = names.length === 0 ? "no model was found there" : `it has ${names.join(", ")}`;
    throw new UserError("M607", "input", `There is no model '${model}' in '${file}': ${has}.`, { models: names });
  }
  return { file, model };
}

function defines(outline: FileOutline, name: string): boolean {
  if (outline.wildcards.length > 0) return true;
  return outline.classes.has(name) || outline.functions.has(name) || outline.objects.has(name) || outline.imports.has(name);
}
