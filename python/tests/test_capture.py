"""What a trace makes of a forward: operators, their state and place, and what it refuses."""

from __future__ import annotations

import contextlib
import copy
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import models
import pytest
import torch
import torch.nn.functional as F
from models import assert_equal, plan_for
from torch import Tensor, nn

import monet_torch
from monet_torch.capture import capture
from monet_torch.captured import Captured, Operator
from monet_torch.errors import CaptureError
from monet_torch.step import capture_step

BF16 = ("cpu", torch.bfloat16)


class Net(nn.Module):
    """A linear layer and whatever `body` does with it."""

    def __init__(self, body: Callable[[Net, Tensor], Any]) -> None:
        super().__init__()
        self.body = body
        self.fc = nn.Linear(4, 4)
        self.register_buffer("total", torch.zeros(4))

    def forward(self, x: Tensor) -> Any:
        return self.body(self, x)


def named(captured: Captured, part: str) -> list[Operator]:
    return [o for o in captured.operators if part in o.name]


def line_of(function: Any, text: str) -> int:
    lines, first = inspect.getsourcelines(function)
    return first + next(k for k, line in enumerate(lines) if text in line)


def gradients_by_plan_equal_eagers(model: nn.Module, x: Tensor, autocast: Any = None) -> Captured:
    """Run the model eager and by three plans; returns what was captured."""
    captured = capture(model, (x,), autocast=autocast)
    for mode in ("keep", "drop", "random"):
        eager, planned = copy.deepcopy(model), copy.deepcopy(model)
        monet_torch.apply(planned, plan_for(captured, mode))
        results = []
        for m in (eager, planned):
            leaf = x.detach().clone().requires_grad_(x.requires_grad)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast is not None):
                y = m(leaf)
            y.float().sum().backward()
            found = {"output": y.detach(), **{k: b.clone() for k, b in m.named_buffers()}}
            found |= {k: p.grad for k, p in m.named_parameters() if p.grad is not None}
            results.append(found if leaf.grad is None else found | {"input": leaf.grad})
        assert_equal(*results)
        assert monet_torch.status(planned) == {"planned": 1, "larger": 0, "eager": {}, "peak": None}
    return captured


# ---- regions ---------------------------------------------------------------------------------------------------------


def no_grad_inside(self: Net, x: Tensor) -> Tensor:
    y = self.fc(x)
    with torch.no_grad():
        scale = y.abs().mean()
        with torch.enable_grad():
            bias = self.fc(x).exp()
    return y * scale + bias


def test_a_no_grad_region_is_inlined_with_its_state() -> None:
    captured = gradients_by_plan_equal_eagers(Net(no_grad_inside), torch.randn(3, 4))
    assert [(o.name.split(".")[1], o.grad) for o in captured.operators] == [
        ("linear", True), ("abs", False), ("mean", False), ("linear", True), ("exp", True), ("mul", True),
        ("add", True),
    ]  # fmt: skip
    mean = named(captured, "mean")[0]
    assert not captured.values[mean.outputs[0]].requires_grad


def autocast_inside(self: Net, x: Tensor) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = self.fc(x)
        with torch.autocast("cpu", enabled=False):
            y = self.fc(y.float())
        y = self.fc(y)
    return y.float() * 2


def test_an_autocast_region_is_inlined_as_casts() -> None:
    captured = gradients_by_plan_equal_eagers(Net(autocast_inside), torch.randn(3, 4, requires_grad=True))
    dtypes = [captured.values[o.outputs[0]].dtype for o in named(captured, "linear")]
    assert dtypes == [torch.bfloat16, torch.float32, torch.bfloat16]
    assert all(o.autocast is None for o in captured.operators)
    weights = [o for o in named(captured, "aten.to") if captured.values[o.inputs[0]].kind == "parameter"]
    assert len(weights) == 2, "weight and bias are cast once each, as autocast's cache does"


def test_an_outer_autocast_is_lowered_to_casts_with_eagers_gradients() -> None:
    for make in (models.convnet, models.decoder):
        model, args = make()
        captured = capture(model, args, autocast=BF16)
        casts = [o for o in named(captured, "aten.to.dtype") if o.args[1] is torch.bfloat16]
        assert casts
        inside = {o.name for o in captured.operators if o.autocast is not None}
        assert inside <= {"aten.scaled_dot_product_attention.default"}, "it casts in the middle"
        weights = [o.inputs[0] for o in casts if captured.values[o.inputs[0]].kind == "parameter"]
        assert len(weights) == len(set(weights))
        for o in (*named(captured, "linear"), *named(captured, "conv2d")):
            assert {captured.values[v].dtype for v in (*o.inputs, *o.outputs)} == {torch.bfloat16}
        for o in (*named(captured, "layer_norm"), *named(captured, "batch_norm")):
            assert captured.values[o.inputs[1]].dtype is torch.float32
        for o in named(captured, "cross_entropy"):
            assert captured.values[o.inputs[0]].dtype is torch.float32


def some_in_float32(self: Net, x: Tensor) -> Tensor:
    y = F.layer_norm(self.fc(x), (4,))
    z = F.softmax(y, -1) @ self.fc.weight + torch.einsum("ij,kj->ik", y, self.fc.weight)
    return F.mse_loss(z, y) + torch.addmm(x, y, self.fc.weight).sum() + torch.cat([z, x]).prod()


def test_operators_that_autocast_runs_in_float32_do_so() -> None:
    captured = gradients_by_plan_equal_eagers(Net(some_in_float32), torch.randn(3, 4, requires_grad=True), BF16)
    for name in ("mse_loss", "prod"):
        (o,) = named(captured, name)
        assert captured.values[o.inputs[0]].dtype is torch.float32, name


# ---- aliases and writes ----------------------------------------------------------------------------------------------


def test_tied_weights_are_one_value() -> None:
    captured = capture(*models.decoder())
    tables = [v for v in captured.values if v.kind == "parameter" and v.shape == (31, 16)]
    assert len(tables) == 1
    users = [o.name for o in captured.operators if tables[0].id in o.inputs]
    assert users == ["aten.embedding.default", "aten.linear.default"]


def relu_in_place(self: Net, x: Tensor) -> Tensor:
    return torch.relu_(self.fc(x)) * 2


def test_an_in_place_relu_is_a_functional_operator_that_may_take_over() -> None:
    captured = gradients_by_plan_equal_eagers(Net(relu_in_place), torch.randn(3, 4))
    (relu,) = named(captured, "relu")
    assert (relu.name, str(relu.in_place)) == ("aten.relu.default", "aten.relu_.default")
    assert not relu.pinned
    assert captured.values[relu.outputs[0]].storage == relu.outputs[0] != relu.inputs[0]
    assert captured.operators[-1].inputs == relu.outputs


def read_again_after(self: Net, x: Tensor) -> Tensor:
    y = self.fc(x)
    y.mul_(2)
    return y + y.sigmoid()


def test_both_names_of_what_was_written_mean_the_new_value() -> None:
    captured = gradients_by_plan_equal_eagers(Net(read_again_after), torch.randn(3, 4))
    (mul,) = named(captured, "mul")
    assert named(captured, "add")[0].inputs[0] == mul.outputs[0]


def write_through_a_view(self: Net, x: Tensor) -> Tensor:
    y = self.fc(x) * 1
    y[:, 0].add_(3)
    y[:, 1:].mul_(2)
    return y.sigmoid() + 1


def write_under_a_view(self: Net, x: Tensor) -> Tensor:
    y = self.fc(x) * 1
    flat = y.view(-1)
    y.add_(1)
    return flat.sigmoid() * y.reshape(-1)


@pytest.mark.parametrize("body", [write_through_a_view, write_under_a_view])
def test_a_write_that_can_be_seen_through_an_alias_is_pinned(body: Callable[[Net, Tensor], Tensor]) -> None:
    captured = gradients_by_plan_equal_eagers(Net(body), torch.randn(3, 4))
    writes = named(captured, "_.")
    assert writes
    assert all(o.pinned and o.in_place is None for o in writes)
    root = captured.values[writes[0].inputs[0]].storage
    touching = [o for o in captured.operators if root in {captured.values[v].storage for v in (*o.inputs, *o.outputs)}]
    assert all(o.pinned for o in touching)
    assert not named(captured, "linear")[0].pinned, "what does not touch it may run again"


def copy_into_a_buffer(self: Net, x: Tensor) -> Tensor:
    self.total.copy_(x.detach().sum(0))
    return self.fc(x) * self.total


def count_in_a_buffer(self: Net, x: Tensor) -> Tensor:
    self.total.add_(x.detach().sum(0))
    return self.fc(x) * self.total


@pytest.mark.parametrize(("body", "name"), [(count_in_a_buffer, "add_"), (copy_into_a_buffer, "copy_")])
def test_a_buffer_that_is_written_in_place_is_written_once(body: Callable[[Net, Tensor], Tensor], name: str) -> None:
    captured = gradients_by_plan_equal_eagers(Net(body), torch.randn(3, 4))
    assert named(captured, name)[0].pinned


# ---- places ----------------------------------------------------------------------------------------------------------


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 4), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers(x)
        return x.sin()


class Nested(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Block(), Block()])

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x.cos()


def test_operators_know_their_module_and_the_line_of_the_users_code() -> None:
    captured = capture(Nested(), (torch.randn(2, 4),))
    assert [(o.name.split(".")[1], o.module) for o in captured.operators] == [
        ("linear", "blocks.0.layers.0"), ("tanh", "blocks.0.layers.1"), ("sin", "blocks.0"),
        ("linear", "blocks.1.layers.0"), ("tanh", "blocks.1.layers.1"), ("sin", "blocks.1"), ("cos", ""),
    ]  # fmt: skip
    assert captured.operators[0].module_type.endswith("Linear")
    assert captured.operators[2].module_type.endswith("Block")
    sources = [o.source for o in captured.operators]
    assert all(s is not None and s.file == __file__ for s in sources)
    layers, sin = line_of(Block.forward, "self.layers(x)"), line_of(Block.forward, "x.sin()")
    cos = line_of(Nested.forward, "x.cos()")
    assert [s.line for s in sources if s is not None] == [layers, layers, sin, layers, layers, sin, cos]


# ---- structure -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [models.convnet, models.decoder])
def test_structure_does_not_know_the_batch_size_or_the_loss(make: Any) -> None:
    model, args = make()
    captured = capture(model, args)
    assert capture(model, tuple(a[:1] for a in args)).structure() == captured.structure()
    assert capture(copy.deepcopy(model), args).structure() == captured.structure()

    def loss(output: Any, target: Tensor, weight: Tensor) -> Tensor:
        logits = output["logits"].flatten(0, 1) if isinstance(output, dict) else output
        return F.cross_entropy(logits, target, weight)

    rows = args[0].numel() if make is models.decoder else 4
    classes = 31 if make is models.decoder else 5
    targets = (torch.zeros(rows, dtype=torch.int64), torch.rand(classes))
    step, value = capture_step(model, args, {}, targets, loss, None)
    assert step.structure() == captured.structure()
    assert [o.part for o in step.operators[: len(captured.operators)]] == ["model"] * len(captured.operators)
    assert {o.part for o in step.operators[len(captured.operators) :]} == {"loss"}
    assert {o.module for o in step.operators if o.part == "loss"} == {"loss"}
    geometry = [(v.kind, v.shape, v.stride, v.storage) for v in step.values[: len(captured.values)]]
    assert geometry == [(v.kind, v.shape, v.stride, v.storage) for v in captured.values]
    assert step.operators[-1].outputs == (value,)


def test_structure_knows_a_changed_model() -> None:
    model, args = models.convnet()
    before = capture(model, args).structure()
    changes: list[Callable[[Any], None]] = [
        lambda m: setattr(m, "relu6", nn.ReLU6(inplace=False)),
        lambda m: setattr(m, "bn1", nn.Identity()),
        lambda m: setattr(m, "fc", nn.Sequential(m.fc)),
        lambda m: m.drop.eval(),
        lambda m: setattr(m, "conv1", nn.Conv2d(8, 8, 3, padding=1)),
        lambda m: setattr(m, "conv2", m.conv1),
    ]
    found = {before}
    for change in changes:
        changed, _ = models.convnet()
        change(changed)
        found.add(capture(changed, args).structure())
    assert len(found) == 1 + len(changes)


def test_a_loss_is_a_sum_of_what_trains_unless_it_is_given() -> None:
    model, args = models.decoder()
    captured, loss = capture_step(model, args, {}, (), None, None)
    assert captured.values[loss].shape == ()
    assert [o.name for o in captured.operators if o.part == "loss"] == ["aten.sum.default", "aten.add.Tensor"]
    frozen = nn.Linear(4, 4).requires_grad_(False)
    with pytest.raises(monet_torch.MonetError, match="no output of the model requires a gradient"):
        capture_step(frozen, (torch.randn(2, 4),), {}, (), None, None)


# ---- refusals --------------------------------------------------------------------------------------------------------


def depends_on_data(self: Net, x: Tensor) -> Tensor:
    y = self.fc(x)
    if x.sum() > 0:
        y = y.sin()
    return y


def prints_and_branches(self: Net, x: Tensor) -> Tensor:
    print("the user's own", file=sys.stderr)
    return depends_on_data(self, x)


def test_a_refused_trace_prints_nothing_of_its_own(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CaptureError):
        capture(Net(prints_and_branches), (torch.randn(3, 4),))
    captured = capfd.readouterr()
    assert set(captured.err.splitlines()) == {"the user's own"}
    assert captured.out == ""


def test_control_flow_on_data_is_refused_at_the_users_line() -> None:
    with pytest.raises(CaptureError) as caught:
        capture(Net(depends_on_data), (torch.randn(3, 4),))
    message = str(caught.value)
    assert message.startswith(f"{__file__}:{line_of(depends_on_data, 'if x.sum()')}: ")
    assert "\n" not in message


def wrong_shape(self: Net, x: Tensor) -> Tensor:
    return self.fc(x.reshape(-1, 3))


def test_an_error_of_the_forward_names_the_users_line() -> None:
    with pytest.raises(CaptureError) as caught:
        capture(Net(wrong_shape), (torch.randn(3, 4),))
    assert str(caught.value).startswith(f"{__file__}:{line_of(wrong_shape, 'self.fc(')}: RuntimeError: ")


def replaces_a_buffer(self: Net, x: Tensor) -> Tensor:
    y = self.fc(x) * self.total.exp() * self.total  # eager saves the buffer that was, which a copy would change
    self.total = self.total + x.detach().sum(0)
    return y * self.total


def test_a_forward_that_replaces_a_buffer_is_refused_and_runs_eager_with_a_reason() -> None:
    with pytest.raises(CaptureError, match=r"replaces total.*\[M209\]"):
        capture(Net(replaces_a_buffer), (torch.randn(3, 4),))
    model, eager = Net(replaces_a_buffer), Net(replaces_a_buffer)
    eager.load_state_dict(model.state_dict())
    x = torch.randn(3, 4)
    monet_torch.apply(model, plan_for(capture(Net(no_grad_inside), (x,)), "keep"))
    with pytest.warns(UserWarning, match="without its plan.*replaces total"):
        model(x).sum().backward()
    model(x).sum().backward()
    eager(x).sum().backward()
    eager(x).sum().backward()
    assert torch.equal(model.total, eager.total)
    assert model.fc.weight.grad is not None
    assert torch.equal(model.fc.weight.grad, eager.fc.weight.grad)  # type: ignore[arg-type]
    ((reason, count),) = monet_torch.status(model)["eager"].items()
    assert "replaces total" in reason
    assert count == 2


def test_a_forward_on_data_runs_eager_under_a_plan() -> None:
    model = Net(depends_on_data)
    monet_torch.apply(model, plan_for(capture(Net(relu_in_place), (torch.randn(3, 4),)), "keep"))
    for sign in (1, -1):
        with pytest.warns(UserWarning, match="without its plan") if sign > 0 else contextlib.nullcontext():
            y = model(torch.ones(3, 4) * sign)
        want = model.fc(torch.ones(3, 4) * sign)
        assert torch.equal(y, want.sin() if sign > 0 else want)
    assert sum(monet_torch.status(model)["eager"].values()) == 2


def test_a_trace_leaves_model_rng_and_gradients_alone() -> None:
    for make in (models.convnet, models.decoder):
        model, args = make()
        state = {k: v.clone() for k, v in model.state_dict().items()}
        rng = torch.get_rng_state()
        path = list(sys.path)
        capture(model, args, autocast=BF16)
        assert_equal(dict(model.state_dict()), state)
        assert torch.equal(torch.get_rng_state(), rng)
        assert all(p.grad is None for p in model.parameters())
        assert not torch.is_autocast_enabled("cpu")
        assert torch.is_grad_enabled()
        assert model.training
        assert sys.path == path


class WithMethod(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def helper(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x).sin()  # the line to find

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.helper(x) + 1


def test_an_operator_in_a_method_that_forward_calls_carries_the_line_of_the_method() -> None:
    captured = capture(WithMethod(), (torch.randn(2, 4),))
    lines = Path(__file__).read_text().splitlines()
    sin = next(o for o in captured.operators if o.name == "aten.sin.default")
    assert sin.source is not None
    assert "the line to find" in lines[sin.source.line - 1]


def maps(self: Net, x: Tensor) -> Tensor:
    return torch.func.vmap(torch.sin)(self.fc(x))


def test_what_is_no_one_operator_is_refused() -> None:
    refused = r"the forward uses .*, which can't be captured as one operator \[M210\]"
    by_export = r"inside of vmap .*\[M201\]"  # 2.6
    with pytest.raises(CaptureError, match=f"{refused}|{by_export}"):
        capture(Net(maps), (torch.randn(3, 4),))


class Choosing(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sin() if x.mean() > 0 else x.cos()


def test_control_flow_that_depends_on_data_is_said_in_words_with_its_line() -> None:
    with pytest.raises(CaptureError, match=r"test_capture\.py:\d+: what runs here depends on values of tensors"):
        capture(Choosing(), (torch.randn(2, 4),))
