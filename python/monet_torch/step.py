"""One training step as a module: the model and the loss behind it, so that one capture sees both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from . import containers
from .autocast import Autocast
from .capture import capture
from .captured import Captured, Ref
from .errors import CaptureError, MonetError
from .opaque import outside
from .state import hooked

MODEL = "model"


class Step(nn.Module):
    """Returns (loss, *tensors that the model returned). Without a loss function: the sum of all outputs that train."""

    def __init__(self, model: nn.Module, loss: Callable[..., Tensor] | None) -> None:
        super().__init__()
        self.model = model
        self._loss = (loss,)  # in a tuple, so that a loss that is a module is not one of ours

    def forward(self, args: Any, kwargs: Any, targets: Any) -> tuple[Tensor, ...]:
        output = self.model(*args, **kwargs)
        loss = loss_of(output, targets, self._loss[0])
        return (loss, *(t for t in containers.flatten(output)[0] if isinstance(t, Tensor)))


def loss_of(output: Any, targets: Any, loss: Callable[..., Tensor] | None) -> Tensor:
    """The scalar that the step differentiates."""
    if loss is not None:
        return loss(output, *targets)
    total: Tensor | None = None
    for t in containers.flatten(output)[0]:
        if isinstance(t, Tensor) and t.requires_grad and t.is_floating_point():
            part = t.sum() if t.dim() else t
            total = part if total is None else total + part
    if total is None:
        raise MonetError("M212", "no output of the model requires a gradient, so there is no training step to plan")
    return total


def capture_step(
    model: nn.Module, args: Any, kwargs: Any, targets: Any, loss: Callable[..., Tensor] | None, autocast: Autocast,
    opaque: Sequence[str] = (),
) -> tuple[Captured, int]:  # fmt: skip
    """Capture model and loss together; returns the graph and the value id of the loss.

    Ids of the model part equal those of a capture of the model alone. Modules at the paths `opaque` are blocks.
    """
    step = Step(model, loss).train()
    inputs = (args, kwargs, targets)
    captured = capture(step, inputs, autocast=autocast, loss_prefix=MODEL, opaque=opaque, examples=True)
    reason = hooked(outside(model, opaque))  # also those that the forward itself has put there
    if reason:
        raise CaptureError("M208", f"{reason}, and a planned forward would not run them")
    first = captured.outputs[0]
    if not isinstance(first, Ref) or captured.values[first.id].shape or not captured.values[first.id].requires_grad:
        raise MonetError(
            "M213", "the loss must return one number that requires a gradient, as a tensor without dimensions"
        )
    return captured, first.id


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
