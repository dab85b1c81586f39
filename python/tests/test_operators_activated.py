"""Batch norm whose output is had back from that of the leaky ReLU after it: where, how close, and in any backward."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable
from dataclasses import replace
from math import inf, nan
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from models import BACKWARDS, gradients, plan_for, step
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import monet_torch
from monet_torch import operators, planned
from monet_torch.capture import capture
from monet_torch.captured import Captured
from monet_torch.compiled import backend
from monet_torch.estimate import CARDS, measure_for
from monet_torch.frame import Frame
from monet_torch.graph import _implementation
from monet_torch.measure import tracker_peak
from monet_torch.profile import measure_on_device, signature_of

# Of the largest element: for 32 bits as far as was measured, on plans and seeds below; eager's own rounding for 16.
TOLERANCE = {torch.float64: 1e-13, torch.float32: 3e-6, torch.bfloat16: 5e-2, torch.float16: 8e-3}


class Unit(nn.Module):
    """Norm and activation, of what has a gradient, in whatever order of memory."""

    def __init__(self, channels: int = 16, slope: float = 0.1, inplace: bool = True) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(channels)  # which takes any number of dimensions once it is called as a function
        self.slope, self.inplace = slope, inplace
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        n = self.norm
        y = F.batch_norm(x * 1.5, n.running_mean, n.running_var, n.weight, n.bias, True, 0.1, 1e-5)
        return F.leaky_relu(y, self.slope, self.inplace) * self.scale


class Net(nn.Module):
    """Three convolutions, each normed and activated."""

    def __init__(self, inplace: bool = True, slope: float = 0.1) -> None:
        super().__init__()
        self.layers = nn.Sequential()
        for c in (3, 8, 8):
            self.layers += nn.Sequential(
                nn.Conv2d(c, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.LeakyReLU(slope, inplace)
            )
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        loss: Tensor = self.head(self.layers(x).mean((2, 3))).square().mean()
        return loss


def net(inplace: bool = True, slope: float = 0.1) -> tuple[Net, tuple[Tensor, ...]]:
    torch.manual_seed(0)
    model = Net(inplace, slope)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.bias)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return model, (torch.randn(4, 3, 12, 12),)


def stood_in(captured: Captured) -> dict[int, int]:
    """The norms that may, and what stands in for the output of each."""
    found = {o.id: operators.stand_in(captured, o, "activated") for o in captured.operators}
    return {i: instead.value for i, instead in found.items() if instead is not None}


def activated_plan(captured: Captured, mode: str, seed: int = 0) -> dict[str, Any]:
    """What `plan_for` makes, with every norm that may run so, and what stands in held until its backward."""
    n = len(captured.operators)
    plan = plan_for(captured, mode, seed)
    norms = stood_in(captured)
    assert norms
    plan["implementations"] = dict.fromkeys(map(str, norms), "activated")
    for op, z in norms.items():
        o = captured.operators[op]
        drops = {o.outputs[0], *o.inputs} if mode == "keep" else set()  # neither is wanted any more
        plan["retain"] = [row for row in plan["retain"] if row.get("value") not in drops]
        for row in plan["retain"]:
            if row.get("value") == z:
                row["intervals"] = [[row["intervals"][0][0], 2 * n - 1 - op]]
    return plan


def planned_net(mode: str, seed: int = 0, inplace: bool = True) -> tuple[nn.Module, nn.Module, tuple[Tensor, ...]]:
    model, args = net(inplace)
    eager = copy.deepcopy(model)
    monet_torch.apply(model, activated_plan(capture(model, args), mode, seed))
    return eager, model, args


def assert_close(eager: dict[str, Tensor], mine: dict[str, Tensor], tolerance: float = 3e-6) -> None:
    """Buffers and loss to the bit, gradients nearly."""
    assert eager.keys() == mine.keys()
    for name, theirs in eager.items():
        if name.startswith("grad"):
            assert (mine[name] - theirs).abs().max() <= tolerance * theirs.abs().max(), name
        else:
            assert torch.equal(mine[name], theirs), name


LAYOUTS: dict[str, Callable[[], Tensor]] = {
    "images": lambda: torch.randn(4, 16, 5, 6),
    "channels_last": lambda: torch.randn(4, 16, 5, 6).contiguous(memory_format=torch.channels_last),
    "rows": lambda: torch.randn(40, 16),
    "volumes": lambda: torch.randn(2, 16, 3, 4, 5),
}


def results(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Output and buffers, and the gradients of input and parameters for one that is always the same."""
    z = model(x)
    g = torch.randn(z.shape, generator=torch.Generator().manual_seed(7)).to(z.dtype)
    wanted = dict(model.named_parameters()) | {"input": x}
    found = torch.autograd.grad(z, list(wanted.values()), g)
    return {
        "z": z.detach(),
        **{f"grad {name}": each for name, each in zip(wanted, found, strict=True)},
        **{f"buffer {name}": each.clone() for name, each in model.named_buffers()},
    }


def unit(dtype: torch.dtype, layout: str = "images", slope: float = 0.1, inplace: bool = True) -> tuple[Unit, Tensor]:
    torch.manual_seed(0)
    model = Unit(slope=slope, inplace=inplace)
    nn.init.normal_(model.norm.bias)
    nn.init.uniform_(model.norm.weight, 0.5, 1.5)
    return model.to(dtype), (LAYOUTS[layout]() * 3 + 2).to(dtype).requires_grad_()


def eager_and_planned(model: nn.Module, x: Tensor, mode: str = "keep") -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    eager = results(copy.deepcopy(model), x)
    monet_torch.apply(model, activated_plan(capture(model, (x,)), mode))
    mine = results(model, x)
    assert monet_torch.status(model)["planned"] == 1
    return eager, mine


@pytest.mark.parametrize("inplace", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda d: str(d).removeprefix("torch."))
def test_output_and_statistics_are_eagers_and_gradients_close(dtype: torch.dtype, layout: str, inplace: bool) -> None:
    for mode in ("keep", "drop"):
        for slope in (0.01, 0.2, 3.0):
            model, x = unit(dtype, layout, slope, inplace)
            model.norm.weight.data[0] *= -1
            model.norm.weight.data[1] = 1e-6  # no use to divide by
            eager, mine = eager_and_planned(model, x, mode)
            assert_close(eager, mine, TOLERANCE[dtype])
            assert all(mine[name].stride() == each.stride() for name, each in eager.items())


@pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda d: str(d).removeprefix("torch."))
def test_where_many_weights_are_tiny_gradients_are_eagers(dtype: torch.dtype) -> None:
    model, x = unit(dtype)
    nn.init.constant_(model.norm.weight, 1e-5)
    assert_close(*eager_and_planned(model, x), 0)


def test_in_16_bits_what_is_next_to_zero_is_not_had_back_from_its_last_digits() -> None:
    """Slope times weight is below the least number that float16 has in full."""
    for weight in (1e-3, 3e-3, 8e-3):
        model, x = unit(torch.float16, slope=0.01)
        nn.init.constant_(model.norm.weight, weight)
        nn.init.zeros_(model.norm.bias)
        assert_close(*eager_and_planned(model, x), TOLERANCE[torch.float16])


@pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda d: str(d).removeprefix("torch."))
def test_what_is_not_finite_is_not_hidden(dtype: torch.dtype) -> None:
    for value in (nan, inf, -inf):
        model, x = unit(dtype)
        with torch.no_grad():
            x[1, 2, 3, 4] = value
        eager, mine = eager_and_planned(model, x)
        assert eager["grad input"].isnan().any()
        for name, theirs in eager.items():
            assert torch.equal(mine[name].isnan(), theirs.isnan()), name
            off = (mine[name] - theirs)[theirs.isfinite()].abs()
            most = theirs[theirs.isfinite()].abs().max() if off.numel() else 0
            assert (off <= TOLERANCE[dtype] * most).all(), name


def test_it_is_offered_where_a_leaky_relu_alone_reads_the_norm() -> None:
    def offered(after: Callable[[Tensor], Any], shape: tuple[int, ...] = (4, 16, 5), **norm: Any) -> list[str]:
        class Case(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.norm = nn.BatchNorm1d(16, **norm)

            def forward(self, x: Tensor) -> Any:
                return after(self.norm(x * 2))

        captured = capture(Case(), (torch.randn(shape, requires_grad=True),))
        (o,) = [o for o in captured.operators if o.name == "aten.batch_norm.default"]
        return [i.name for i in operators.alternatives(captured, o)]

    both = ["output", "activated"]
    assert offered(lambda y: F.leaky_relu(y)) == both
    assert offered(lambda y: F.leaky_relu_(y, 0.2)) == both
    assert offered(lambda y: F.leaky_relu(y, 1.5).flatten(1)) == both
    assert offered(lambda y: F.leaky_relu(y), (0, 16, 5)) == []
    assert offered(lambda y: F.leaky_relu(y), affine=False) == []
    for after in (
        lambda y: F.relu(y),
        lambda y: F.leaky_relu(y, 0.0),
        lambda y: F.leaky_relu(y, -0.1),
        lambda y: F.leaky_relu(y, inf),
        lambda y: F.leaky_relu(y, 1e-36),  # the inverse of which loses digits next to zero
        lambda y: F.leaky_relu(y) + y,
        lambda y: (F.leaky_relu(y), y),
        lambda y: (F.leaky_relu(y), y.view(-1)),
        lambda y: F.leaky_relu(y.view(-1)),
        lambda y: F.leaky_relu(y[:, :8]),
        lambda y: F.leaky_relu(y.detach()),
    ):
        assert offered(after) == ["output"]
    half = unit(torch.float16, slope=0.001)
    assert stood_in(capture(half[0], (half[1],))) == {}


def test_a_part_that_evaluates_or_is_the_loss_is_not_offered_it() -> None:
    class Loss(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = nn.Linear(4, 16)
            self.norm = nn.BatchNorm1d(16)

        def forward(self, x: Tensor) -> Tensor:
            return F.leaky_relu(self.norm(self.model(x))).sum()

    captured = capture(Loss(), (torch.randn(8, 4),), loss_prefix="model")
    assert {o.part for o in captured.operators if "norm" in o.name} == {"loss"}
    assert stood_in(captured) == {}
    model, args = net()
    model.layers.eval()
    assert stood_in(capture(model, args)) == {}


def test_the_graph_names_what_stands_in_and_what_undoing_it_takes() -> None:
    model, args = net()
    captured = capture(model, args)
    for op, z in stood_in(captured).items():
        o = captured.operators[op]
        y = captured.values[o.outputs[0]]
        for measured in (
            measure_on_device(captured, o, [(y.shape, y.stride)], (1, 1)),
            measure_for(CARDS[0])(captured, o, [(y.shape, y.stride)]),
        ):
            rows = {m.name: _implementation(captured, o, m) for m in measured}
            assert (rows["output"]["saves"], rows["activated"]["saves"]) == ([y.id], [z])
            assert rows["activated"]["internal_bytes"] == rows["output"]["internal_bytes"]
            assert rows["activated"]["forward"]["peak"] == rows["output"]["forward"]["peak"]
            assert rows["activated"]["backward"]["peak"] == rows["output"]["backward"]["peak"] + y.storage_bytes


def test_a_measurement_is_not_taken_for_one_of_a_norm_without_the_activation() -> None:
    signatures = set()
    for slope in (0.1, 0.0):
        captured = capture(*net(slope=slope))
        o = next(o for o in captured.operators if o.name == "aten.batch_norm.default")
        signatures.add(signature_of(captured, o, [None]))
    assert len(signatures) == 2


MODES = ["keep", "drop", *(f"{mode} {seed}" for mode in ("random", "mixed") for seed in range(4))]


@pytest.mark.parametrize("inplace", [True, False])
@pytest.mark.parametrize("mode", MODES)
def test_a_plan_runs_it_step_after_step(mode: str, inplace: bool) -> None:
    name, _, seed = mode.partition(" ")
    eager, model, args = planned_net(name, int(seed or 0), inplace)
    for turn in range(3):
        assert_close(step(eager, args, turn), step(model, args, turn))
    assert monet_torch.status(model)["planned"] == 3


@pytest.mark.parametrize("way", BACKWARDS)
@pytest.mark.parametrize("mode", ["keep", "drop", "random"])
def test_gradients_are_close_however_backward_is_run(mode: str, way: Callable[..., None]) -> None:
    eager, model, args = planned_net(mode, 3)
    for _ in range(2):  # the first step sees all, later ones leave more to autograd
        for each in (eager, model):
            each.zero_grad()
            way(each, args)
        assert any(p.grad is not None for p in eager.parameters())
        assert_close(gradients(eager), gradients(model))


def test_other_sizes_run_by_the_same_plan() -> None:
    eager, model, _ = planned_net("keep")
    for shape in ((4, 3, 12, 12), (2, 3, 12, 12), (4, 3, 9, 7)):
        x = torch.randn(shape)
        assert_close(step(eager, (x,)), step(model, (x,)))
    assert monet_torch.status(model)["planned"] == 3


@pytest.mark.parametrize("first", [0.0, 1.0])
@pytest.mark.parametrize("mode", ["keep", "drop"])
def test_weights_may_be_of_no_use_in_one_step_and_of_use_in_another(mode: str, first: float) -> None:
    eager, model, args = planned_net(mode)
    for turn, weight in enumerate((first, first, 1 - first, 1 - first, first)):
        for module in (*eager.modules(), *model.modules()):
            if isinstance(module, nn.BatchNorm2d):
                nn.init.constant_(module.weight, weight)
                nn.init.constant_(module.bias, 0.5)
        assert_close(step(eager, args, turn), step(model, args, turn))


@pytest.mark.parametrize("mode", ["keep", "random", "mixed"])
def test_nothing_is_left_behind(mode: str, cells: weakref.WeakSet[Any]) -> None:
    _, model, args = planned_net(mode, 1)
    step(model, args)
    step(model, args)
    assert len(cells) == 0
    output = model(*args)
    assert len(cells) > 0
    del output
    assert len(cells) == 0


@pytest.mark.parametrize("when", ["between norm and activation", "in backward"])
def test_an_exception_leaves_nothing(when: str, cells: weakref.WeakSet[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    _, model, args = planned_net("keep")
    step(model, args)

    class Stop(Exception):
        pass

    def stop(*_: Any) -> None:
        raise Stop

    (program,) = planned._runtimes[model].by_fingerprint.values()
    for turn in range(3):
        if when == "in backward":
            # (In 2.6 a hook of a parameter is forgotten where a function saves that and saved tensors are hooked.)
            handle = model.layers[3].weight.register_hook(stop)
            loss = model(*args)
            with pytest.raises(Stop):
                loss.backward()
            handle.remove()
            del loss
        else:
            op = list(stood_in(program.captured))[1] + 1
            calls = list(program.calls)
            program.calls[op] = stop
            program.run = program._compile()
            with pytest.raises(Stop):
                model(*args)
            program.calls = calls
            program.run = program._compile()
        assert len(cells) == 0, f"turn {turn}"
    model.zero_grad()
    assert_close(step(copy.deepcopy(model), args), step(model, args))


def test_what_stands_in_and_is_changed_meanwhile_is_refused() -> None:
    for inplace in (True, False):

        class Ends(nn.Module):
            """It returns what stands in for the norm's output."""

            def __init__(self) -> None:
                super().__init__()
                self.norm = nn.BatchNorm1d(16)
                self.shift = nn.Parameter(torch.randn(8, 16))

            def forward(self, x: Tensor) -> Tensor:
                return F.leaky_relu(self.norm(x + self.shift), 0.2, inplace)  # noqa: B023

        ends, x = Ends(), torch.randn(8, 16)
        eager = copy.deepcopy(ends)
        monet_torch.apply(ends, activated_plan(capture(ends, (x,)), "keep"))
        for _ in range(2):
            found = []
            for each in (eager, ends):
                each.zero_grad()
                each(x).square().sum().backward()
                found.append(gradients(each))
            assert_close(*found)
            eager(x)
            z = ends(x)
            with torch.no_grad():
                z.mul_(2)
            with pytest.raises(RuntimeError, match="modified by an inplace operation"):
                z.sum().backward()


@pytest.mark.parametrize("inplace", [True, False])
def test_one_tensor_is_held_for_norm_and_activation(inplace: bool) -> None:
    """Beside it eager holds the norm's input, and what the activation wants of its own."""
    held = {}
    model, args = net(inplace)
    captured = capture(model, args)
    big = 4 * 8 * 12 * 12 * 4  # bytes of each of the nine activations
    for name in ("eager", "activated"):
        if name == "activated":
            plan = activated_plan(captured, "keep")
            for o in captured.operators:
                if o.name == "aten.leaky_relu.default" and not inplace:
                    plan["implementations"][str(o.id)] = "output"
            monet_torch.apply(model, plan)
        step(model, args)
        outputs: list[Tensor] = []
        held[name] = tracker_peak(lambda: outputs.append(model(*args))).end_bytes  # noqa: B023
    assert (held["eager"] - held["activated"]) // big == (3 if inplace else 5)  # the last output is nobody else's


def recomputes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The operators that run again from now on, as they do."""
    ran: list[int] = []
    run_again = Frame._run_again

    def noted(self: Frame, o: Any, *more: Any) -> list[Tensor]:
        ran.append(o.id)
        return run_again(self, o, *more)

    monkeypatch.setattr(Frame, "_run_again", noted)
    return ran


def test_what_stands_in_is_held_to_the_backward_of_the_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last one is saved by nobody else; in the first step and in later ones."""
    _, model, args = planned_net("keep")
    ran = recomputes(monkeypatch)
    for _ in range(2):
        step(model, args)
    assert ran == []


def test_what_stands_in_and_is_dropped_is_made_again_by_norm_and_activation(monkeypatch: pytest.MonkeyPatch) -> None:
    model, args = net()
    captured = capture(model, args)
    plan = activated_plan(captured, "keep")
    norm, z = list(stood_in(captured).items())[-1]
    convolved = captured.operators[norm].inputs[0]
    n = len(captured.operators)
    plan["retain"] = [row for row in plan["retain"] if row.get("value") != z]
    plan["retain"].append({"value": convolved, "intervals": [[norm - 1, 2 * n - 1 - norm]]})
    monet_torch.apply(model, plan)
    ran = recomputes(monkeypatch)
    for _ in range(2):
        step(model, args)
        # For the activation, which saves its output, and for the norm.
        assert ran == [norm, norm + 1] * 2
        ran.clear()


@pytest.mark.parametrize("mode", ["keep", "drop"])
def test_the_output_is_made_again_within_the_backward_of_the_norm(mode: str) -> None:
    """So a timeline has its bytes there, as predicted."""
    _, model, args = planned_net(mode)
    runtime = planned._runtimes[model]
    events: list[tuple[str, int]] = []

    def noted(op: int, undo: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        def run(z: Tensor) -> Tensor:
            events.append(("undo", op))
            return undo(z)

        return run

    step(model, args)
    (program,) = runtime.by_fingerprint.values()
    for op, instead in program.stand_ins.items():
        program.stand_ins[op] = replace(instead, undo=noted(op, instead.undo))
    runtime.trace = lambda kind, _, op: events.append((kind, op))
    step(model, args)
    for op in program.stand_ins:
        assert events.count(("undo", op)) == 1
        assert events[events.index(("undo", op)) - 1] == ("backward", op)


def test_under_autocast() -> None:
    model, args = net()
    eager = copy.deepcopy(model)
    monet_torch.apply(model, activated_plan(capture(model, args, autocast=("cpu", torch.bfloat16)), "keep"))
    with torch.autocast("cpu", torch.bfloat16):
        assert_close(step(eager, args), step(model, args), TOLERANCE[torch.bfloat16])
    assert monet_torch.status(model)["planned"] == 1


@pytest.mark.filterwarnings("ignore:Using `torch.compile")
def test_compiled_code_undoes_nothing_and_makes_nothing_again_for_that() -> None:
    model, args = net()
    plan = activated_plan(capture(model, args), "keep")
    torch._dynamo.reset()
    run = torch.compile(
        copy.deepcopy(model), backend=backend, options={"plan": plan, "compiler": "eager"}, fullgraph=True
    )
    found, flops = [], []
    for each in (model, run):
        found.append({name.replace("_orig_mod.", ""): t for name, t in step(each, args).items()})
        loss = each(*args)
        with FlopCounterMode(display=False) as counter:
            loss.backward()
        flops.append(counter.get_total_flops())
    assert_close(*found)
    assert flops[1] == flops[0]
    torch._dynamo.reset()
