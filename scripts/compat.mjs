// With which versions of PyTorch and of Python the Python tests pass: a table in docs/compat.md. `npm run compat -- --help`.
// Each pair gets an environment of its own in .cache/compat (git-ignored), which is deleted when its tests have run: PyTorch
// with CUDA takes 6 GB. Results are kept there, so that naming a pair mends one row.
import { spawnSync } from "node:child_process";
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { arch, devNull, homedir, platform } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { answers, environment, main, pytestCounts, root, run, say, windows } from "./lib.mjs";

const newest = "newest";
const torches = ["2.6.0", "2.9.1", "2.13.0", "2.14.1", newest];
const pythons = ["3.10", "3.11", "3.12", "3.13"];
/** Every PyTorch with the Python that we work with, every Python with the PyTorch that we work with, and the far corners. */
const pairs = torches.flatMap((torch) => pythons.map((python) => ({ torch, python }))).filter(
  ({ torch, python }) =>
    python === "3.11" || torch === "2.13.0" || (torch === torches[0] && python === pythons[0]) || (torch === newest && python === pythons.at(-1)),
);

/**
 * The files whose tests lean most on PyTorch: tracing, measuring, every operator, and whatever models and training loops do.
 * Others are added at the end: a row that is kept says how many of them it ran.
 */
const part = ["capture", "measure", "private", "operators", "operators_approximate", "between_steps", "honest", "peoples_models", "training_loops", "opaque", "compiled", "export", "operators_attention", "operators_convolution", "operators_curves", "operators_weight_first", "operators_activated", "implementations_in_every_state", "operators_linear", "operators_overwriting"].map((name) => `tests/test_${name}.py`);

const diskOfOne = 12e9; // bytes: the environment, and what pip unpacks on the way
const folder = join(root, ".cache", "compat");
const kept = join(folder, "results.json");
const nameOf = ({ torch, python }) => `${torch}/${python}`;

/** An interpreter of that version: on the path, or one of pyenv's. */
function interpreter(version) {
  const pyenv = join(process.env.PYENV_ROOT ?? join(homedir(), ".pyenv"), "versions");
  const installed = existsSync(pyenv) ? readdirSync(pyenv).filter((name) => name.startsWith(`${version}.`)).sort() : [];
  const candidates = [`python${version}`, ...installed.map((name) => join(pyenv, name, "bin", "python"))];
  return candidates.find((program) => answers(program, "import venv, ensurepip, sys; print('%d.%d' % sys.version_info[:2])") === version);
}

/** Runs a program with its output in a file; resolves to its exit code. */
async function logged(file, program, args, options = {}) {
  const output = openSync(file, "w");
  try {
    return await run(program, args, { stdio: ["ignore", output, output], ...options });
  } finally {
    closeSync(output);
  }
}

/** The last commit that changed what is tested, with a star where it has changed since; undefined outside of git. */
function tested() {
  const git = (...args) => spawnSync("git", [...args, "--", "python"], { cwd: root, encoding: "utf8" }).stdout?.trim();
  const commit = git("log", "-1", "--format=%h");
  return commit ? `${commit}${git("status", "--porcelain") ? "*" : ""}` : undefined;
}

const lastLine = (file) => readFileSync(file, "utf8").trim().split("\n").findLast((line) => line.includes("ERROR") || line.includes("Error")) ?? "";

const unescaped = (text) => text.replace(/&(?:#(\d+)|(amp|lt|gt|quot|apos));/g, (_, code, name) => (code ? String.fromCodePoint(Number(code)) : { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" }[name]));

/** Why tests were skipped, each reason once. */
const reasons = (report) => [...new Set([...report.matchAll(/<skipped [^>]*message="([^"]*)"/g)].map(([, message]) => unescaped(message)))];

const failures = (report) =>
  [...report.matchAll(/<testcase classname="tests\.([^"]*)" name="([^"]*)"[^>]*>\s*<(?:failure|error)/g)].map(([, file, name]) => `${file}: ${unescaped(name)}`);

/** One line for each test, however many of its cases failed. */
function byTest(names) {
  const testOf = (name) => name.replace(/\[.*/s, "");
  return [...new Set(names.map(testOf))].map((test) => {
    const cases = names.filter((name) => testOf(name) === test);
    return cases.length > 1 ? `${test} (${cases.length} cases)` : cases[0];
  });
}

async function attempt({ torch, python }, whole) {
  const date = new Date().toISOString().slice(0, 10);
  const program = interpreter(python);
  if (program === undefined) return { date, untested: `no Python ${python} was found` };
  const { bavail, bsize } = statfsSync(folder);
  if (bavail * bsize < diskOfOne) return { date, untested: `less than ${diskOfOne / 1e9} GB of disk are free` };

  const place = join(folder, `torch-${torch}-python-${python}`);
  const file = (suffix) => `${place}.${suffix}`;
  const own = join(place, windows ? "Scripts/python.exe" : "bin/python");
  try {
    if ((await logged(file("install.log"), program, ["-m", "venv", "--clear", place])) !== 0) return { date, untested: lastLine(file("install.log")) };
    const others = readFileSync(join(root, "scripts", "requirements.txt"), "utf8").split("\n").filter((line) => /^(numpy|setuptools|pytest)\b/.test(line));
    const install = ["-m", "pip", "install", "-q", "--disable-pip-version-check", torch === newest ? "torch" : `torch==${torch}`, ...others];
    // What a machine's settings hold pip to is not what this is to find out.
    const code = await logged(file("install.log"), own, install, { env: { ...process.env, PIP_CONSTRAINT: devNull } });
    if (code !== 0) return { date, untested: lastLine(file("install.log")).replace(/^ERROR: /, "") };

    const versions = answers(own, "import torch, platform; print(torch.__version__, platform.python_version())")?.split(" ");
    if (versions === undefined) return { date, untested: "torch was installed, and can't be imported" };
    const tests = [...(whole ? ["tests"] : part), "-q", "-p", "no:cacheprovider", `--junitxml=${file("xml")}`];
    const commit = tested();
    rmSync(file("xml"), { force: true }); // of a run before
    await logged(file("log"), own, ["-m", "pytest", ...tests], { cwd: join(root, "python"), env: environment() });
    if (!existsSync(file("xml"))) return { date, untested: `the tests broke off: ${lastLine(file("log"))}` };
    const report = readFileSync(file("xml"), "utf8");
    return { date, versions, tests: whole ? "all" : `${part.length} files`, commit, ...pytestCounts(report), failures: failures(report), reasons: reasons(report) };
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}

function table(results) {
  const rows = pairs.map((pair) => ({ ...pair, ...(results[nameOf(pair)] ?? { untested: "not tried in this run" }) }));
  const ran = rows.filter((row) => row.untested === undefined);
  const line = ({ versions: [torch, python], date, commit, tests, passed, failed, skipped }) =>
    `| ${torch} | ${python} | ${tests} | ${passed} | ${failed} | ${skipped} | ${commit ?? "?"} | ${date} |`;
  const skips = new Set(ran.flatMap((row) => row.reasons));
  const list = (title, items) => (items.length === 0 ? [] : ["", title, "", ...items.map((item) => `- ${item}`)]);
  return [
    "# With which versions of PyTorch and Python",
    "",
    `Made by \`npm run compat\` (${platform()}, ${arch()}, no card). Each row is an environment of its own, in which the Python tests ran: all, or the files that lean most on PyTorch, the first so many of ${part.map((name) => `\`${name.slice("tests/".length)}\``).join(", ")}. Beside the result stands the commit of \`python/\` (with a star: and what was changed since). What differs between versions is in \`python/monet_torch/_private.py\`.`,
    "",
    "| PyTorch | Python | tests | passed | failed | skipped | commit | on |",
    "|---|---|---|--:|--:|--:|---|---|",
    ...ran.map(line),
    ...list("Failed:", ran.flatMap(({ versions: [torch, python], failures: names }) => byTest(names).map((name) => `PyTorch ${torch}, Python ${python}: ${name}`))),
    ...list("Skipped, and why:", [...skips].sort()),
    ...list("Untested:", rows.filter((row) => row.untested !== undefined).map((row) => `PyTorch ${row.torch}, Python ${row.python}: ${row.untested}`)),
    "",
  ].join("\n");
}

const help = `npm run compat -- [--whole] [PAIR …]
  --whole   all Python tests, not the part (some 10 minutes each)
  PAIR      these alone, of ${pairs.map(nameOf).join(" ")}`;

await main(async () => {
  const options = { help: { type: "boolean" }, whole: { type: "boolean", default: false } };
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  if (values.help) return console.log(help);
  mkdirSync(folder, { recursive: true });
  const results = existsSync(kept) ? JSON.parse(readFileSync(kept, "utf8")) : {};
  const chosen = pairs.filter((pair) => positionals.length === 0 || positionals.includes(nameOf(pair)));
  for (const pair of chosen) {
    say(`PyTorch ${pair.torch}, Python ${pair.python}`);
    const result = await attempt(pair, values.whole);
    results[nameOf(pair)] = result;
    say(result.untested === undefined ? `  ${result.passed} passed, ${result.failed} failed, ${result.skipped} skipped` : `  untested: ${result.untested}`);
    writeFileSync(kept, JSON.stringify(results, null, 1));
    writeFileSync(join(root, "docs", "compat.md"), table(results));
  }
  return chosen.some((pair) => results[nameOf(pair)].failed > 0) ? 1 : 0;
});
