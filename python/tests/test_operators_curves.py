"""Activations that fall and rise, from their output: the slope is eager's within what is stated, and what is saved."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from models import plan_for, step
from test_operators import Case, captured_alone, channels_last, gradient_for, plain, run, transposed
from torch import Tensor, nn

import monet_torch
from monet_torch import operators
from monet_torch.capture import capture
from monet_torch.estimate import CARDS, measure_for

aten = torch.ops.aten
CURVES: dict[str, tuple[Any, Any, dict[str, str]]] = {
    "silu": (aten.silu.default, aten.silu_.default, {}),
    "gelu": (aten.gelu.default, aten.gelu_.default, {}),
    "gelu tanh": (aten.gelu.default, aten.gelu_.default, {"approximate": "tanh"}),
    "mish": (aten.mish.default, aten.mish_.default, {}),
    "hardswish": (aten.hardswish.default, aten.hardswish_.default, {}),
}
STATED = {torch.float32: 3e-4, torch.float16: 1e-2, torch.bfloat16: 3e-2}
"""How far a slope may be off; slopes are between -0.5 and 1.5."""


def built(name: str, case: Case, dtype: torch.dtype, in_place: bool = False) -> Any:
    _, written, settings = CURVES[name]
    captured = captured_alone(case, dtype)
    op = captured.operators[0]
    object.__setattr__(op, "kwargs", settings)
    object.__setattr__(op, "in_place", written)
    found = operators.alternatives(captured, op)
    return found[0].build(op, in_place) if found else None


def between_bends(x: Tensor) -> Tensor:
    """The slope of hardswish jumps at 3 and -3: from what is rounded, either side will do."""
    return ((x - 3).abs() > 0.03) & ((x + 3).abs() > 0.03)


@pytest.mark.parametrize("dtype", STATED, ids=lambda d: str(d).removeprefix("torch."))
@pytest.mark.parametrize("name", CURVES)
def test_slopes_are_as_close_as_is_stated_on_the_whole_line(name: str, dtype: torch.dtype) -> None:
    target, _, settings = CURVES[name]
    x = torch.cat(
        [torch.linspace(-12, 12, 300_001), torch.linspace(-2, 0, 100_001), torch.tensor([-1e4, -60, 60, 1e4])]
    )
    if name == "hardswish":
        x = x[between_bends(x)]
    x = x.to(dtype)
    exact = x.double().requires_grad_()
    (want,) = torch.autograd.grad(target(exact, **settings).sum(), exact)
    mine = x.clone().requires_grad_()
    y = built(name, Case("line", target, lambda _: [x]), dtype)(mine, **settings)
    (got,) = torch.autograd.grad(y.sum(), mine)
    assert torch.equal(y, target(x, **settings))
    assert got.dtype == dtype
    assert (got.double() - want).abs().max() <= STATED[dtype]


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize(
    "inputs", [plain(3, 29), channels_last(2, 5, 7, 3), transposed(5, 4, 9), plain(1), plain(70_001)]
)
@pytest.mark.parametrize("name", CURVES)
def test_layouts_places_and_what_is_not_finite_are_eagers(name: str, inputs: Any, in_place: bool) -> None:
    target, written, settings = CURVES[name]
    case = Case("values", target, inputs)
    call = built(name, case, torch.float32, in_place)
    for layout in ("dense", "expanded", "other order"):
        got = run(case, torch.float32, lambda x: call(x, **settings), in_place, layout)
        want = run(case, torch.float32, lambda x: (written if in_place else target)(x, **settings), in_place, layout)
        assert torch.equal(got.output.nan_to_num(), want.output.nan_to_num())
        assert got.taken_over == in_place
        internal = sum(size for address, size in got.saved.items() if address not in got.known)
        assert internal == -(-got.output.numel() // 8)
        (mine,), (theirs,) = got.gradients, want.gradients
        assert mine.stride() == got.output.stride()
        unknown = got.output.isnan()
        assert mine[unknown].isnan().all()
        incoming = gradient_for(got.output, layout)
        there = theirs.isfinite() & ~unknown & incoming.isfinite()  # an infinite one times a slope of 0 is NaN here
        if name == "hardswish":
            there &= between_bends(inputs(torch.float32)[0])
        off = (mine - theirs)[there].abs()
        assert (off <= 3e-4 * incoming[there].abs() + 1e-6).all()


def test_64_bits_and_layouts_with_gaps_are_not_offered() -> None:
    for dtype, inputs in [
        (torch.float64, plain(3, 29)),
        (torch.float32, plain(0, 3)),
        (torch.float32, lambda d: [torch.randn(4, 8, dtype=d)[:, ::2]]),
    ]:
        assert built("silu", Case("", aten.silu.default, inputs), dtype) is None


def test_it_can_be_estimated_and_the_estimate_spoils_no_table() -> None:
    case = Case("values", aten.mish.default, plain(70_001))
    captured = captured_alone(case, torch.float32)
    _, m = measure_for(CARDS[0])(captured, captured.operators[0], [((70_001,), (1,))])
    assert (m.name, m.saves, m.internal_bytes) == ("output", [("o", 0)], 8751)
    x = torch.ones(8, requires_grad=True)
    built("mish", case, torch.float32)(x).sum().backward()
    assert type(x.grad) is Tensor
    assert (x.grad - 1.0490).abs().max() < 1e-3


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(6, 8), nn.SiLU(True), nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 8), nn.GELU("tanh"),
            nn.Linear(8, 8), nn.Mish(), nn.Linear(8, 8), nn.Hardswish(True), nn.Linear(8, 3),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x).square().mean()
        return y


@pytest.mark.parametrize("mode", ["keep", "drop", "random"])
def test_a_plan_runs_them(mode: str) -> None:
    torch.manual_seed(0)
    model, args = Net(), (torch.randn(40, 6),)
    captured = capture(model, args)
    offered = {o.id: [i.name for i in operators.alternatives(captured, o)] for o in captured.operators}
    chosen = {str(o): "output" for o, names in offered.items() if "output" in names}
    assert len(chosen) == 5
    want = step(model, args)
    monet_torch.apply(model, plan_for(captured, mode) | {"implementations": chosen})
    got = step(model, args)
    assert monet_torch.status(model)["planned"] == 1
    for name, theirs in want.items():
        assert (got[name] - theirs).abs().max() <= 1e-3 * theirs.abs().max(), name


def test_gradients_of_gradients_are_refused() -> None:
    x = torch.randn(8, requires_grad=True)
    y = built("silu", Case("", aten.silu.default, plain(8)), torch.float32)(x)
    (first,) = torch.autograd.grad(y, x, torch.ones_like(y).requires_grad_(), create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()
