import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { netSource } from "./world";

const project = fileURLToPath(new URL("../..", import.meta.url));
const root = mkdtempSync(join(tmpdir(), "monet process "));
const cli = join(root, "dist", "cli.mjs");

const hangs = `import json, os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
with open("pids.part", "w") as file:
    file.write(f"{os.getpid()} {child.pid}")
os.rename("pids.part", "pids")
if "--tied" in sys.argv:
    sys.stdin.read()
    child.kill()
`;

const put = (name: string, text: string | Buffer): void => {
  mkdirSync(dirname(join(root, name)), { recursive: true });
  writeFileSync(join(root, name), text);
};

beforeAll(async () => {
  const require = createRequire(import.meta.url);
  for (const file of ["web-tree-sitter/web-tree-sitter.wasm", "tree-sitter-python/tree-sitter-python.wasm"]) {
    put(`dist/${file.split("/").at(-1)!}`, readFileSync(require.resolve(file)));
  }
  put("python/monet_torch/__init__.py", "");
  put("python/monet_torch/__main__.py", hangs);
  put("work/net.py", netSource);
  await build({
    absWorkingDir: project,
    entryPoints: ["src/cli/main.ts"],
    outfile: cli,
    bundle: true,
    platform: "node",
    format: "esm",
    logLevel: "silent",
    banner: { js: 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);' },
  });
});

afterAll(() => {
  rmSync(root, { recursive: true, force: true });
});

function alive(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}

async function until(what: string, done: () => boolean): Promise<void> {
  for (let tries = 0; tries < 500; tries += 1) {
    if (done()) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`waited in vain until ${what}`);
}

interface Run {
  readonly exit: number | null;
  readonly out: string;
  readonly err: string;
}

function monet(argv: string[], started: (pid: number) => Promise<void> = () => Promise.resolve()): Promise<Run> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [cli, ...argv], { cwd: join(root, "work") });
    let out = "";
    let err = "";
    child.stdout.on("data", (data: Buffer) => (out += data.toString()));
    child.stderr.on("data", (data: Buffer) => (err += data.toString()));
    child.on("error", reject);
    child.on("close", (exit) => {
      resolve({ exit, out, err });
    });
    started(child.pid ?? 0).catch(reject);
  });
}

describe("the built command line", () => {
  it("runs from a folder with a space in its name", async () => {
    const { exit, out, err } = await monet(["models", "net.py"]);
    expect(err).toBe("");
    expect(out).toContain("Net  line 13");
    expect(exit).toBe(0);
  });

  for (const [signal, title] of [["SIGINT", "Ctrl-C stops"], ["SIGKILL", "its own sudden end stops"]] as const) {
    it.skipIf(process.platform !== "linux")(`${title} the helper and its children, and leaves nothing behind`, async () => {
      const file = join(root, "work", "pids");
      rmSync(file, { force: true });
      let pids: number[] = [];
      const { exit, out, err } = await monet(["profile", "net.py:Net"], async (pid) => {
        await until("the helper has started", () => {
          try {
            pids = readFileSync(file, "utf8").split(" ").map(Number);
            return true;
          } catch {
            return false;
          }
        });
        process.kill(pid, signal);
      });
      expect([exit, out, err]).toEqual(signal === "SIGINT" ? [130, "", "Stopped.\n"] : [null, "", ""]);
      expect(pids).toHaveLength(2);
      await until("both processes have ended", () => pids.every((pid) => !alive(pid)));
    });
  }
});
