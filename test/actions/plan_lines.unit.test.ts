import { expect, it } from "vitest";
import { partsOffered, withoutOptions } from "../../src/core/part";
import { planLines } from "../../src/actions/plan_lines";

it("the lines apply the plan, and give a loss that the plan covers a name of its own", () => {
  expect(planLines(".monet/a.plan.json", null, null)).toBe('import monet_torch\nmonet_torch.apply(model, ".monet/a.plan.json")\n');
  const call = (loss: string): string => planLines("p", loss, null).split("\n")[1] ?? "";
  expect(call("F.cross_entropy")).toBe('planned_loss = monet_torch.apply(model, "p", loss=F.cross_entropy)  # call it in place of F.cross_entropy');
  expect(call("nn.CrossEntropyLoss")).toContain("loss=nn.CrossEntropyLoss())");
  expect(call("my_loss")).toContain("loss=my_loss)");
});

it("the lines of a part apply the plan to every submodule that is alike; the loss is none of it", () => {
  expect(planLines("p", "F.cross_entropy", "layers.*")).toBe('import monet_torch\nfor part in model.layers:\n    monet_torch.apply(part, "p")\n');
});

it("the helper's sentence names the parts that can be planned", () => {
  const sentence = "net.py:3: no one schedule fits it; parts of it can be planned by themselves: --part 'layers.*' (3 alike, 72% of what it keeps), --part 'stem' (8% of what it keeps)";
  expect(partsOffered(sentence)).toEqual(["layers.*", "stem"]);
  expect(partsOffered("net.py:3: no one schedule fits it")).toEqual([]);
  expect(withoutOptions(sentence)).toMatch(/by themselves: 'layers\.\*' \(3 alike, 72% of what it keeps\), 'stem' \(8% of what it keeps\)$/);
});
