"""What may be another from step to step: sizes, slices, where parameters lie, attributes, which output is wanted."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

import models
import pytest
import torch
import torch.nn.functional as F
from models import Make, assert_equal, both, plan_for, planned_model, step, total
from torch import Tensor, nn

import monet_torch
from monet_torch import planned
from monet_torch.capture import capture

MODES = ["keep", "drop", "random"]


def linear() -> tuple[nn.Module, tuple[Tensor, ...]]:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Dropout(0.2), nn.Linear(16, 3)), (torch.randn(6, 8),)


SIZES: list[tuple[Make, list[Callable[[], Tensor]]]] = [
    (linear, [lambda n=n: torch.randn(n, 8) for n in (6, 5, 1, 9, 6)]),
    (models.convnet, [lambda n=n, s=s: torch.randn(n, 3, s, s) for n, s in ((4, 16), (2, 12), (3, 17), (6, 16))]),
    (models.decoder, [lambda n=n, t=t: torch.randint(0, 31, (n, t)) for n, t in ((2, 8), (2, 5), (1, 8), (3, 11))]),
]


@pytest.mark.parametrize(("make", "inputs"), SIZES, ids=["linear", "convolutions", "transformer"])
@pytest.mark.parametrize("mode", MODES)
def test_batches_images_and_sequences_of_other_sizes_run_by_the_plan(make: Make, inputs: Any, mode: str) -> None:
    eager, model, _ = planned_model(make, mode)
    for each in inputs:
        args = (each(),)
        assert_equal(step(eager, args), step(model, args))
    assert monet_torch.status(model)["planned"] == len(inputs)


def test_a_size_at_which_other_operators_run_is_eagers() -> None:
    eager, model, args = planned_model(models.decoder, "drop")
    assert_equal(step(eager, args), step(model, args))
    one = (args[0][:, :1],)
    with pytest.warns(UserWarning, match="other operators"):
        assert_equal(step(eager, one), step(model, one))
    assert total(model(*args)).requires_grad
    assert monet_torch.status(model)["planned"] == 2


def test_beyond_so_many_sizes_new_ones_are_eagers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planned, "_MOST_SIGNATURES", 2)
    eager, model, _ = planned_model(linear, "drop")
    for rows in (6, 5, 6):
        args = (torch.randn(rows, 8),)
        assert_equal(step(eager, args), step(model, args))
    args = (torch.randn(4, 8),)
    with pytest.warns(UserWarning, match="more than 2 input shapes; pad"):
        assert_equal(step(eager, args), step(model, args))
    for m in (eager, model):
        m[2].p = 0.5
    args = (torch.randn(6, 8),)
    assert_equal(step(eager, args), step(model, args))
    assert monet_torch.status(model)["planned"] == 4


class Viewer(nn.Module):
    """Its first operator looks at the input, and at a parameter, from elsewhere; what is made of them is made again."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(12))
        self.act: Any = functools.partial(F.leaky_relu, negative_slope=0.5)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.sin(x.view(-1, 12)) * torch.cos(self.weight.view(1, 12))
        return torch.exp(self.act(y)).sin()


def viewer() -> tuple[nn.Module, tuple[Tensor, ...]]:
    torch.manual_seed(0)
    return Viewer(), (torch.randn(4, 3, 4),)


def test_slices_of_one_tensor_are_batches_each_its_own() -> None:
    eager, model, _ = planned_model(viewer, "drop")
    data = torch.randn(12, 3, 4)
    for at in (0, 4, 8):
        assert_equal(step(eager, (data[at : at + 4],)), step(model, (data[at : at + 4],)))
    assert monet_torch.status(model)["planned"] == 3


def test_a_parameter_moved_into_a_flat_buffer_is_read_where_it_is() -> None:
    eager, model, args = planned_model(viewer, "drop")
    for m in (eager, model):
        flat = torch.arange(40, dtype=torch.float32)
        m.weight.data = flat[7:19]
    assert_equal(step(eager, args), step(model, args))
    assert monet_torch.status(model)["planned"] == 1


def test_another_function_at_the_address_of_one_that_is_gone_is_another() -> None:
    eager, model, args = planned_model(viewer, "drop")
    kept = []
    for turn in range(8):
        eager.act = functools.partial(F.leaky_relu, negative_slope=0.1 * turn)
        kept.append(eager.act)
        model.act = None  # and its place is free
        model.act = functools.partial(F.leaky_relu, negative_slope=0.1 * turn)
        assert_equal(step(eager, args), step(model, args))
    assert monet_torch.status(model)["planned"] == len(kept)


def test_a_parameter_that_becomes_a_buffer_of_its_name_is_found() -> None:
    def frozen() -> tuple[nn.Module, tuple[Tensor, ...]]:
        model, (x,) = viewer()
        return model.requires_grad_(False), (x.requires_grad_(),)

    eager, model, args = planned_model(frozen, "drop")
    for m in (eager, model):
        weight = m.weight.detach()
        del m.weight
        m.register_buffer("weight", weight)
    assert_equal(step(eager, args), step(model, args))


class TwoHeads(nn.Module):
    """Of its outputs the second may be thrown away, and with it what was held for that one's backward."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.other, self.aux = (nn.Linear(8, 8) for _ in range(3))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        drawn = F.dropout(self.inner(x), 0.5)
        shared = drawn * 2
        aux = self.aux(shared)
        return torch.sin(shared + self.other(drawn)) * 1.5, aux


def test_an_output_that_nobody_wants_takes_nothing_away() -> None:
    torch.manual_seed(0)
    eager = TwoHeads().train()
    model, x = copy.deepcopy(eager), torch.randn(8, 8)
    captured = capture(model, (x,))
    _, dropout, mul, aux, linear, *_ = captured.operators
    plan = plan_for(captured, "drop")
    last = 2 * len(captured.operators) - 1
    plan["rng"] = []  # what dropout drew is held, and can't be drawn again
    plan["retain"] = [
        {"value": dropout.outputs[0], "intervals": [[dropout.id, last - dropout.id]]},
        {"internals": dropout.id, "intervals": [[dropout.id, last - dropout.id]]},
        {"value": mul.outputs[0], "intervals": [[mul.id, last - aux.id]]},
        {"value": linear.outputs[0], "intervals": [[linear.id, last - linear.id]]},
    ]
    monet_torch.apply(model, plan)
    for turn in range(3):
        results = []
        for m in (eager, model):
            torch.manual_seed(turn)
            m.zero_grad()
            m(x)[0].sum().backward()
            results.append({k: p.grad.clone() for k, p in m.named_parameters() if p.grad is not None})
        assert_equal(*results)


def test_a_size_for_which_an_implementation_is_not_offered_runs_it_as_eager_does() -> None:
    def make() -> tuple[nn.Module, tuple[Tensor, ...]]:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(64, 512), nn.Dropout(0.5)), (torch.randn(512, 64),)

    eager, model, (large,) = both(make)
    captured = capture(model, (large,))
    plan = plan_for(captured, "drop")
    (dropout,) = (o for o in captured.operators if "dropout" in o.name)
    plan["implementations"] = {str(dropout.id): "replay"}
    monet_torch.apply(model, plan)
    for x in (large[:8], large):
        assert_equal(step(eager, (x,)), step(model, (x,)))
    assert monet_torch.status(model)["planned"] == 2
