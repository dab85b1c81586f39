"""The kernels that pack in one pass give the bits that plain tensor operators give.

On a card as they are, else by Triton's interpreter, which runs the same kernels with NumPy.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from monet_torch.operators import bits, dropout, relu
from monet_torch.verify import compare

DEVICE = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


@pytest.fixture(scope="module")
def fused() -> ModuleType:
    pytest.importorskip("triton", reason="Triton is not installed")
    from monet_torch.operators import fused

    fused.check(DEVICE)
    return fused


@pytest.fixture
def in_use(fused: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have `bits` use the kernels here; the names of those that ran."""
    ran: list[str] = []
    run = fused._run

    def told(kernel: Any, *rest: Any) -> None:
        ran.append(kernel.__name__)
        run(kernel, *rest)

    monkeypatch.setattr(fused, "_run", told)
    monkeypatch.setattr(bits, "kernels", lambda device: fused)
    return ran


def numbers(n: int, dtype: torch.dtype) -> Tensor:
    """Of either sign, and what is neither: zeros of both signs, infinities, NaN, and too small for what is usual."""
    x = torch.randn(n, generator=torch.Generator().manual_seed(n)).to(dtype)
    tiny = torch.finfo(dtype).smallest_normal / 4
    for at, special in enumerate((0.0, -0.0, float("inf"), -float("inf"), float("nan"), tiny, -tiny)):
        x[at::31] = special
    return x.to(DEVICE)


def as_integers(flat: Tensor) -> Tensor:
    return flat.view({2: torch.int16, 4: torch.int32, 8: torch.int64}[flat.dtype.itemsize])


def alike(a: Tensor, b: Tensor) -> bool:
    """To the bit but for NaNs, which eager's kernels make anew, and in the same order in memory."""
    return a.stride() == b.stride() and compare({"": a}, {"": b}) == []


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 1000, 8191, 8192, 8193, 20001])
def test_booleans_are_packed_and_unpacked(n: int, fused: ModuleType) -> None:
    mask = (torch.rand(n) < 0.5).to(DEVICE)
    packed = bits.pack(mask)
    assert torch.equal(fused.pack(mask), packed)
    assert torch.equal(fused.unpack(packed, n), mask)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("n", [1, 9, 8193])
def test_numbers_pass_where_they_are_not_below_or_at_zero(n: int, dtype: torch.dtype, fused: ModuleType) -> None:
    y, grad = numbers(n, dtype), numbers(n, dtype).roll(5)
    passes = (y <= 0).logical_not_()
    packed = fused.pack(y)
    assert torch.equal(packed, bits.pack(passes))
    out = torch.empty_like(grad)
    fused.select(packed, grad, out)
    assert torch.equal(as_integers(out), as_integers(torch.where(passes, grad, grad.new_zeros(()))))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("in_place", [False, True])
def test_relu_by_kernels_is_eagers(
    dtype: torch.dtype, layout: torch.memory_format, in_place: bool, in_use: list[str]
) -> None:
    x = numbers(2 * 5 * 7 * 9, dtype).view(2, 5, 7, 9).contiguous(memory_format=layout)
    grad = numbers(x.numel(), dtype).roll(3).view(x.shape)
    found = []
    for run in (torch.relu, lambda t: relu._ReluFromMask.apply(t.clone() if in_place else t, in_place)):  # type: ignore[no-untyped-call]
        for given in (grad.contiguous(memory_format=layout), grad[..., :1].expand_as(x)):
            leaf = x.clone().requires_grad_()
            y = run(leaf)
            y.backward(given)
            found.append((y.detach(), leaf.grad))
    assert all(alike(a, b) for k in (0, 1) for a, b in zip(found[k], found[k + 2], strict=True))
    assert in_use == ["_pack", "_select", "_pack", "_unpack"], (
        "a gradient that lies otherwise is selected by plain operators"
    )


def test_dropout_by_kernels_is_eagers(in_use: list[str]) -> None:
    x, found = numbers(8193, torch.float32), []
    for run in (lambda t: torch.dropout(t, 0.3, True), lambda t: dropout._Dropout.apply(t, 0.3)):  # type: ignore[no-untyped-call]
        torch.manual_seed(3)
        leaf = x.clone().requires_grad_()
        y = run(leaf)
        y.backward(x)
        found.append((y.detach(), leaf.grad))
    assert all(alike(a, b) for a, b in zip(*found, strict=True))
    assert in_use == ["_pack", "_unpack"]


def test_without_a_card_plain_operators_do() -> None:
    assert bits.kernels(torch.device("cpu")) is None
