"""The four models that are measured, and what each way of saving memory needs to know about them."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Case:
    file: str
    model: str
    inputs: tuple[str, ...]
    """As the command line takes them: `float32[8,3,224,224]`, `int64[2,256]<50257` for integers below it."""
    block: str
    """The class that a person would wrap in `torch.utils.checkpoint`."""

    @property
    def name(self) -> str:
        return Path(self.file).stem

    @property
    def target(self) -> str:
        return f"{self.file}:{self.model}"

    def build(self) -> tuple[nn.Module, type[nn.Module]]:
        """A fresh model, always with the same weights, and the class of its blocks."""
        path = ROOT / self.file
        spec = importlib.util.spec_from_file_location(path.stem, path)
        if spec is None or spec.loader is None:
            raise FileNotFoundError(path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        torch.manual_seed(0)
        factory: Callable[[], nn.Module] = getattr(module, self.model)
        block: type[nn.Module] = getattr(module, self.block)
        return factory().train(), block

    def make_inputs(self) -> list[Tensor]:
        torch.manual_seed(1)
        return [_random(spec) for spec in self.inputs]

    def with_sizes(self, sizes: str) -> Case:
        """The same with smaller inputs, to try the bench itself: `1,3,64,64`."""
        return replace(self, inputs=tuple(_resize(spec, sizes) for spec in self.inputs))


def _random(spec: str) -> Tensor:
    spec, _, bound = spec.partition("<")
    dtype, _, sizes = spec.rstrip("]").partition("[")
    shape = [int(size) for size in sizes.split(",")]
    if bound:
        return torch.randint(int(bound), shape, dtype=getattr(torch, dtype))
    return torch.randn(shape, dtype=getattr(torch, dtype))


def _resize(spec: str, sizes: str) -> str:
    return spec[: spec.index("[") + 1] + sizes + spec[spec.index("]") :]


CASES = {
    case.name: case
    for case in (
        Case("examples/resnet50.py", "resnet50", ("float32[8,3,224,224]",), "Bottleneck"),
        Case("examples/mobilenetv2.py", "mobilenet_v2", ("float32[8,3,224,224]",), "InvertedResidual"),
        Case("examples/unet.py", "UNet", ("float32[1,3,256,256]",), "DoubleConv"),
        Case("examples/gpt2.py", "GPT", ("int64[2,256]<50257",), "Block"),
    )
}
