"""2-d max pooling from the place of each maximum within its window, one byte instead of an int64 index."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.utils import _pair

from ..captured import Captured, Operator
from ..geometry import is_contiguous
from . import Implementation, register


def _settings(kernel: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False) -> Any:
    size = _pair(list(kernel) * 2 if len(kernel) == 1 else tuple(kernel))
    step = tuple(stride) or size
    return size, _pair(step if len(step) == 2 else step[0]), _two(padding), _two(dilation), ceil_mode


def _two(x: Any) -> tuple[int, int]:
    if isinstance(x, int):
        return (x, x)
    return (x[0], x[0]) if len(x) == 1 else (x[0], x[1])


class _MaxPool2d(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, settings: Any) -> Tensor:
        y: Tensor
        y, indices = torch.ops.aten.max_pool2d_with_indices(x, *settings)
        ctx.settings, ctx.shape, ctx.stride = settings, x.shape, x.stride()
        # index = h·W + w in the plane; the place in the window is (h - h0)/dh·kw + (w - w0)/dw.
        (_, kw), (sh, sw), (ph, pw), (dh, dw), _ = settings
        width = x.shape[-1]
        rows, columns = _origins(y, sh, sw, ph, pw)
        h = torch.div(indices, width, rounding_mode="floor")
        place = indices.sub_(h * width).sub_(columns)
        h.sub_(rows)
        if dh != 1:
            h = torch.div(h, dh, rounding_mode="floor")
        if dw != 1:
            place = torch.div(place, dw, rounding_mode="floor")
        ctx.save_for_backward(place.add_(h.mul_(kw)).to(torch.uint8))
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (place,) = ctx.saved_tensors
        (grad,) = grads
        (_, kw), (sh, sw), (ph, pw), (dh, dw), _ = ctx.settings
        width = ctx.shape[-1]
        rows, columns = _origins(grad, sh, sw, ph, pw)
        indices = place.to(torch.int64)
        h = torch.div(indices, kw, rounding_mode="floor")
        indices.sub_(h * kw).mul_(dw).add_(columns)
        indices.add_(h.mul_(dh).add_(rows).mul_(width))
        # The kernel looks at the input for its geometry alone: one element, expanded, will do on the CPU; its
        # memory format decides the format of the gradient.
        shape_of_input = grad.new_empty(1).expand(ctx.shape)
        return torch.ops.aten.max_pool2d_with_indices_backward(grad, shape_of_input, *ctx.settings, indices), None


def _origins(y: Tensor, sh: int, sw: int, ph: int, pw: int) -> tuple[Tensor, Tensor]:
    rows = torch.arange(y.shape[-2], device=y.device).mul_(sh).sub_(ph).view(-1, 1)
    columns = torch.arange(y.shape[-1], device=y.device).mul_(sw).sub_(pw)
    return rows, columns


def _applies(captured: Captured, operator: Operator) -> bool:
    value = captured.values[operator.inputs[0]]
    (kh, kw), *_ = _settings(*operator.args[1:])
    return value.storage_bytes > 0 and kh * kw <= 256 and is_contiguous(value.shape, value.stride)


def _build(operator: Operator, in_place: bool) -> Any:
    settings = _settings(*operator.args[1:])

    def run(x: Tensor, *_: Any) -> Any:
        return _MaxPool2d.apply(x, settings)  # type: ignore[no-untyped-call]

    return run


register("aten.max_pool2d.default", Implementation("index8", "bitwise", _applies, _build))
