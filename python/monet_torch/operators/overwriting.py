"""Activations whose gradient eager's own kernel reads off their output, over the memory of their input.

Where the user writes them in place, eager does that itself. A linear layer and the relu after it then hold one tensor
between them all along, as a kernel that is both would. (Those lose NaN: docs/implementations.md.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from ..captured import Captured, Operator
from ..geometry import is_dense
from . import Implementation, can_overwrite, register
from .once import once

aten = torch.ops.aten


@dataclass(frozen=True)
class _Activation:
    run: Callable[..., Any]
    overwrite: Callable[..., Any]
    backward: Callable[..., Any]  # of the gradient, the output, and what else the operator is told


class _FromOutput(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, activation: _Activation, in_place: bool, *settings: float) -> Tensor:
        ctx.activation, ctx.settings = activation, settings
        y: Tensor = (activation.overwrite if in_place else activation.run)(x, *settings)
        if in_place:
            ctx.mark_dirty(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (y,) = ctx.saved_tensors
        return ctx.activation.backward(grads[0], y, *ctx.settings), None, None, *(None for _ in ctx.settings)


_ACTIVATIONS = {
    "relu": _Activation(aten.relu, aten.relu_, lambda grad, y: aten.threshold_backward(grad, y, 0)),
    "sigmoid": _Activation(aten.sigmoid, aten.sigmoid_, aten.sigmoid_backward),
    "tanh": _Activation(aten.tanh, aten.tanh_, aten.tanh_backward),
    "leaky_relu": _Activation(
        aten.leaky_relu, aten.leaky_relu_,
        lambda grad, y, slope=0.01: aten.leaky_relu_backward(grad, y, slope, True),
    ),
}  # fmt: skip


def _build(operator: Operator, in_place: bool) -> Any:
    activation = _ACTIVATIONS[operator.name.split(".")[1]]

    def run(x: Tensor, *settings: float, **named: float) -> Any:
        return _FromOutput.apply(x, activation, in_place, *settings, *named.values())  # type: ignore[no-untyped-call]

    return run


def _applies(captured: Captured, operator: Operator) -> bool:
    return operator.in_place is None and can_overwrite(captured, operator)


def _rises(captured: Captured, operator: Operator) -> bool:
    """With a slope above zero the output of a leaky relu is positive where its input is, which eager saves."""
    x = captured.values[operator.inputs[0]]
    slope = operator.args[1] if len(operator.args) > 1 else operator.kwargs.get("negative_slope", 0.01)
    dense = x.storage_bytes > 0 and len(x.shape) > 0 and is_dense(x.shape, x.stride)
    return operator.in_place is None and dense and slope > 0 and isfinite(slope)


for _name in ("relu", "sigmoid", "tanh"):
    register(f"aten.{_name}.default", Implementation("in-place", "bitwise", _applies, _build, overwrites=True))
register("aten.leaky_relu.default", Implementation("output", "bitwise", _rises, _build, overwrites=True))
