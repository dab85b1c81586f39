"""Activations that fall and then rise (silu, gelu, mish, hardswish) from their output and one bit per element.

With the bit for the side of the turn x₀, and t = ±√(y - y₀) signed by it, x and so the slope f'(x) are functions of t,
and smooth at the turn. They are looked up in a table of 2^16 places, evenly spaced in t.

Approximate: y was rounded, and near the turn √ magnifies that; docs/implementations.md has the errors and the times.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from math import sqrt
from typing import Any

import torch
from torch import Tensor

from ..captured import Captured, Operator
from ..geometry import is_dense
from . import Implementation, bits, register
from .once import once

aten = torch.ops.aten

_PLACES = 1 << 16
_FAR = 20.0  # from where on all of them are x, and below minus which they are 0
_CHUNK = {"cpu": 1 << 16, "cuda": 1 << 24}
"""Elements at a time, so that what is made on the way stays in the cache, or small beside what is saved."""


@dataclass(frozen=True)
class _Curve:
    run: Callable[[Tensor], Tensor]
    overwrite: Callable[[Tensor], Tensor]
    turn: float
    low: float  # its value there

    @property
    def scale(self) -> float:
        """Places per unit of t: the first is for NaN, the second for x = -∞."""
        return (_PLACES - 2) / (sqrt(_FAR - self.low) + sqrt(-self.low))

    def slopes(self) -> Tensor:
        """The table, 32 bits: for each t, x by bisection between the turn and far out."""
        t = torch.arange(_PLACES - 1, dtype=torch.float64).div_(self.scale).sub_(sqrt(-self.low))
        out, turn = torch.where(t < 0, -_FAR, _FAR + 1), torch.full_like(t, self.turn)
        for _ in range(50):
            middle = (out + turn) / 2
            beyond = self.run(middle) - self.low > t * t
            out, turn = torch.where(beyond, middle, out), torch.where(beyond, turn, middle)
        with torch.enable_grad():
            (slopes,) = torch.autograd.grad(self.run(out.requires_grad_()).sum(), out)
        return torch.cat([slopes.new_tensor([torch.nan]), slopes[1:].new_zeros(1), slopes[1:]]).float()


@cache
def _kept(curve: _Curve, device: torch.device) -> Tensor:
    return curve.slopes().to(device)


def _table(curve: _Curve, like: Tensor) -> Tensor:
    """Made again where tensors are stood in for: what is made there serves nobody else."""
    return _kept(curve, like.device) if type(like) is Tensor else curve.slopes().to(like.device)


class _FromOutput(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, curve: _Curve, in_place: bool) -> Tensor:
        ctx.curve, passes = curve, x > curve.turn
        y = curve.overwrite(x) if in_place else curve.run(x)
        if in_place:
            ctx.mark_dirty(x)
        ctx.save_for_backward(y, bits.pack(bits.in_memory_order(passes)))
        return y

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> Any:
        y, packed = ctx.saved_tensors
        curve: _Curve = ctx.curve
        table, scale, turn = _table(curve, y), curve.scale, 1.5 + sqrt(-curve.low) * curve.scale
        result = torch.empty_like(y).copy_(grads[0])
        outputs, gradients = bits.in_memory_order(y), bits.in_memory_order(result)
        step = _CHUNK.get(y.device.type, 1 << 24) if type(y) is Tensor else y.numel()
        for first in range(0, y.numel(), step):
            t = outputs[first : first + step].float().sub(curve.low).clamp_(0, _FAR - curve.low).sqrt_()
            right = bits.unpack(packed[first // 8 : (first + step) // 8 + 1], t.numel())
            place = t.mul_(torch.where(right, scale, -scale)).add_(turn).to(torch.int32).clamp_(min=0)  # of NaN: 0
            gradients[first : first + step].mul_(table.index_select(0, place))
        return result, None, None


def _applies(captured: Captured, operator: Operator) -> bool:
    x = captured.values[operator.inputs[0]]
    small = x.dtype in (torch.float32, torch.bfloat16, torch.float16)
    return small and x.storage_bytes > 0 and len(x.shape) > 0 and is_dense(x.shape, x.stride)


_CURVES = {
    "silu": _Curve(aten.silu, aten.silu_, -1.278464542761074, -0.2784645427610738),
    "gelu": _Curve(aten.gelu, aten.gelu_, -0.7517915246935645, -0.16997120747990363),
    "gelu tanh": _Curve(
        partial(aten.gelu, approximate="tanh"), partial(aten.gelu_, approximate="tanh"),
        -0.7524614220710163, -0.1700407505712541,
    ),
    "mish": _Curve(aten.mish, aten.mish_, -1.1924312145154952, -0.3088434130172504),
    "hardswish": _Curve(aten.hardswish, aten.hardswish_, -1.5, -0.375),
}  # fmt: skip


def _build(operator: Operator, in_place: bool) -> Any:
    name = operator.name.split(".")[1]
    curve = _CURVES["gelu tanh" if operator.kwargs.get("approximate") == "tanh" else name]
    if type(like := torch.empty(0)) is Tensor:
        _table(curve, like)  # now, and not while a step is measured
    return lambda x, **_: _FromOutput.apply(x, curve, in_place)  # type: ignore[no-untyped-call]


for _name in ("silu", "gelu", "mish", "hardswish"):
    register(f"aten.{_name}.default", Implementation("output", "approximate", _applies, _build, overwrites=True))
