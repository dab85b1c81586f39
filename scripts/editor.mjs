// A VS Code in a browser for the tests, from package registries alone: code-server, the Node that it needs, Chromium.
// Kept in .vscode-test/, apart from what the project itself depends on.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { must, npm, root, say, SetupError } from "./lib.mjs";

const home = join(root, ".vscode-test");
const nodePackage = `node-${process.platform}-${process.arch}`;
const packages = ["code-server@4.139.1", `${nodePackage}@24`];
const install = ["install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];

const server = join(home, "node_modules", "code-server");
const node = join(home, "node_modules", nodePackage, "bin", "node");

async function ensureServer() {
  const stamp = join(home, "installed");
  const wanted = packages.join(" ");
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === wanted) return say("VS Code for the tests: already installed");
  if (process.platform === "win32") throw new SetupError("The tests in the editor run on Linux and macOS: code-server has no Windows build.");
  say("VS Code for the tests: installing (590 MB in .vscode-test/)");
  rmSync(home, { recursive: true, force: true });
  mkdirSync(home, { recursive: true });
  writeFileSync(join(home, "package.json"), '{ "private": true }\n');
  const [program, args] = npm([...install, ...packages]);
  await must("Installing code-server", program, args, { cwd: home });
  const vscode = join(server, "lib", "vscode");
  const env = { ...process.env, PATH: `${dirname(node)}${delimiter}${process.env.PATH}` };
  const [inner, innerArgs] = npm([...install, "--omit=dev"]);
  await must("Installing code-server's own packages", inner === process.execPath ? node : inner, innerArgs, { cwd: vscode, env });
  for (const unused of ["@github/copilot", "@microsoft/mxc-sdk"]) rmSync(join(vscode, "node_modules", unused), { recursive: true, force: true });
  writeFileSync(stamp, wanted);
}

const browsers = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"];

function findBrowser() {
  const named = process.env.MONET_BROWSER;
  const names = named ? [named] : browsers;
  for (const name of names) {
    const folders = name.includes("/") ? [""] : (process.env.PATH ?? "").split(delimiter);
    const found = folders.map((folder) => join(folder, name)).find(existsSync);
    if (found !== undefined) return found;
  }
  return undefined;
}

async function ensureBrowser() {
  const found = findBrowser();
  if (found !== undefined) return found;
  const canInstall = process.getuid?.() === 0 && spawnSync("apt-get", ["--version"]).status === 0;
  if (!canInstall) throw new SetupError("No Chromium was found: install Chromium or Chrome, or name one in MONET_BROWSER, and run this again.");
  say("Chromium: installing with apt-get");
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  await must("apt-get update", "apt-get", ["update", "-qq"], { env });
  await must("Installing Chromium", "apt-get", ["install", "-y", "-qq", "--no-install-recommends", "chromium", "fonts-dejavu-core"], { env });
  const installed = findBrowser();
  if (installed === undefined) throw new SetupError("Chromium was installed but isn't on the path: name it in MONET_BROWSER and run this again.");
  return installed;
}

/** What the tests need to start an editor; they read it from the environment. */
export async function ensureEditor() {
  await ensureServer();
  return { MONET_E2E_NODE: node, MONET_E2E_SERVER: join(server, "out", "node", "entry.js"), MONET_E2E_BROWSER: await ensureBrowser() };
}

