"""How a tensor lies in its memory."""

from __future__ import annotations

from collections.abc import Sequence


def is_contiguous(shape: Sequence[int], stride: Sequence[int]) -> bool:
    expected = 1
    for size, step in zip(reversed(shape), reversed(stride), strict=True):
        if size != 1 and step != expected:
            return False
        expected *= size
    return True


def is_dense(shape: Sequence[int], stride: Sequence[int]) -> bool:
    """Non-overlapping and without gaps, in whatever order of dimensions."""
    expected = 1
    for step, size in sorted(zip(stride, shape, strict=True)):
        if size != 1:
            if step != expected:
                return False
            expected *= size
    return True


def extent(shape: Sequence[int], stride: Sequence[int]) -> int:
    """Elements from the first to just after the last one that the geometry touches."""
    if any(size == 0 for size in shape):
        return 0
    return 1 + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
