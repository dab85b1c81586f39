/** The model's entry in `monet.json`, for who does not say the inputs on the command line. */
import { existsSync } from "node:fs";
import { dirname, join, relative, resolve, sep } from "node:path";
import { ConfigError, readConfig } from "../core/config";
import { settingsOf, type ProfileSettings } from "../helper/arguments";
import { wayWithin } from "../helper/files";
import { UserError } from "../helper/user_error";
import { readText } from "./files";
import type { Io } from "./io";
import type { Target } from "./target";

const name = "monet.json";

/** What is given goes before what the file says. */
export function configured<Options extends ProfileSettings>(io: Io, { file, model }: Target, options: Options): Options {
  if (options.input !== undefined && options.input.length > 0) return options;
  const found = nearest(io.cwd);
  const way = found === null ? null : wayWithin(dirname(found), resolve(io.cwd, file));
  if (found === null || way === null) return options;
  const path = relative(io.cwd, found);
  const text = readText(io, path, "settings file");
  try {
    const entry = readConfig(text).models[`${way.split(sep).join("/")}:${model}`];
    if (entry === undefined) return options;
    const given = Object.fromEntries(Object.entries(options).filter(([, value]) => !(Array.isArray(value) && value.length === 0)));
    return { ...settingsOf(entry), ...given } as Options;
  } catch (error) {
    if (error instanceof ConfigError) throw new UserError(error.code, "input", `${path}:${error.line}: ${error.message}.`, { path, line: error.line });
    throw error;
  }
}

function nearest(start: string): string | null {
  for (let folder = start; ; folder = dirname(folder)) {
    const file = join(folder, name);
    if (existsSync(file)) return file;
    if (folder === dirname(folder)) return null;
  }
}
