import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { errorOf, parseProgress, runHelper, type HelperOptions, type Progress } from "../../src/helper/helper";
import { findInterpreter } from "../../src/helper/interpreter";
import { Cancelled, UserError } from "../../src/helper/user_error";

/** Stands in for the helper: does what its first argument after the command says. */
const actor = `
import json, os, signal, subprocess, sys, time
command, act = sys.argv[1], sys.argv[2]
if act == "work":
    for done in range(3):
        print(json.dumps({"stage": "profile", "done": done + 1, "total": 3, "operator": "aten.relu.default"}))
    print(json.dumps({"equal": True}))
    print(os.getcwd())
elif act == "import":
    import colorsys, own
    print(colorsys.__file__ == os.path.join(os.path.dirname(os.__file__), "colorsys.py"), own.answer)
elif act == "differs":
    print("conv1.weight differs")
    sys.exit(1)
elif act == "fail":
    print("a warning", file=sys.stderr)
    print("error: " + sys.argv[4], file=sys.stderr)
    sys.exit(int(sys.argv[3]))
elif act == "tell":
    print(json.dumps({"error": {"code": "M105", "message": "a b/net.py:3: importing the file failed", "file": "a b/net.py", "line": 3}}))
    print("error: a b/net.py:3: importing the file failed [M105]", file=sys.stderr)
    sys.exit(2)
elif act == "raise":
    raise RuntimeError("boom")
elif act == "hang":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"])
    with open(sys.argv[3], "w") as file:
        file.write(f"{os.getpid()} {child.pid}")
    print(json.dumps({"stage": "hang", "done": 0, "total": 1}), flush=True)
    time.sleep(600)
`;

let folder = "";
let options: HelperOptions;
const progress: Progress[] = [];

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "monet helper "));
  mkdirSync(join(folder, "monet_torch"));
  writeFileSync(join(folder, "monet_torch", "__init__.py"), "");
  writeFileSync(join(folder, "monet_torch", "__main__.py"), actor);
  const env = { ...process.env };
  delete env["VIRTUAL_ENV"];
  delete env["MONET_PYTHON"];
  delete env["PYTHONPATH"];
  options = {
    interpreter: findInterpreter({ folders: [], env }),
    packages: folder,
    cwd: folder,
    env,
    onProgress: (each) => progress.push(each),
  };
});

afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

async function failure(promise: Promise<unknown>): Promise<UserError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof UserError) return error;
    throw error;
  }
  throw new Error("it did not fail");
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    // A zombie answers too, until its parent has seen its end.
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}

describe("the helper process", () => {
  it("reports progress apart from its output", async () => {
    progress.length = 0;
    const result = await runHelper("profile", ["work"], options);
    expect(progress.map(({ done }) => done)).toEqual([1, 2, 3]);
    expect(progress[0]?.operator).toBe("aten.relu.default");
    const [document, cwd] = result.output.split("\n");
    expect(JSON.parse(document!)).toEqual({ equal: true });
    expect(cwd).toMatch(/monet helper /);
    expect(result.differs).toBe(false);
  });

  it("exit code 1 of verify means that something differs, and is no error", async () => {
    const result = await runHelper("verify", ["differs"], options);
    expect(result).toEqual({ output: "conv1.weight differs", differs: true });
  });

  it("exit code 1 of anything else is a crash", async () => {
    expect((await failure(runHelper("profile", ["differs"], options))).kind).toBe("crash");
  });

  it("passes on the one sentence of an error, with its kind", async () => {
    const input = await failure(runHelper("profile", ["fail", "2", "There is no model Net in net.py."], options));
    expect([input.kind, input.message]).toEqual(["input", "There is no model Net in net.py."]);
    const environment = await failure(runHelper("profile", ["fail", "4", "torch 1.13 is too old [M402]"], options));
    expect([environment.kind, environment.code, environment.message]).toEqual(["environment", "M402", "torch 1.13 is too old"]);
  });

  it("passes on an error's code and its place in the person's file", async () => {
    const told = await failure(runHelper("profile", ["tell"], options));
    expect([told.kind, told.code, told.message]).toEqual(["input", "M105", "a b/net.py:3: importing the file failed"]);
    expect(told.facts).toEqual({ file: "a b/net.py", line: 3 });
  });

  it("an exception in verify is a crash, not a difference", async () => {
    const error = await failure(runHelper("verify", ["raise"], options));
    expect([error.kind, error.code]).toEqual(["crash", "M705"]);
    expect(error.message).toContain("RuntimeError: boom");
  });

  it("imports from the working folder, but nothing there stands in for Python's own modules", async () => {
    const cwd = join(folder, "stray");
    mkdirSync(cwd);
    for (const name of ["json", "os", "runpy", "colorsys"]) writeFileSync(join(cwd, `${name}.py`), 'raise RuntimeError("stray")\n');
    writeFileSync(join(cwd, "own.py"), "answer = 42\n");
    expect((await runHelper("profile", ["import"], { ...options, cwd })).output).toBe("True 42");
  });

  it("a Python without the package is a matter of the environment", async () => {
    const error = await failure(runHelper("profile", [], { ...options, packages: join(folder, "nowhere"), cwd: tmpdir() }));
    expect([error.kind, error.code]).toEqual(["environment", "M704"]);
  });

  it("a program that can't be started is a matter of the environment", async () => {
    const error = await failure(runHelper("profile", [], { ...options, interpreter: { path: join(folder, "nothing"), foundBy: "test" } }));
    expect([error.kind, error.code]).toEqual(["environment", "M703"]);
  });

  it.skipIf(process.platform !== "linux")("stopping it stops its children too, within a second, though they ignore being asked", async () => {
    const pids = join(folder, "pids");
    const controller = new AbortController();
    let stopped = 0;
    const running = runHelper("profile", ["hang", pids], {
      ...options,
      signal: controller.signal,
      onProgress: () => {
        stopped = performance.now();
        controller.abort();
      },
    });
    await expect(running).rejects.toBeInstanceOf(Cancelled);
    expect(performance.now() - stopped).toBeLessThan(5000); // 0.7 s at most when it was measured; this machine may be busy
    const [helper = 0, child = 0] = readFileSync(pids, "utf8").split(" ").map(Number);
    for (let waited = 0; waited < 50 && (alive(helper) || alive(child)); waited += 1) await sleep(20);
    expect([alive(helper), alive(child)]).toEqual([false, false]);
  });

  it("does not start when it is stopped beforehand", async () => {
    await expect(runHelper("profile", ["work"], { ...options, signal: AbortSignal.abort() })).rejects.toBeInstanceOf(Cancelled);
  });
});

describe("lines of progress", () => {
  it.each(["", "hello", "{", "{}", "[1]", '{"stage": 3, "done": 1, "total": 2}', '{"stage": "x"}'])("%j is none", (line) => {
    expect(parseProgress(line)).toBeNull();
  });
});

describe("an end that nobody expected", () => {
  it("a killed process suggests memory", () => {
    const error = errorOf({ code: null, signal: "SIGKILL", stderr: "" }, { path: "python3", foundBy: "test" });
    expect(error.message).toBe("The Python helper stopped by SIGKILL, perhaps because memory ran out");
  });
});
