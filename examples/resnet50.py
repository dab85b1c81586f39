"""ResNet-50 (He et al., 2015) for images, with its training loop.

Fit its training step into half of the memory that PyTorch would take for activations:

    monet optimize examples/resnet50.py:resnet50 --input "float32[8,3,224,224]" --budget 50%
    python examples/resnet50.py --plan examples/.monet/resnet50.plan.json
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Bottleneck(nn.Module):
    """Narrow to `width` channels, look around, widen to four times as many, add what came in."""

    expansion = 4

    def __init__(self, channels: int, width: int, stride: int = 1) -> None:
        super().__init__()
        widened = width * self.expansion
        self.conv1 = nn.Conv2d(channels, width, kernel_size=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, widened, kernel_size=1, bias=False)
        self.bn3 = nn.BatchNorm2d(widened)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride != 1 or channels != widened:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, widened, kernel_size=1, stride=stride, bias=False),
                nn.BatchNorm2d(widened),
            )

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out += x if self.downsample is None else self.downsample(x)
        return self.relu(out)


class ResNet(nn.Module):
    """A stem, four stages of bottleneck blocks and a linear classifier."""

    def __init__(self, depths: tuple[int, int, int, int] = (3, 4, 6, 3), classes: int = 1000) -> None:
        super().__init__()
        self.channels = 64
        self.conv1 = nn.Conv2d(3, 64, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.layer1 = self._stage(64, depths[0], stride=1)
        self.layer2 = self._stage(128, depths[1], stride=2)
        self.layer3 = self._stage(256, depths[2], stride=2)
        self.layer4 = self._stage(512, depths[3], stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(512 * Bottleneck.expansion, classes)

        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def _stage(self, width: int, depth: int, stride: int) -> nn.Sequential:
        blocks = []
        for index in range(depth):
            blocks.append(Bottleneck(self.channels, width, stride if index == 0 else 1))
            self.channels = width * Bottleneck.expansion
        return nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer1(x)
        x = self.layer2(x)
        x = self.layer3(x)
        x = self.layer4(x)
        x = torch.flatten(self.avgpool(x), 1)
        return self.fc(x)


def resnet50() -> ResNet:
    return ResNet((3, 4, 6, 3))


def main() -> None:
    parser = argparse.ArgumentParser(description="Train ResNet-50 on random images.")
    parser.add_argument("--plan", help="plan that `monet optimize` wrote")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--batch", type=int, default=8)
    options = parser.parse_args()

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = resnet50().to(device)
    if options.plan:
        import monet_torch

        monet_torch.apply(model, options.plan)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)

    for step in range(options.steps):
        images = torch.randn(options.batch, 3, 224, 224, device=device)
        labels = torch.randint(1000, (options.batch,), device=device)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        print(f"step {step}: loss {loss.item():.4f}")


if __name__ == "__main__":
    main()
