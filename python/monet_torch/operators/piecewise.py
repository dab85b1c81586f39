"""Activations whose gradient takes one of two forms, from one bit per element that says which (N/32 in fp32).

The backward is eager's own kernel, on a stand-in for the input: any number on the right side of the threshold will do.
Not here are those whose gradient depends on the number itself (hardswish is in `curves`), and what their outputs
would give: a hardsigmoid that reaches 1 by rounding still passes a gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf, isfinite
from typing import Any

import torch
from torch import Tensor

from .._private import CLAMP_PASSES_AT_BOUNDS, pytree
from ..captured import Captured, Operator, Ref, Value
from ..geometry import is_dense
from . import Implementation, bits, implementation, register
from .once import once

aten = torch.ops.aten


class _FromMask(torch.autograd.Function):
    """`run(x)` is the operator, `passes` of x's geometry; `backward(grad, passes)` gives the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, passes: Tensor, run: Callable[..., Any], backward: Any, in_place: bool) -> Tensor:
        ctx.gradient = backward
        y: Tensor = run(x)
        if in_place:
            ctx.mark_dirty(x)
        bits.save(ctx, passes)  # last: what packing takes comes on top of y, be that in place or not
        return y

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return ctx.gradient(grads[0], bits.saved(ctx)), None, None, None, None


def _stand_in(passes: Tensor, like: Tensor, inside: float, outside: float) -> Tensor:
    return torch.where(passes, like.new_full((), inside), like.new_full((), outside))


def _selected(grad: Tensor, passes: Tensor) -> Tensor:
    return torch.where(passes, grad, grad.new_zeros(()))


def _dense(x: Value, *_: Any) -> bool:
    return x.storage_bytes > 0 and len(x.shape) > 0 and is_dense(x.shape, x.stride)


def _rises(x: Value, slope: float = 0.01) -> bool:
    return slope > 0 and isfinite(slope) and _dense(x)


def _finite(x: Value, threshold: float, value: float) -> bool:
    return isfinite(threshold) and _dense(x)


def _bounded(x: Value, low: Any = None, high: Any = None) -> bool:
    return _dense(x) and x.dtype.is_floating_point


@implementation("aten.leaky_relu.default", name="mask", exactness="bitwise", applies=_rises, in_place=True)
def _leaky_relu_from_mask(x: Tensor, slope: float = 0.01, *, in_place: bool) -> Any:
    def backward(grad: Tensor, passes: Tensor) -> Any:
        return aten.leaky_relu_backward(grad, _stand_in(passes, grad, 1, -1), slope, False)

    run = aten.leaky_relu_ if in_place else aten.leaky_relu
    return _FromMask.apply(x, x > 0, lambda x: run(x, slope), backward, in_place)  # type: ignore[no-untyped-call]


@implementation("aten.hardsigmoid.default", name="mask", exactness="bitwise", applies=_dense, in_place=True)
def _hardsigmoid_from_mask(x: Tensor, *, in_place: bool) -> Any:
    def backward(grad: Tensor, passes: Tensor) -> Any:
        return aten.hardsigmoid_backward(grad, _stand_in(passes, grad, 0, 6))

    passes = (x > -3).logical_and_(x < 3)
    run = aten.hardsigmoid_ if in_place else aten.hardsigmoid
    return _FromMask.apply(x, passes, run, backward, in_place)  # type: ignore[no-untyped-call]


@implementation("aten.threshold.default", name="mask", exactness="bitwise", applies=_finite, in_place=True)
def _threshold_from_mask(x: Tensor, threshold: float, value: float, *, in_place: bool) -> Any:
    def backward(grad: Tensor, passes: Tensor) -> Any:
        return aten.threshold_backward(grad, _stand_in(passes, grad, inf, -inf), threshold)

    run = aten.threshold_ if in_place else aten.threshold
    passes = (x <= threshold).logical_not_()  # so at NaN too, as for relu
    return _FromMask.apply(x, passes, lambda x: run(x, threshold, value), backward, in_place)  # type: ignore[no-untyped-call]


_above, _below = (torch.ge, torch.le) if CLAMP_PASSES_AT_BOUNDS else (torch.gt, torch.lt)


@implementation("aten.clamp.default", name="mask", exactness="bitwise", applies=_bounded, in_place=True)
def _clamp_from_mask(x: Tensor, low: Any = None, high: Any = None, *, in_place: bool) -> Any:
    passes = _above(x, low) if low is not None else _below(x, high)
    if low is not None and high is not None:
        passes.logical_and_(_below(x, high))
    run = aten.clamp_ if in_place else aten.clamp
    return _FromMask.apply(x, passes, lambda x: run(x, low, high), _selected, in_place)  # type: ignore[no-untyped-call]


@implementation("aten.clamp_min.default", name="mask", exactness="bitwise", applies=_bounded, in_place=True)
def _clamp_min_from_mask(x: Tensor, low: Any, *, in_place: bool) -> Any:
    run = aten.clamp_min_ if in_place else aten.clamp_min
    return _FromMask.apply(x, _above(x, low), lambda x: run(x, low), _selected, in_place)  # type: ignore[no-untyped-call]


@implementation("aten.clamp_max.default", name="mask", exactness="bitwise", applies=_bounded, in_place=True)
def _clamp_max_from_mask(x: Tensor, high: Any, *, in_place: bool) -> Any:
    run = aten.clamp_max_ if in_place else aten.clamp_max
    return _FromMask.apply(x, _below(x, high), lambda x: run(x, high), _selected, in_place)  # type: ignore[no-untyped-call]


class _LeakyReluFromOutput(torch.autograd.Function):
    """With a slope above zero the output is positive where the input is. Eager's in-place form does the same."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float, in_place: bool) -> Tensor:
        ctx.slope = slope
        y: Tensor = aten.leaky_relu_(x, slope) if in_place else aten.leaky_relu(x, slope)
        if in_place:
            ctx.mark_dirty(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (y,) = ctx.saved_tensors
        return aten.leaky_relu_backward(grads[0], y, ctx.slope, False), None, None


def _unwritten(captured: Captured, operator: Operator) -> bool:
    args, kwargs = pytree.tree_map_only(Ref, lambda r: captured.values[r.id], (operator.args, operator.kwargs))
    return operator.in_place is None and _rises(*args, *kwargs.values())


def _leaky_relu_from_output(operator: Operator, in_place: bool) -> Callable[..., Any]:
    def run(x: Tensor, slope: float = 0.01) -> Any:
        return _LeakyReluFromOutput.apply(x, slope, in_place)  # type: ignore[no-untyped-call]

    return run


register(
    "aten.leaky_relu.default",
    Implementation("output", "bitwise", _unwritten, _leaky_relu_from_output, overwrites=True),
)
