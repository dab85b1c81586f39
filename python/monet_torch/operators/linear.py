"""A linear layer whose shared weight gets a gradient that others can be summed into.

Eager's gradient of the weight is a view (a transpose twice). Autograd sums two gradients of one parameter in place
only if the first is no view, so tied embeddings hold three of them at once; as the same memory without a base it is
two. The bits are the same: in place or not, the sum adds the same numbers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..captured import Captured, Operator
from . import Implementation, register
from .once import once


class _Own(torch.autograd.Function):
    """The identity; its gradient is the same memory, as a tensor that is nobody's view."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor) -> Tensor:
        return weight.view_as(weight)

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (grad,) = grads
        # By way of a storage object of Python's, the memory would have one owner more than autograd allows.
        return torch.empty(0, dtype=grad.dtype, device=grad.device).set_(grad)  # type: ignore[call-overload]


def _applies(captured: Captured, operator: Operator) -> bool:
    weight = operator.inputs[1]
    users = sum(o.inputs.count(weight) for o in captured.operators)
    value = captured.values[weight]
    return value.kind == "parameter" and value.requires_grad and users > 1


def _build(operator: Operator, in_place: bool) -> Any:
    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Any:
        return torch.nn.functional.linear(x, _Own.apply(weight), bias)  # type: ignore[no-untyped-call]

    return run


register("aten.linear.default", Implementation("own-gradient", "bitwise", _applies, _build))
