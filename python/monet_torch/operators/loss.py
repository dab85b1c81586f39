"""Cross entropy a chunk of rows at a time: no tensor as large as the logits, but the logits and their gradient.

Eager saves the log-probabilities, as large as the logits, and its backward makes two more such tensors. Here the
forward keeps of each row the one log-probability that counts, and the backward makes the others again. Row by row the
kernels do what they do for all rows at once, and the picked log-probabilities are summed by eager's kernel in eager's
order: the bits are the same.

(A form that merely makes the log-probabilities again is no implementation: any plan may drop internals.)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ..captured import Value
from ..geometry import is_contiguous
from . import implementation
from .once import once

aten = torch.ops.aten

CHUNK_BYTES = {"cpu": 4 << 20, "cuda": 32 << 20}
"""Of logits: on the CPU what its caches hold, on CUDA (where a row is a block) at least as much as keeps it busy."""

_NOT_COUNTED = -100


def _chunks(logits: Tensor) -> Iterator[slice]:
    rows, kind = logits.shape[0], logits.device.type
    step = max(1, CHUNK_BYTES.get(kind, 32 << 20) * rows // logits.nbytes, -(-rows // 16) if kind == "cuda" else 1)
    return (slice(start, start + step) for start in range(0, rows, step))


class _CrossEntropy(torch.autograd.Function):
    """logits (rows, classes), target (rows,) of class numbers; reduction 0, 1, 2 is none, mean, sum."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, reduction: int, ignored: int) -> Tensor:
        left_out = target == ignored
        known = target.masked_fill(left_out, 0).unsqueeze(1)
        picked = logits.new_empty(logits.shape[0], 1)
        for rows in _chunks(logits):
            torch.gather(aten._log_softmax(logits[rows], 1, False), 1, known[rows], out=picked[rows])
        # The sum over rows reads one log-probability of each: as if there were one class.
        only_class = torch.zeros_like(target).masked_fill_(left_out, _NOT_COUNTED)
        loss: Tensor
        loss, counted = aten.nll_loss_forward(picked, only_class, None, reduction, _NOT_COUNTED)
        ctx.settings = (reduction, ignored)
        ctx.save_for_backward(logits, target, counted)
        return loss

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> Any:
        logits, target, counted = ctx.saved_tensors
        (grad,) = grads
        reduction, ignored = ctx.settings
        result = torch.empty_like(logits)
        for rows in _chunks(logits):
            part = aten._log_softmax(logits[rows], 1, False)
            mine = grad[rows] if reduction == 0 else grad
            to_part = aten.nll_loss_backward(mine, part, target[rows], None, reduction, ignored, counted)
            aten._log_softmax_backward_data.out(to_part, part, 1, part.dtype, out=result[rows])
        return result, None, None, None


def _applies(
    logits: Value, target: Value, weight: Any = None, reduction: int = 1, ignored: int = -100, smoothing: float = 0.0
) -> bool:
    """Class numbers without weights or smoothing, and logits of several chunks."""
    size = logits.shape[0] * logits.shape[-1] * logits.dtype.itemsize
    least = 2 * min(CHUNK_BYTES.values())  # whatever the device: a plan may be made on another
    return (
        len(logits.shape) == 2 and len(target.shape) == 1 and target.dtype is torch.int64
        and weight is None and smoothing == 0 and is_contiguous(logits.shape, logits.stride)
        and size >= least
    )  # fmt: skip


@implementation("aten.cross_entropy_loss.default", name="chunks", exactness="bitwise", applies=_applies)
def _cross_entropy(
    logits: Tensor, target: Tensor, weight: None = None, reduction: int = 1, ignored: int = -100, smoothing: float = 0.0
) -> Any:
    return _CrossEntropy.apply(logits, target, reduction, ignored)  # type: ignore[no-untyped-call]
