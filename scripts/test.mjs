// Sets everything up, then runs every check and test. The last line is `N passed, N failed`.
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ensureEditor } from "./editor.mjs";
import { environment, main, pytestCounts, root, run, say, setup, SetupError, venvPython } from "./lib.mjs";
import { pack } from "./package.mjs";

const bin = (name, path) => join(root, "node_modules", name, path);
const node = (script, ...args) => [process.execPath, [script, ...args]];
const python = (...args) => [venvPython, args, { cwd: join(root, "python") }];

/** What runs vitest with its counts in a file. */
const vitest = (report, ...args) =>
  node(bin("vitest", "vitest.mjs"), "run", "--reporter=default", "--reporter=json", `--outputFile.json=${report}`, ...args);

const checksOfTypeScript = [
  ["Types", node(bin("typescript", "bin/tsc"), "--noEmit")],
  ["Types of the webviews", node(bin("typescript", "bin/tsc"), "--noEmit", "-p", "webview")],
  ["Lint", node(bin("eslint", "bin/eslint.js"), ".", "--max-warnings", "0")],
  ["Build", node(join(root, "scripts", "build.mjs"))],
];
const checksOfPython = [
  ["Python lint (ruff)", python("-m", "ruff", "check", ".", "../examples", "../bench", "../test/fixtures")],
  ["Python types (mypy --strict)", python("-m", "mypy", "--strict", "monet_torch")],
];

function vitestCounts(text) {
  const report = JSON.parse(text);
  return { passed: report.numPassedTests, failed: report.numFailedTests };
}

/** A suite that broke before it could count is one failure: it must never look like nothing to do. */
async function suite(name, [program, args, options], report, counts, extra = {}) {
  say(name);
  const code = await run(program, args, { env: environment(extra), ...options });
  let result;
  try {
    result = counts(readFileSync(report, "utf8"));
  } catch {
    result = { passed: 0, failed: 1 };
  }
  return code !== 0 && result.failed === 0 ? { ...result, failed: 1 } : result;
}

/** The tests inside the extension host and a person's first minute; `npm run e2e` has the whole way. */
async function inEditor(report, installing) {
  try {
    const editor = await installing;
    await pack();
    const command = vitest(report, "--config", "vitest.e2e.config.ts", "e2e/host", "e2e/smoke");
    return await suite("Tests in the editor (vitest, code-server, Chromium)", command, report, vitestCounts, editor);
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    console.error(`error: ${error.message}`);
    return { passed: 0, failed: 1 };
  }
}

await main(async () => {
  const started = Date.now();
  await setup();
  // It waits for the network and the disk, and nothing needs it before the end.
  const installing = ensureEditor();
  installing.catch(() => undefined);
  const broken = [];
  await Promise.all([checksOfTypeScript, checksOfPython].map(async (checks) => {
    for (const [name, [program, args, options]] of checks) {
      say(name);
      if ((await run(program, args, { env: environment(), ...options })) !== 0) broken.push(name);
    }
  }));

  const reports = mkdtempSync(join(tmpdir(), "monet-test-"));
  const report = (name) => join(reports, name);
  // Side by side: each leaves a core idle. What pytest prints comes after what vitest does.
  const printed = openSync(report("pytest.txt"), "w");
  const [program, args, options] = python("-m", "pytest", "-q", "tests", `--junitxml=${report("pytest.xml")}`);
  const suites = await Promise.all([
    suite("TypeScript tests (vitest)", vitest(report("unit.json")), report("unit.json"), vitestCounts),
    suite("Python tests (pytest), beside them", [program, args, { ...options, stdio: ["ignore", printed, printed] }], report("pytest.xml"), pytestCounts),
  ]);
  closeSync(printed);
  process.stdout.write(readFileSync(report("pytest.txt")));
  suites.push(await inEditor(report("editor.json"), installing));
  rmSync(reports, { recursive: true });

  const passed = suites.reduce((sum, s) => sum + s.passed, 0);
  const failed = suites.reduce((sum, s) => sum + s.failed, broken.length);
  say(`Done in ${Math.round((Date.now() - started) / 1000)} s`);
  if (broken.length > 0) console.log(`Checks that failed, counted below: ${broken.join(", ")}`);
  console.log(`${passed} passed, ${failed} failed`);
  return failed > 0 ? 1 : 0;
});
