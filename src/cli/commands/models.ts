import { rootsOf, type Model, type SourceFile } from "../../core/source/index";
import { UserError } from "../../helper/user_error";
import { exitCodes } from "../../helper/exit";
import type { Io } from "../io";
import type { Outcome } from "../outcome";
import { readSources } from "../sources";
import { count, table } from "../table";

export async function models(io: Io, path: string): Promise<Outcome> {
  const { asked } = await readSources(io, path);
  const files = asked.filter((file) => file.models.length > 0 || file.sources.length > 0);
  if (files.length === 0) {
    throw new UserError("M605", "input", `There is no model in '${path}': a model is a subclass of torch.nn.Module, a function that returns one, or an entry function (monet_entry).`);
  }
  return { exit: exitCodes.ok, text: files.map((file) => fileText(file, asked)).join("\n"), json: { files } };
}

function fileText(file: SourceFile, all: readonly SourceFile[]): string {
  const sources = file.sources.map(({ name, kind, range }) => {
    const made = rootsOf(all, file.path, name).map((ref) => ref.name).join(" or ");
    return `  ${name}  ${kind}, line ${range.start.line + 1}${made === "" ? "" : `, gives ${made}`}\n`;
  });
  return `${file.path}\n${file.models.map(modelText).join("")}${sources.join("")}`;
}

function modelText({ name, range, layers, input }: Model): string {
  const hint = input === null ? "" : `, takes perhaps ${input.spec}`;
  const head = `  ${name}  line ${range.start.line + 1}, ${count(layers.length, "layer")}${hint}\n`;
  if (layers.length === 0) return head;
  const rows = layers.map((layer) => [layer.paths.join(" "), layer.type ?? "?", `line ${layer.range.start.line + 1}`]);
  return `${head}${table([{ title: "" }, { title: "" }, { title: "" }], rows, "    ")}\n`;
}
