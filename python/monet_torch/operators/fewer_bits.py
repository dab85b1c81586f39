"""Linear layers and convolutions that keep their input in fewer bits than it has, for the gradient of their weight.

Approximate, and offered only to who imports this module in the model's file: each of these layers is then measured
three times. Output and gradient of the input are eager's; the gradient of the weight is that of a rounded input:

- `bfloat16` rounds each element to 8 significant bits: off by at most 1/256 of itself (inputs of 32 bits alone;
  above 3.39e38 it is infinite).
- `int8` keeps whole numbers from -127 to 127 times a scale per row (per sample and channel of an image): off by at
  most 1/254 of the largest magnitude in its row (or by 6e-39 where that is more), and under 16 bits by what rounding
  to these adds. A row with an infinity or a NaN comes back as NaN.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..captured import Value
from ..geometry import is_dense
from . import implementation
from .convolution import spread
from .once import once

aten = torch.ops.aten


def _pack(x: Tensor, bits: int, images: bool) -> tuple[Tensor, ...]:
    if bits == 16:
        return (x.to(torch.bfloat16),)
    rows = x.flatten(2) if images else x
    low, high = rows.aminmax(dim=-1, keepdim=True)
    scale = torch.maximum(-low, high).float().div_(127)  # 16 bits would round it by as much as what it scales
    scale.masked_fill_(scale.isinf(), torch.nan)
    scale.clamp_min_(torch.finfo(scale.dtype).tiny)
    scale = scale.view(*x.shape[:2], 1, 1) if images else scale
    return x.div(scale).round_().to(torch.int8), scale


def _unpack(packed: tuple[Tensor, ...], dtype: torch.dtype) -> Tensor:
    kept, *scale = packed
    return kept.to(scale[0].dtype).mul_(scale[0]).to(dtype) if scale else kept.to(dtype)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, bits: int) -> Tensor:
        ctx.save_for_backward(weight, *_pack(x, bits, images=False))
        return torch.nn.functional.linear(x, weight, bias)

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (grad,) = grads
        weight, *packed = ctx.saved_tensors
        to_x, to_weight, to_bias, _ = ctx.needs_input_grad
        rows = grad.reshape(-1, grad.shape[-1])
        return (
            grad.matmul(weight.to(grad.dtype)) if to_x else None,
            rows.t().mm(_unpack(packed, grad.dtype).reshape(-1, weight.shape[1])) if to_weight else None,
            rows.sum(0) if to_bias else None,
            None,
        )


class _Conv2d(torch.autograd.Function):
    """`settings`: stride, padding, dilation, groups."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, settings: tuple[Any, ...], bits: int
    ) -> Tensor:
        ctx.settings, ctx.bias = settings, None if bias is None else list(bias.shape)
        ctx.save_for_backward(weight, *_pack(x, bits, images=True))
        return torch.nn.functional.conv2d(x, weight, bias, *settings)

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (grad,) = grads
        weight, *packed = ctx.saved_tensors
        *geometry, groups = ctx.settings
        x = _unpack(packed, grad.dtype)
        weight = weight.to(grad.dtype)
        needs = ctx.needs_input_grad[:3]
        gradients = aten.convolution_backward(
            grad, x, weight, ctx.bias, *geometry, False, (0, 0), groups, (*needs[:2], ctx.bias is not None and needs[2])
        )
        return (*gradients, None, None)


def _saves_it(x: Value, weight: Value, bits: int) -> bool:
    """Does eager save an input that takes more bits than that?"""
    wide = x.dtype in ((torch.float32,) if bits == 16 else (torch.float32, torch.bfloat16, torch.float16))
    return wide and weight.requires_grad and x.kind == "activation" and x.storage_bytes > 0


def _offer(name: str, bits: int) -> None:
    def takes_rows(x: Value, weight: Value, bias: Any = None) -> bool:
        return _saves_it(x, weight, bits) and len(x.shape) > 1

    def takes_images(x: Value, weight: Value, bias: Any = None, *settings: Any) -> bool:
        return _saves_it(x, weight, bits) and len(x.shape) == 4 and is_dense(x.shape, x.stride)

    @implementation("aten.linear.default", name=name, exactness="approximate", applies=takes_rows)
    def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Any:
        return _Linear.apply(x, weight, bias, bits)  # type: ignore[no-untyped-call]

    @implementation("aten.conv2d.default", name=name, exactness="approximate", applies=takes_images)
    def conv2d(
        x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
        groups: int = 1,
    ) -> Any:  # fmt: skip
        settings = (spread(stride, 2), spread(padding, 2), spread(dilation, 2), groups)
        return _Conv2d.apply(x, weight, bias, settings, bits)  # type: ignore[no-untyped-call]


_offer("bfloat16", 16)
_offer("int8", 8)
