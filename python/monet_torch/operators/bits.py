"""Booleans packed eight to a byte, and numbers below 16 two to a byte, with plain tensor operators.

The transient is about two bytes per element (a byte mask and a word the size of it); it is workspace, and measured.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

# Multiplying eight 0/1 bytes by this word moves each byte's bit into the topmost byte, without a carry.
_GATHER = 0x0102040810204080


def pack(mask: Tensor) -> Tensor:
    """Pack a contiguous bool tensor of n elements into ⌈n/8⌉ bytes (uint8, flat)."""
    flat = mask.reshape(-1)
    n = flat.numel()
    if n % 8:
        flat = torch.cat([flat, flat.new_zeros(8 - n % 8)])
    words = flat.view(torch.int64)
    return (words * _GATHER).bitwise_right_shift_(56).to(torch.uint8)


def unpack(packed: Tensor, n: int) -> Tensor:
    """The first n booleans of `packed`, flat."""
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
