"""Layer norm and group norm from their output y = x̂·w + b, as `norms` does it for those that norm by channel.

Eager's own backward kernels take x̂ for x, 0 for the mean and 1 for the inverse deviation r; what they give for x is
then r times too small. Without a weight y is x̂ itself. Making x̂ in memory is one pass, as running the norm again is:
which of the two takes longer differs, and the profile tells.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..captured import Value
from ..geometry import is_contiguous
from . import implementation
from .norms import along, poor_channels
from .once import once

aten = torch.ops.aten


def _poor(weight: Tensor | None, bias: Tensor | None, y: Tensor) -> Tensor | None:
    if weight is None:
        return torch.empty(0, dtype=torch.int64, device=y.device)
    return poor_channels(weight, bias, y)


def _normed(y: Tensor, weight: Tensor | None, bias: Tensor | None, at: int, poor: Tensor, kept: Tensor) -> Tensor:
    """x̂: of most channels (in dimension `at`) from y, of poor ones as it was kept."""
    if weight is None:
        return y
    inverse = along(weight.reciprocal(), y.dim(), at)
    shift = None if bias is None else along(bias.div(weight).neg_(), y.dim(), at)
    x = y.mul(inverse) if shift is None else torch.addcmul(shift, y, inverse)
    return x.index_copy_(at, poor, kept) if poor.numel() else x


class _LayerNorm(torch.autograd.Function):
    """Over the last dimension."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
        y: Tensor
        y, m, r = aten.native_layer_norm(x, x.shape[-1:], weight, bias, eps)
        poor = _poor(weight, bias, y)
        if poor is None:
            ctx.save_for_backward(x, weight, bias, r, m)
        else:
            ctx.save_for_backward(y, weight, bias, r, poor, x.index_select(-1, poor).sub(m).mul_(r).to(x.dtype))
        return y

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x, weight, bias, r, *columns = ctx.saved_tensors
        needs, shape = ctx.needs_input_grad[:3], x.shape[-1:]
        if len(columns) == 1:
            gradients = aten.native_layer_norm_backward(grads[0], x, shape, columns[0], r, weight, bias, needs)
            return (*gradients, None)
        x, zero, one = _normed(x, weight, bias, x.dim() - 1, *columns), torch.zeros_like(r), torch.ones_like(r)
        to_x, *others = aten.native_layer_norm_backward(grads[0], x, shape, zero, one, weight, bias, needs)
        return (to_x.mul_(r) if needs[0] else None, *others, None)


class _GroupNorm(torch.autograd.Function):
    """Channels in dimension 1; mean and r are (samples, groups)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, groups: int, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
        y: Tensor
        samples, channels = x.shape[:2]
        ctx.sizes = (samples, channels, x.shape[2:].numel(), groups)
        y, m, r = aten.native_group_norm(x, weight, bias, *ctx.sizes, eps)
        poor = _poor(weight, bias, y)
        if poor is None:
            ctx.save_for_backward(x, weight, bias, r, m)
            return y
        mean, scale = (t[:, poor // (channels // groups)].view(samples, -1, *[1] * (x.dim() - 2)) for t in (m, r))
        ctx.save_for_backward(y, weight, bias, r, poor, x.index_select(1, poor).sub(mean).mul_(scale).to(x.dtype))
        return y

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x, weight, bias, r, *columns = ctx.saved_tensors
        grad = grads[0].contiguous()
        needs = (ctx.needs_input_grad[0], *ctx.needs_input_grad[2:4])
        samples, _, _, groups = ctx.sizes
        mean = columns[0]
        if len(columns) > 1:
            x, mean = _normed(x, weight, bias, 1, *columns), torch.zeros_like(r)
        one = r if len(columns) == 1 else torch.ones_like(r)
        to_x, *others = aten.native_group_norm_backward(grad, x, mean, one, weight, *ctx.sizes, needs)
        if needs[0] and one is not r:
            to_x.view(samples, groups, -1).mul_(r.view(samples, groups, 1))
        return to_x, None, *others, None


def _like(x: Value, weight: Any, bias: Any) -> bool:
    alike = all(t is None or t.dtype == x.dtype for t in (weight, bias))
    alike = alike and (weight is not None or bias is None)  # y is x̂ then, or has a weight to be freed of it by
    return alike and x.storage_bytes > 0 and is_contiguous(x.shape, x.stride)


def _norms_rows(x: Value, shape: Any, weight: Any = None, bias: Any = None, *_: Any) -> bool:
    return len(shape) == 1 and len(x.shape) > 1 and _like(x, weight, bias)


def _norms_groups(x: Value, groups: int, weight: Any = None, bias: Any = None, *_: Any) -> bool:
    return len(x.shape) > 2 and _like(x, weight, bias)


@implementation("aten.layer_norm.default", name="output", exactness="approximate", applies=_norms_rows, looks=True)
def _layer_norm(
    x: Tensor, shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5, cudnn: bool = True
) -> Any:
    return _LayerNorm.apply(x, weight, bias, eps)  # type: ignore[no-untyped-call]


@implementation("aten.group_norm.default", name="output", exactness="approximate", applies=_norms_groups, looks=True)
def _group_norm(
    x: Tensor, groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, cudnn: bool = True
) -> Any:
    return _GroupNorm.apply(x, groups, weight, bias, eps)  # type: ignore[no-untyped-call]
