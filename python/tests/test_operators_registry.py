"""What a user registers is captured, profiled, offered and run by a plan, for an operator of their own too."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from models import assert_equal, plan_for, step
from torch import Tensor, nn

import monet_torch
from monet_torch import operators
from monet_torch.capture import capture
from monet_torch.errors import MonetError
from monet_torch.measure import allocator_peak
from monet_torch.operators import Implementation, loss
from monet_torch.profile import Cache, measure_on_device, profile


@torch.library.custom_op("monet_test::bend", mutates_args=())
def bend(x: Tensor, by: float) -> Tensor:
    return torch.exp(x * by)


@bend.register_fake
def _(x: Tensor, by: float) -> Tensor:
    return torch.empty_like(x)


def _save(ctx: Any, inputs: Any, output: Tensor) -> None:
    ctx.by = inputs[1]
    ctx.save_for_backward(inputs[0])


def _slope(ctx: Any, grad: Tensor) -> Any:
    (x,) = ctx.saved_tensors
    return grad * (torch.exp(x * ctx.by) * ctx.by), None


bend.register_autograd(_slope, setup_context=_save)


class FromOutput(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, by: float) -> Tensor:
        y = torch.exp(x * by)
        ctx.by = by
        ctx.save_for_backward(y)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (y,) = ctx.saved_tensors
        return grads[0] * (y * ctx.by), None


class Bent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.ops.monet_test.bend(self.first(x), 0.5)).sum()


@pytest.fixture(autouse=True)
def _registry_as_before() -> Iterator[None]:
    before = {op: list(many) for op, many in operators._registry.items()}
    yield
    operators._registry.clear()
    operators._registry.update(before)


def registered(**settings: Any) -> None:
    @monet_torch.implementation("monet_test.bend.default", name="output", exactness="bitwise", **settings)
    def from_output(x: Tensor, by: float) -> Any:
        return FromOutput.apply(x, by)  # type: ignore[no-untyped-call]


def test_an_implementation_of_a_users_own_operator_is_profiled_and_run() -> None:
    registered(applies=lambda x, by: by > 0 and x.dtype == torch.float32 and x.shape[-1] == 6)
    torch.manual_seed(0)
    model, x = Bent(), torch.randn(5, 6)
    captured = capture(model, (x,))
    (op,) = [o for o in captured.operators if o.name == "monet_test.bend.default"]
    measured = profile(captured, captured.model_outputs[-1], Cache(None, []))[op.id]
    assert [(m.name, m.saves, m.internal_bytes) for m in measured] == [
        ("eager", [("i", 0)], 0),
        ("output", [("o", 0)], 0),
    ]
    eager = step(model, (x,))
    for mode in ("keep", "drop", "random"):
        plan = plan_for(captured, mode)
        plan["implementations"] = {str(op.id): "output"}
        monet_torch.apply(model, plan)
        assert_equal(step(model, (x,)), eager)
        assert monet_torch.status(model)["planned"] == 1
        monet_torch.remove(model)


class Rounded(torch.autograd.Function):
    """Gives something else than eager, and its gradient is that of what it gives."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, by: float) -> Tensor:
        y = torch.exp(x * by).bfloat16().to(x.dtype)
        ctx.by = by
        ctx.save_for_backward(y)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (y,) = ctx.saved_tensors
        return grads[0] * (y * ctx.by), None


@pytest.mark.parametrize(("mode", "seed"), [("drop", 0), *(("random", k) for k in range(4))])
def test_what_gives_something_else_than_eager_is_made_again_by_itself(mode: str, seed: int) -> None:
    @monet_torch.implementation("monet_test.bend.default", name="rounded", exactness="approximate", own_output=True)
    def rounded(x: Tensor, by: float) -> Any:
        return Rounded.apply(x, by)  # type: ignore[no-untyped-call]

    torch.manual_seed(0)
    model, x = Bent(), torch.randn(5, 6)
    captured = capture(model, (x,))
    (op,) = [o for o in captured.operators if o.name == "monet_test.bend.default"]
    measured = profile(captured, captured.model_outputs[-1], Cache(None, []))[op.id]
    assert measured[1].recompute.time == measured[1].forward.time, "what is predicted is what it runs"
    found = [step(model, (x,))]
    for each in ("keep", mode):
        plan = plan_for(captured, each, seed)
        plan["implementations"] = {str(op.id): "rounded"}
        monet_torch.apply(model, plan)
        found.append(step(model, (x,)))
        monet_torch.remove(model)
    eager, kept, again = found
    assert_equal(again, kept)
    assert not torch.equal(eager["grad second.weight"], kept["grad second.weight"])


def test_the_example_in_the_docs_runs_and_is_bitwise_as_it_says() -> None:
    docs = (Path(__file__).parents[2] / "docs" / "implementations.md").read_text(encoding="utf-8")
    (example,) = (part.split("```")[0] for part in docs.split("```python\n")[1:])
    name = "mylib.bend.default"
    names: dict[str, Any] = {}
    exec(compile(example, "docs/implementations.md", "exec"), names)
    (found,) = operators._registry[name]
    assert found.name == "output"
    results = []
    for call in (lambda x: torch.ops.monet_test.bend(x, 0.5), lambda x: names["bend_from_output"](x, 0.5)):
        x = torch.linspace(-2, 2, 30).requires_grad_()
        y = call(x)
        y.backward(torch.linspace(1, 3, 30))
        results.append({"y": y.detach(), "x": x.grad})
    assert torch.equal(results[0]["y"], results[1]["y"])
    assert torch.equal(results[0]["x"], results[1]["x"])


def test_it_is_offered_only_where_it_applies() -> None:
    registered(applies=lambda x, by: by < 0)
    captured = capture(Bent(), (torch.randn(5, 6),))
    assert [operators.alternatives(captured, o) for o in captured.operators if o.name == "monet_test.bend.default"] == [
        []
    ]


def test_the_later_of_two_with_one_name_counts() -> None:
    registered(applies=lambda x, by: False)
    registered()
    assert len(operators._registry["monet_test.bend.default"]) == 1
    captured = capture(Bent(), (torch.randn(5, 6),))
    (bend,) = [o for o in captured.operators if o.name == "monet_test.bend.default"]
    assert [i.name for i in operators.alternatives(captured, bend)] == ["output"]


def test_where_the_model_writes_in_place_a_function_is_told_or_not_asked() -> None:
    asked: list[bool] = []

    @monet_torch.implementation("aten.relu.default", name="plain", exactness="bitwise")
    def plain(x: Tensor) -> Tensor:
        return F.relu(x)

    @monet_torch.implementation("aten.relu.default", name="told", exactness="bitwise", in_place=True)
    def told(x: Tensor, *, in_place: bool) -> Tensor:
        asked.append(in_place)
        return F.relu(x, in_place)

    names = []
    for in_place in (False, True):
        captured = capture(nn.Sequential(nn.Linear(8, 8), nn.ReLU(in_place)), (torch.randn(2, 8),))
        relu = captured.operators[1]
        names.append([i.name for i in operators.alternatives(captured, relu) if i.name != "mask"])
        for over in (False, True):
            build = operators.named(captured, relu, "told")
            build(relu, over)(torch.ones(2))
    assert names == [["plain", "told"], ["told"]]
    assert asked == [False, True, False, True]


class SavesFirst(torch.autograd.Function):
    """What its mask takes on the way comes before its output, so in place the peak isn't that without the output."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, in_place: bool) -> Tensor:
        ctx.save_for_backward((x > 0).float().mul(2) > 1)
        if in_place:
            ctx.mark_dirty(x)
        return F.relu(x, in_place)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return grads[0] * ctx.saved_tensors[0], None


@pytest.mark.parametrize("written", [False, True])
def test_the_peak_in_place_is_measured(written: bool) -> None:
    @monet_torch.implementation("aten.relu.default", name="saves-first", exactness="bitwise", in_place=True)
    def saves_first(x: Tensor, *, in_place: bool) -> Any:
        return SavesFirst.apply(x, in_place)  # type: ignore[no-untyped-call]

    captured = capture(nn.Sequential(nn.Linear(8, 256), nn.ReLU(written)), (torch.randn(64, 8),))
    relu = captured.operators[1]
    found = {m.name: m for m in measure_on_device(captured, relu, [((64, 256), (256, 1))])}
    x = torch.randn(64, 256, requires_grad=True).clone()
    call = operators.named(captured, relu, "saves-first")(relu, True)
    most = allocator_peak(lambda: call(x)).peak_bytes
    assert found["saves-first"].forward.peak - x.nbytes == most
    assert most > x.nbytes  # its floats, and the mask


@pytest.mark.parametrize(("name", "exactness"), [("eager", "bitwise"), ("mine", "exact")])
def test_a_name_or_an_exactness_that_means_nothing_is_refused(name: str, exactness: str) -> None:
    with pytest.raises(MonetError, match=r"exactness is one of bitwise, same-kernel, approximate.*\[M322\]"):
        operators.register("aten.relu.default", Implementation(name, exactness, lambda *_: True, operators.eager))


def test_what_a_models_file_registers_takes_effect_in_the_helper(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        """
import torch
import monet_torch

@monet_torch.implementation("aten.sigmoid.default", name="mine", exactness="bitwise")
def sigmoid(x):
    return torch.sigmoid(x)

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(4, 4)

    def forward(self, x):
        return torch.sigmoid(self.fc(x))
"""
    )
    command = [sys.executable, "-m", "monet_torch", "profile", "mine.py:Net", "--input", "float32[2,4]", "--no-cache"]
    subprocess.run([*command, "--out", "graph.json"], cwd=tmp_path, check=True, capture_output=True)
    graph = json.loads((tmp_path / "graph.json").read_text())
    names = {o["op"]: [i["name"] for i in o["implementations"]] for o in graph["operators"]}
    assert names["aten.sigmoid.default"] == ["eager", "mine"]


class Everything(nn.Module):
    """An operator for every implementation that is bitwise."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8 * 9, 10)

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        x = F.leaky_relu(self.norm(self.conv(x)), 0.1)
        x = F.max_pool2d(x, 2) + F.avg_pool2d(x, 2)
        x = F.max_pool3d(x.unsqueeze(2) * 2, (1, 2, 2))
        x = F.avg_pool3d(x, (1, 3, 3), 1, (0, 1, 1)) + F.adaptive_avg_pool3d(x, (1, 8, 8)).repeat(1, 1, 1, 2, 2)
        x = x.squeeze(2)
        x = F.leaky_relu_(F.max_pool1d(F.hardsigmoid(x * 1.5).flatten(2), 2), 0.2)
        x = F.avg_pool1d(x, 3, 1, 1) + F.adaptive_avg_pool1d(x, 32).repeat(1, 1, 4)
        x = torch.where(x > 0.5, x, x * 3).masked_fill(x < 0.1, 0.0).clamp(min=0.2)
        x = F.adaptive_avg_pool2d(F.threshold(x.unflatten(2, (8, 16)), 0.25, 0.0), 3).flatten(1)
        x = F.dropout(x.repeat(160, 1) + torch.arange(8 * 9), 0.4).unflatten(0, (160, -1)).mean(0)
        return F.cross_entropy(self.head(x), target)


@pytest.mark.parametrize("choice", [0, 1])
@pytest.mark.parametrize("mode", ["keep", "drop", "random"])
def test_a_plan_that_uses_all_of_them_gives_eagers_gradients_to_the_bit(
    mode: str, choice: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(loss.CHUNK_BYTES, "cpu", 64)
    torch.manual_seed(0)
    model, args = Everything(), (torch.randn(12, 3, 64, 64), torch.randint(0, 10, (12,)))
    captured = capture(model, args)
    plan = plan_for(captured, mode, seed=choice)
    for o in captured.operators:
        offered = [i.name for i in operators.alternatives(captured, o) if i.exactness == "bitwise"]
        if offered:
            plan["implementations"][str(o.id)] = offered[min(choice, len(offered) - 1)]
    used = {captured.operators[int(i)].name.split(".")[1] for i in plan["implementations"]}
    assert used == {
        "leaky_relu", "max_pool2d", "avg_pool2d", "max_pool3d", "hardsigmoid", "max_pool1d", "where", "masked_fill",
        "clamp", "threshold", "adaptive_avg_pool2d", "dropout", "cross_entropy_loss", "avg_pool1d", "avg_pool3d",
        "adaptive_avg_pool1d", "adaptive_avg_pool3d",
    }  # fmt: skip

    def once() -> dict[str, Tensor]:
        torch.manual_seed(1)
        model.zero_grad()
        result = model(*args)
        result.backward()
        return {
            "loss": result.detach(),
            **{k: p.grad.clone() for k, p in model.named_parameters() if p.grad is not None},
        }

    eager = once()
    monet_torch.apply(model, plan)
    assert_equal(once(), eager)
    assert monet_torch.status(model)["planned"] == 1
