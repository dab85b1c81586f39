"""The table of ways to save memory: every number is measured, and what can't be says why."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from test_verify import SMALL, plan_of, profiled

from monet_torch import __main__ as command_line
from monet_torch import bench, bench_way
from monet_torch.target import load

CONV = [f"{SMALL}:Conv", "--input", "float32[2,3,8,8]", "--loss", "loss", "--target", "int64[2]<5"]
BIG_FILE = """\
import torch
from torch import nn


class Unit(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x):
        return torch.tanh(self.norm(torch.sigmoid(self.conv(x))))


class Net(nn.Sequential):
    def __init__(self):
        super().__init__(*(Unit() for _ in range(20)))


def entry():
    return Net(), torch.randn(2, 4, 32, 32), lambda output: output.square().mean()


class Broken(nn.Module):
    def forward(self, x):
        raise RuntimeError("this is an error of the model")
"""


@pytest.fixture(autouse=True)
def _path() -> Iterator[None]:
    before = list(sys.path)
    yield
    sys.path[:] = before


@pytest.fixture
def net(tmp_path: Path) -> str:
    (tmp_path / "units.py").write_text(BIG_FILE)
    return f"{tmp_path / 'units.py'}:entry"


def measured(target: str, way: str, **more: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "plan": None, "block": None, "at_most": None, "gradients": "accumulate", "autocast": None,
        "device": torch.device("cpu"), "pairs": 2, "warmup": 0,
    }  # fmt: skip
    return bench_way.measured(lambda: load(target, [], [], None, None), way, **{**settings, **more})


def failing(*arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What a run that ends with bad input says."""
    assert command_line.main(["bench", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    lines = [line for line in said.err.splitlines() if not line.startswith("▸")]
    assert len(lines) == 1, lines
    return lines[0]


def test_eager_against_itself_differs_in_nothing(net: str) -> None:
    eager = measured(net, "eager")
    assert eager["gradients"]["equal"]
    assert eager["buffers"]["equal"]
    assert len(eager["time"]["samples"]) == len(eager["eager_time"]["samples"]) == 2
    assert eager["allocator"]["peak"] > 40 * 2 * 4 * 32 * 32 * 4, "what twenty units save"


def test_checkpoints_and_host_memory_are_seen_in_the_peak_and_in_the_buffers(net: str) -> None:
    eager = measured(net, "eager")
    checkpointed = measured(net, "checkpoint", block="Unit")
    assert checkpointed["allocator"]["peak"] < 0.7 * eager["allocator"]["peak"]
    assert checkpointed["gradients"]["equal"]
    assert not checkpointed["buffers"]["equal"], "running statistics are updated twice"
    assert 0 < checkpointed["buffers"]["share"] < 1
    offloaded = measured(net, "save-on-cpu")
    assert offloaded["gradients"]["equal"]
    assert offloaded["tracker"]["peak"] >= eager["tracker"]["peak"], "on the CPU, host memory is the same memory"


def test_a_wrong_gradient_is_told_by_its_size() -> None:
    ours, eager = {"gradient of a": torch.tensor([3.0, 4.0])}, {"gradient of a": torch.tensor([3.0, 5.0])}
    told = bench_way._difference(ours, eager, "gradient of ")
    assert told == {"equal": False, "share": pytest.approx(1 / 34**0.5), "where": "a"}
    assert bench_way._difference({}, eager, "gradient of ")["share"] == float("inf")
    assert bench_way._difference(ours, ours, "gradient of ")["equal"]


def test_torch_compile_gets_the_memory_budget_that_makes_its_peak_ours(net: str) -> None:
    every = measured(net, "compile-aot_eager", at_most=10**12)
    assert (every["memory_budget"], every["within"]) == (1.0, True)
    least = measured(net, "compile-aot_eager", at_most=1)
    assert (least["memory_budget"], least["within"]) == (0.0, False)
    low, high = least["allocator"]["peak"], every["allocator"]["peak"]
    assert low < high
    between = measured(net, "compile-aot_eager", at_most=(low + high) // 2)
    assert between["within"]
    assert 0 <= between["memory_budget"] < 1
    assert between["allocator"]["peak"] <= (low + high) // 2
    assert between["tracker"] is None


def test_a_plan_is_measured_against_what_it_predicts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = profiled(CONV, tmp_path / "a.graph.json", "--gradients", "fresh")
    plan = plan_of(graph)
    files = {"graph": str(tmp_path / "a.graph.json"), "plan": str(tmp_path / "a.plan.json")}
    Path(files["plan"]).write_text(json.dumps(plan))
    fixed = sum(graph["fixed"].values())

    # Without those that take their time.
    monkeypatch.setattr(bench, "PEERS", {k: v for k, v in bench.PEERS.items() if not k.startswith("compile-")})
    out = tmp_path / "numbers.json"
    command = ["bench", f"{SMALL}:Conv", "--graph", files["graph"], "--plan", files["plan"], "--pairs", "2"]
    assert command_line.main([*command, "--threads", "1", "--json", str(out)]) == 0
    said = capsys.readouterr().out.splitlines()
    eager, planned, offloaded = json.loads(out.read_text())["rows"]
    assert eager["notes"] == planned["notes"] == offloaded["notes"] == []
    assert planned["measured"]["status"]["planned"] > 0
    assert planned["measured"]["gradients"]["equal"]
    assert planned["measured"]["buffers"]["equal"]
    assert planned["measured"]["tracker"]["peak"] == eager["measured"]["tracker"]["peak"], "it keeps everything"
    assert planned["measured"]["tracker"]["end"] > 0, "gradients appear, as they did for the profiler"
    assert said[2].endswith("(gradients appear during the step)")
    cells = [cell.strip() for cell in said[6].split("|")]
    peak = planned["measured"]["allocator"]["peak"]
    assert cells[1] == files["plan"]
    assert cells[3] == f"{peak / eager['measured']['allocator']['peak']:.1%}"
    assert cells[4].endswith(f"({peak / (plan['predicted']['peak'] - fixed) - 1:+.2%})")

    other = plan | {"graph": plan["graph"] | {"hash": "of another"}}
    Path(files["plan"]).write_text(json.dumps(other))
    assert "was not made from" in failing(*command[1:], capsys=capsys)
    assert "[M335]" in failing(*command[1:], "--loss", "loss", capsys=capsys)
    assert "[M334]" in failing(f"{SMALL}:Conv", "--plan", files["plan"], capsys=capsys)
    graph["device"] |= {"type": "cuda", "name": "H100"}
    Path(files["graph"]).write_text(json.dumps(graph))
    said_of_card = failing(*command[1:], capsys=capsys)
    assert said_of_card.endswith("was profiled on H100, which isn't here; profile on this machine [M336]")


def test_what_did_not_run_says_why_beside_what_did(
    net: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("TORCHINDUCTOR_FORCE_DISABLE_CACHES", "1")
    out = tmp_path / "numbers.json"
    arguments = [net, "--block", "Unit", "--device", "cpu", "--pairs", "1", "--json", str(out)]
    assert command_line.main(["bench", *arguments]) == 1
    said = capsys.readouterr().out
    assert said.splitlines()[0].count(torch.__version__) == 1
    assert "Python" in said.splitlines()[0]
    rows = json.loads(out.read_text())["rows"]
    assert [(row["name"], row["measured"] is not None) for row in rows] == [
        ("eager, a second time", True), ("checkpoint per block", True), ("save_on_cpu", True),
        ("torch.compile, inductor", False), ("torch.compile, aot_eager", True),
    ]  # fmt: skip
    without, budget = said.splitlines()[-2:]
    assert without.startswith("torch.compile, inductor did not run: ")
    assert "no-such-compiler" in without
    half = rows[0]["measured"]["allocator"]["peak"] / 2 / 2**20
    assert budget.startswith("torch.compile, aot_eager: activation_memory_budget 0")
    assert budget.endswith(f"aot_eager stays within {half:.1f} MiB"), "no plan says what to stay within"


def test_what_is_wrong_is_one_sentence(net: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "names no model" in failing("x", "--device", "cpu", capsys=capsys)
    said = failing(net, "--device", "cpu", "--block", "Bottleneck", capsys=capsys)
    assert said == "error: --block Bottleneck: no module of the model is of that class; it has BatchNorm2d, Conv2d, " \
        "Net, Unit [M331]"  # fmt: skip
    assert "no.graph.json: No such file" in failing(net, "--graph", "no.graph.json", capsys=capsys)
    assert "[M333]" in failing(net, "--device", "A100", capsys=capsys)
    broken = failing(net.replace("entry", "Broken"), "--input", "float32[1]", "--device", "cpu", capsys=capsys)
    assert "nothing to compare with: eager, a second time did not run" in broken
    assert "this is an error of the model" in broken
    assert broken.endswith("[M332]")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
def test_without_a_card_nothing_is_pretended(net: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--device cuda: this PyTorch sees no CUDA device" in failing(net, "--device", "cuda", capsys=capsys)
