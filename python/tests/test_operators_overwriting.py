"""Activations over their input's memory, where nobody wrote them so: wherever that is safe, and nowhere else."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from models import plan_for
from torch import Tensor, nn

import monet_torch
from monet_torch import operators
from monet_torch.capture import capture
from monet_torch.captured import Captured
from monet_torch.plan import load_plan
from monet_torch.runtime import Program

IN_PLACE = ("output", "mask")


class Net(nn.Module):
    def __init__(self, body: Callable[[Net, Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.body = (body,)
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Any:
        return self.body[0](self, self.first(x), x)


class Remembers(nn.Module):
    """Looks at a number, so that it can't be traced, and has what it returned."""

    def forward(self, x: Tensor) -> Tensor:
        self.last = x * (2 if float(x.sum()) > 1e9 else 3)
        return self.last


def again(net: Net, y: Tensor, _: Tensor) -> Tensor:
    return net.second(F.relu(y))


SAFE: dict[str, Callable[[Net, Tensor, Tensor], Any]] = {
    "rows": again,
    "three dimensions": lambda net, y, x: net.second(F.relu(y.unflatten(0, (2, 3)) * 1)),
    "straight after a layer of three dimensions": lambda net, y, x: net.second(
        F.relu(net.second(y.unflatten(0, (2, 3))))
    ),
    "leaky": lambda net, y, x: net.second(F.leaky_relu(y, negative_slope=0.3)),
    "relu6": lambda net, y, x: net.second(F.relu6(y)),
    "hardsigmoid": lambda net, y, x: net.second(F.hardsigmoid(y)),
    "masked": lambda net, y, x: net.second(y.masked_fill(y > 0.4, 0.1)),
    "clamped": lambda net, y, x: net.second(y.clamp(-0.3, 0.2)),
    "a view of what it gives": lambda net, y, x: net.second(F.relu(y).view(3, 2, 8)),
    "frozen before it": lambda net, y, x: net.second(F.relu(y.detach() * 2)),
}
NEVER: dict[str, Callable[[Net, Tensor, Tensor], Any]] = {
    "returned": lambda net, y, x: (again(net, y, x), y),
    "a view of it returned": lambda net, y, x: (again(net, y, x), y[:2]),
    "read later": lambda net, y, x: again(net, y, x) + y,
    "a view of it read later": lambda net, y, x: again(net, y, x) + y[:, :1],
    "the model's input": lambda net, y, x: net.second(F.relu(x)),
    "half of another": lambda net, y, x: net.second(torch.cat([F.relu(part) for part in y.chunk(2, -1)], -1)),
    "a view": lambda net, y, x: net.second(F.relu(y.t()).t()),
    "of another size": lambda net, y, x: net.second(F.relu(y[:1].expand(6, 8))),
}


def taken(captured: Captured, plan: dict[str, Any]) -> list[str]:
    """The operators that overwrite their input in forward."""
    program = Program(captured, load_plan(plan))
    return [o.name for o in captured.operators if program.takes_over[o.id]]


def planned(captured: Captured, mode: str) -> dict[str, Any]:
    """In place whatever can be; what no backward wants isn't kept, or nothing is."""
    plan = plan_for(captured, "keep" if mode == "kept" else "drop")
    chosen = {}
    for o in captured.operators:
        names = {i.name for i in operators.alternatives(captured, o) if i.exactness == "bitwise"}
        chosen |= {str(o.id): name for name in IN_PLACE if name in names}
    saved = {o.outputs[0] for o in captured.operators if str(o.id) in chosen or o.name == "aten.sigmoid.default"}
    plan["retain"] = [r for r in plan["retain"] if r.get("value", -1) in saved or "internals" in r]
    return plan | {"implementations": chosen}


def steps(net: Net, x: Tensor) -> list[list[Tensor]]:
    results = []
    for factor in (1, 2):
        net.zero_grad()
        x.grad = None
        outputs = net(x * factor)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        sum(y.square().sum() for y in outputs).backward()
        results.append([*(y.detach().clone() for y in outputs), x.grad, *(p.grad for p in net.parameters())])
    return results


@pytest.mark.parametrize("mode", ["kept", "dropped"])
@pytest.mark.parametrize(("name", "body", "expected"), [
    *((name, body, True) for name, body in SAFE.items()), *((name, body, False) for name, body in NEVER.items()),
])  # fmt: skip
def test_it_overwrites_where_that_is_safe(name: str, body: Any, expected: bool, mode: str) -> None:
    torch.manual_seed(0)
    eager = Net(body)
    x = torch.randn(6, 8, requires_grad=True)
    model = Net(body)
    model.load_state_dict(eager.state_dict())
    captured = capture(model, (x,))
    plan = planned(captured, mode)
    assert bool(taken(captured, plan)) == expected
    monet_torch.apply(model, plan)
    for want, got in zip(steps(eager, x), steps(model, x), strict=True):
        for a, b in zip(want, got, strict=True):
            assert (a is None and b is None) or torch.equal(a, b)
    assert monet_torch.status(model)["planned"] == 2


def test_what_a_backward_wants_is_overwritten_only_where_the_plan_drops_it() -> None:
    """A sigmoid saves its output, which the relu after it might overwrite: eager's relu_ there is an error."""
    captured = capture(net := Net(lambda net, y, x: net.second(F.relu(torch.sigmoid(y)))), (torch.randn(6, 8),))
    plans = {mode: planned(captured, mode) for mode in ("kept", "dropped")}
    assert taken(captured, plans["dropped"]) == ["aten.relu.default"]
    assert taken(captured, plans["kept"]) == []
    x = torch.randn(6, 8, requires_grad=True)
    for plan in plans.values():
        model = copy.deepcopy(net)
        monet_torch.apply(model, plan)
        for want, got in zip(steps(net, x), steps(model, x), strict=True):
            assert all(torch.equal(a, b) for a, b in zip(want, got, strict=True) if a is not None)


def test_what_a_module_that_cannot_be_traced_returned_is_its_own() -> None:
    class Around(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.odd, self.second = nn.Linear(8, 8), Remembers(), nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(F.relu(self.odd(self.first(x))))

    model, x = Around(), torch.randn(6, 8)
    captured = capture(model, (x,), opaque={"odd": "it looks at numbers"})
    (relu,) = [o for o in captured.operators if o.name == "aten.relu.default"]
    assert {i.name for i in operators.alternatives(captured, relu)} == {"mask"}
    assert not operators.runs_in_place(captured, relu, "mask")


def test_a_layers_output_that_is_a_view_costs_no_copies_of_gradients() -> None:
    """Autograd copies the gradient of what is written through a view, and a layer of three dimensions returns one."""
    model, x = Net(SAFE["straight after a layer of three dimensions"]), torch.randn(6, 8)
    monet_torch.apply(model, planned(captured := capture(model, (x,)), "kept"))
    assert taken(captured, planned(captured, "kept")) == ["aten.relu.default"]
    nodes = [(y := model(x)).grad_fn]
    for node in nodes:
        nodes += [f for f, _ in node.next_functions if f is not None]
    found = {type(node).__name__ for node in nodes}
    assert y.requires_grad
    assert "AddmmBackward0" in found
    assert not any("CopySlices" in name for name in found)


class Holds(torch.autograd.Function):
    """It holds what it reads where no hook sees it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.x = x
        return x.exp()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return grads[0] * ctx.x.exp()


@torch.library.custom_op("monet_test::held", mutates_args=())
def held(x: Tensor) -> Tensor:
    return x.exp()


def _hold(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
    ctx.x = inputs[0]


held.register_fake(torch.empty_like)
held.register_autograd(lambda ctx, grad: grad * ctx.x.exp(), setup_context=_hold)


class Block(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = Holds.apply(x)  # type: ignore[no-untyped-call]
        return y


@pytest.mark.parametrize("block", [False, True], ids=["an operator", "a module that cannot be traced"])
def test_what_a_users_own_function_reads_is_its_own(block: bool) -> None:
    class Reads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.block = nn.Linear(8, 8), Block()

        def forward(self, x: Tensor) -> Tensor:
            y = self.first(x)
            other = self.block(y) if block else held(y)
            return F.relu(y).sum() + other.sum()

    torch.manual_seed(0)
    eager, x = Reads(), torch.randn(6, 8)
    model = copy.deepcopy(eager)
    captured = capture(model, (x,), opaque={"block": "its function can't be traced"} if block else None)
    plan = planned(captured, "kept")
    assert plan["implementations"]
    assert taken(captured, plan) == []
    monet_torch.apply(model, plan)
    for m in (eager, model):
        m(x).backward()
    assert monet_torch.status(model)["planned"] == 1
    assert torch.equal(eager.first.weight.grad, model.first.weight.grad)


def test_what_a_norm_may_save_in_a_later_step_is_there_then() -> None:
    """A norm from its output saves its input where its weights are tiny; a relu overwrites that input."""

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm = nn.Linear(8, 8), nn.LayerNorm(8)

        def forward(self, x: Tensor) -> Tensor:
            y = self.first(x)
            return self.norm(y).square().sum() + F.relu(y).sum()

    torch.manual_seed(0)
    eager, x = Both(), torch.randn(6, 8)
    model = copy.deepcopy(eager)
    captured = capture(model, (x,))
    plan = plan_for(captured, "drop")
    plan["implementations"] = {
        str(o.id): name for o in captured.operators for name in ("output", "mask")
        if name in {i.name for i in operators.alternatives(captured, o)}
    }  # fmt: skip
    assert taken(captured, plan) == ["aten.relu.default"]
    monet_torch.apply(model, plan)
    for weight in (1.0, 1.0, 0.0, 0.0, 1.0):
        for m in (eager, model):
            m.zero_grad()
            nn.init.constant_(m.norm.weight, weight)
            m(x).backward()
        for p, q in zip(eager.parameters(), model.parameters(), strict=True):
            assert p.grad is not None
            assert q.grad is not None
            assert (p.grad - q.grad).abs().max() <= 1e-5 * p.grad.abs().max().clamp(min=1e-3)
    assert monet_torch.status(model)["planned"] == 5


@pytest.mark.parametrize(("call", "can"), [
    (lambda y: y * 2, True),
    (lambda y: y * y, False),
    (lambda y: y.half(), False),
    (lambda y: y.sum(0), False),
    (lambda y: y.t().contiguous(), False),
    (lambda y: torch.masked_fill(y, torch.ones(2, 6, 8, dtype=torch.bool), 0.0), False),
    (lambda y: torch.add(torch.ones(()), y), False),
    (lambda y: torch.chunk(y, 2), False),
])  # fmt: skip
def test_the_memory_that_is_overwritten_is_that_of_the_output(call: Callable[[Tensor], Any], can: bool) -> None:
    class Alone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Any:
            return call(self.first(x))

    captured = capture(Alone(), (torch.randn(6, 8),))
    y = captured.operators[0].outputs[0]
    assert [operators.can_overwrite(captured, o) for o in captured.operators if y in o.inputs] == [can]
