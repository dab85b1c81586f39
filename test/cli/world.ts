/** A folder with a model in it, a stand-in for the Python helper, and a command line that runs there. */
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { Io } from "../../src/cli/io";
import { runCli } from "../../src/cli/program";
import type { Solution, Solver } from "../../src/cli/solving";
import type { Graph } from "../../src/core/graph";
import type { Measured } from "../../src/core/measured";
import { eagerPlan } from "../../src/core/solve/draft";
import { largestBatch } from "../../src/core/solve/largest";
import { loadGlpk } from "../support/tools";
import { randomGraph } from "../support/random_graph";

export const netSource = `from torch import nn


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return self.conv(x)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([Block() for _ in range(3)])

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x


def net():
    return Net()
`;

/** Writes the prepared graph where it is told, and answers verify as the file \`verdict\` says. */
const helper = `import json, os, shutil, sys
arguments = sys.argv[1:]
here = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(here, "arguments.json"), "w") as file:
    json.dump(arguments, file)
print(json.dumps({"stage": "profile", "done": 1, "total": 2, "operator": "aten.relu.default"}))
if "bad" in arguments:
    error = {"code": "M201", "message": "net.py:9: The input has the wrong shape", "file": "net.py", "line": 9}
    print(json.dumps({"error": error}))
    print(f"error: {error['message']} [M201]", file=sys.stderr)
    sys.exit(2)
if arguments[0] == "profile":
    out = arguments[arguments.index("--out") + 1]
    os.makedirs(os.path.dirname(out) or ".", exist_ok=True)
    shutil.copy(os.path.join(here, "graph.json"), out)
else:
    with open(os.path.join(here, "verdict")) as file:
        equal = file.read() == "equal"
    if "--trace" in arguments:
        shutil.copy(os.path.join(here, "trace"), arguments[arguments.index("--trace") + 1])
    print(json.dumps({"ok": equal}) if "--json" in arguments else f"gradients equal: {equal}")
    sys.exit(0 if equal else 1)
`;

export interface World {
  readonly folder: string;
  readonly graph: Graph;
  /** Runs `monet` with these words. */
  readonly monet: (...argv: string[]) => Promise<{ exit: number; out: string; err: string }>;
  readonly write: (name: string, text: string) => void;
  readonly read: (name: string) => string;
  readonly files: () => string[];
  /** The words with which the helper was started last. */
  readonly helperArguments: () => string[];
  solution: (graph: Graph, budget: number) => Solution;
  verdict: (text: "equal" | "differs") => void;
  /** What the helper saw run. */
  trace: (events: readonly Measured[]) => void;
  signal: AbortSignal;
  readonly remove: () => void;
}

export function world(): World {
  const root = mkdtempSync(join(tmpdir(), "monet cli "));
  const place = (...parts: string[]): string => {
    const file = join(root, ...parts);
    mkdirSync(dirname(file), { recursive: true });
    return file;
  };
  const require = createRequire(import.meta.url);
  copyFileSync(require.resolve("web-tree-sitter/web-tree-sitter.wasm"), place("dist", "web-tree-sitter.wasm"));
  copyFileSync(require.resolve("tree-sitter-python/tree-sitter-python.wasm"), place("dist", "tree-sitter-python.wasm"));
  const graph = randomGraph(7, { operators: 8, exotic: false });
  writeFileSync(place("packages", "monet_torch", "graph.json"), JSON.stringify(graph));
  writeFileSync(place("packages", "monet_torch", "__init__.py"), "");
  writeFileSync(place("packages", "monet_torch", "__main__.py"), helper);
  writeFileSync(place("packages", "monet_torch", "verdict"), "equal");
  writeFileSync(place("work", "net.py"), netSource);
  const folder = join(root, "work");

  const made: World = {
    folder,
    graph,
    signal: new AbortController().signal,
    solution: (asked, budget) => ({ kind: "plan", plan: { ...eagerPlan(asked), budget: Number.isFinite(budget) ? budget : null } }),
    remove: () => {
      rmSync(root, { recursive: true, force: true });
    },
    verdict: (text) => {
      writeFileSync(place("packages", "monet_torch", "verdict"), text);
    },
    trace: (events) => {
      writeFileSync(place("packages", "monet_torch", "trace"), events.map((event) => `${JSON.stringify(event)}\n`).join(""));
    },
    write: (name, text) => {
      writeFileSync(place("work", name), text);
    },
    read: (name) => readFileSync(join(folder, name), "utf8"),
    files: () => readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile()).map((entry) => entry.name).sort(),
    helperArguments: () => JSON.parse(readFileSync(place("packages", "monet_torch", "arguments.json"), "utf8")) as string[],
    monet: async (...argv) => {
      let out = "";
      let err = "";
      const env = { ...process.env };
      delete env["VIRTUAL_ENV"];
      delete env["MONET_PYTHON"];
      delete env["PYTHONPATH"];
      const io: Io = {
        out: (text) => {
          out += text;
        },
        err: (text) => {
          err += text;
        },
        errIsTerminal: false,
        cwd: folder,
        env,
        signal: made.signal,
        dist: join(root, "dist"),
        packages: join(root, "packages"),
      };
      const solver: Solver = {
        solve: (asked, budget) => Promise.resolve(made.solution(asked, budget)),
        frontier: (asked) => Promise.resolve([eagerPlan(asked)]),
        largest: async (asked, limits) => {
          const found = largestBatch(asked, limits, "bitwise", { glpk: await loadGlpk(), seed: 1, iterations: 100 });
          return found === null ? null : { batch: found.batch, plan: found.solution.plan };
        },
      };
      const exit = await runCli(argv, io, solver);
      return { exit, out, err };
    },
  };
  return made;
}
