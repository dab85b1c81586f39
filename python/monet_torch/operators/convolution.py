"""A convolution without cuDNN, on CUDA: several times slower, and where channels come first in less memory.

cuDNN turns such tensors around into workspace of their size. PyTorch's own convolution unfolds one sample at a time.
(Measured on an H200: 3 by 3 on [32, 64, 56, 56] takes 7 MiB besides its result for 25, and in backward 7 for 51, at
nine times the time. cuDNN's deterministic and benchmark flags changed neither there.)
"""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor

from ..captured import Value
from ..geometry import is_contiguous
from . import implementation

aten = torch.ops.aten


class _Native(torch.autograd.Function):
    """`settings`: stride, padding, dilation, transposed, output padding, groups."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, settings: tuple[Any, ...]) -> Tensor:
        ctx.settings = settings
        ctx.bias = None if bias is None else list(bias.shape)
        ctx.save_for_backward(x, weight)
        with torch.backends.cudnn.flags(enabled=False):
            y: Tensor = aten.convolution(x, weight, bias, *settings)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        needs = (*ctx.needs_input_grad[:2], ctx.bias is not None and ctx.needs_input_grad[2])
        with torch.backends.cudnn.flags(enabled=False):
            gradients = aten.convolution_backward(grads[0], x, weight, ctx.bias, *ctx.settings, needs)
        return (*gradients, None)


def two(setting: Any) -> tuple[int, int]:
    numbers = (setting,) if isinstance(setting, int) else tuple(setting)
    return numbers[0], numbers[-1]


def _smaller(
    x: Value, weight: Value, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> bool:
    """Is a sample unfolded less than the tensors turned around?"""
    kernel, step = weight.shape[2:], two(stride)
    if x.device.type != "cuda" or len(x.shape) != 4 or groups != 1 or not is_contiguous(x.shape, x.stride):
        return False
    outputs = prod(
        (size + 2 * pad - gap * (k - 1) - 1) // s + 1
        for size, pad, gap, k, s in zip(x.shape[2:], two(padding), two(dilation), kernel, step, strict=True)
    )
    unfolded = x.shape[1] * prod(kernel) * outputs
    turned = prod(x.shape) + x.shape[0] * weight.shape[0] * outputs
    return (prod(kernel) > 1 or step != (1, 1)) and unfolded < turned


@implementation("aten.conv2d.default", name="native", exactness="approximate", applies=_smaller, own_output=True)
def _native(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Any:  # fmt: skip
    settings = (two(stride), two(padding), two(dilation), False, (0, 0), groups)
    return _Native.apply(x, weight, bias, settings)  # type: ignore[no-untyped-call]
