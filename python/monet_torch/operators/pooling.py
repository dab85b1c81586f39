"""Max pooling from the place of each maximum within its window: a byte, or half of one, instead of an int64 index.

And average pooling from the shape of its input alone: all of them have backward kernels that look at the input for
its geometry and never at its numbers. (Bitwise as far as eager is so to itself: where windows overlap, some of CUDA's
kernels add atomically, in any order.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from ..captured import Captured, Operator, Value
from ..geometry import is_contiguous
from . import Implementation, bits, implementation, register
from .once import once


@dataclass(frozen=True)
class _Windows:
    """Of a pooling over the last two or three dimensions, one number per dimension."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    ceil_mode: bool

    def origins(self, axis: int, y: Tensor) -> Tensor:
        """Where in the input the window of each output begins (in the padding: below zero)."""
        dims = len(self.kernel)
        first = torch.arange(y.shape[axis - dims], device=y.device)
        first = first.mul_(self.stride[axis]).sub_(self.padding[axis])
        return first.view(-1, *[1] * (dims - 1 - axis))

    def places(self, indices: Tensor, sizes: Sequence[int]) -> Tensor:
        """From the place in the plane, d·H·W + h·W + w, to that in the window, uint8; overwrites `indices`.

        Both are numbers in a mixed base; digit by digit from the last, (digit of the plane - origin) / dilation is
        the digit of the window.
        """
        result, scale, rest = None, 1, indices
        for axis in reversed(range(len(self.kernel))):
            digit = rest
            if axis:
                rest = torch.div(digit, sizes[axis], rounding_mode="floor")
                digit.sub_(rest, alpha=sizes[axis])
            digit.sub_(self.origins(axis, indices))
            if self.dilation[axis] != 1:
                digit.div_(self.dilation[axis], rounding_mode="floor")
            result = digit if result is None else result.add_(digit, alpha=scale)
            scale *= self.kernel[axis]
        assert result is not None
        return result.to(torch.uint8)

    def indices(self, places: Tensor, sizes: Sequence[int]) -> Tensor:
        """The way back."""
        result, scale, rest = None, 1, places.to(torch.int64)
        for axis in reversed(range(len(self.kernel))):
            digit = rest
            if axis:
                rest = torch.div(digit, self.kernel[axis], rounding_mode="floor")
                digit.sub_(rest, alpha=self.kernel[axis])
            digit.mul_(self.dilation[axis]).add_(self.origins(axis, places))
            result = digit if result is None else result.add_(digit, alpha=scale)
            scale *= sizes[axis]
        assert result is not None
        return result


_MAX_POOL: dict[int, tuple[Any, Any]] = {
    2: (torch.ops.aten.max_pool2d_with_indices.default, torch.ops.aten.max_pool2d_with_indices_backward.grad_input),
    3: (torch.ops.aten.max_pool3d_with_indices.default, torch.ops.aten.max_pool3d_with_indices_backward.grad_input),
}


class _MaxPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, windows: _Windows, halves: bool) -> Tensor:
        y: Tensor
        settings = (windows.kernel, windows.stride, windows.padding, windows.dilation, windows.ceil_mode)
        y, indices = _MAX_POOL[len(windows.kernel)][0](x, *settings)
        ctx.windows, ctx.settings, ctx.input, ctx.output = windows, settings, (x.shape, x.stride()), None
        places = windows.places(indices, x.shape[-len(windows.kernel) :])
        if halves:
            ctx.output = (places.shape, places.stride())
            places = bits.pack_nibbles(bits.in_memory_order(places))
        ctx.save_for_backward(places)
        return y

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (places,) = ctx.saved_tensors
        (grad,) = grads
        windows: _Windows = ctx.windows
        if ctx.output is not None:
            shape, stride = ctx.output
            places = torch.as_strided(bits.unpack_nibbles(places, shape.numel()), shape, stride)
        indices = windows.indices(places, ctx.input[0][-len(windows.kernel) :])
        result = _unwritten(ctx.input, grad)
        _MAX_POOL[len(windows.kernel)][1](grad, result, *ctx.settings, indices, grad_input=result)
        return result, None, None


def _unwritten(geometry: tuple[Sequence[int], Sequence[int]], like: Tensor) -> Tensor:
    """Memory for the input's gradient, which as long as nobody has written it stands in for the input itself.

    The kernels ask the input for its sizes and its memory format, which decides that of the gradient.
    """
    return torch.empty_strided(*geometry, dtype=like.dtype, device=like.device)


_AVG_POOL: dict[int, tuple[Any, Any]] = {
    2: (torch.ops.aten.avg_pool2d.default, torch.ops.aten.avg_pool2d_backward.grad_input),
    3: (torch.ops.aten.avg_pool3d.default, torch.ops.aten.avg_pool3d_backward.grad_input),
}


class _AvgPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, settings: tuple[Any, ...]) -> Tensor:
        ctx.settings, ctx.input = settings, (x.shape, x.stride())
        y: Tensor = _AVG_POOL[len(settings[0])][0](x, *settings)
        return y

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> Any:
        result = _unwritten(ctx.input, grads[0])
        _AVG_POOL[len(ctx.settings[0])][1](grads[0], result, *ctx.settings, grad_input=result)
        return result, None


class _AdaptiveAvgPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, size: list[int]) -> Tensor:
        ctx.input, ctx.dims = (x.shape, x.stride()), len(size)
        aten = torch.ops.aten
        y: Tensor = (aten._adaptive_avg_pool2d if ctx.dims == 2 else aten._adaptive_avg_pool3d)(x, size)
        return y

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> Any:
        # What writes into given memory can't be compiled. Expanded from one element, the stand-in is contiguous to it.
        shape, stride = ctx.input
        contiguous = stride == torch.empty(shape, device="meta").stride()  # of one pixel, both formats are dense
        stand_in = grads[0].new_empty(1).expand(shape) if contiguous else _unwritten(ctx.input, grads[0])
        aten = torch.ops.aten
        run = aten._adaptive_avg_pool2d_backward if ctx.dims == 2 else aten._adaptive_avg_pool3d_backward
        return run(grads[0], stand_in), None


def _per_dimension(setting: Any, dims: int) -> tuple[int, ...]:
    numbers = (setting,) if isinstance(setting, int) else tuple(setting)
    return numbers * dims if len(numbers) == 1 else numbers


def _windows(
    dims: int, kernel: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> _Windows:
    size = _per_dimension(kernel, dims)
    step = size if not isinstance(stride, int) and not stride else _per_dimension(stride, dims)
    return _Windows(size, step, _per_dimension(padding, dims), _per_dimension(dilation, dims), ceil_mode)


def _as_2d(w: _Windows) -> _Windows:
    """Pooling over one dimension is pooling over two of which the first has size 1; eager does it so."""
    return _Windows((1, *w.kernel), (1, *w.stride), (0, *w.padding), (1, *w.dilation), w.ceil_mode)


def _in_a_memory_format(x: Value) -> bool:
    """Contiguous, or with the channels last: the two for which the gradient's layout is that of the input."""
    if x.storage_bytes == 0:
        return False
    if is_contiguous(x.shape, x.stride):
        return True
    last = (0, *range(2, len(x.shape)), 1)
    return len(x.shape) == 4 and is_contiguous([x.shape[d] for d in last], [x.stride[d] for d in last])


def _register_max_pool(dims: int, name: str, most: int) -> None:
    def applies(captured: Captured, operator: Operator) -> bool:
        value = captured.values[operator.inputs[0]]
        windows = _windows(dims, *operator.args[1:], **operator.kwargs)
        return prod(windows.kernel) <= most and _in_a_memory_format(value)

    def build(operator: Operator, in_place: bool) -> Any:
        windows = _windows(dims, *operator.args[1:], **operator.kwargs)

        def run(x: Tensor, *_: Any, **__: Any) -> Any:
            if dims == 1:
                y = _MaxPool.apply(x.unsqueeze(-2), _as_2d(windows), most == 16)  # type: ignore[no-untyped-call]
                return y.squeeze(-2)
            return _MaxPool.apply(x, windows, most == 16)  # type: ignore[no-untyped-call]

        return run

    register(f"aten.max_pool{dims}d.default", Implementation(name, "bitwise", applies, build))


_register_max_pool(1, "index8", 256)
_register_max_pool(2, "index8", 256)
_register_max_pool(2, "index4", 16)
_register_max_pool(3, "index8", 256)


def _averages(x: Value, *_: Any) -> bool:
    return _in_a_memory_format(x)


def _register_avg_pool(dims: int) -> None:
    @implementation(f"aten.avg_pool{dims}d.default", name="shape", exactness="bitwise", applies=_averages)
    def average(
        x: Tensor, kernel: Any, stride: Any = (), padding: Any = 0, ceil_mode: bool = False, pad_counts: bool = True,
        divisor: int | None = None,
    ) -> Any:  # fmt: skip
        w = _windows(dims, kernel, stride, padding, 1, ceil_mode)
        if dims == 1:
            w, x = _as_2d(w), x.unsqueeze(-2)
        y = _AvgPool.apply(x, (w.kernel, w.stride, w.padding, ceil_mode, pad_counts, divisor))  # type: ignore[no-untyped-call]
        return y.squeeze(-2) if dims == 1 else y


def _adapts(x: Value, size: Sequence[int]) -> bool:
    """To one place it is a mean, which saves nothing."""
    return prod(size) != 1 and _in_a_memory_format(x)


def _register_adaptive_avg_pool(dims: int) -> None:
    @implementation(f"aten.adaptive_avg_pool{dims}d.default", name="shape", exactness="bitwise", applies=_adapts)
    def average(x: Tensor, size: Sequence[int]) -> Any:
        if dims == 1:
            return _AdaptiveAvgPool.apply(x.unsqueeze(-2), [1, *size]).squeeze(-2)  # type: ignore[no-untyped-call]
        return _AdaptiveAvgPool.apply(x, size)  # type: ignore[no-untyped-call]


for _dims in (1, 2, 3):
    _register_avg_pool(_dims)
    _register_adaptive_avg_pool(_dims)
