import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseGraph, type Graph } from "../../src/core/graph";
import { runHelper } from "../../src/helper/helper";
import { findInterpreter } from "../../src/helper/interpreter";
import { Sources } from "../../src/sources/client";
import { places } from "../../src/sources/places";
import type { Place } from "../../src/sources/types";
import { bundleWorker, type Bundle } from "./bundle";

const project = fileURLToPath(new URL("../..", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "monet real "));
let bundle: Bundle;
let sources: Sources;

beforeAll(async () => {
  bundle = await bundleWorker();
  sources = new Sources(bundle.worker, { error: () => undefined });
  sources.setRoots([project]);
});
afterAll(async () => {
  sources.dispose();
  await bundle.remove();
  rmSync(folder, { recursive: true });
});

/** Traced by the real helper; a card that is not at hand, so that nothing is measured. */
async function traced(model: string, inputs: readonly string[]): Promise<Graph> {
  const out = join(folder, "graph.json");
  const args = [model, ...inputs.flatMap((input) => ["--input", input]), "--device", "A100", "--no-cache", "--out", out];
  const interpreter = findInterpreter({ folders: [project], env: process.env });
  await runHelper("profile", args, { interpreter, packages: join(project, "python"), cwd: project, env: process.env, onProgress: () => undefined });
  return parseGraph(readFileSync(out, "utf8"));
}

const text = (place: Place): string => JSON.stringify([place.kind, place.label, place.type, place.operators]);
const moved = ({ start, end }: Place["range"], by: number): unknown => [start.line + by, start.column, end.line + by, end.column];
const all = (found: readonly Place[], kind: Place["kind"]): number[] => [...new Set(found.filter((place) => place.kind === kind).flatMap(({ operators }) => operators))].sort((a, b) => a - b);

describe("the examples, traced", () => {
  it.each([
    { file: "resnet50.py", name: "resnet50", root: "ResNet", inputs: ["float32[2,3,64,64]"] },
    { file: "mobilenetv2.py", name: "mobilenet_v2", root: "MobileNetV2", inputs: ["float32[2,3,64,64]"] },
    { file: "unet.py", name: "UNet", root: "UNet", inputs: ["float32[2,3,32,32]"] },
    { file: "gpt2.py", name: "GPT", root: "GPT", inputs: ["int64[1,8]<50257", "int64[1,8]<50257"] },
  ])("$file has every operator in its class and at the layer that runs it, and the places move with the text", async ({ file, name, root, inputs }) => {
    const graph = await traced(`examples/${file}:${name}`, inputs);
    const path = join(project, "examples", file);
    const texts = await sources.texts(path);
    const placement = (await sources.place(path, name, texts, graph.operators))!;
    const view = (await sources.read(path))!;
    expect(placement.fingerprint).toBe(view.fingerprints[name]);

    const before = places(placement, view.file);
    const ids = graph.operators.map(({ id }) => id);
    expect(before.find(({ kind, label }) => kind === "model" && label === root)!.operators).toEqual(ids);
    const inLayers = ids.filter((id) => graph.operators[id]!.module !== "" && graph.operators[id]!.part === "model");
    expect(all(before, "layer")).toEqual(expect.arrayContaining(inLayers));
    // A Sequential has no forward of its own, so its layers' operators are at the calls around it.
    expect(all(before, "call")).toEqual(expect.arrayContaining(inLayers));

    const source = texts[path]!;
    const first = source.indexOf("\nclass ") + 1;
    sources.open(path, source);
    sources.change(path, [{ offset: first, length: 0, text: "# A comment.\n".repeat(10) }]);
    const edited = (await sources.read(path))!;
    sources.close(path);
    const after = places(placement, edited.file);
    expect(edited.fingerprints).toEqual(view.fingerprints);
    expect(after.map(text)).toEqual(before.map(text));
    expect(after.map(({ range }) => moved(range, 0))).toEqual(before.map(({ range }) => moved(range, 10)));
  }, 120_000);
});
