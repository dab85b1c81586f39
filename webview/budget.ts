/** The budget view: what fills the device, what a budget costs, one hand on the slider. */
import * as l10n from "@vscode/l10n";
import { formatBytes } from "../src/core/units";
import { isToBudget, type BudgetState, type FromBudget, type ToBudget } from "../src/protocol";
import { BudgetPanel } from "./budget/panel";
import { registerControls } from "./components";
import { Host } from "./host";
import { texturePatterns } from "./swatch";

registerControls();

let panel: BudgetPanel | null = null;

const host: Host<ToBudget, FromBudget> = new Host<ToBudget, FromBudget>(isToBudget, (message) => {
  if (message.kind === "start" && panel === null) {
    if (message.translations !== null) l10n.config({ contents: { ...message.translations } });
    panel = new BudgetPanel((sent) => { host.post(sent); });
    document.querySelector("#root")?.replaceChildren(texturePatterns(), panel.element);
  }
  panel?.show(message.state);
  document.title = titleOf(message.state);
});

function titleOf({ model, result }: BudgetState): string {
  return model === null || result === null ? "MONeT" : `${model.name}, ${formatBytes(result.budget)}`;
}

host.post({ kind: "ready" });
document.body.dataset["ready"] = "true";
