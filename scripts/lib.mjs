// What the scripts share. Node's own modules only: these run before anything is installed.
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, realpathSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

export const root = join(dirname(fileURLToPath(import.meta.url)), "..");
export const windows = process.platform === "win32";
export const venv = join(root, ".venv");
export const venvPython = windows ? join(venv, "Scripts", "python.exe") : join(venv, "bin", "python");

/** A failure that a person can act on: shown as its sentence, without a stack. */
export class SetupError extends Error {}

export function say(text) {
  console.log(`▸ ${text}`);
}

export function environment(extra = {}) {
  const pythonPath = [join(root, "python"), process.env.PYTHONPATH].filter(Boolean).join(windows ? ";" : ":");
  return { ...process.env, PYTHONPATH: pythonPath, MONET_PYTHON: venvPython, PYTHONUNBUFFERED: "1", ...extra };
}

/** Runs a program with its output shown; resolves to its exit code. */
export function run(program, args, options = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd: root, stdio: "inherit", ...options });
    child.on("error", reject);
    child.on("close", (code, signal) => {
      resolve(code ?? (signal === "SIGINT" ? 130 : 1));
    });
  });
}

export async function must(what, program, args, options = {}) {
  const code = await run(program, args, options);
  if (code !== 0) throw new SetupError(`${what} failed (exit code ${code}); what it printed is above.`);
}

/** npm runs as a script of this very Node where that is known: `npm` is a .cmd file on Windows. */
export function npm(args) {
  const script = process.env.npm_execpath;
  return script ? [process.execPath, [script, ...args]] : [windows ? "npm.cmd" : "npm", args];
}

export function hashOf(...files) {
  const hash = createHash("sha256");
  for (const file of files) if (existsSync(file)) hash.update(file.slice(root.length)).update(readFileSync(file));
  return hash.digest("hex");
}

const stamped = (file, hash) => existsSync(file) && readFileSync(file, "utf8").trim() === hash;

export function checkNode() {
  const [major] = process.versions.node.split(".").map(Number);
  if (major < 20) throw new SetupError(`Node ${process.versions.node} is too old: install Node 20 or newer and run this again.`);
}

export async function ensureNodeModules() {
  const stamp = join(root, "node_modules", ".monet-stamp");
  const hash = hashOf(join(root, "package-lock.json"));
  if (stamped(stamp, hash)) return say("npm packages: already installed");
  say("npm packages: installing (npm ci)");
  const [program, args] = npm(["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]);
  await must("Installing the npm packages", program, args);
  writeFileSync(stamp, `${hash}\n`);
}

/** What a Python prints for this code; undefined where there is no such program, or it fails. */
export function answers(program, code) {
  const result = spawnSync(program, ["-c", code], { encoding: "utf8" });
  return result.status === 0 ? result.stdout.trim() : undefined;
}

/** The first interpreter on the path that is new enough. */
function findPython() {
  const seen = [];
  for (const name of ["python3", "python3.13", "python3.12", "python3.11", "python3.10", "python"]) {
    const version = answers(name, "import sys; print('%d.%d' % sys.version_info[:2])");
    if (version === undefined) continue;
    const [major, minor] = version.split(".").map(Number);
    if (major === 3 && minor >= 10) return name;
    seen.push(`${name} is ${version}`);
  }
  throw new SetupError(`No Python 3.10 or newer was found${seen.length ? ` (${seen.join(", ")})` : ""}: install one and run this again.`);
}

/** Debian ships Python without `ensurepip`; its package has to be installed once. */
async function ensureVenvModule(python) {
  if (answers(python, "import venv, ensurepip") !== undefined) return;
  const version = answers(python, "import sys; print('python%d.%d-venv' % sys.version_info[:2])");
  const root = process.getuid?.() === 0;
  const apt = spawnSync("apt-get", ["--version"]).status === 0;
  if (!root || !apt) {
    throw new SetupError(`This Python can't make virtual environments: install its venv module (on Debian or Ubuntu: sudo apt-get install ${version}) and run this again.`);
  }
  say(`Python: installing ${version} with apt-get`);
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  await must("apt-get update", "apt-get", ["update", "-qq"], { env });
  await must(`Installing ${version}`, "apt-get", ["install", "-y", "-qq", version], { env });
}

export async function ensurePython() {
  const requirements = join(root, "scripts", "requirements.txt");
  const project = join(root, "python", "pyproject.toml");
  const stamp = join(venv, ".monet-stamp");
  const hash = hashOf(requirements, project);
  if (stamped(stamp, hash) && answers(venvPython, "print()") !== undefined) return say("Python environment: already installed");
  if (answers(venvPython, "import pip") === undefined) {
    const python = findPython();
    await ensureVenvModule(python);
    say(`Python environment: creating ${relative(root, venv)} with ${python}`);
    await must("Creating the virtual environment", python, ["-m", "venv", "--clear", venv]);
  }
  say("Python environment: installing torch and the checkers (a few minutes the first time)");
  const pip = ["-m", "pip", "install", "-qq", "--disable-pip-version-check"];
  await must("Installing torch", venvPython, [...pip, "-r", requirements]);
  await must("Installing monet_torch", venvPython, [...pip, "--no-deps", "-e", join(root, "python")]);
  writeFileSync(stamp, `${hash}\n`);
}

export async function setup() {
  checkNode();
  const both = await Promise.allSettled([ensureNodeModules(), ensurePython()]);
  for (const { reason } of both.filter(({ status }) => status === "rejected")) throw reason;
}

/** How many tests a report of pytest's (JUnit's XML) counts. */
export function pytestCounts(report) {
  const suite = /<testsuite [^>]*>/.exec(report)[0];
  const count = (name) => Number(new RegExp(` ${name}="(\\d+)"`).exec(suite)[1]);
  const failed = count("failures") + count("errors");
  return { passed: count("tests") - failed - count("skipped"), failed, skipped: count("skipped") };
}

/** True for the script that was started, false for one that was imported. */
export const isMain = (url) => process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(url);

/** Runs a script's main function; a SetupError is one sentence, everything else shows its stack. */
export async function main(body) {
  try {
    process.exitCode = (await body()) ?? 0;
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    console.error(`error: ${error.message}`);
    process.exitCode = 1;
  }
}
