import { expect, it } from "vitest";
import { planLines } from "../../src/actions/plan_lines";

it("the lines apply the plan, and give a loss that the plan covers a name of its own", () => {
  expect(planLines(".monet/a.plan.json", null)).toBe('import monet_torch\nmonet_torch.apply(model, ".monet/a.plan.json")\n');
  const call = (loss: string): string => planLines("p", loss).split("\n")[1] ?? "";
  expect(call("F.cross_entropy")).toBe('planned_loss = monet_torch.apply(model, "p", loss=F.cross_entropy)  # call it in place of F.cross_entropy');
  expect(call("nn.CrossEntropyLoss")).toContain("loss=nn.CrossEntropyLoss())");
  expect(call("my_loss")).toContain("loss=my_loss)");
});
