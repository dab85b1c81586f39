"""relu from one bit per element (N/32 in fp32), relu6/hardtanh from its output."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..captured import Captured, Operator
from ..geometry import is_dense
from . import Implementation, bits, register
from .once import once


def _applies(captured: Captured, operator: Operator) -> bool:
    value = captured.values[operator.inputs[0]]
    return value.storage_bytes > 0 and len(value.shape) > 0 and is_dense(value.shape, value.stride)


class _ReluFromMask(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, in_place: bool) -> Tensor:
        y = torch.relu_(x) if in_place else torch.relu(x)
        if in_place:
            ctx.mark_dirty(x)
        bits.save_passing(ctx, y)
        return y

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return bits.selected(ctx, grads[0]), None


class _HardtanhFromOutput(torch.autograd.Function):
    """Where the gradient passes can be read off the output as well as off the input: x ≤ low and y ≤ low agree.

    Eager's in-place form saves a copy of its input; the output is most often saved by the next operator anyway.
    (One bit would not do: at NaN, eager's kernel lets a gradient pass or not by how it lies in memory.)
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float, in_place: bool) -> Tensor:
        y = torch.nn.functional.hardtanh(x, low, high, in_place)
        if in_place:
            ctx.mark_dirty(x)
        ctx.bounds = (low, high)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (y,) = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(grads[0], y, *ctx.bounds), None, None, None


def _build_relu(operator: Operator, in_place: bool) -> Any:
    def run(x: Tensor) -> Any:
        return _ReluFromMask.apply(x, in_place)  # type: ignore[no-untyped-call]

    return run


def _build_hardtanh(operator: Operator, in_place: bool) -> Any:
    def run(x: Tensor, low: float = -1.0, high: float = 1.0) -> Any:
        return _HardtanhFromOutput.apply(x, float(low), float(high), in_place)  # type: ignore[no-untyped-call]

    return run


def _build_relu6(operator: Operator, in_place: bool) -> Any:
    run = _build_hardtanh(operator, in_place)
    return lambda x: run(x, 0, 6)


register("aten.relu.default", Implementation("mask", "bitwise", _applies, _build_relu, overwrites=True))
register("aten.hardtanh.default", Implementation("output", "bitwise", _applies, _build_hardtanh, overwrites=True))
register("aten.relu6.default", Implementation("output", "bitwise", _applies, _build_relu6, overwrites=True))
