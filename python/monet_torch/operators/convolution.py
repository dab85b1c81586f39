"""A convolution pass by pass in other ways: without cuDNN, by its deterministic algorithms, with the channels last.

On CUDA, cuDNN turns tensors whose channels come first around into workspace of their size. PyTorch's own convolution
unfolds one sample at a time. (Measured on an H200: 3 by 3 on [32, 64, 56, 56] takes 7 MiB besides its result for 25,
and in backward 7 for 51, at nine times the time. cuDNN's deterministic and benchmark flags changed neither there. What
does one pass alone without cuDNN, and what turns tensors around itself, has not run on a card.) Benchmark is not here:
it tries algorithms in the first step, with workspace that no profile of a later one has seen.

On the CPU, in 16 bits, oneDNN's forward with the channels last takes half to a sixth of the time, and its backward
longer; so the forward alone turns its input around, and back again its result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.backends import cudnn

from .._private import pytree
from ..captured import Value
from ..geometry import is_contiguous
from . import implementation
from .once import once

aten = torch.ops.aten


@dataclass(frozen=True)
class _Way:
    """How a pass runs: with a flag of `torch.backends.cudnn` set so, with the channels last in memory, or as it is."""

    flag: tuple[str, bool] | None = None
    channels_last: bool = False

    def run(self, call: Callable[..., Any], *images: Tensor) -> Any:
        """`call(*images)`, under the flag; what it returns is contiguous if it turned them around."""
        if self.channels_last:
            images = tuple(t.contiguous(memory_format=torch.channels_last) for t in images)
        with nullcontext() if self.flag is None else _set(*self.flag):
            result = call(*images)
        return pytree.tree_map_only(Tensor, Tensor.contiguous, result) if self.channels_last else result


@contextmanager
def _set(flag: str, value: bool) -> Iterator[None]:
    """Alone: `cudnn.flags` would set the user's others to their defaults."""
    before = getattr(cudnn, flag)
    setattr(cudnn, flag, value)
    try:
        yield
    finally:
        setattr(cudnn, flag, before)


class _Convolution(torch.autograd.Function):
    """`settings`: stride, padding, dilation, transposed, output padding, groups."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, settings: tuple[Any, ...], there: _Way, back: _Way
    ) -> Tensor:
        ctx.settings, ctx.back = settings, back
        ctx.bias = None if bias is None else list(bias.shape)
        ctx.save_for_backward(x, weight)
        y: Tensor = there.run(lambda x: aten.convolution(x, weight, bias, *settings), x)
        return y

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        needs = (*ctx.needs_input_grad[:2], ctx.bias is not None and ctx.needs_input_grad[2])

        def gradients(grad: Tensor, x: Tensor) -> Any:
            return aten.convolution_backward(grad, x, weight, ctx.bias, *ctx.settings, needs)

        return (*ctx.back.run(gradients, grads[0], x), None, None, None)


def spread(setting: Any, dims: int) -> tuple[int, ...]:
    """A setting of a layer, per dimension: one number, in a list or not, is for all of them."""
    numbers = (setting,) if isinstance(setting, int) else tuple(setting)
    return numbers * dims if len(numbers) == 1 else numbers


def _smaller(
    x: Value, weight: Value, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> bool:
    """Is a sample unfolded less than the tensors turned around?"""
    kernel, step = weight.shape[2:], spread(stride, 2)
    if x.device.type != "cuda" or len(x.shape) != 4 or groups != 1 or not is_contiguous(x.shape, x.stride):
        return False
    outputs = prod(
        (size + 2 * pad - gap * (k - 1) - 1) // s + 1
        for size, pad, gap, k, s in zip(x.shape[2:], spread(padding, 2), spread(dilation, 2), kernel, step, strict=True)
    )
    unfolded = x.shape[1] * prod(kernel) * outputs
    turned = prod(x.shape) + x.shape[0] * weight.shape[0] * outputs
    return (prod(kernel) > 1 or step != (1, 1)) and unfolded < turned


def _contiguous(x: Value, weight: Value) -> bool:
    fours = x.storage_bytes > 0 and len(x.shape) == 4
    return fours and is_contiguous(x.shape, x.stride) and is_contiguous(weight.shape, weight.stride)


def _on_cuda(x: Value, weight: Value, *_: Any) -> bool:
    return x.device.type == "cuda" and _contiguous(x, weight)


def _in_16_bits_on_the_cpu(x: Value, weight: Value, *_: Any) -> bool:
    half = x.dtype in (torch.bfloat16, torch.float16)
    return x.device.type == "cpu" and half and weight.shape[1] > 1 and _contiguous(x, weight)


_as_is = _Way()


def _offer(name: str, exactness: str, applies: Callable[..., bool], there: _Way, back: _Way) -> None:
    own = there != _as_is

    @implementation("aten.conv2d.default", name=name, exactness=exactness, applies=applies, own_output=own)
    def convolve(
        x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
        groups: int = 1,
    ) -> Any:  # fmt: skip
        settings = (spread(stride, 2), spread(padding, 2), spread(dilation, 2), False, (0, 0), groups)
        return _Convolution.apply(x, weight, bias, settings, there, back)  # type: ignore[no-untyped-call]


_native, _deterministic, _turned = _Way(("enabled", False)), _Way(("deterministic", True)), _Way(channels_last=True)
_offer("native", "approximate", _smaller, _native, _native)
_offer("native-forward", "approximate", _smaller, _native, _as_is)
_offer("native-backward", "approximate", _smaller, _as_is, _native)
_offer("deterministic", "approximate", _on_cuda, _deterministic, _deterministic)
_offer("channels-last", "approximate", _on_cuda, _turned, _turned)
_offer("channels-last-forward", "same-kernel", _in_16_bits_on_the_cpu, _turned, _as_is)
