"""Batch norm and RMS norm from their output y = x̂·w + b, which the next operator most often saves: x̂ = (y - b)/w.

Approximate: y was rounded, and x̂ comes back with the error of y, |b/w| times as large as that of x̂ itself. So x̂ of
channels whose weight is small beside their bias is saved besides, and where these are many (a block whose last norm
starts at zero, say) the input is saved as in eager. Looking costs a synchronisation on CUDA, which the profile sees.

A plan can also keep x and run the norm again for y, bit for bit. So this is for where that takes longer: on a CPU,
batch norm and RMS norm (layer norm and group norm are in `row_norms`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..captured import Value
from ..geometry import is_dense
from . import implementation
from .once import once

aten = torch.ops.aten


LEAST = 1e-4  # weight to divide by


def poor_channels(weight: Tensor, bias: Tensor | None, y: Tensor, least: float = LEAST) -> Tensor | None:
    """The channels of which y gives x̂ too coarsely, as indices; None where these are too many."""
    if weight.untyped_storage().device.type == "meta":  # an estimate, without numbers to look at
        return torch.empty(0, dtype=torch.int64, device=weight.device)
    size = weight.detach().abs()
    found = size < least
    if bias is not None:
        found.logical_or_(bias.detach().abs() > size * (64 if torch.finfo(y.dtype).eps < 1e-4 else 16))
    indices = found.nonzero().view(-1)
    return indices if 8 * indices.numel() <= weight.numel() else None


def along(t: Tensor, dims: int, at: int) -> Tensor:
    """A tensor per channel, to be broadcast against one of `dims` dimensions with the channels in `at`."""
    return t.view([-1 if d == at else 1 for d in range(dims)])


class BatchNorm(torch.autograd.Function):
    """Training mode, channels in dimension 1.

    Eager's own kernel takes y for x, b for the mean, 1/w for the inverse deviation r: then (x - mean)·r is x̂, and
    since it multiplies by r·weight in the end, w²·r as the weight gives w·r. Poor channels are x̂ itself: 0, 1, w·r.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Any, var: Any, momentum: float, eps: float,
        cudnn: bool, least: float,
    ) -> Tensor:  # fmt: skip
        y: Tensor
        y, m, r, *_ = aten._batch_norm_impl_index(x, weight, bias, mean, var, True, momentum, eps, cudnn)
        ctx.eps, poor = eps, poor_channels(weight, bias, y, least)
        if poor is None:
            ctx.save_for_backward(x, weight, m, r)
            return y
        kept = x.index_select(1, poor).sub(along(m[poor], x.dim(), 1)).mul_(along(r[poor], x.dim(), 1))
        ctx.save_for_backward(y, weight, bias, r, poor, kept.to(x.dtype))
        return y

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x, weight, mean, r, *columns = ctx.saved_tensors
        scale = weight
        if columns:
            poor, kept = columns
            w, mean = weight.to(r.dtype), mean.to(r.dtype)
            wr, inverse = w * r, w.reciprocal()
            scale = (w * wr).index_copy_(0, poor, wr[poor]).to(weight.dtype)
            mean, r = mean.index_fill(0, poor, 0), inverse.index_fill_(0, poor, 1)
            x = x.clone().index_copy_(1, poor, kept) if poor.numel() else x  # index_copy would forget how x lies
        gradients = aten.native_batch_norm_backward(
            grads[0], x, scale, None, None, mean, r, True, ctx.eps, ctx.needs_input_grad[:3]
        )
        return (*gradients, *[None] * 6)


def trains(
    x: Value, weight: Any, bias: Any, mean: Any, var: Any, training: bool, momentum: float, eps: float, cudnn: bool
) -> bool:
    return training and bias is not None and weight is not None and _large(x)


def _large(x: Value) -> bool:
    return x.storage_bytes > 0 and is_dense(x.shape, x.stride)


@implementation("aten.batch_norm.default", name="output", exactness="approximate", applies=trains, looks=True)
def _batch_norm(
    x: Tensor, weight: Tensor, bias: Tensor, mean: Any, var: Any, training: bool, momentum: float, eps: float,
    cudnn: bool,
) -> Any:  # fmt: skip
    return BatchNorm.apply(x, weight, bias, mean, var, momentum, eps, cudnn, LEAST)  # type: ignore[no-untyped-call]


class _RmsNorm(torch.autograd.Function):
    """y = x·r·w over the last dimension, r = 1/√(mean x² + eps) per row.

    With h = grad·w the gradient of x is r·(h - x̂·mean(h·x̂)), that of w the sum of grad·x̂ over rows.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float | None) -> Tensor:
        y: Tensor
        y, r = aten._fused_rms_norm(x, weight.shape, weight, eps)
        poor = poor_channels(weight, None, y)
        if poor is None:
            ctx.save_for_backward(x, weight, r)
        else:
            ctx.save_for_backward(y, weight, r, poor, x.index_select(-1, poor).mul(r).to(r.dtype))
        return y

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x, weight, r, *columns = ctx.saved_tensors
        (grad,) = grads
        x = x.to(r.dtype).div(weight).index_copy_(-1, *columns) if columns else x * r
        rows = list(range(x.dim() - 1))
        to_w = (grad * x).sum(rows).to(weight.dtype) if ctx.needs_input_grad[1] else None
        h = grad.to(r.dtype).mul(weight)
        share = (h * x).mean(-1, keepdim=True)
        return h.sub_(x.mul_(share)).mul_(r).to(grad.dtype), to_w, None


def _scales(x: Value, shape: Any, weight: Any = None, *_: Any) -> bool:
    same = weight is not None and weight.dtype == x.dtype  # else eager runs no fused kernel
    return same and len(shape) == 1 and len(x.shape) > 1 and _large(x)


def _rms_norm(x: Tensor, shape: list[int], weight: Tensor, eps: float | None = None) -> Any:
    return _RmsNorm.apply(x, weight, eps)  # type: ignore[no-untyped-call]


if hasattr(aten, "_fused_rms_norm"):  # older PyTorch (2.6) makes an RMS norm of other operators, with other rounding
    implementation("aten.rms_norm.default", name="output", exactness="approximate", applies=_scales, looks=True)(
        _rms_norm
    )
