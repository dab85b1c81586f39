"""A plan written as checkpoint policies: plain PyTorch, the same gradients, about the plan's memory."""

from __future__ import annotations

import ast
import copy
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import test_verify
import torch
from models import assert_equal, step, twice
from test_verify import Document, plan_of
from torch import Tensor, nn

import monet_torch
from monet_torch import __main__ as command_line
from monet_torch.measure import windows
from monet_torch.target import load

graphs = test_verify.graphs
FILE = Path(__file__).parent / "files" / "blocks.py"
RESNET = [f"{FILE}:ResNet", "--input", "float32[4,3,16,16]"]
DECODER = [f"{FILE}:Decoder", "--input", "int64[4,16]<31"]
# What such plans keep: results that take long to make.
COSTLY = ("aten.conv2d.default", "aten.linear.default", "aten.scaled_dot_product_attention.default")


def costly(graph: Document, *more: str) -> Document:
    """Keep what convolutions, products and attention make, and what comes out of each block."""
    blocks = [re.match(r"(blocks|layers)\.\d+|", o["module"])[0] for o in graph["operators"]]
    last = {name: o for o, name in enumerate(blocks)}
    plan = plan_of(graph, lambda o: graph["operators"][o]["op"] in (*COSTLY, *more) or last[blocks[o]] == o)
    plan["rng"] = [o["id"] for o in graph["operators"] if o["random"]]
    eager = sum(graph["values"][row["value"]]["bytes"] for row in plan_of(graph)["retain"] if "value" in row)
    plan["predicted"]["peak"] = sum(graph["fixed"].values()) + eager * 3 // 4
    return plan


def export(arguments: list[str], plan: Document, graph_file: Path, folder: Path, *more: str) -> tuple[int, Path]:
    (folder / "plan.json").write_text(json.dumps(plan))
    out = folder / "written.py"
    command = ["export", arguments[0], str(folder / "plan.json"), "--graph", str(graph_file), "--out", str(out)]
    return command_line.main([*command, *more]), out


def imported(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("written", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def made(arguments: list[str]) -> tuple[nn.Module, tuple[Tensor, ...]]:
    target = load(arguments[0], arguments[2:3], [], None, None)
    return target.model.train(), target.args


def live_after_forward(model: nn.Module, args: tuple[Tensor, ...]) -> int:
    def run(mark: Any) -> None:
        output = model(*args)
        mark()
        output.sum().backward()

    return windows(run)[0].before


@pytest.fixture(params=["resnet", "decoder"])
def case(request: pytest.FixtureRequest, graphs: Any) -> tuple[list[str], Path, Document]:
    arguments = {"resnet": RESNET, "decoder": DECODER}[request.param]
    return (arguments, *graphs(arguments))


def test_gradients_are_eagers_and_memory_is_about_the_plans(case: Any, tmp_path: Path, capsys: Any) -> None:
    arguments, graph_file, graph = case
    plan = costly(graph)
    code, out = export(arguments, plan, graph_file, tmp_path, "--json")
    answer = json.loads(capsys.readouterr().out)
    assert code == 0
    assert answer["regions"]
    assert answer["kept"]
    assert answer["peak"] < answer["eager_peak"]
    eager, args = made(arguments)
    written, planned = copy.deepcopy(eager), copy.deepcopy(eager)
    imported(out).apply(written)
    monet_torch.apply(planned, plan)
    for seed in range(2):  # buffers count on
        assert_equal(step(eager, args, seed), step(written, args, seed))
    step(planned, args)
    live = {
        name: live_after_forward(m, args) for name, m in (("eager", eager), ("plan", planned), ("written", written))
    }
    assert live["plan"] < 0.75 * live["eager"]
    assert live["written"] < live["plan"] * 1.1, live


def test_the_file_needs_pytorch_alone_and_is_the_same_every_time(case: Any, tmp_path: Path) -> None:
    arguments, graph_file, graph = case
    _, out = export(arguments, costly(graph), graph_file, tmp_path)
    text = out.read_text()
    names = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else alias.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    }
    assert {name.partition(".")[0] for name in names} <= {*sys.stdlib_module_names, "torch"}
    _, again = export(arguments, costly(graph), graph_file, tmp_path)  # over a file of its own
    assert again.read_text() == text


def test_what_the_policy_keeps_is_not_run_again(graphs: Any, tmp_path: Path) -> None:
    graph_file, graph = graphs(RESNET)
    _, out = export(RESNET, costly(graph), graph_file, tmp_path)
    model, args = made(RESNET)
    imported(out).apply(model)
    ran: list[str] = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            ran.append(str(func))
            return func(*args, **(kwargs or {}))

    output = model(*args)
    with Watch():
        output.sum().backward()
    assert "aten.convolution_backward.default" in ran
    assert "aten.convolution.default" not in ran
    assert "aten.relu.default" in ran or "aten.relu_.default" in ran


def test_what_is_overwritten_is_kept_by_not_overwriting(graphs: Any, tmp_path: Path, capsys: Any) -> None:
    graph_file, graph = graphs(RESNET)
    code, out = export(RESNET, costly(graph, "aten.relu.default"), graph_file, tmp_path)
    assert code == 0
    module = imported(out)
    assert module.OUT_OF_PLACE
    assert all("aten.relu.default" in keep for keep in module.KEEP.values())
    eager, args = made(RESNET)
    written = copy.deepcopy(eager)
    module.apply(written)
    assert_equal(step(eager, args), step(written, args))


def test_a_second_backward_is_refused_in_a_sentence(graphs: Any, tmp_path: Path) -> None:
    graph_file, graph = graphs(RESNET)
    _, out = export(RESNET, costly(graph), graph_file, tmp_path)
    model, args = made(RESNET)
    imported(out).apply(model)
    with pytest.raises(RuntimeError, match="used up after one backward: with retain_graph=True, run the forward again"):
        twice(model, args)
    model.zero_grad()
    eager = made(RESNET)[0]
    step(model, args), step(eager, args)  # running statistics count on
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(model.parameters(), eager.parameters(), strict=True))


def test_a_forward_without_gradients_is_the_models_own(graphs: Any, tmp_path: Path) -> None:
    graph_file, graph = graphs(RESNET)
    _, out = export(RESNET, costly(graph), graph_file, tmp_path)
    eager, args = made(RESNET)
    written = copy.deepcopy(eager)
    imported(out).apply(written)
    eager.eval(), written.eval()
    assert torch.equal(eager(*args), written(*args))
    step(eager, args), step(written, args)
    assert_equal(step(eager, args), step(written, args))


@pytest.mark.parametrize(
    ("arguments", "keep", "sentence"),
    [
        (RESNET, True, "nothing that this plan drops lies within a module"),
        (
            [f"{FILE}:Overwriting", "--input", "float32[4,8]"],
            False,
            "nothing that this plan drops lies within a module",
        ),
    ],
)
def test_what_cannot_be_said_is_refused(
    arguments: list[str], keep: bool, sentence: str, graphs: Any, tmp_path: Path, capsys: Any
) -> None:
    graph_file, graph = graphs(arguments)
    code, out = export(arguments, plan_of(graph, lambda o: keep), graph_file, tmp_path)
    assert code == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.endswith(" [M325]\n")
    assert not out.exists()


COUNTS = """
import torch
from torch import nn

calls = []

class Counts(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(64, 64), nn.Sigmoid(), nn.Sigmoid(), nn.Linear(64, 64))

    def forward(self, x):
        calls.append(len(calls))
        return self.inner(x) * (1 + len(calls))
"""


def test_a_model_whose_steps_differ_is_refused(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "counts.py").write_text(COUNTS)
    arguments = [f"{tmp_path / 'counts.py'}:Counts", "--input", "float32[512,64]"]
    graph_file = tmp_path / "graph.json"
    assert command_line.main(["profile", *arguments, "--no-cache", "--out", str(graph_file)]) == 0
    code, out = export(arguments, costly(json.loads(graph_file.read_text())), graph_file, tmp_path)
    assert code == 2
    error = capsys.readouterr().err
    assert "does a forward change something?" in error
    assert error.endswith(" [M326]\n")
    assert not out.exists()


def test_a_file_that_is_not_ours_is_left_alone(graphs: Any, tmp_path: Path, capsys: Any) -> None:
    graph_file, graph = graphs(RESNET)
    (tmp_path / "written.py").write_text("mine = 1\n")
    code, out = export(RESNET, costly(graph), graph_file, tmp_path)
    assert code == 2
    sentence = "was not written by export; move it away, or name another file with --out [M324]\n"
    assert sentence in capsys.readouterr().err
    assert out.read_text() == "mine = 1\n"


def test_another_models_export_is_left_alone_and_its_own_is_replaced(graphs: Any, tmp_path: Path, capsys: Any) -> None:
    graph_file, graph = graphs(RESNET)
    assert export(RESNET, costly(graph), graph_file, tmp_path)[0] == 0
    code, out = export(RESNET, costly(graph), graph_file, tmp_path)
    assert code == 0
    text = out.read_text()
    for other in ("other_file.py:ResNet", "blocks.py:ResNet, part layers.0"):
        assert text.count("blocks.py:ResNet,") == 1
        theirs = text.replace("blocks.py:ResNet,", f"{other},")
        out.write_text(theirs)
        capsys.readouterr()
        assert export(RESNET, costly(graph), graph_file, tmp_path)[0] == 2
        sentence = f"holds the export of {other}; move it away, or name another file with --out [M324]\n"
        assert sentence in capsys.readouterr().err
        assert out.read_text() == theirs


def test_without_monet_installed_the_file_runs(graphs: Any, tmp_path: Path) -> None:
    graph_file, graph = graphs(DECODER)
    export(DECODER, costly(graph), graph_file, tmp_path)
    script = (
        "import sys; sys.modules['monet_torch'] = None; sys.path[:0] = sys.argv[1:]; import torch, blocks, written; "
        "model = blocks.Decoder(); written.apply(model); model(torch.zeros(4, 16, dtype=torch.int64)).sum().backward()"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path), str(FILE.parent)], check=True)
