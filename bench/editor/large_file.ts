/** A file as large as they get: 50 models in 3,000 lines, the last of which uses all others. */
const blocks = 49;
const layers = 25;

function block(at: number): string[] {
  const numbers = Array.from({ length: layers }, (_, layer) => layer);
  return [
    `class Block${at}(nn.Module):`,
    `    """Linear layers and activations, as many as a page holds."""`,
    "",
    "    def __init__(self, width: int = 32) -> None:",
    "        super().__init__()",
    ...numbers.map((layer) => `        self.layer${layer} = ${layer % 2 === 0 ? "nn.Linear(width, width)" : "nn.ReLU()"}`),
    "",
    "    def forward(self, x: Tensor) -> Tensor:",
    ...numbers.map((layer) => `        x = self.layer${layer}(x)`),
    "        return x",
    "",
  ];
}

export function largeFile(): string {
  const all = Array.from({ length: blocks }, (_, at) => at);
  const lines = [
    "import torch",
    "from torch import Tensor, nn",
    "",
    ...all.flatMap(block),
    "class Net(nn.Module):",
    "    def __init__(self) -> None:",
    "        super().__init__()",
    ...all.map((at) => `        self.block${at} = Block${at}()`),
    "",
    "    def forward(self, x: Tensor) -> Tensor:",
    ...all.map((at) => `        x = self.block${at}(x)`),
    "        return x",
  ];
  while (lines.length < 3000) lines.push("");
  return `${lines.join("\n")}\n`;
}
