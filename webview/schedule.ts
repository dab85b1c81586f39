/** The schedule panel: one training step, what is live when, and why. */
import * as l10n from "@vscode/l10n";
import { isToSchedule, type FromSchedule, type ToSchedule } from "../src/protocol";
import { registerGrid } from "./components";
import { Host } from "./host";
import { SchedulePanel } from "./schedule/panel";
import { readMemory } from "./schedule/memory";
import { texturePatterns } from "./swatch";

registerGrid();

let panel: SchedulePanel | null = null;

const host: Host<ToSchedule, FromSchedule> = new Host<ToSchedule, FromSchedule>(isToSchedule, (message) => {
  switch (message.kind) {
    case "start":
      if (message.translations !== null) l10n.config({ contents: { ...message.translations } });
      panel = new SchedulePanel((sent) => { host.post(sent); }, (memory) => { host.remember(memory); }, readMemory(host.remembered), message.state);
      document.querySelector("#root")?.replaceChildren(texturePatterns(), panel.element);
      return;
    case "state":
      panel?.follow(message.state, message.picture);
      return;
    case "select":
      panel?.mark(message.operators);
      return;
    case "why":
      panel?.answer(message.bar, message.text);
  }
});

host.post({ kind: "ready" });
document.body.dataset["ready"] = "true";
