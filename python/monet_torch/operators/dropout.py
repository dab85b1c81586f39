"""Dropout from one bit per element; eager saves the scaled mask as floats on the CPU, a byte each on CUDA."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..captured import Captured, Operator
from ..geometry import is_contiguous
from . import Implementation, bits, register


class _Dropout(torch.autograd.Function):
    """Draws the same random numbers by the same kernels as eager, in the same order."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        ctx.scale = 1.0 - p
        if x.is_cuda:
            y, mask = torch.native_dropout(x, p, True)
        else:
            noise = torch.empty_like(x).bernoulli_(ctx.scale)
            mask = noise != 0
            y = x * noise.div_(ctx.scale)
        ctx.save_for_backward(bits.pack(mask))
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (packed,) = ctx.saved_tensors
        (grad,) = grads
        mask = bits.unpack(packed, grad.numel()).view(grad.shape)
        if grad.is_cuda:
            return torch.ops.aten.native_dropout_backward(grad, mask, 1.0 / ctx.scale), None
        return grad * mask.to(grad.dtype).div_(ctx.scale), None


def _applies(captured: Captured, operator: Operator) -> bool:
    p, train = operator.args[1], operator.args[2]
    value = captured.values[operator.inputs[0]]
    return bool(train) and 0 < p < 1 and value.storage_bytes > 0 and is_contiguous(value.shape, value.stride)


def _build(operator: Operator, in_place: bool) -> Any:
    def run(x: Tensor, p: float, train: bool) -> Any:
        return _Dropout.apply(x, p)  # type: ignore[no-untyped-call]

    return run


register("aten.dropout.default", Implementation("mask", "bitwise", _applies, _build))
