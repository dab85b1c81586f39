"""Booleans packed eight to a byte, and numbers below 16 two to a byte.

Booleans by kernels of our own (`fused`) on CUDA where Triton is, else by plain tensor operators. Their transient is
about two bytes per element (a byte mask and a word the size of it); it is workspace, and measured.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from .._private import is_lazy

# Multiplying eight 0/1 bytes by this word moves each byte's bit into the topmost byte, without a carry.
_GATHER = 0x0102040810204080


@cache
def kernels(device: torch.device) -> ModuleType | None:
    """`fused`, where its kernels run; else None."""
    if device.type != "cuda":
        return None
    try:
        from . import fused

        fused.check(device)
    except Exception:  # no Triton, no C compiler for it, a card that it doesn't know: all the same to plain operators
        return None
    return fused


def _kernels_for(tensor: Tensor) -> ModuleType | None:
    """Kernels take addresses, which what stands for a tensor while torch.compile traces has not."""
    return kernels(tensor.device) if type(tensor) is Tensor else None


def pack(mask: Tensor) -> Tensor:
    """Pack a contiguous bool tensor of n elements into ⌈n/8⌉ bytes (uint8, flat)."""
    flat = mask.reshape(-1)
    if fused := _kernels_for(mask):
        packed: Tensor = fused.pack(flat)
        return packed
    n = flat.numel()
    if n % 8:
        flat = torch.cat([flat, flat.new_zeros(8 - n % 8)])
    words = flat.view(torch.int64)
    return (words * _GATHER).bitwise_right_shift_(56).to(torch.uint8)


def unpack(packed: Tensor, n: int) -> Tensor:
    """The first n booleans of `packed`, flat."""
    if fused := _kernels_for(packed):
        out: Tensor = fused.unpack(packed, n)
        return out
    shifts = torch.arange(8, dtype=torch.uint8, device=packed.device)
    bits = packed.unsqueeze(1).bitwise_right_shift(shifts).bitwise_and_(1)
    return bits.view(torch.bool).view(-1)[:n]


def pack_nibbles(numbers: Tensor) -> Tensor:
    """Pack a flat uint8 tensor of n numbers below 16 into ⌈n/2⌉ bytes: the first half low, the second half high.

    (By halves and not by neighbours, so that all memory is read in order.)
    """
    n = numbers.numel()
    half = n - n // 2
    packed = numbers[:half].clone()
    packed[: n - half].bitwise_or_(numbers[half:].bitwise_left_shift(4))
    return packed


def unpack_nibbles(packed: Tensor, n: int) -> Tensor:
    """The n numbers of `packed`, flat."""
    low, high = packed.bitwise_and(15), packed[: n // 2].bitwise_right_shift(4)
    return torch.cat([low, high])


def in_memory_order(dense: Tensor) -> Tensor:
    """A dense tensor, flat in the order of its memory, so that packing copies nothing."""
    return torch.as_strided(dense, (dense.numel(),), (1,), dense.storage_offset())


def save(ctx: Any, mask: Tensor) -> None:
    """Save a dense mask for backward, one bit an element: all that the function saves."""
    ctx.geometry = (mask.shape, mask.stride())
    ctx.save_for_backward(pack(in_memory_order(mask)))


def saved(ctx: Any) -> Tensor:
    """The mask that `save` was given, laid out as it was."""
    (packed,) = ctx.saved_tensors
    shape, stride = ctx.geometry
    return torch.as_strided(unpack(packed, shape.numel()), shape, stride)


def save_passing(ctx: Any, y: Tensor) -> None:
    """Save where the dense `y`, a relu's output, lets a gradient pass, as `save` does.

    That is where it isn't ≤ 0: y > 0 would stop the gradient at NaN, threshold_backward does not.
    """
    fused = kernels(y.device)
    if fused is None or is_lazy(y):
        save(ctx, (y <= 0).logical_not_())
        return
    ctx.geometry = (y.shape, y.stride())
    ctx.save_for_backward(fused.pack(in_memory_order(y)))


def selected(ctx: Any, grad: Tensor) -> Tensor:
    """`grad` where the mask that was saved is set, and zero elsewhere."""
    fused = kernels(grad.device)
    if fused is None or is_lazy(grad) or (grad.shape, grad.stride()) != ctx.geometry:
        return torch.where(saved(ctx), grad, grad.new_zeros(()))
    (packed,) = ctx.saved_tensors
    out = torch.empty_like(grad)
    fused.select(packed, in_memory_order(grad), in_memory_order(out))
    return out
