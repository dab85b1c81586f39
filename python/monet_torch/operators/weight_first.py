"""A convolution whose weight gets its gradient in a node of its own, before the input does: autograd has one for both.

So what it saved, its input, is gone while the input's gradient is made. That needs the input's geometry and weight
alone. On the CPU it is eager's own kernel, given memory of that geometry that nobody writes to, and so takes none. On
CUDA there is no such memory, and a transposed convolution makes the same gradient (with cuDNN, by the same call).
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..captured import Captured, Operator
from ..geometry import extent
from . import Implementation, register
from .convolution import spread
from .once import once

aten = torch.ops.aten
Settings = tuple[Any, ...]
"""Stride, padding, dilation, transposed, output padding, groups."""
# Pages are given when written to. (If shared they are when read, and a kernel reads an input with gaps, to close them.)
_PRIVATE: dict[str, int] = {"flags": mmap.MAP_PRIVATE} if hasattr(mmap, "MAP_PRIVATE") else {}
InputGradient = Callable[[Tensor, Tensor, Sequence[int], Sequence[int], Settings], Tensor]
"""Of the output's gradient, weight, the input's sizes and strides, settings."""


class _Behind(torch.autograd.Function):
    """The convolution, with a gradient for its input alone.

    A parameter is looked at again in backward, as autograd looks at leaves: it may have got other memory meanwhile.
    (That it was not written to, `_WeightFirst` has seen, which runs before and saves it.)
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, settings: Settings, gradient: InputGradient,
        parameter: tuple[Tensor] | None,
    ) -> Tensor:  # fmt: skip
        ctx.gradient, ctx.settings, ctx.geometry = gradient, settings, (x.shape, x.stride())
        ctx.parameter = parameter
        if parameter is None:
            ctx.save_for_backward(weight)
        y: Tensor = aten.convolution(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype), *settings)
        return y

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (grad,), (weight,) = grads, ctx.parameter or ctx.saved_tensors
        weight = weight.detach().to(grad.dtype)
        return ctx.gradient(grad, weight, *ctx.geometry, ctx.settings), None, None, None, None, None


class _WeightFirst(torch.autograd.Function):
    """Hands on `y`, and its gradient; on that gradient's way, it makes those of weight and bias."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, settings: Settings) -> Tensor:
        ctx.settings, ctx.bias = settings, None if bias is None else (list(bias.shape), bias.dtype)
        ctx.save_for_backward(x, weight)
        ctx.mark_dirty(y)  # so that it is no view
        return y

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (grad,), (x, weight) = grads, ctx.saved_tensors
        shape, kind = ctx.bias or (None, None)
        needs = (False, *ctx.needs_input_grad[2:4])
        _, mine, own = aten.convolution_backward(grad, x, weight.to(x.dtype), shape, *ctx.settings, needs)
        return grad, None, None if mine is None else mine.to(weight.dtype), None if own is None else own.to(kind), None


def _untouched(shape: Sequence[int], stride: Sequence[int], dtype: torch.dtype) -> Tensor:
    count = extent(shape, stride)
    memory = mmap.mmap(-1, count * dtype.itemsize, **_PRIVATE)
    return torch.frombuffer(memory, dtype=dtype, count=count).as_strided(shape, stride)


def _by_the_same_kernel(
    grad: Tensor, weight: Tensor, shape: Sequence[int], stride: Sequence[int], settings: Settings
) -> Tensor:
    x = _untouched(shape, stride, grad.dtype)
    gradient: Tensor
    gradient, _, _ = aten.convolution_backward(grad, x, weight, None, *settings, (True, False, False))
    return gradient


def _transposed(
    grad: Tensor, weight: Tensor, shape: Sequence[int], stride: Sequence[int], settings: Settings
) -> Tensor:
    step, padding, dilation, _, _, groups = settings
    sizes = zip(shape[2:], grad.shape[2:], weight.shape[2:], step, padding, dilation, strict=True)
    left = [x - ((y - 1) * s - 2 * p + d * (k - 1) + 1) for x, y, k, s, p, d in sizes]
    gradient: Tensor = aten.convolution(grad, weight, None, step, padding, dilation, True, left, groups)
    return gradient


def _build(gradient: InputGradient) -> Callable[[Operator, bool], Callable[..., Any]]:
    def convolve(
        x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
        groups: int = 1,
    ) -> Any:  # fmt: skip
        dims = weight.dim() - 2
        settings = (*(spread(each, dims) for each in (stride, padding, dilation)), False, (0,) * dims, groups)
        if torch.is_autocast_enabled(x.device.type) and x.dtype != torch.float64:
            x = x.to(torch.get_autocast_dtype(x.device.type))
        parameter = (weight,) if isinstance(weight, torch.nn.Parameter) else None  # in a tuple: no gradient goes there
        y = _Behind.apply(x, weight.detach(), None if bias is None else bias.detach(), settings, gradient, parameter)  # type: ignore[no-untyped-call]
        return _WeightFirst.apply(y, x.detach(), weight, bias, settings)  # type: ignore[no-untyped-call]

    return lambda operator, in_place: convolve


def _is_cast_for(captured: Captured, operator: Operator) -> bool:
    """Was its weight cast, as autocast does, and for it alone? Then that goes with this operator's backward."""
    weight = captured.values[operator.inputs[1]]
    cast = weight.producer is not None and captured.operators[weight.producer].name == "aten.to.dtype"
    readers = [o for o in captured.operators for v in o.inputs if captured.values[v].storage == weight.storage]
    return cast and weight.storage == weight.id and readers == [operator]


def _applies(device: str) -> Callable[[Captured, Operator], bool]:
    def applies(captured: Captured, operator: Operator) -> bool:
        x, weight = (captured.values[v] for v in operator.inputs[:2])
        there = x.kind == "activation" and x.storage_bytes > 0 and len(x.shape) == len(weight.shape)
        split = operator.grad and x.requires_grad and weight.requires_grad
        alone = weight.is_constant or _is_cast_for(captured, operator)
        # A depthwise one has other kernels on CUDA than its transpose.
        return there and split and alone and x.device.type == device and (device == "cpu" or weight.shape[1] > 1)

    return applies


for _op in ("aten.conv1d.default", "aten.conv2d.default", "aten.conv3d.default"):
    register(_op, Implementation("weight-first", "bitwise", _applies("cpu"), _build(_by_the_same_kernel), in_two=True))
    register(
        _op,
        Implementation("weight-first-transposed", "same-kernel", _applies("cuda"), _build(_transposed), in_two=True),
    )
