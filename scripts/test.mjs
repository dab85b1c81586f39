// Sets everything up, then runs every check and test. The last line is `N passed, N failed`.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { environment, main, root, run, say, setup, venvPython } from "./lib.mjs";

const bin = (name, path) => join(root, "node_modules", name, path);
const node = (script, ...args) => [process.execPath, [script, ...args]];
const python = (...args) => [venvPython, args, { cwd: join(root, "python") }];

const checks = [
  ["Types", node(bin("typescript", "bin/tsc"), "--noEmit")],
  ["Types of the webviews", node(bin("typescript", "bin/tsc"), "--noEmit", "-p", "webview")],
  ["Lint", node(bin("eslint", "bin/eslint.js"), ".", "--max-warnings", "0")],
  ["Build", node(join(root, "scripts", "build.mjs"))],
  ["Python lint (ruff)", python("-m", "ruff", "check", ".", "../examples", "../bench", "../test/fixtures")],
  ["Python types (mypy --strict)", python("-m", "mypy", "--strict", "monet_torch")],
];

function vitestCounts(file) {
  const report = JSON.parse(readFileSync(file, "utf8"));
  return { passed: report.numPassedTests, failed: report.numFailedTests };
}

function pytestCounts(file) {
  const suite = /<testsuite [^>]*>/.exec(readFileSync(file, "utf8"))[0];
  const count = (name) => Number(new RegExp(` ${name}="(\\d+)"`).exec(suite)[1]);
  const failed = count("failures") + count("errors");
  return { passed: count("tests") - failed - count("skipped"), failed };
}

/** A suite that broke before it could count is one failure: it must never look like nothing to do. */
async function suite(name, [program, args, options], report, counts) {
  say(name);
  const code = await run(program, args, { env: environment(), ...options });
  let result;
  try {
    result = counts(report);
  } catch {
    result = { passed: 0, failed: 1 };
  }
  return code !== 0 && result.failed === 0 ? { ...result, failed: 1 } : result;
}

await main(async () => {
  const started = Date.now();
  await setup();
  const broken = [];
  for (const [name, [program, args, options]] of checks) {
    say(name);
    if ((await run(program, args, { env: environment(), ...options })) !== 0) broken.push(name);
  }

  const reports = mkdtempSync(join(tmpdir(), "monet-test-"));
  const vitest = join(reports, "vitest.json");
  const pytest = join(reports, "pytest.xml");
  const suites = [
    await suite(
      "TypeScript tests (vitest)",
      node(bin("vitest", "vitest.mjs"), "run", "--reporter=default", "--reporter=json", `--outputFile.json=${vitest}`),
      vitest,
      vitestCounts,
    ),
    await suite("Python tests (pytest)", python("-m", "pytest", "-q", "tests", `--junitxml=${pytest}`), pytest, pytestCounts),
  ];
  rmSync(reports, { recursive: true });

  const passed = suites.reduce((sum, s) => sum + s.passed, 0);
  const failed = suites.reduce((sum, s) => sum + s.failed, broken.length);
  say(`Done in ${Math.round((Date.now() - started) / 1000)} s`);
  if (broken.length > 0) console.log(`Checks that failed, counted below: ${broken.join(", ")}`);
  console.log(`${passed} passed, ${failed} failed`);
  return failed > 0 ? 1 : 0;
});
