import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { Pace } from "../../src/actions/pace";
import { Latest, Queue, unlessStopped } from "../../src/actions/queue";
import { readExported, readReport } from "../../src/actions/report";
import { installCommand, probe, readProbe, wheelVersion } from "../../src/actions/runtime_wheel";
import { lineAfter, missingIn, placeOf, type Change } from "../../src/actions/sentence";
import { Cancelled, UserError } from "../../src/helper/user_error";

const never = new AbortController().signal;

describe("the queue", () => {
  it("runs one after the other, in order, and tells who has to wait", async () => {
    const queue = new Queue();
    const seen: string[] = [];
    const work = (name: string) => async (): Promise<string> => {
      seen.push(`${name} starts`);
      await new Promise((resolve) => setTimeout(resolve, 5));
      seen.push(`${name} ends`);
      return name;
    };
    const results = await Promise.all(["a", "b", "c"].map((name) => queue.run(never, work(name), () => seen.push(`${name} waits`))));
    expect(results).toEqual(["a", "b", "c"]);
    expect(seen).toEqual(["b waits", "c waits", "a starts", "a ends", "b starts", "b ends", "c starts", "c ends"]);
  });

  it("goes on after a failure, and what is stopped while it waits never starts", async () => {
    const queue = new Queue();
    const stop = new AbortController();
    let started = false;
    const first = queue.run(never, () => new Promise<never>((_, reject) => setTimeout(() => { reject(new Error("no")); }, 20)));
    const second = queue.run(stop.signal, () => { started = true; return Promise.resolve(); });
    const third = queue.run(never, () => Promise.resolve(3));
    stop.abort();
    await expect(second).rejects.toThrow(Cancelled);
    await expect(first).rejects.toThrow("no");
    expect(await third).toBe(3);
    expect(started).toBe(false);
    expect(await queue.run(never, () => Promise.resolve(4), () => { throw new Error("nobody is before it"); })).toBe(4);
  });

  it("does not start the next before the one ahead has ended, though one between was stopped", async () => {
    const queue = new Queue();
    const stop = new AbortController();
    let running = 0;
    const work = async (): Promise<void> => {
      running += 1;
      expect(running).toBe(1);
      await new Promise((resolve) => setTimeout(resolve, 10));
      running -= 1;
    };
    const all = [queue.run(never, work), queue.run(stop.signal, work), queue.run(never, work)];
    stop.abort();
    await Promise.allSettled(all);
    await all[2];
  });
});

describe("what can't be stopped", () => {
  it("is not waited for once it was stopped, and else gives what it gives", async () => {
    const stop = new AbortController();
    const hanging = unlessStopped(stop.signal, new Promise<never>(() => undefined));
    stop.abort();
    await expect(hanging).rejects.toThrow(Cancelled);
    await expect(unlessStopped(stop.signal, Promise.resolve(1))).rejects.toThrow(Cancelled);
    expect(await unlessStopped(never, Promise.resolve(2))).toBe(2);
    await expect(unlessStopped(never, Promise.reject(new Error("no")))).rejects.toThrow("no");
  });
});

describe("the latest", () => {
  it("waits for the one that it stops, and takes the place of all that wait", async () => {
    const latest = new Latest();
    const seen: string[] = [];
    let stop = (): void => undefined;
    const run = (name: string): Promise<string> => latest.run("model", () => { stop(); return Promise.resolve(); }, async () => {
      seen.push(`${name} starts`);
      await new Promise<void>((resolve) => { stop = resolve; if (name === "d") resolve(); });
      seen.push(`${name} ends`);
      return name;
    });
    const first = run("a");
    await new Promise((resolve) => setTimeout(resolve, 1));
    const waiting = [run("b"), run("c")].map((each) => expect(each).rejects.toThrow(Cancelled));
    expect(await run("d")).toBe("d");
    expect(await first).toBe("a");
    await Promise.all(waiting);
    expect(seen).toEqual(["a starts", "a ends", "d starts", "d ends"]);
  });

  it("goes on after one that failed, and does not stop another's", async () => {
    const latest = new Latest();
    const never = (): Promise<void> => Promise.resolve();
    const failed = expect(latest.run("one", never, () => Promise.reject(new Error("no")))).rejects.toThrow("no");
    expect(await Promise.all([latest.run("other", never, () => Promise.resolve(1)), latest.run("third", never, () => Promise.resolve(2))])).toEqual([1, 2]);
    await failed;
    expect(await latest.run("one", never, () => Promise.resolve(3))).toBe(3);
  });
});

describe("the time that is left", () => {
  it("is told once some of the stage has been seen, by how long that took", () => {
    const pace = new Pace();
    expect(pace.left("profile", 0, 100, 1000)).toBeNull();
    expect(pace.left("profile", 2, 100, 5000)).toBeNull();
    expect(pace.left("profile", 10, 100, 6000)).toBe(45_000);
    expect(pace.left("profile", 100, 100, 50_000)).toBe(0);
    expect(pace.left("frontier", 1, 16, 51_000)).toBeNull();
  });
});

describe("a sentence of the helper", () => {
  it("names the place in the person's file", () => {
    const place = (text: string): string | null => {
      const found = placeOf(new UserError("M000", "input", text));
      return found === null ? null : `${found.file} ${found.line}`;
    };
    expect(place("/home/me/my models/net.py:12: building Net failed (ValueError: x)")).toBe("/home/me/my models/net.py 12");
    expect(place("The input has the wrong shape (net.py:9).")).toBe("net.py 9");
    expect(place("C:\\models\\net.py:3: no")).toBe("C:\\models\\net.py 3");
    expect(place("there is no model in net.py; name one")).toBeNull();
    expect(placeOf(new UserError("M000", "input", "monet.json:3: no", { file: "/w/monet.json", line: 3 }))).toEqual({ file: "/w/monet.json", line: 3 });
  });

  it("says which Python lacks torch", () => {
    expect(missingIn(new UserError("M000", "environment", "no torch", { missing: "torch", python: "/usr/bin/python3" }))).toBe("/usr/bin/python3");
    expect(missingIn(new UserError("M000", "environment", "no Python"))).toBeNull();
  });
});

describe("the helper's report", () => {
  it("becomes what the budget view shows, and a table", () => {
    const answer = { equal: true, within_budget: false, compared: 321, planned_peak: 10, eager_peak: 20, overhead: 0.08, overhead_low: 0.07, overhead_high: 0.09, text: "a table" };
    expect(readReport(JSON.stringify(answer))).toEqual({
      verified: { equal: true, withinBudget: false, compared: 321, peak: 10, eagerPeak: 20, overhead: 0.08, overheadLow: 0.07, overheadHigh: 0.09 }, text: "a table",
    });
  });

  it("of export is where the file is, and what its peak is", () => {
    const answer = { file: "/w/net_Net_checkpoint.py", peak: 12, eager_peak: 20, plan_peak: 10, text: "a table" };
    expect(readExported(JSON.stringify(answer))).toEqual({ file: "/w/net_Net_checkpoint.py", peak: 12, eagerPeak: 20, planPeak: 10, text: "a table" });
    expect(() => readExported("[1")).toThrow(expect.objectContaining({ code: "M706" }) as Error);
  });

  it("that is none is a crash, with what was printed for the log", () => {
    expect(() => readReport("Segmentation fault")).toThrow(expect.objectContaining({ code: "M706" }) as Error);
    expect(() => readReport("null")).toThrow(/did not answer with a JSON document/);
  });
});

describe("the runtime", () => {
  it("is installed from our folder alone, by pip or else by uv", () => {
    const common = { python: "/p/python", wheels: "/x/dist/python" };
    expect(installCommand({ ...common, uv: null, again: false })).toEqual(["/p/python", "-m", "pip", "install", "--no-index", "--no-deps", "--find-links", "/x/dist/python", "monet-torch"]);
    expect(installCommand({ ...common, uv: "/bin/uv", again: true })).toEqual(["/bin/uv", "pip", "install", "--python", "/p/python", "--no-index", "--no-deps", "--find-links", "/x/dist/python", "--reinstall", "monet-torch"]);
  });

  it("is asked for without running what lies in the working folder, by a Python that knows no PYTHONSAFEPATH too", () => {
    const folder = mkdtempSync(join(tmpdir(), "monet-probe-"));
    try {
      writeFileSync(join(folder, "json.py"), "raise SystemExit('run')");
      const { stdout, stderr } = spawnSync(process.env["MONET_PYTHON"] ?? "python3", ["-E", "-c", probe], { cwd: folder, encoding: "utf8" });
      expect([stderr, Object.keys(JSON.parse(stdout) as object)]).toEqual(["", ["version", "pip"]]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it("is told by its wheel and by the environment", () => {
    expect(wheelVersion(["README.md", "monet_torch-0.1.0-py3-none-any.whl"])).toBe("0.1.0");
    expect(wheelVersion([])).toBeNull();
    expect(readProbe(['{"version": null, "pip": true}'])).toEqual({ version: null, pip: true });
    expect(readProbe(["warning", '{"version": "0.1.0", "pip": false}'])).toEqual({ version: "0.1.0", pip: false });
    expect(readProbe([])).toEqual({ version: null, pip: false });
  });
});

describe("a marked line", () => {
  const change = (from: [number, number], to: [number, number], text: string): Change => ({ range: { start: { line: from[0], character: from[1] }, end: { line: to[0], character: to[1] } }, text });

  it.each([
    ["lines are put before it", [change([0, 0], [0, 0], "a\nb\n")], 12],
    ["a line is put right before it", [change([10, 0], [10, 0], "a\n")], 11],
    ["Enter at the end of the line before", [change([9, 4], [9, 4], "\n")], 11],
    ["lines before it are deleted", [change([8, 0], [10, 0], "")], 8],
    ["something is written behind it", [change([11, 0], [11, 0], "a\n")], 10],
    ["Enter at its end", [change([10, 20], [10, 20], "\r\n    ")], 10],
    ["Enter within it", [change([10, 19], [10, 19], "\n")], null],
    ["lines are put before it, and then one right before where it stands", [change([0, 0], [0, 0], "a\nb\n"), change([12, 0], [12, 0], "a\n")], 13],
    ["lines are put before it, and then it is written in", [change([0, 0], [0, 0], "a\nb\n"), change([12, 3], [12, 3], "a")], null],
    ["lines before it are deleted, and then something is written behind it", [change([0, 0], [4, 0], ""), change([7, 3], [7, 3], "a")], 6],
    ["the next line is joined to it", [change([10, 20], [11, 0], "")], null],
    ["it is written in", [change([10, 3], [10, 3], "a")], null],
    ["it is deleted", [change([10, 0], [11, 0], "")], null],
    ["it is joined to the line before", [change([9, 4], [10, 0], "")], null],
    ["all is replaced", [change([0, 0], [20, 0], "a\n")], null],
  ])("when %s", (_, done, expected) => {
    expect(lineAfter({ line: 10, character: 20 }, done)).toBe(expected);
  });
});
