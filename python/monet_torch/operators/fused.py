"""What `bits` does, in one pass over memory: kernels by Triton for CUDA.

Without the transients that plain tensor operators take (a byte mask and a word its size), and with the same bits. A
number's bit is set where it isn't ≤ 0: a boolean's own, and of relu's output where its gradient passes. Numbers are
read as signed integers of their size, so that nothing is rounded or flushed: those above zero are positive, and of the
negative ones only NaNs are above minus infinity.
"""

from __future__ import annotations

from math import inf
from typing import Any

import torch
import triton  # type: ignore[import-not-found, import-untyped, unused-ignore]
import triton.language as tl  # type: ignore[import-not-found, import-untyped, unused-ignore]
from torch import Tensor

BLOCK: Any = tl.constexpr(1024)  # elements (of packed ones: bytes) that one program of a kernel does
AS_INTEGER = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _pack(numbers: Any, packed: Any, n: Any, minus_infinity: Any) -> None:
    byte = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    place = tl.arange(0, 8)
    element = byte[:, None] * 8 + place[None, :]
    number = tl.load(numbers + element, mask=element < n, other=0)
    bit = ((number > 0) | ((number < 0) & (number > minus_infinity))).to(tl.int32)
    tl.store(packed + byte, tl.sum(bit << place[None, :], axis=1).to(tl.uint8), mask=byte * 8 < n)


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _select(packed: Any, source: Any, out: Any, n: Any) -> None:
    element = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = element < n
    byte = tl.load(packed + element // 8, mask=inside, other=0).to(tl.int32)
    bit = (byte >> (element % 8).to(tl.int32)) & 1
    number = tl.load(source + element, mask=inside, other=0)
    tl.store(out + element, tl.where(bit != 0, number, 0), mask=inside)


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _unpack(packed: Any, out: Any, n: Any) -> None:
    element = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    byte = tl.load(packed + element // 8, mask=element < n, other=0).to(tl.int32)
    bit = (byte >> (element % 8).to(tl.int32)) & 1
    tl.store(out + element, bit.to(tl.uint8), mask=element < n)


def pack(numbers: Tensor) -> Tensor:
    """⌈n/8⌉ bytes (uint8, flat) of a flat tensor of n real numbers or booleans: a bit for each that isn't ≤ 0."""
    n = numbers.numel()
    packed = torch.empty((n + 7) // 8, dtype=torch.uint8, device=numbers.device)
    integer = AS_INTEGER[numbers.dtype.itemsize]
    infinity = torch.tensor(-inf, dtype=numbers.dtype).view(integer).item() if numbers.is_floating_point() else 0
    _run(_pack, packed.numel(), numbers.view(integer), packed, n, infinity)
    return packed


def unpack(packed: Tensor, n: int) -> Tensor:
    """The first n booleans of `packed`, flat."""
    out = torch.empty(n, dtype=torch.bool, device=packed.device)
    _run(_unpack, n, packed, out.view(torch.uint8), n)
    return out


def select(packed: Tensor, source: Tensor, out: Tensor) -> None:
    """Write `source` into `out` where its bit is set, and zero elsewhere: flat tensors of one dtype, bits unchanged."""
    integer = AS_INTEGER[source.dtype.itemsize]
    _run(_select, out.numel(), packed, source.view(integer), out.view(integer), out.numel())


def _run(kernel: Any, size: int, *arguments: Any) -> None:
    if not size:
        return
    device = arguments[0].device
    with torch.cuda.device(device if device.type == "cuda" else -1):
        kernel[(triton.cdiv(size, BLOCK.value),)](*arguments)


def check(device: torch.device) -> None:
    """Run each kernel once. Raises whatever Triton raises where it can't compile (it needs a C compiler) or run."""
    numbers = torch.tensor([-0.0, 1.0, 1e-40, -1.0, float("nan"), 0.0, -1e-40, 2.0, float("inf")], device=device)
    flags = torch.tensor([0, 1, 1, 0, 1, 0, 0, 1, 1], dtype=torch.bool, device=device)
    packed = pack(numbers)
    out = torch.empty_like(flags)
    select(packed, torch.ones_like(flags), out)
    if not (packed.tolist() == [0b10010110, 1] and unpack(packed, 9).equal(flags) and out.equal(flags)):
        raise RuntimeError("Triton's kernels give other bits here")
