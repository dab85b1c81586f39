// Our solver beside others on the same graphs and budgets, all judged by our simulator. Exit code 1: a peer was faster somewhere.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { environment, hashOf, main, must, root, say, setup, venv, venvPython } from "./lib.mjs";

const folder = join(root, ".vscode-test", "bench", "solvers");

/** Recorded graphs: an example, its input, and whether --quick has it. */
const examples = [
  ["resnet50", "examples/resnet50.py:resnet50", "float32[4,3,224,224]", false],
  ["mobilenetv2", "examples/mobilenetv2.py:mobilenet_v2", "float32[4,3,224,224]", false],
  ["unet", "examples/unet.py:UNet", "float32[1,3,256,256]", true],
  ["gpt2", "examples/gpt2.py:GPT", "int64[2,256]<50257", false],
];

/** A virtual environment for the peers alone, which sees torch in ours. */
async function ensurePeers() {
  const requirements = join(root, "bench", "solvers", "requirements.txt");
  const own = join(folder, "venv");
  const python = venvPython.replace(venv, own);
  const stamp = join(own, ".monet-stamp");
  const hash = hashOf(requirements);
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === hash) {
    say("Solvers of the peers: already installed");
    return python;
  }
  say("Solvers of the peers: installing HiGHS, OR-tools and SciPy");
  await must("Creating the virtual environment", venvPython, ["-m", "venv", "--clear", own]);
  const packages = (base) => (existsSync(join(base, "Lib")) ? join(base, "Lib", "site-packages") : join(base, "lib", readdirSync(join(base, "lib")).find((name) => name.startsWith("python")), "site-packages"));
  writeFileSync(join(packages(own), "torch.pth"), `${packages(venv)}\n`);
  await must("Installing the solvers", python, ["-m", "pip", "install", "-qq", "--disable-pip-version-check", "-r", requirements]);
  writeFileSync(stamp, hash);
  return python;
}

async function record([name, model, input]) {
  const file = join(folder, `${name}.json`);
  await must(`Profiling ${name}`, process.execPath, [join(root, "dist", "cli.mjs"), "profile", model, "--input", input, "--device", "cpu", "--out", file], { env: environment() });
  return file;
}

const help = `npm run bench:solvers -- [options] [graph.json …]
  graphs   these instead of the generated and recorded ones
  --quick  two generated graphs and one recorded one, 4 budgets, 10 s per program
  --budgets N      points of the ladder (10)
  --limit SECONDS  per call of the two programs (60); the whole then takes some two hours
  --threads N      that they use`;

await main(async () => {
  const options = { quick: { type: "boolean" }, budgets: { type: "string" }, limit: { type: "string" }, threads: { type: "string" }, help: { type: "boolean" } };
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  if (values.help) {
    console.log(help);
    return 0;
  }
  await setup();
  mkdirSync(folder, { recursive: true });
  const python = await ensurePeers();
  await must("The build", process.execPath, [join(root, "scripts", "build.mjs")]);
  const graphs = [...positionals];
  if (positionals.length === 0) for (const example of examples) if (!values.quick || example[3]) graphs.push(await record(example));

  const { build } = await import("esbuild");
  const bundle = join(folder, "main.mjs");
  await build({ entryPoints: [join(root, "bench", "solvers", "main.ts")], outfile: bundle, bundle: true, platform: "node", target: "node20", format: "esm", packages: "external", logLevel: "warning" });
  const { benchSolvers } = await import(pathToFileURL(bundle).href);
  return benchSolvers({
    root, python, folder, graphs,
    generated: positionals.length === 0,
    budgets: Number(values.budgets ?? (values.quick ? 4 : 10)),
    limit: Number(values.limit ?? (values.quick ? 10 : 60)),
    threads: Number(values.threads ?? cpus().length),
  });
});
