/** A model that is profiled in seconds, long enough to see that it runs, with one layer of each warmth. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Editor } from "./editor";

export const source = `import time; import torch; time.sleep(3)
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(16, 256)
        self.hot = nn.Tanh()
        self.second = nn.Linear(256, 64)
        self.warm = nn.Tanh()
        self.third = nn.Linear(64, 24)
        self.cool = nn.Tanh()

    def forward(self, x):
        x = self.hot(self.first(x))
        x = self.warm(self.second(x))
        return self.cool(self.third(x))
`;

export const graphFile = (folder: string): string => join(folder, ".monet", "net.Net.graph.json");
export const frontierFile = (folder: string): string => join(folder, ".monet", "net.Net.frontier.json");

/** A folder with the model, and what it takes. */
export async function smallFolder(editor: Editor, input = "float32[512,16]"): Promise<string> {
  const folder = await editor.folder();
  await writeFile(join(folder, "net.py"), source);
  await writeFile(join(folder, "monet.json"), `${JSON.stringify({ models: { "net.py:Net": { inputs: [input], threads: 1 } } }, null, 2)}\n`);
  return folder;
}
