"""where and masked_fill from one bit per element of their condition, which eager saves as a byte."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..captured import Value
from ..geometry import is_dense
from . import bits, implementation
from .once import once

aten = torch.ops.aten


class _Where(torch.autograd.Function):
    """A gradient for what was broadcast or promoted has the output's shape and type; autograd sums and casts it."""

    @staticmethod
    def forward(ctx: Any, condition: Tensor, a: Any, b: Any) -> Tensor:
        bits.save(ctx, condition)
        return torch.where(condition, a, b)

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (grad,) = grads
        condition = bits.saved(ctx)
        zero = grad.new_zeros(())
        _, first, second = ctx.needs_input_grad
        return (
            None,
            torch.where(condition, grad, zero) if first else None,
            torch.where(condition, zero, grad) if second else None,
        )


class _MaskedFill(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, mask: Tensor, value: float, in_place: bool) -> Tensor:
        y = x.masked_fill_(mask, value) if in_place else x.masked_fill(mask, value)
        if in_place:
            ctx.mark_dirty(x)
        bits.save(ctx, mask)  # last, as in `piecewise`
        return y

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return grads[0].masked_fill(bits.saved(ctx), 0), None, None, None


def _worth_packing(condition: Value, beside: tuple[Any, ...]) -> bool:
    """A mask that is there anyway costs nothing, and one that is broadcast is small beside what it chooses from."""
    return (
        condition.kind == "activation" and condition.dtype is torch.bool and condition.storage_bytes > 0
        and len(condition.shape) > 0 and is_dense(condition.shape, condition.stride)
        and any(isinstance(x, Value) and x.shape == condition.shape for x in beside)
    )  # fmt: skip


def _chooses(condition: Value, a: Any, b: Any) -> bool:
    return _worth_packing(condition, (a, b))


def _fills(x: Value, mask: Value, value: Any) -> bool:
    return _worth_packing(mask, (x,))


def _where(condition: Tensor, a: Any, b: Any) -> Any:
    return _Where.apply(condition, a, b)  # type: ignore[no-untyped-call]


for _overload in ("self", "ScalarSelf", "ScalarOther"):
    implementation(f"aten.where.{_overload}", name="mask", exactness="bitwise", applies=_chooses)(_where)


@implementation("aten.masked_fill.Scalar", name="mask", exactness="bitwise", applies=_fills, in_place=True)
def _masked_fill(x: Tensor, mask: Tensor, value: float, *, in_place: bool) -> Any:
    return _MaskedFill.apply(x, mask, value, in_place)  # type: ignore[no-untyped-call]
