import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { expect, it } from "vitest";
import { exportFile } from "../../src/helper/arguments";

it("what export writes lies beside the model and is named by it and by its part", () => {
  expect(exportFile({ file: join("models", "train.py"), model: "Net" }, "encoder.layers.*")).toBe(join("models", "train_Net__encoder__layers__each_checkpoint.py"));
  expect(exportFile({ file: "resnet50.py", model: "resnet50" }, null)).toBe("resnet50_checkpoint.py");
});

it("each part has a name of its own, and a Python can import every one", () => {
  const parts = [null, "layers", "layers.*", "layers.0", "a.b_c", "a_b.c"];
  const named = ["net.py", "3d_net.py", "my-net v2.py", "net.small.py", "ネット①.py"].flatMap((name) => parts.map((part) => exportFile({ file: name, model: "Net" }, part)));
  expect(new Set(named).size).toBe(named.length);
  const folder = mkdtempSync(join(tmpdir(), "monet-names-"));
  try {
    for (const name of named) writeFileSync(join(folder, name), "apply = None\n");
    const lines = named.map((name) => `from ${basename(name, ".py")} import apply`);
    const { stderr, status } = spawnSync(process.env["MONET_PYTHON"] ?? "python3", ["-B", "-c", lines.join("\n")], { cwd: folder, encoding: "utf8" });
    expect([stderr, status]).toEqual(["", 0]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
