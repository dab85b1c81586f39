// What of other people's architectures can be planned: a table in docs/coverage.md. `npm run zoo -- --help` lists the options.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { environment, hashOf, main, must, root, run, say, setup, venvPython } from "./lib.mjs";

const folder = join(root, ".cache", "zoo");
const zoo = join(root, "bench", "zoo");
const python = join(folder, "venv", process.platform === "win32" ? "Scripts/python.exe" : "bin/python");

/** An environment of its own beside the project's: the same torch, and what people build models with, where it installs. */
async function ensureZoo() {
  const wanted = join(zoo, "requirements.txt");
  const stamp = join(folder, "stamp");
  const hash = hashOf(wanted, join(root, "scripts", "requirements.txt"));
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === hash) return say("Zoo: environment already there");
  say("Zoo: making an environment (some minutes the first time)");
  mkdirSync(folder, { recursive: true });
  await must("Creating the virtual environment", venvPython, ["-m", "venv", "--clear", join(folder, "venv")]);
  const pip = ["-m", "pip", "install", "-qq", "--disable-pip-version-check"];
  await must("Installing torch", python, [...pip, "-r", join(root, "scripts", "requirements.txt")]);
  for (const requirement of readFileSync(wanted, "utf8").split("\n").filter(Boolean)) {
    // torchvision names the one torch it is built for; with that torch pinned, another build of it stays in place.
    const code = await run(python, [...pip, "-c", join(root, "scripts", "requirements.txt"), requirement]);
    if (code !== 0) say(`Zoo: ${requirement} does not install here; its models are listed as not tried`);
  }
  writeFileSync(stamp, hash);
}

await main(async () => {
  await setup();
  say("Building the command line");
  await must("The build", process.execPath, [join(root, "scripts", "build.mjs")]);
  await ensureZoo();
  const table = join(root, "docs", "coverage.md");
  return run(python, [join(zoo, "run.py"), "--work", folder, "--table", table, ...process.argv.slice(2)], { env: environment() });
});
