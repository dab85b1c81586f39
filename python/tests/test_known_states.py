"""A planned model finds its programs by the state object that it knows, whatever becomes of its modules."""

from __future__ import annotations

import copy
from typing import Any

import models
import pytest
import torch
from models import assert_equal, plan_for, step
from torch import Tensor, nn

import monet_torch
from monet_torch import planned
from monet_torch.capture import capture
from monet_torch.errors import MonetError


def states_of(model: nn.Module) -> list[Any]:
    """Of all programs, each once; the same state is one object, and that of now is the one that is watched."""
    runtime = planned._runtimes[model]
    states = [s for _, s in runtime.programs]
    assert all(a is b for a in states for b in states if a == b)
    assert runtime.watch is not None
    assert any(s is runtime.watch.state for s in states)
    return list({id(s): s for s in states}.values())


class Counts(nn.Module):
    """Can't be traced, and its attribute changes with every forward."""

    def __init__(self) -> None:
        super().__init__()
        self.own, self.calls = nn.Linear(16, 16), 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.own(x).sin() if x.mean() > -10 else x


class Layered(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(16, 16), nn.Tanh(), Counts(), nn.ReLU(), nn.Linear(16, 16))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).square().sum()


def rows(count: int) -> tuple[Tensor]:
    torch.manual_seed(1)
    return (torch.randn(count, 16),)


def test_after_blocks_changed_all_programs_are_of_the_state_that_is_watched() -> None:
    torch.manual_seed(0)
    model = Layered().train()
    eager = copy.deepcopy(model)
    monet_torch.apply(model, plan_for(capture(copy.deepcopy(model), rows(32), opaque=["layers.2"]), "drop"))
    for count in (32, 24, 32, 8, 24):
        assert_equal(step(eager, rows(count)), step(model, rows(count)))
    assert monet_torch.status(model)["planned"] == 5
    assert len(states_of(model)) == 1
    assert set(planned._runtimes[model].captures.values()) == {1}  # each size was traced once
    model.layers[2].own.weight.requires_grad_(False)
    for count in (32, 24):
        step(model, rows(count))
    model.layers[2].own.weight.requires_grad_(True)
    step(model, rows(32))
    assert len(states_of(model)) == 2


def test_of_a_planned_model_within_a_planned_model_each_knows_its_own() -> None:
    model, args = models.convnet()
    inner = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Tanh())
    outer = nn.Sequential(inner, model).train()
    eager = copy.deepcopy(outer)
    monet_torch.apply(outer, plan_for(capture(outer, args), "drop"))
    monet_torch.apply(inner, plan_for(capture(inner, args), "drop"))
    for frozen in (False, True, False):
        for m in (eager, outer):
            m[0][0].bias.requires_grad_(not frozen)
        assert_equal(step(eager, args), step(outer, args))
        assert_equal(step(eager[0], args), step(inner, args))
    assert [monet_torch.status(m)["planned"] for m in (outer, inner)] == [3, 3]
    assert [len(states_of(m)) for m in (outer, inner)] == [2, 2]


def test_after_a_second_apply_the_new_plan_knows_its_own() -> None:
    model, args = models.convnet()
    plan = plan_for(capture(model, args), "drop")
    eager = copy.deepcopy(model)
    monet_torch.apply(model, plan)
    step(model, args)
    step(eager, args)
    (before,) = states_of(model)
    with pytest.raises(MonetError, match="already runs by a plan"):
        monet_torch.apply(model, plan)
    assert_equal(step(eager, args), step(model, args))
    assert states_of(model) == [before]
    monet_torch.remove(model)
    monet_torch.apply(model, plan)
    for _ in range(2):
        assert_equal(step(eager, args), step(model, args))
    (after,) = states_of(model)
    assert after == before
    assert after is not before
