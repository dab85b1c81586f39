"""A model that can't be captured whole is planned in parts, and says which."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path

import pytest
import torch
from models import assert_equal, plan_for, planned_and_verified, step

import monet_torch
from monet_torch import __main__ as command_line
from monet_torch import parts
from monet_torch.errors import MonetError
from monet_torch.step import capture_step
from monet_torch.target import Target, load

CPU = torch.device("cpu")
MODEL = """\
import torch
from torch import nn


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(16), nn.Linear(16, 64), nn.Linear(64, 16)

    def forward(self, x, scale=1.0):
        return x + self.down(torch.tanh(self.up(self.norm(x)))) * scale


class Net(nn.Module):
    '''Between its layers it looks at values.'''

    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(8, 16)
        self.layers = nn.ModuleList(Layer() for _ in range(3))
        self.never = nn.Linear(2, 2)

    def forward(self, x):
        x = self.stem(x)
        for layer in self.layers:
            x = layer(x, scale=0.5)
            if x.abs().max() > 1e6:
                x = x.clamp(-1e6, 1e6)
        return x.sin()


class Outer(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = Net()

    def forward(self, x):
        return self.net(x)


def monet_entry():
    return Net(), torch.randn(32, 8), None


def outer_entry():
    return Outer(), torch.randn(32, 8), None
"""


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Target:
    (tmp_path / "train.py").write_text(MODEL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "train", raising=False)
    return load("train.py:monet_entry", [], [], None, None)


def test_the_largest_parts_are_found_alike_ones_as_one(made: Target) -> None:
    found, total = parts.find(made, CPU, None)
    layers, *others = found
    assert (layers.name, layers.paths) == ("layers.*", ["layers.0", "layers.1", "layers.2"])
    assert {part.name for part in others} <= {"stem"}
    assert 0.6 * total < layers.kept < total
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in made.model.modules())


def test_one_plan_serves_all_parts_that_are_alike(made: Target) -> None:
    eager, model = made.model, copy.deepcopy(made.model)
    part = parts.only(made, "layers.*", CPU, None)
    captured, _ = capture_step(part.model, part.args, part.kwargs, (), None, None)
    plan = plan_for(captured, "drop")
    for layer in model.layers:  # type: ignore[union-attr]
        monet_torch.apply(layer, plan)
    for _ in range(2):
        assert_equal(step(model, made.args), step(eager, made.args))
    assert [monet_torch.status(layer)["planned"] for layer in model.layers] == [2, 2, 2]  # type: ignore[union-attr]


def test_what_a_part_gets_is_used_in_many_steps_and_holds_no_gradient(made: Target) -> None:
    part = parts.only(made, "layers.1", CPU, None)
    (x,) = part.args
    assert part.kwargs == {"scale": 0.5}
    assert x.shape == (32, 16)
    for _ in range(2):
        part.model(x, **part.kwargs).sum().backward()
    assert x.requires_grad
    assert not x.is_leaf


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("layer", r"has no submodule 'layer'; it has stem, layers, never \[M125\]"),
        ("never", r"is not called in a forward .* \[M126\]"),
    ],
)
def test_a_part_that_is_not_there_is_said(name: str, expected: str, made: Target) -> None:
    with pytest.raises(MonetError, match=expected):
        parts.only(made, name, CPU, None)


def test_parts_of_a_part_are_named_from_the_whole_on(made: Target, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        command_line.main(["profile", "train.py:outer_entry", "--no-cache", "--out", "graph.json", "--part", "net"])
        == 2
    )
    assert "parts of it can be planned by themselves: --part 'net.layers.*' (3 alike, " in capsys.readouterr().err


def test_who_profiles_the_whole_is_told_of_its_parts_and_a_part_is_profiled_and_verified(
    made: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    target = ["train.py:monet_entry", "--no-cache", "--out", "graph.json"]
    assert command_line.main(["profile", *target]) == 2
    error = capsys.readouterr().err
    assert "what runs here depends on values" in error
    assert "parts of it can be planned by themselves: --part 'layers.*' (3 alike, " in error
    assert command_line.main(["profile", *target, "--part", "layers.*"]) == 0
    graph = json.loads(Path("graph.json").read_text())
    assert graph["made_from"]["options"]["part"] == "layers.*"
    part = parts.only(made, "layers.*", CPU, None)
    captured, _ = capture_step(part.model, part.args, part.kwargs, (), None, None)
    planned_and_verified("train.py:monet_entry", captured, graph, capsys)
