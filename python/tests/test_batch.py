"""A graph says how it grows with the batch: what it tells of another size is what a profile of that size measures."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from monet_torch import __main__ as command_line
from monet_torch import batch, profile, whole

SMALL = Path(__file__).parent / "files" / "small.py"


def profiled(out: Path, *arguments: str) -> dict[str, Any]:
    assert command_line.main(["profile", *arguments, "--device", "cpu", "--no-cache", "--out", str(out)]) == 0
    document: dict[str, Any] = json.loads(out.read_text())
    for o in document["operators"]:
        o["module_type"] = o["module_type"].rpartition(".")[2]  # the file is another module each time it is loaded
    return document


@pytest.fixture(autouse=True)
def untimed(monkeypatch: pytest.MonkeyPatch) -> None:
    def elements(timed: Any) -> tuple[int, float]:
        """A time that is proportional to the work, and never wavers."""
        return 1000 + sum(t.numel() for t in timed.bench.tensors.values()), 0.0

    monkeypatch.setattr(profile, "_time", elements)
    monkeypatch.setattr(whole, "measured", lambda *_: None)  # by another clock


@pytest.fixture(autouse=True)
def along_a_line() -> Iterator[None]:
    """oneDNN chooses another algorithm at another size on some processors, whose workspace lies on no line."""
    with torch.backends.mkldnn.flags(enabled=False):  # type: ignore[no-untyped-call]
        yield


def grown(node: Any, slope: Any, samples: int) -> Any:
    if slope is None:
        return node
    if isinstance(slope, dict):
        keys = range(len(node)) if isinstance(node, list) else node
        rows = {k: grown(node[k], slope.get(str(k)), samples) for k in keys}
        return list(rows.values()) if isinstance(node, list) else rows
    return math.ceil(node + slope * samples - 1e-6)


def conv(size: int) -> list[str]:
    return [f"{SMALL}:Conv", "--input", f"float32[{size},3,8,8]", "--loss", "loss", "--target", f"int64[{size}]<5"]


def text(size: int) -> list[str]:
    return [f"{SMALL}:Text", "--input", f"ids=int64[{size},6]<31", "--input", f"mask=float32[{size},6,1]"]


# (Even sizes: masks are packed, eight elements to a byte, and what is padded lies on no line.)
@pytest.mark.parametrize("model", [conv, text])
@pytest.mark.parametrize(("size", "other"), [(4, 6), (8, 12), (2, 10)])
def test_another_size_is_told_as_it_would_be_measured(model: Any, size: int, other: int, tmp_path: Path) -> None:
    g = profiled(tmp_path / "a.json", *model(size))
    assert g["batch"]["size"] == size
    real = profiled(tmp_path / "b.json", *model(other))
    for part in ("fixed", "values", "operators", "outputs"):
        told = grown(g[part], g["batch"]["slopes"].get(part), other - size)
        assert told == real[part], part
    assert g["structure"] == real["structure"]


def test_a_time_does_not_shrink_with_more_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    g = profiled(tmp_path / "a.json", *conv(8))
    quick = iter([(500, 0.0)] * 10_000)
    monkeypatch.setattr(profile, "_time", lambda timed: next(quick) if timed.samples != profile.SAMPLES else (400, 0.0))
    slower = profiled(tmp_path / "b.json", *conv(8))  # half of it took longer than the whole
    assert "time" in json.dumps(g["batch"])
    assert "time" not in json.dumps(slower["batch"])
    monkeypatch.setattr(profile, "_time", lambda timed: (1, 0.0) if timed.samples != profile.SAMPLES else (400, 0.0))
    steep = profiled(tmp_path / "c.json", *conv(8))  # 4 samples took 1 ns, 8 took 400: 4 more do not take 399
    first = steep["batch"]["slopes"]["operators"]["0"]["implementations"]["0"]["forward"]
    assert first["time"] == 400 / 8


SQUARE = """
import torch
from torch import nn

class Pairs(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(4, 3)

    def forward(self, x):
        x = self.embed(x)
        return (x @ x.T).logsumexp(1).mean()

class Fixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.place = nn.Parameter(torch.zeros(8, 4))

    def forward(self, x):
        return x + self.place

class Flattened(nn.Module):
    def forward(self, x):
        return (x[:, None, :] - x[None, :, :]).reshape(-1, 4).square().sum(1)

class Counts(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(4, 3)

    def forward(self, x):
        for row in x.unbind(0):
            x = x + self.embed(row).sum()
        return x
"""


@pytest.mark.parametrize(
    ("model", "why"),
    [
        ("Pairs", r"aten\.matmul\.default at square\.py:12 has more than one extent that grows with the batch"),
        ("Fixed", r"with a batch of 4 it fails: .*square\.py:20: .*(size|broadcast)"),
        ("Counts", r"the step has other operators at another batch size"),
    ],
)
def test_what_does_not_grow_along_a_line_is_said(model: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "square.py").write_text(SQUARE)
    g = profiled(tmp_path / "a.json", f"{tmp_path / 'square.py'}:{model}", "--input", "float32[8,4]")
    assert set(g["batch"]) == {"size", "why_not"}
    assert g["batch"]["size"] == 8
    assert re.fullmatch(why + ".*", g["batch"]["why_not"]), g["batch"]["why_not"]


def test_inputs_get_another_batch_wherever_they_have_that_one() -> None:
    inputs = {
        "x": torch.arange(8).view(4, 2),
        "mask": [torch.ones(4, dtype=torch.bool)],
        "scale": torch.ones(3),
        "n": 4,
    }
    more = batch.resized(inputs, 6)
    assert more["x"].tolist() == [[0, 1], [2, 3], [4, 5], [6, 7], [0, 1], [2, 3]]
    assert [more["mask"][0].shape, more["scale"].shape, more["n"]] == [(6,), (3,), 4]
    assert batch.resized(inputs, 2)["x"].tolist() == [[0, 1], [2, 3]]
    assert batch.size_of((torch.tensor(1.0), torch.ones(5, 2))) == 5
    assert batch.size_of((torch.tensor(1.0),)) is None
    assert [batch.second_size(n) for n in (1, 2, 3, 4, 9)] == [2, 4, 6, 2, 4]
