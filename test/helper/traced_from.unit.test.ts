import { createHash } from "node:crypto";
import { expect, it } from "vitest";
import { wasTracedFrom } from "../../src/helper/traced_from";

const sources = { "net.py": createHash("sha256").update("größe = 1\n").digest("hex") };

it.each<[path: string, text: string, traced: boolean]>([
  ["/people/ada/net.py", "größe = 1\n", true],
  ["/people/ada/net.py", "größe = 1", false],
  ["/people/ada/subnet.py", "not named\n", true],
])("a graph with hashes was traced from %s with %j: %s", (path, text, traced) => {
  expect(wasTracedFrom(sources, path, text)).toBe(traced);
});
