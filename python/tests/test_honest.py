"""What a review found could go wrong in silence: each example as it was found."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import models
import pytest
import torch
import torch.nn.functional as F
from models import assert_equal, plan_for, step
from torch import Tensor, nn

import monet_torch
from monet_torch import planned, state
from monet_torch.capture import capture


class Net(nn.Module):
    """A linear layer and whatever `after` makes of its output."""

    def __init__(self, after: Callable[[Net, Tensor], Any] = lambda net, h: net.b(torch.relu(h))) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)
        self.after = after

    def forward(self, x: Tensor) -> Any:
        return self.after(self, self.a(x))


def pair(model: nn.Module, args: tuple[Tensor, ...], mode: str) -> tuple[nn.Module, nn.Module]:
    eager, mine = copy.deepcopy(model).train(), model.train()
    monet_torch.apply(mine, plan_for(capture(mine, args), mode))
    return eager, mine


def test_an_output_changed_in_place_is_never_read_by_a_recompute() -> None:
    x = torch.randn(4, 8)
    eager, mine = pair(Net(lambda net, h: (h, net.b(torch.relu(h)))), (x,), "drop")
    for m, refused in ((eager, False), (mine, True)):
        h, z = m(x)
        h.mul_(-3)
        if refused:
            with pytest.raises(RuntimeError, match="modified by an inplace operation"):
                (h.sum() + z.sum()).backward()
        else:
            (h.sum() + z.sum()).backward()


@pytest.mark.parametrize(
    ("start", "change"),
    [
        ({"epoch": 0}, lambda m, k: setattr(m, "epoch", k)),
        ({"cfg": SimpleNamespace(epoch=0)}, lambda m, k: setattr(m.cfg, "epoch", k)),
        ({"scale": [0.0]}, lambda m, k: m.scale.__setitem__(0, float(k))),
        ({"alpha": 0.0}, lambda m, k: setattr(m, "alpha", k / 10)),
        ({"bias": torch.tensor(0.0)}, lambda m, k: setattr(m, "bias", torch.tensor(float(k)))),
        ({"act": nn.ReLU()}, lambda m, k: setattr(m, "act", nn.Tanh() if k % 2 else nn.ReLU())),
    ],
)
def test_what_the_forward_depends_on_is_seen_to_change(
    start: dict[str, Any], change: Callable[[Any, int], None]
) -> None:
    def after(net: Any, h: Tensor) -> Tensor:
        if getattr(net, "epoch", 0) >= 2 or getattr(getattr(net, "cfg", None), "epoch", 0) >= 2:
            h = h * 0.5
        if hasattr(net, "scale"):
            h = h * net.scale[0]
        if hasattr(net, "alpha"):
            h = h * torch.tensor(net.alpha)
        if hasattr(net, "bias"):
            h = h + net.bias
        if hasattr(net, "act"):
            h = net.act(h)
        return net.b(torch.relu(h))

    net = Net(after)
    for k, v in start.items():
        setattr(net, k, v)
    args = (torch.randn(4, 8),)
    eager, mine = pair(net, args, "keep")
    for turn in range(4):
        for m in (eager, mine):
            change(m, turn)
        assert_equal(step(eager, args), step(mine, args))


def test_padding_and_a_forward_of_its_own_are_seen() -> None:
    eager, args = models.convnet()
    eager, mine = pair(eager, args, "drop")
    step(eager, args), step(mine, args)
    for m in (eager, mine):
        m.conv1.padding = m.conv2.padding = (2, 2)
        m.conv1.dilation = m.conv2.dilation = (2, 2)
    assert_equal(step(eager, args), step(mine, args))
    for m in (eager, mine):
        m.relu.forward = torch.tanh
    with pytest.warns(UserWarning, match="other operators"):
        assert_equal(step(eager, args), step(mine, args))


def test_a_forward_that_counts_its_calls_runs_as_it_is() -> None:
    def after(net: Any, h: Tensor) -> Tensor:
        net.calls += 1
        return net.b(h * min(1, net.calls / 10))

    args = (torch.randn(4, 8),)
    mine = Net(after)
    mine.calls = 0
    eager, traced = copy.deepcopy(mine), copy.deepcopy(mine)
    plan = plan_for(capture(traced, args), "keep")
    monet_torch.apply(mine, plan)
    with pytest.warns(UserWarning, match="changes attributes"):
        assert_equal(step(eager, args), step(mine, args))
    assert_equal(step(eager, args), step(mine, args))
    assert mine.calls == 2
    assert monet_torch.status(mine)["planned"] == 0


def test_a_criterion_is_guarded_and_takes_keywords() -> None:
    from monet_torch.step import capture_step

    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    args, target = (torch.randn(4, 8),), torch.randint(0, 8, (4,))
    mine = Net()
    captured, _ = capture_step(mine, args, {}, (target,), criterion, None)
    eager = copy.deepcopy(mine)
    loss = monet_torch.apply(mine, plan_for(captured, "drop"), loss=criterion)
    for smoothing in (0.1, 0.0):
        criterion.label_smoothing = smoothing
        for m, f in ((eager, criterion), (mine, loss)):
            m.zero_grad()
            f(m(*args), target=target).backward()
        assert torch.equal(eager.a.weight.grad, mine.a.weight.grad)
    assert loss.label_smoothing == 0.0
    odd = monet_torch.planned._PlannedLoss(planned._runtimes[mine], lambda o, t: (o * 2 + 1).sin().sum())
    with pytest.warns(UserWarning, match="the loss"):
        odd(mine(*args), target).backward()


@pytest.mark.parametrize("mode", ["keep", "drop"])
def test_conjugates_and_parts_of_complex_numbers(mode: str) -> None:
    def conjugate(net: Any, h: Tensor) -> Tensor:
        x = torch.fft.rfft(h)
        return net.b(torch.fft.irfft(x * x.conj() * (x.abs() + 1), n=8))

    def parts(net: Any, h: Tensor) -> Tensor:
        x = torch.fft.fft(h)
        return net.b(torch.sin(x.real) * x.imag)

    args = (torch.randn(4, 8),)
    for after in (conjugate, parts):
        eager, mine = pair(Net(after), args, mode)
        assert_equal(step(eager, args), step(mine, args))


def test_running_statistics_read_before_their_update() -> None:
    class Whitened(Net):
        def __init__(self) -> None:
            super().__init__()
            self.bn = nn.BatchNorm1d(8)

        def forward(self, x: Tensor) -> Tensor:
            h = self.a(x)
            z = torch.sigmoid(h - self.bn.running_mean)
            return self.b(z * self.bn(h))

    args = (torch.randn(4, 8),)
    eager, mine = pair(Whitened(), args, "drop")
    for turn in range(2):
        assert_equal(step(eager, args, turn), step(mine, args, turn))


def test_another_memory_format_is_another_program() -> None:
    class Split(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.out = nn.Conv2d(4, 8, 3), nn.Conv2d(4, 2, 3)

        def forward(self, x: Tensor) -> Tensor:
            a, b = torch.relu(self.conv(x)).chunk(2, 1)
            return self.out(torch.sin(a) * b)

    args = (torch.randn(2, 4, 9, 9),)
    eager, mine = pair(Split(), args, "drop")
    for m in (eager, mine):
        step(m, args)
        m.to(memory_format=torch.channels_last)
    assert_equal(step(eager, args), step(mine, args))


@pytest.mark.parametrize("mode", ["keep", "drop"])
def test_an_output_that_is_a_view_may_be_changed_in_place(mode: str) -> None:
    args = (torch.randn(4, 8),)
    eager, mine = pair(Net(lambda net, h: net.b(torch.relu(h)).view(-1)), args, mode)
    for change in (lambda o: o.div_(2), lambda o: o.add_(1), lambda o: F.relu(o, inplace=True)):
        for m in (eager, mine):
            m.zero_grad()
            o = m(*args)
            change(o)
            o.sum().backward()
        assert torch.equal(eager.a.weight.grad, mine.a.weight.grad)


@pytest.mark.parametrize("mode", ["drop", "random"])
def test_freezing_and_unfreezing_after_planning(mode: str) -> None:
    for make in (models.convnet, models.decoder):
        model, args = make()
        captured = capture(model, args)
        plan = plan_for(captured, mode, 4)
        n = len(captured.operators)
        # Retain, as solvers do, what one backward recomputes and an earlier operator needs again.
        for o in captured.operators[:-4]:
            v = o.outputs[0] if o.outputs else None
            held = {r.get("value") for r in plan["retain"]}
            user = next((p for p in captured.operators if v in p.inputs and p.id < n - 3), None)
            if v is not None and captured.values[v].storage == v and v not in held and user and not o.pinned:
                plan["retain"].append({"value": v, "intervals": [[2 * n - 1 - user.id, 2 * n - 1 - o.id]]})
        eager = copy.deepcopy(model)
        monet_torch.apply(model, plan)
        first = next(iter(model.children()))
        for frozen in (True, False, True):
            for m in (eager, model):
                next(iter(m.children())).requires_grad_(not frozen)
            assert_equal(step(eager, args), step(model, args))
        assert first is next(iter(model.children()))


def test_a_model_with_a_plan_is_freed_with_its_last_reference() -> None:
    model, args = models.convnet()
    monet_torch.apply(model, plan_for(capture(model, args), "drop"))
    step(model, args)
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


def test_a_forward_that_fails_half_way_learns_nothing() -> None:
    model, args = models.convnet()
    eager, mine = pair(model, args, "drop")
    spec = torch.utils._pytree.tree_flatten((args, {}))[1]
    program = planned._runtimes[mine]._program(mine, state.state_of(mine), args, {}, [args[0]], spec)
    assert isinstance(program, planned.Program)
    program.run, run = lambda frame, constants: (_ for _ in ()).throw(KeyboardInterrupt), program.run
    with pytest.raises(KeyboardInterrupt):
        mine(*args)
    assert not program.geometry_checked
    program.run = run
    assert_equal(step(eager, args), step(mine, args))


def test_intervals_out_of_range_are_refused() -> None:
    model, args = models.convnet()
    plan = plan_for(capture(model, args), "keep")
    plan["retain"][0]["intervals"] = [[-3, 4]]
    with pytest.raises(monet_torch.MonetError, match="out of range"):
        monet_torch.apply(model, plan)


def test_a_quick_look_sees_what_a_whole_one_sees() -> None:
    model, _ = models.convnet()
    model.register_module("extra", torch.nn.Linear(2, 2))
    model.note = {"scale": [1.0, 2.0]}
    model.pair = (3000, "a")
    watch = state.Watch(model)
    assert watch.look() is not None
    inner: Any = model.extra

    def undone(change: Any, back: Any) -> None:
        before = state.state_of(model)
        change()
        assert state.state_of(model) != before, "it does make a difference"
        assert watch.look() is None
        back()
        assert state.state_of(model) == before
        assert watch.look() is not None

    undone(lambda: model.note["scale"].append(3.0), lambda: model.note["scale"].pop())
    undone(lambda: setattr(model, "pair", (3000, "b")), lambda: setattr(model, "pair", (3000, "a")))
    undone(lambda: inner.eval(), lambda: inner.train())
    undone(lambda: inner.weight.requires_grad_(False), lambda: inner.weight.requires_grad_(True))
    undone(lambda: setattr(inner, "later", 1), lambda: delattr(inner, "later"))
    undone(lambda: inner.register_buffer("more", torch.zeros(1)), lambda: delattr(inner, "more"))
    weight = inner.weight.data
    undone(lambda: setattr(inner.weight, "data", weight.double()), lambda: setattr(inner.weight, "data", weight))
    undone(lambda: setattr(model, "extra", torch.nn.Linear(2, 2)), lambda: setattr(model, "extra", inner))
    modules = watch.look()
    assert modules == list(model.modules())
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        assert watch.tensor(modules, name) is tensor
    assert not state.hooked(modules)
    handle = inner.register_forward_hook(lambda *_: None)
    assert state.hooked(modules) == "a submodule (Linear) has hooks"
    handle.remove()


def test_a_watch_keeps_no_model_alive() -> None:
    model, _ = models.convnet()
    model.me = [model]  # as a trainer that knows its model would
    watch = state.Watch(model)
    assert watch.look() is not None
    alive = weakref.ref(model)
    del model
    gc.collect()
    assert alive() is None
    assert watch.look() is None
