"""Entry functions: what they may return, and that such a model is profiled, planned and verified without more words."""

from __future__ import annotations

import json
import sys
from collections import UserDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from models import planned_and_verified
from torch import Tensor, nn

from monet_torch import __main__ as command_line
from monet_torch.entry import read_entry
from monet_torch.errors import MonetError
from monet_torch.step import capture_step
from monet_torch.target import load

TRAIN = """\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.fc = nn.Linear(width, 3)

    def forward(self, x, mask=None):
        y = self.fc(x).relu()
        return y if mask is None else y * mask[:, None]


def build(width):
    return Net(width)
"""
SIDECAR = """\
import torch
import torch.nn.functional as F
from train import build


def monet_entry():
    model = build(4)
    inputs = {"x": torch.randn(5, 4), "mask": torch.ones(5)}
    return model, inputs, F.cross_entropy, torch.randint(0, 3, (5,))


def without_inputs():
    return build(4), ()
"""
X = torch.ones(2, 3)


@dataclass
class Batch:
    x: Tensor
    note: str = ""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "train.py").write_text(TRAIN)
    (tmp_path / "train_monet.py").write_text(SIDECAR)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("train", "train_monet"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("inputs", "args", "kwargs"),
    [
        (X, (X,), {}),
        ((X, None), (X, None), {}),
        ([X, 3], (X, 3), {}),
        ({"x": X}, (), {"x": X}),
        (UserDict(x=X), (), {"x": X}),
        (({"x": X},), ({"x": X},), {}),
        (Batch(X), (Batch(X),), {}),
    ],
)
def test_inputs_are_positional_by_name_or_the_one_argument(inputs: Any, args: Any, kwargs: Any) -> None:
    entry = read_entry((nn.Linear(3, 3), inputs), "monet_entry")
    assert repr((entry.args, entry.kwargs)) == repr((args, kwargs))
    assert entry.loss is None
    assert entry.targets == ()


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        ((nn.Linear(3, 3),), "returned 1 things; return model, inputs, loss_fn"),
        ((X, nn.Linear(3, 3)), "returned a Tensor first"),
        ((nn.Linear(3, 3), X, X), "returned a Tensor as its loss"),
        ((nn.Linear(3, 3), "x"), "returned no tensor among its inputs"),
        ((nn.Linear(3, 3), X, None, X), "targets and no loss that takes them"),
    ],
)
def test_what_an_entry_function_may_not_return_is_one_sentence(returned: Any, expected: str) -> None:
    with pytest.raises(MonetError, match=rf"^train.py: monet_entry .*{expected}.*\[M111\]"):
        read_entry(returned, "train.py: monet_entry")


def test_a_sidecar_file_names_a_model_that_needs_set_up(folder: Path) -> None:
    made = load("train_monet.py:monet_entry", [], [], None, None)
    assert type(made.model).__name__ == "Net"
    assert list(made.kwargs) == ["x", "mask"]
    again = load("train_monet.py:monet_entry", [], [], None, None)
    assert torch.equal(made.kwargs["x"], again.kwargs["x"])
    assert torch.equal(made.model.fc.weight, again.model.fc.weight)  # type: ignore[union-attr,arg-type]


def test_an_entry_function_says_all_itself(folder: Path) -> None:
    with pytest.raises(MonetError, match=r"returns its inputs and its loss itself; leave out --input.*\[M112\]"):
        load("train_monet.py:monet_entry", ["float32[2,4]"], [], None, None)
    with pytest.raises(MonetError, match=r"train_monet\.py: without_inputs returned no tensor among its inputs"):
        load("train_monet.py:without_inputs", [], [], None, None)


def test_who_names_a_model_that_only_a_function_has_is_told_of_entry_functions(folder: Path) -> None:
    with pytest.raises(
        MonetError, match=r"there is no 'model' in it; it has Net; .* def monet_entry\(\): return model"
    ):
        load("train.py:model", [], [], None, None)


def test_an_entry_function_is_profiled_and_verified_by_its_name_alone(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line.main(["profile", "train_monet.py:monet_entry", "--no-cache", "--out", "graph.json"]) == 0
    graph = json.loads(Path("graph.json").read_text())
    assert graph["made_from"]["inputs"] == []
    assert {o["part"] for o in graph["operators"]} == {"model", "loss"}
    made = load("train_monet.py:monet_entry", [], [], None, None)
    captured, _ = capture_step(made.model, made.args, made.kwargs, made.targets, made.loss, None)
    report = planned_and_verified("train_monet.py:monet_entry", captured, graph, capsys)
    assert report["compared"] == 3  # the loss, and gradients of a weight and a bias
