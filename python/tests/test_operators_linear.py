"""A linear layer by oneDNN: eager's numbers but for the order of sums, laid out as eager's, where it can serve."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from models import plan_for
from torch import Tensor, nn

import monet_torch
from monet_torch import operators
from monet_torch.capture import capture
from monet_torch.operators.linear import _linear_by_onednn

ROUNDING = 2e-6  # of the largest


def seeded(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


INPUTS: dict[str, Callable[[], list[Tensor]]] = {
    "rows": lambda: [seeded(33, 17), seeded(9, 17, seed=1), seeded(9, seed=2)],
    "no bias": lambda: [seeded(33, 17), seeded(9, 17, seed=1)],
    "three dimensions": lambda: [seeded(3, 5, 17), seeded(9, 17, seed=1), seeded(9, seed=2)],
    "second half of a storage": lambda: [seeded(8, 17)[4:], seeded(9, 17, seed=1), seeded(9, seed=2)],
    "one number": lambda: [seeded(1, 1), seeded(1, 1, seed=1), seeded(1, seed=2)],
    "large": lambda: [seeded(300, 257), seeded(511, 257, seed=1), seeded(511, seed=2)],
}
GRADIENTS: dict[str, Callable[[Tensor], Tensor]] = {
    "dense": lambda y: seeded(*y.shape, seed=3),
    "expanded": lambda y: torch.ones(()).expand(y.shape),
    "turned around": lambda y: seeded(*y.shape[::-1], seed=3).permute(*reversed(range(y.dim()))),
    "with gaps": lambda y: seeded(*y.shape, 2, seed=3)[..., 1],
}


def run(call: Callable[..., Tensor], inputs: list[Tensor], gradient: Callable[[Tensor], Tensor]) -> list[Tensor]:
    leaves = [t.detach().requires_grad_() for t in inputs]
    y = call(*leaves)
    return [y.detach(), *torch.autograd.grad(y, leaves, gradient(y))]


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("inputs", INPUTS)
def test_it_is_eagers_but_for_the_order_of_sums(inputs: str, gradient: str) -> None:
    mine = run(_linear_by_onednn, INPUTS[inputs](), GRADIENTS[gradient])
    eager = run(F.linear, INPUTS[inputs](), GRADIENTS[gradient])
    for a, b in zip(mine, eager, strict=True):
        assert (a - b).abs().max() <= ROUNDING * b.abs().max()
        assert (a.shape, a.stride(), a.dtype) == (b.shape, b.stride(), b.dtype)


def test_what_is_not_finite_goes_where_eagers_goes() -> None:
    inputs = INPUTS["rows"]()
    inputs[0][0, 0], inputs[0][1, 1], inputs[0][2, 2], inputs[1][3, 4] = torch.nan, torch.inf, -torch.inf, torch.inf
    pairs = zip(*(run(call, inputs, GRADIENTS["dense"]) for call in (_linear_by_onednn, F.linear)), strict=True)
    for a, b in pairs:
        assert not b.isfinite().all() or b.dim() == 1  # (the bias's is the sum of what came)
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5, equal_nan=True)


def offered(layer: nn.Module, x: Tensor) -> bool:
    captured = capture(layer, (x,))
    found = [operators.alternatives(captured, o) for o in captured.operators if o.name == "aten.linear.default"]
    return "onednn" in {i.name for each in found for i in each}


def test_it_is_offered_where_it_can_serve() -> None:
    assert offered(nn.Linear(5, 3), seeded(4, 5))
    assert offered(nn.Linear(5, 3, bias=False), seeded(2, 4, 5))
    assert not offered(nn.Linear(5, 3), seeded(5))
    assert not offered(nn.Linear(5, 3), seeded(0, 5))
    assert not offered(nn.Linear(5, 3).bfloat16(), seeded(4, 5).bfloat16())
    assert not offered(nn.Linear(5, 3).double(), seeded(4, 5).double())


@pytest.mark.parametrize("frozen", ["nothing", "weight", "bias", "all but the bias"])
def test_a_plan_of_it_trains(frozen: str) -> None:
    """Kept and dropped to the same bits: its output, which isn't eager's to the bit, is made again by it."""
    torch.manual_seed(0)
    eager = nn.Sequential(nn.Linear(17, 33), nn.Tanh(), nn.Linear(33, 9), nn.Tanh(), nn.Linear(9, 1))
    for name, p in eager[2].named_parameters():
        p.requires_grad_(name not in frozen if "all" not in frozen else name == "bias")
    kept, dropped = copy.deepcopy(eager), copy.deepcopy(eager)
    x = seeded(12, 17)
    captured = capture(eager, (x,))
    chosen = {str(o.id): "onednn" for o in captured.operators if o.name == "aten.linear.default"}
    for model, mode in ((kept, "keep"), (dropped, "drop")):
        monet_torch.apply(model, plan_for(captured, mode) | {"implementations": chosen})
    for m in (eager, kept, dropped):
        m(x).square().sum().backward()
    assert monet_torch.status(kept)["planned"] == monet_torch.status(dropped)["planned"] == 1
    for p, q, r in zip(kept.parameters(), dropped.parameters(), eager.parameters(), strict=True):
        assert (p.grad is None) == (q.grad is None) == (r.grad is None)
        if p.grad is not None and q.grad is not None and r.grad is not None:
            assert torch.equal(p.grad, q.grad)
            assert (p.grad - r.grad).abs().max() <= 5e-5 * r.grad.abs().max()
