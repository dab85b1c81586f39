"""MobileNetV2 (Sandler et al., 2018) for images, with its training loop.

Fit its training step into half of the memory that PyTorch would take for activations:

    monet optimize examples/mobilenetv2.py:mobilenet_v2 --input "float32[8,3,224,224]" --budget 50%
    python examples/mobilenetv2.py --plan examples/.monet/mobilenetv2.mobilenet_v2.plan.json
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ConvNormAct(nn.Sequential):
    """Convolution that keeps the image's size (up to its stride), batch norm, relu6."""

    def __init__(
        self, channels: int, widened: int, kernel_size: int = 3, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__(
            nn.Conv2d(
                channels,
                widened,
                kernel_size,
                stride=stride,
                padding=kernel_size // 2,
                groups=groups,
                bias=False,
            ),
            nn.BatchNorm2d(widened),
            nn.ReLU6(inplace=True),
        )


class InvertedResidual(nn.Module):
    """Widen, filter each channel by itself, narrow without an activation; add the input if it fits."""

    def __init__(self, channels: int, narrowed: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = channels * expansion
        self.adds_input = stride == 1 and channels == narrowed
        layers: list[nn.Module] = []
        if expansion != 1:
            layers.append(ConvNormAct(channels, hidden, kernel_size=1))
        layers += [
            ConvNormAct(hidden, hidden, stride=stride, groups=hidden),
            nn.Conv2d(hidden, narrowed, kernel_size=1, bias=False),
            nn.BatchNorm2d(narrowed),
        ]
        self.conv = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        if self.adds_input:
            return x + self.conv(x)
        return self.conv(x)


class MobileNetV2(nn.Module):
    """A stem, seventeen inverted residuals, a wide last convolution and a linear classifier."""

    # expansion, channels, repetitions, stride of the first
    stages = (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    )

    def __init__(self, classes: int = 1000, dropout: float = 0.2) -> None:
        super().__init__()
        channels = 32
        layers: list[nn.Module] = [ConvNormAct(3, channels, stride=2)]
        for expansion, width, repetitions, stride in self.stages:
            for index in range(repetitions):
                layers.append(InvertedResidual(channels, width, stride if index == 0 else 1, expansion))
                channels = width
        layers.append(ConvNormAct(channels, 1280, kernel_size=1))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(1280, classes))

        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        x = F.adaptive_avg_pool2d(x, 1).flatten(1)
        return self.classifier(x)


def mobilenet_v2() -> MobileNetV2:
    return MobileNetV2()


def main() -> None:
    parser = argparse.ArgumentParser(description="Train MobileNetV2 on random images.")
    parser.add_argument("--plan", help="plan that `monet optimize` wrote")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--batch", type=int, default=8)
    options = parser.parse_args()

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = mobilenet_v2().to(device)
    if options.plan:
        import monet_torch

        monet_torch.apply(model, options.plan)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=4e-5)

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
