"""What a review found could go wrong in silence: each example as it was found."""

from __future__ import annotations

import copy
import gc
import random
import warnings
import weakref
from collections import deque
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
from monet_torch import generators, planned, state
from monet_torch.capture import capture
from monet_torch.errors import CaptureError


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


class Schedule:
    """Called, and no function."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Slots:
    __slots__ = ("now",)

    def __init__(self) -> None:
        self.now = 0.0


class PrivateSlots:
    __slots__ = ("__now",)

    def __init__(self) -> None:
        self.set(0.0)

    def set(self, now: float) -> None:
        self.__now = now

    @property
    def now(self) -> float:
        return self.__now


@pytest.mark.parametrize(
    ("start", "change"),
    [
        ({"epoch": 0}, lambda m, k: setattr(m, "epoch", k)),
        ({"cfg": SimpleNamespace(epoch=0)}, lambda m, k: setattr(m.cfg, "epoch", k)),
        ({"scale": [0.0]}, lambda m, k: m.scale.__setitem__(0, float(k))),
        ({"alpha": 0.0}, lambda m, k: setattr(m, "alpha", k / 10)),
        ({"bias": torch.tensor(0.0)}, lambda m, k: setattr(m, "bias", torch.tensor(float(k)))),
        ({"act": nn.ReLU()}, lambda m, k: setattr(m, "act", nn.Tanh() if k % 2 else nn.ReLU())),
        ({"scale": deque([0.0])}, lambda m, k: m.scale.__setitem__(0, float(k))),
        ({"schedule": Schedule()}, lambda m, k: setattr(m.schedule, "now", float(k))),
        ({"slots": Slots()}, lambda m, k: setattr(m.slots, "now", float(k))),
        ({"slots": PrivateSlots()}, lambda m, k: m.slots.set(float(k))),
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
        if hasattr(net, "schedule"):
            h = h * net.schedule()
        if hasattr(net, "slots"):
            h = h * net.slots.now
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


def test_attributes_of_attributes_of_attributes_that_stay_are_no_change() -> None:
    net, args = Net(), (torch.randn(4, 8),)
    net.one = SimpleNamespace(two=SimpleNamespace(three=SimpleNamespace(four=SimpleNamespace(five=[Slots()]))))
    assert state.state_of(net) == state.state_of(net)
    eager, mine = pair(net, args, "drop")
    for _ in range(2):
        assert_equal(step(eager, args), step(mine, args))
    assert monet_torch.status(mine)["planned"] == 2


def test_an_array_that_is_written_is_seen_to_change() -> None:
    numpy = pytest.importorskip("numpy")
    net, args = Net(lambda net, h: h * float(net.weights[0])), (torch.randn(4, 8),)
    net.weights = numpy.ones(3)
    eager, mine = pair(net, args, "keep")
    for turn in range(3):
        for m in (eager, mine):
            m.weights[0] = turn
        assert_equal(step(eager, args), step(mine, args))


@pytest.mark.parametrize("kind", ["python", "numpy", "old numpy"])
def test_a_generator_of_the_models_own_is_drawn_from_at_each_forward(kind: str) -> None:
    def generator() -> Any:
        if kind == "python":
            return random.Random(0)
        numpy = pytest.importorskip("numpy")
        return numpy.random.default_rng(0) if kind == "numpy" else numpy.random.RandomState(0)

    net, args = Net(lambda net, h: h * float(net.rng.uniform(0, 1))), (torch.randn(4, 8),)
    net.rng = generator()
    eager, mine = pair(net, args, "keep")  # which a trace has drawn from, in the second
    with pytest.warns(UserWarning, match="changes attributes"):
        assert_equal(step(eager, args), step(mine, args))
    for _ in range(2):
        assert_equal(step(eager, args), step(mine, args))
    assert monet_torch.status(mine)["planned"] == 0


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


class Skipped(nn.Module):
    """Half of the time, as layers are dropped where nobody thought of a compiler."""

    def __init__(self, draw: Callable[[], float]) -> None:
        super().__init__()
        self.own, self.draw = nn.Linear(8, 8), draw

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.own(x)
        return x + y if self.draw() < 0.5 else y


def numpys() -> float:
    return float(pytest.importorskip("numpy").random.rand())


def seed_all(seed: int) -> None:
    random.seed(seed)
    pytest.importorskip("numpy").random.seed(seed)


@pytest.mark.parametrize("draw", [random.random, numpys])
def test_a_forward_that_draws_in_python_runs_as_it_is(draw: Callable[[], float]) -> None:
    args = (torch.randn(4, 8),)
    eager, mine = Skipped(draw), Skipped(draw)
    mine.load_state_dict(eager.state_dict())
    monet_torch.apply(mine, plan_for(capture(Skipped(lambda: 0.0), args), "drop"))
    found = []
    for m in (eager, mine):
        seed_all(1)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found.append([step(m, args)["loss"].item() for _ in range(8)])
        assert len([w for w in caught if "M222" in str(w.message)]) == int(m is mine)
    assert found[0] == found[1]
    assert len(set(found[0])) == 2, "all draws went one way: the test tests nothing"


@pytest.mark.parametrize("draw", [random.random, numpys])
def test_a_module_that_draws_in_python_is_left_untraced(draw: Callable[[], float]) -> None:
    args = (torch.randn(4, 8),)
    torch.manual_seed(0)
    mine = nn.Sequential(nn.Linear(8, 8), nn.Sequential(nn.Tanh(), Skipped(draw)), nn.Linear(8, 8)).train()
    eager = copy.deepcopy(mine)
    seed_all(1)
    before = generators.state()
    with pytest.raises(CaptureError, match="M222") as raised:
        capture(mine, args)
    assert generators.state() == before
    assert raised.value.module == "1.1"
    monet_torch.apply(mine, plan_for(capture(mine, args, opaque=["1.1"]), "drop"))
    found = []
    for m in (eager, mine):
        seed_all(1)
        found.append([step(m, args) for _ in range(8)])
    for a, b in zip(*found, strict=True):
        assert_equal(a, b)
    assert monet_torch.status(mine)["planned"] == 8


def test_a_draw_is_seen_whichever_generator_numpy_draws_from() -> None:
    numpy = pytest.importorskip("numpy")
    if not hasattr(numpy.random, "set_bit_generator"):
        pytest.skip("this NumPy has one generator")
    before = numpy.random.get_bit_generator()
    numpy.random.set_bit_generator(numpy.random.PCG64(0))
    try:
        first = generators.state()
        assert generators.state() == first
        with generators.as_they_were():
            numpy.random.random()
            assert generators.state() != first
        assert generators.state() == first
    finally:
        numpy.random.set_bit_generator(before)


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


def test_what_a_plan_has_goes_with_its_model_and_waits_for_no_collection_of_cycles() -> None:
    model, args = models.convnet()
    monet_torch.apply(model, plan_for(capture(model, args), "drop"))
    step(model, args)
    (program,) = map(weakref.ref, planned._runtimes[model].programs.values())
    gc.collect()
    gc.disable()
    try:
        del model
        assert program() is None
    finally:
        gc.enable()


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


def test_what_many_modules_share_is_looked_at_once_and_is_seen_to_change() -> None:
    shared = SimpleNamespace(width=1000, names=["a", "b"])
    model = nn.Sequential(*[nn.Linear(2, 2) for _ in range(9)])
    for layer in model:
        layer.config = shared
    watch = state.Watch(model)
    assert len(watch._changeable) == 1
    assert watch.look() is not None
    shared.names[1] = "c"
    assert watch.look() is None
    shared.names[1] = "b"
    assert watch.look() is not None
    model[4].config = SimpleNamespace(width=1000, names=["a", "c"])
    assert watch.look() is None


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
