"""The four models that are measured, and what each way of saving memory needs to know about them."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "python"))  # what is measured is this checkout, whatever is installed


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

    @property
    def arguments(self) -> list[str]:
        """The model and its inputs, as `python -m monet_torch` takes them in any folder."""
        return [str(ROOT / self.target), *(word for spec in self.inputs for word in ("--input", spec))]

    def with_sizes(self, sizes: str) -> Case:
        """The same with smaller inputs, to try the bench itself: `1,3,64,64`."""
        return replace(self, inputs=tuple(_resize(spec, sizes) for spec in self.inputs))


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
