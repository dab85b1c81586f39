"""`backend="monet"`: torch.compile with a plan saying what is saved."""

from __future__ import annotations

import copy
import functools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from models import BACKWARDS, assert_equal, gradients, plan_for, step, twice
from torch import Tensor, nn

import monet_torch
from monet_torch import operators
from monet_torch._private import in_transform
from monet_torch.capture import capture
from monet_torch.compiled import backend
from monet_torch.errors import MonetError
from monet_torch.measure import windows

FILES = Path(__file__).parent / "files"
sys.path.append(str(FILES))
import blocks  # noqa: E402

Made = tuple[nn.Module, tuple[Tensor, ...]]


@pytest.fixture(autouse=True)
def dynamo() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def made(name: str, dropout: bool = True) -> Made:
    torch.manual_seed(0)
    if name == "resnet":
        model: nn.Module = blocks.ResNet(depth=2)
        args: tuple[Tensor, ...] = (torch.randn(4, 3, 16, 16),)
    else:
        model, args = blocks.Decoder(depth=2), (torch.randint(0, 31, (4, 16)),)
    for module in model.modules():
        if isinstance(module, nn.Dropout) and not dropout:
            module.p = 0.0
    return model.train(), args


def compiled(model: nn.Module, plan: Any, compiler: str = "eager", **more: Any) -> Any:
    return torch.compile(model, backend=backend, options={"plan": plan, "compiler": compiler}, **more)


def one_step(model: Any, args: tuple[Tensor, ...], seed: int = 1) -> dict[str, Tensor]:
    return {name.replace("_orig_mod.", ""): x for name, x in step(model, args, seed).items()}


def live(model: nn.Module, args: tuple[Tensor, ...]) -> tuple[int, int]:
    """Bytes after the forward, and at their most from there on."""

    def run(mark: Any) -> None:
        output = model(*args)
        mark()
        output.sum().backward()

    step(model, args)
    model.zero_grad(set_to_none=False)
    window = windows(run)[0]
    return window.before, window.moment


@pytest.mark.parametrize("mode", ["drop", "random"])
@pytest.mark.parametrize("name", ["resnet", "decoder"])
def test_gradients_and_buffers_are_eagers_bit_for_bit(name: str, mode: str) -> None:
    model, args = made(name)
    eager = copy.deepcopy(model)
    run = compiled(model, plan_for(capture(model, args), mode))
    for seed in range(2):
        assert_equal(step(eager, args, seed), one_step(run, args, seed))


def test_other_implementations_are_compiled_too() -> None:
    model, args = made("resnet")
    captured = capture(model, args)
    plan = plan_for(captured, "random")
    plan["implementations"] = {str(o.id): "mask" for o in captured.operators if o.name == "aten.relu.default"}
    assert plan["implementations"]
    eager = copy.deepcopy(model)
    assert_equal(step(eager, args), one_step(compiled(model, plan), args))


@pytest.mark.parametrize("name", ["resnet", "decoder"])
def test_what_is_saved_is_what_the_plan_keeps(name: str) -> None:
    model, args = made(name, dropout=False)  # whose mask takes a byte where eager's takes four
    plan = plan_for(capture(model, args), "random", seed=3)
    eager, planned = copy.deepcopy(model), copy.deepcopy(model)
    monet_torch.apply(planned, plan)
    # Besides: running statistics as they were, and the state of attention's random numbers, though it draws none.
    more = sum(b.numel() * b.element_size() for n, b in model.named_buffers() if "running" in n)
    more += sum(isinstance(m, blocks.Attention) for m in model.modules()) * torch.get_rng_state().numel()
    promised = live(planned, args)[0]
    found = live(compiled(model, plan), args)[0]
    assert abs(found - promised) <= more + 0.01 * promised
    assert promised < 0.8 * live(eager, args)[0]


def test_gradients_of_a_piece_end_with_it() -> None:
    class Deep(nn.Module):
        """Its parameters take more than its activations."""

        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(128, 128) for _ in range(12))

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                x = torch.tanh(layer(x))
            return x

    torch.manual_seed(0)
    model, args = Deep().train(), (torch.randn(16, 128),)
    plan = plan_for(capture(model, args), "keep")
    eager = copy.deepcopy(model)
    peak = live(eager, args)[1]
    parameters = sum(p.numel() * p.element_size() for p in model.parameters())
    assert live(compiled(model, plan), args)[1] < peak + parameters / 6


def test_a_norm_that_would_look_at_its_weights_is_eagers_and_has_its_input_held() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Tanh(), nn.Conv2d(8, 4, 3)).train()
    args = (torch.randn(4, 3, 12, 12),)
    captured = capture(model, args)
    (norm,) = [o for o in captured.operators if o.name == "aten.batch_norm.default"]
    plan = plan_for(captured, "drop")
    far = 2 * len(captured.operators) - 1 - norm.id
    plan["retain"] += [{"value": norm.outputs[0], "intervals": [[norm.id, far]]}]
    plan["retain"] += [{"internals": norm.id, "intervals": [[norm.id, far]]}]
    plan["implementations"] = {str(norm.id): "output"}
    eager = copy.deepcopy(model)
    expected = step(eager, args)
    assert_equal(one_step(compiled(model, plan, fullgraph=True), args), expected)


@pytest.mark.skipif(shutil.which(os.environ.get("CXX", "g++")) is None, reason="Inductor needs a C++ compiler")
def test_inductor_compiles_the_pieces() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.wide, self.narrow = nn.LayerNorm(32), nn.Linear(32, 128), nn.Linear(128, 32)
            self.drop = nn.Dropout(0.2)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.narrow(self.drop(torch.nn.functional.gelu(self.wide(self.norm(x)))))

    torch.manual_seed(0)
    model, args = Net().train(), (torch.randn(512, 32),)
    captured = capture(model, args)
    plan = plan_for(captured, "drop")
    kept = next(o.outputs[0] for o in captured.operators if o.module == "wide")
    plan["retain"] = [{"value": kept, "intervals": [[captured.values[kept].producer, 2 * len(captured.operators) - 1]]}]
    eager, planned = copy.deepcopy(model), copy.deepcopy(model)
    monet_torch.apply(planned, plan)
    run = compiled(model, plan, "inductor")
    expected, found = step(eager, args), one_step(run, args)
    for each in expected:
        torch.testing.assert_close(found[each], expected[each])
    (kept, peak), (kept_by_plan, peak_of_plan) = live(run, args), live(planned, args)
    assert kept == kept_by_plan
    assert peak < 1.1 * peak_of_plan  # compiled code has the gradient that comes in as a tensor of its own
    model.zero_grad(), eager.zero_grad()
    for each in (eager, run):
        torch.manual_seed(5)
        twice(each, args)
    for name, gradient in gradients(eager).items():
        torch.testing.assert_close(gradients(model)[name], gradient)


@pytest.mark.skipif(shutil.which(os.environ.get("CXX", "g++")) is None, reason="Inductor needs a C++ compiler")
def test_inductor_compiles_plans_with_implementations_that_it_cannot_write() -> None:
    """Linear by oneDNN and a replayed dropout run as eager's; masks of which it writes code that no compiler takes."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.third = nn.Linear(8, 16), nn.Linear(16, 8), nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            x = torch.dropout(self.first(x), 0.3, self.training)
            x = torch.nn.functional.leaky_relu(self.second(torch.relu(x)), 0.2)
            y: Tensor = self.third(x)
            return y

    torch.manual_seed(0)
    model, args = Net(), (torch.randn(1 << 13, 8),)
    captured, eager = capture(model, args), copy.deepcopy(model)
    plan = plan_for(captured, "drop")
    offered = {o.id: {i.name for i in operators.alternatives(captured, o)} for o in captured.operators}
    wanted = ("onednn", "mask", "replay")
    plan["implementations"] = {str(o): name for o, names in offered.items() for name in wanted if name in names}
    assert set(plan["implementations"].values()) == {"onednn", "mask", "replay"}
    run = compiled(model, plan, compiler="inductor")
    for each in (eager, run):
        torch.manual_seed(5)
        each(*args).square().sum().backward()
    for name, gradient in gradients(eager).items():
        torch.testing.assert_close(gradients(model)[name], gradient, rtol=1e-4, atol=1e-3)


@pytest.mark.skipif(shutil.which(os.environ.get("CXX", "g++")) is None, reason="Inductor needs a C++ compiler")
def test_inductor_compiles_a_piece_that_takes_nothing() -> None:
    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.places, self.out = nn.Embedding(50, 16), nn.Embedding(8, 16), nn.Linear(16, 50)

        def forward(self, words: Tensor) -> Tensor:
            where = torch.arange(words.shape[1])
            return cast("Tensor", self.out(self.words(words) + self.places(where)))

    model, args = Positions(), (torch.randint(0, 50, (4, 8)),)
    eager = copy.deepcopy(model)
    run = compiled(model, plan_for(capture(model, args), "keep"), compiler="inductor")
    run(*args).sum().backward()
    eager(*args).sum().backward()
    for own, other in zip(model.parameters(), eager.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad)


def test_without_gradients_there_is_no_plan() -> None:
    model, args = made("decoder")
    run = compiled(model, plan_for(capture(model, args), "drop"))
    model.eval()
    with torch.no_grad():
        assert torch.equal(run(*args), model(*args))


def renamed(block: nn.Module, x: Tensor) -> Tensor:
    return block.fc(block.blocks(block.stem(x)).mean((2, 3)))


@functools.wraps(renamed)
def wrapped(*args: Any) -> Any:
    return renamed(*args)


@pytest.mark.parametrize("forward", [renamed, wrapped, torch.autocast("cpu", enabled=False)(renamed)])
def test_the_forward_may_be_decorated_and_call_its_model_what_it_likes(forward: Any) -> None:
    class Net(blocks.ResNet):
        pass

    torch.manual_seed(0)
    Net.forward = forward
    model, args = Net(depth=1).train(), (torch.randn(2, 3, 8, 8),)
    plan = plan_for(capture(model, args), "random")
    eager = copy.deepcopy(model)
    assert_equal(step(eager, args), one_step(compiled(model, plan), args))


@pytest.mark.parametrize("name", ["resnet", "decoder"])
def test_in_eval_gradients_come_without_the_plan(name: str) -> None:
    model, args = made(name)
    eager = copy.deepcopy(model).eval()
    run = compiled(model, plan_for(capture(model, args), "random"))
    step(model.eval(), args)
    with pytest.warns(UserWarning, match=r"compiled without its plan: the model is in eval\(\)"):
        assert_equal(step(eager, args), one_step(run, args))


@pytest.mark.parametrize("way", BACKWARDS)
def test_however_often_the_backward_comes(way: Any) -> None:
    model, args = made("resnet", dropout=False)
    eager = copy.deepcopy(model)
    run = compiled(model, plan_for(capture(model, args), "random"))
    for each in (eager, run):
        torch.manual_seed(5)
        way(each, args)
    assert_equal(gradients(eager), gradients(model))


def test_another_size_is_compiled_by_the_same_plan() -> None:
    model, args = made("decoder")
    eager = copy.deepcopy(model)
    run = compiled(model, plan_for(capture(model, args), "random"), dynamic=False)
    for given in (args, (args[0][:3],)):
        assert_equal(step(eager, given), one_step(run, given))


def test_what_it_cannot_do_is_said_with_what_to_do_instead() -> None:
    model, args = made("decoder")
    plan = plan_for(capture(model, args), "drop")
    other, (image,) = made("resnet")
    with pytest.raises(Exception, match=r"made for test, and the model in hand has other operators.*fullgraph=True"):
        compiled(other, plan)(image)
    with pytest.raises(Exception, match=r"compile with dynamic=False.*\[M345\]"):
        compiled(model, plan, dynamic=True)(*args)
    away = plan_for(capture(model, args), "offload")
    with pytest.raises(Exception, match=r"moves tensors to host memory.*--no-offload.*\[M342\]"):
        compiled(model, away)(*args)
    untraced = {**plan, "graph": {**plan["graph"], "opaque": ["layers.0"]}}
    with pytest.raises(Exception, match=r"leaves layers\.0 as eager runs it.*monet_torch\.apply \[M343\]"):
        compiled(model, untraced)(*args)
    for options in ({}, {"plan": plan, "compiler": "gcc"}, {"plan": plan, "budget": 1}):
        with pytest.raises(MonetError, match=r'options=\{"plan": .*\[M341\]'):
            backend(torch.fx.symbolic_trace(nn.Identity()), [args[0]], options=options)


class Casts(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return torch.einsum("ab,cb,db->acd", x, super().forward(x), x)  # casts in the middle


class Maps(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return torch.func.vmap(torch.sin)(super().forward(x))


def test_what_torch_compile_finds_may_not_be_planned() -> None:
    args = (torch.randn(3, 4),)
    plan = plan_for(capture(nn.Linear(4, 4), args), "keep")
    with pytest.raises(Exception, match=r"what torch.compile found can't be planned \(.*torch.func.*\[M346\]"):
        compiled(Maps(4, 4), plan)(*args)
    assert not in_transform()
    model = Casts(4, 4)
    with pytest.raises(Exception, match=r"runs under autocast in a way that compiled code does not .*\[M344\]"):
        compiled(model, plan_for(capture(model, args), "keep"))(*args)


class Shares(nn.Module):
    """Writes to a view, some operators after it was read, and reads what it is a view of."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = nn.Linear(64, 64), nn.Linear(32, 64), nn.Linear(64, 64), nn.Linear(64, 64)

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        v = h.narrow(1, 0, 32)
        y = self.d(torch.tanh(self.b(torch.tanh(v))))
        v.mul_(2.0)
        return self.c(h + y)


def test_what_is_written_through_a_view_is_refused() -> None:
    """Pieces are compiled one by one, and none would know that another's value is its own."""
    model, x = Shares().train(), torch.randn(4, 64)
    with pytest.raises(Exception, match=r"mul_.* writes in place to what has views.*monet_torch\.apply \[M347\]"):
        compiled(model, plan_for(capture(model, (x,)), "keep"))(x)


def test_its_name_is_known_where_the_package_is_installed(tmp_path: Path) -> None:
    model, args = made("decoder")
    (tmp_path / "plan.json").write_text(json.dumps(plan_for(capture(model, args), "random")))
    project = Path(monet_torch.__file__).parents[1]
    row = re.search(r"\[project\.entry-points\.(\w+)\]\n(\w+) = \"(.+)\"", (project / "pyproject.toml").read_text())
    assert row is not None
    installed = tmp_path / "monet_torch-0.1.0.dist-info"  # as an installer writes it
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: monet-torch\nVersion: 0.1.0\n")
    (installed / "entry_points.txt").write_text(f"[{row[1]}]\n{row[2]} = {row[3]}\n")
    script = (
        "import sys, torch, blocks; model = blocks.Decoder(depth=2).train(); options = {'plan': sys.argv[1]}; "
        "run = torch.compile(model, backend='monet', options={**options, 'compiler': 'eager'}); "
        "run(torch.zeros(4, 16, dtype=torch.int64)).sum().backward(); print(model.embed.weight.grad.shape)"
    )
    paths = os.pathsep.join(map(str, (tmp_path, project, FILES)))
    ran = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "plan.json")],
        env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True,
    )  # fmt: skip
    assert ran.stdout == "torch.Size([31, 32])\n", ran.stderr
