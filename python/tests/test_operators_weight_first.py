"""A convolution whose weight gets its gradient first: its input is gone then. (Its bits: in test_operators.)"""

from __future__ import annotations

import mmap
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from models import BACKWARDS, assert_equal, assert_the_same_after, gradients, plan_for
from torch import Tensor, nn

import monet_torch
from monet_torch import operators
from monet_torch.autocast import Autocast
from monet_torch.capture import capture
from monet_torch.captured import Captured
from monet_torch.estimate import CARDS, measure_for
from monet_torch.measure import allocator_peak
from monet_torch.operators import weight_first
from monet_torch.pieces import pieces_of
from monet_torch.plan import load_plan
from monet_torch.profile import measure_on_device

NAME = "weight-first"


def net() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.Tanh(), nn.Conv2d(8, 8, 3, padding=1), nn.Tanh(), nn.Conv2d(8, 8, 1)
    ), torch.randn(4, 3, 16, 16)  # fmt: skip


def offered(captured: Captured, name: str = NAME) -> list[int]:
    return [o.id for o in captured.operators if name in [i.name for i in operators.alternatives(captured, o)]]


def planned(model: nn.Module, captured: Captured, mode: str) -> None:
    chosen = {str(k): NAME for k in offered(captured)}
    assert len(chosen) == 2
    monet_torch.apply(model, plan_for(captured, mode) | {"implementations": chosen})


def test_it_is_offered_where_both_gradients_are_wanted() -> None:
    model, x = net()
    assert offered(capture(model, (x,))) == [2, 4], "nobody wants the gradient of the model's input"
    model[2].requires_grad_(False)
    assert offered(capture(model, (x,))) == [4]


@pytest.mark.parametrize("mode", ["keep", "drop", "random"])
@pytest.mark.parametrize("way", BACKWARDS)
def test_under_a_plan_gradients_are_eagers_however_the_backward_goes(way: Callable[..., None], mode: str) -> None:
    (model, x), (eager, _) = net(), net()
    planned(model, capture(model, (x,)), mode)
    for _ in range(2):
        assert_the_same_after(way, eager, model, (x,))
    assert monet_torch.status(model)["eager"] == {}


@pytest.mark.parametrize("mode", ["keep", "drop", "random"])
def test_under_autocast_they_are_too(mode: str) -> None:
    (model, x), (eager, _) = net(), net()
    captured = capture(model, (x,), autocast=("cpu", torch.bfloat16))
    planned(model, captured, mode)
    for each in (eager, model, eager, model):
        each.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            y = each(x)
        y.float().square().sum().backward()
    assert monet_torch.status(model)["planned"] == 2
    assert_equal(gradients(eager), gradients(model))


@pytest.mark.parametrize("frozen", [0, 2])
def test_a_layer_frozen_since_gets_no_gradient(frozen: int) -> None:
    (model, x), (eager, _) = net(), net()
    planned(model, capture(model, (x,)), "keep")
    for each in (eager, model):
        each[frozen].requires_grad_(False)
        each(x).sum().backward()
    assert monet_torch.status(model)["planned"] == 1
    assert_equal(gradients(eager), gradients(model))
    assert len(gradients(model)) == 4


def test_the_input_is_gone_when_its_gradient_is_made() -> None:
    model, x = net()
    op = capture(model, (x,)).operators[2]
    gone: list[bool] = []

    def gradient(*arguments: Any) -> Tensor:
        gone.append(middle_memory() is None)
        return weight_first._by_the_same_kernel(*arguments)

    start = torch.randn(4, 8, 16, 16, requires_grad=True)
    middle = start * 2
    middle_memory = weakref.ref(middle.untyped_storage())
    y = weight_first._build(gradient)(op, False)(middle, model[2].weight, model[2].bias, [1, 1], [1, 1])
    del middle
    y.sum().backward()
    assert gone == [True]


@pytest.mark.parametrize("mode", ["keep", "drop"])
def test_a_weight_whose_memory_was_exchanged_is_the_new_one_as_in_eager(mode: str) -> None:
    (model, x), (eager, _) = net(), net()
    planned(model, capture(model, (x,)), mode)
    for each in (eager, model):
        y = each(x)
        each[4].weight.data = each[4].weight.data * 2
        y.sum().backward()
    assert monet_torch.status(model)["planned"] == 1
    assert_equal(gradients(eager), gradients(model))


def test_a_weight_that_was_written_to_is_eagers_error() -> None:
    model, x = net()
    planned(model, capture(model, (x,)), "keep")
    y = model(x)
    with torch.no_grad():
        model[4].weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


class Made(nn.Module):
    """A convolution whose weight is made of another in each forward."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.weight = nn.Conv2d(3, 8, 3), nn.Parameter(torch.randn(8, 8, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.conv2d(self.first(x), self.weight.tanh())


def test_a_weight_that_something_else_may_hold_is_eagers() -> None:
    assert offered(capture(Made(), (torch.randn(2, 3, 8, 8),))) == []


def test_memory_of_the_inputs_geometry_takes_none() -> None:
    held: list[Tensor] = []
    taken = allocator_peak(lambda: held.append(weight_first._untouched((256, 1024), (1024, 1), torch.float32)))
    assert taken.peak_bytes == 0
    assert held[0].shape == (256, 1024)
    assert held[0].stride() == (1024, 1)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="nothing says what is resident")
def test_nor_does_a_kernel_that_reads_it() -> None:
    """As one does that first closes the gaps of its input, of a slice of channels."""
    size = 64 << 20
    memory = weight_first._untouched((size,), (1,), torch.uint8)
    before = resident_bytes()
    assert not memory.any()
    assert resident_bytes() - before < size / 4


@pytest.mark.parametrize("autocast", [None, ("cpu", torch.bfloat16)])
def test_its_backward_is_measured_in_two_parts(autocast: Autocast) -> None:
    model, x = net()
    captured = capture(model, (x,), autocast=autocast)
    o = next(o for o in captured.operators if o.id in offered(captured))
    y, weight = captured.values[o.outputs[0]], captured.values[o.inputs[1]]
    measured = {m.name: m for m in measure_on_device(captured, o, [(y.shape, y.stride)])}
    eager, mine = measured["eager"], measured[NAME]
    assert eager.rest is None
    assert eager.backward is not None
    assert mine.backward is not None
    assert mine.rest is not None
    holds, peak = mine.rest
    assert holds == (weight.storage_bytes if autocast else 0), "a weight that was cast is there until both are through"
    assert [(g.input, g.late) for g in mine.gradients] == [(1, False), (2, False), (0, True)]
    assert sorted(g.bytes for g in mine.gradients) == sorted(g.bytes for g in eager.gradients)
    assert mine.saves == eager.saves
    assert mine.forward.time == eager.forward.time
    assert mine.backward.time >= eager.backward.time
    assert mine.backward.peak < eager.backward.peak
    assert captured.values[o.inputs[0]].storage_bytes <= peak <= eager.backward.peak


def test_compiled_it_is_eagers_convolution() -> None:
    """A compiler makes one graph of a backward, in which nothing comes first."""
    model, x = net()
    captured = capture(model, (x,))
    plan = plan_for(captured, "keep")
    chosen = {str(k): NAME for k in offered(captured)}
    with_it, without = (pieces_of(captured, load_plan(plan | {"implementations": each})) for each in (chosen, {}))
    assert [[n.target for n in p.graph.graph.nodes] for p in with_it.pieces] == [
        [n.target for n in p.graph.graph.nodes] for p in without.pieces
    ]
    assert with_it.more - without.more == captured.values[captured.operators[4].inputs[0]].storage_bytes


def on_cuda(captured: Captured) -> Captured:
    """As if it had been traced there."""
    values = [replace(v, device=torch.device("cuda")) for v in captured.values]
    return replace(captured, values=values)


def test_on_cuda_a_transposed_convolution_makes_the_inputs_gradient() -> None:
    model, x = net()
    captured = capture(model, (x,))
    assert offered(on_cuda(captured)) == []
    assert offered(on_cuda(captured), "weight-first-transposed") == [2, 4]
    o = captured.operators[2]
    y = captured.values[o.outputs[0]]
    estimated = {m.name: m for m in measure_for(CARDS[0])(captured, o, [(y.shape, y.stride)])}
    assert list(estimated) == ["eager", "weight-first-transposed"], "what the CPU alone has is no way to run on a card"
    mine = estimated["weight-first-transposed"]
    assert mine.exactness == "same-kernel"
    assert mine.rest == (0, captured.values[o.inputs[0]].storage_bytes)
    assert mine.backward is not None
    assert mine.backward.peak == sum(captured.values[v].storage_bytes for v in o.inputs[1:])


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(("stride", "padding", "dilation"), [(1, 0, 1), (2, 1, 1), (3, 2, 2), (2, 0, 1)])
def test_the_transposed_one_gives_the_same_gradients(stride: int, padding: int, dilation: int, groups: int) -> None:
    model, image = net()
    op = capture(model, (image,)).operators[2]
    x = torch.randn(2, 4, 12, 11, requires_grad=True)
    weight = torch.randn(6, 4 // groups, 3, 2, requires_grad=True)
    settings = (None, [stride], [padding], [dilation], groups)
    want = torch.ops.aten.conv2d.default(x, weight, *settings)
    got = weight_first._build(weight_first._transposed)(op, False)(x, weight, *settings)
    assert torch.equal(got, want)
    gradient = torch.randn_like(want)
    for mine, theirs in zip(
        torch.autograd.grad(got, (x, weight), gradient), torch.autograd.grad(want, (x, weight), gradient), strict=True
    ):
        assert (mine - theirs).abs().max() <= 1e-6 * theirs.abs().max()
