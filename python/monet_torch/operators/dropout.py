"""Dropout from one bit per element, or from the state of the random numbers alone.

Eager saves the scaled mask as floats on the CPU, a byte each on CUDA.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..captured import Captured, Operator, Value
from ..geometry import is_contiguous
from . import Implementation, bits, implementation, register
from .once import once


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
    @once
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (packed,) = ctx.saved_tensors
        (grad,) = grads
        mask = bits.unpack(packed, grad.numel()).view(grad.shape)
        if grad.is_cuda:
            return torch.ops.aten.native_dropout_backward(grad, mask, 1.0 / ctx.scale), None
        return grad * mask.to(grad.dtype).div_(ctx.scale), None


class _Replayed(torch.autograd.Function):
    """Draws the same numbers again in backward: on the CPU by a generator of its own, on CUDA by the device's.

    How CUDA's kernel deals its numbers out depends on how far it can vectorise, so memory that begins where an
    allocation does stands in for the input.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        ctx.p, ctx.shape = p, x.shape
        if x.is_cuda:
            ctx.save_for_backward(torch.cuda.get_rng_state(x.device))
            return torch.native_dropout(x, p, True)[0]
        ctx.save_for_backward(torch.get_rng_state())
        return x * torch.empty_like(x).bernoulli_(1.0 - p).div_(1.0 - p)

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (state,) = ctx.saved_tensors
        (grad,) = grads
        keep, like = 1.0 - ctx.p, grad.new_empty(ctx.shape)
        if not grad.is_cuda:
            generator = torch.Generator()
            generator.set_state(state)
            return like.bernoulli_(keep, generator=generator).div_(keep).mul_(grad), None
        now = torch.cuda.get_rng_state(grad.device)
        torch.cuda.set_rng_state(state, grad.device)
        try:
            mask = torch.native_dropout(like, ctx.p, True)[1]
        finally:
            torch.cuda.set_rng_state(now, grad.device)
        return torch.ops.aten.native_dropout_backward(grad, mask, 1.0 / keep), None


def _applies(captured: Captured, operator: Operator) -> bool:
    p, train = operator.args[1], operator.args[2]
    value = captured.values[operator.inputs[0]]
    return bool(train) and 0 < p < 1 and value.storage_bytes > 0 and is_contiguous(value.shape, value.stride)


def _build(operator: Operator, in_place: bool) -> Any:
    def run(x: Tensor, p: float, train: bool) -> Any:
        return _Dropout.apply(x, p)  # type: ignore[no-untyped-call]

    return run


def _replays(x: Value, p: float, train: bool) -> bool:
    """Where a bit per element is more than the state (5056 bytes on the CPU, 16 on CUDA), twice over."""
    large = x.storage_bytes // x.dtype.itemsize >= 1 << 17
    return bool(train) and 0 < p < 1 and large and x.offset == 0 and is_contiguous(x.shape, x.stride)


register("aten.dropout.default", Implementation("mask", "bitwise", _applies, _build))


@implementation(  # Inductor draws by no generator but the device's
    "aten.dropout.default", name="replay", exactness="bitwise", applies=_replays, compiles=False
)
def _replayed(x: Tensor, p: float, train: bool) -> Any:
    return _Replayed.apply(x, p)  # type: ignore[no-untyped-call]
