"""A module that can't be traced runs as one operator, as eager runs it, and the plan works around it."""

from __future__ import annotations

import copy
import functools
import gc
import weakref
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from models import assert_equal, plan_for, step
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import monet_torch
from monet_torch import estimate, planned
from monet_torch.capture import capture
from monet_torch.captured import Captured
from monet_torch.cover import cover
from monet_torch.errors import CaptureError, MonetError, PlanMismatch
from monet_torch.measure import tracker_peak
from monet_torch.profile import Cache, measure_on_device, profile
from monet_torch.step import capture_step
from monet_torch.target import Target

CPU = torch.device("cpu")
torch.library.define("monet_tests::doubled", "(Tensor x) -> Tensor")  # no fake kernel: no trace knows what it gives


@torch.library.impl("monet_tests::doubled", "CPU")
def _doubled(x: Tensor) -> Tensor:
    return 2 * x


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(16), nn.Linear(16, 64), nn.Linear(64, 16)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(torch.relu_(self.up(self.norm(x))))


class Layered(nn.Module):
    """Something between layers that can be traced."""

    def __init__(self, middle: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(Plain(), Plain(), middle, nn.ReLU(inplace=True), Plain(), Plain())

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).square().sum()


class Linear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.own = nn.Linear(16, 16)


class If(Linear):
    def forward(self, x: Tensor) -> Tensor:
        return self.own(x).sin() if x.mean() > -10 else x


class Item(Linear):
    def forward(self, x: Tensor) -> Tensor:
        return self.own(x) / x.detach().abs().max().item()


class Nonzero(Linear):
    """Rows that a router picks go through, as in a mixture of experts."""

    def forward(self, x: Tensor) -> Tensor:
        rows = (x.sum(1) > 0).nonzero().squeeze(1)
        return x.index_add(0, rows, self.own(x[rows]))


class Swish(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        with torch.enable_grad():  # as people do who don't write formulas down
            (x,) = ctx.saved_tensors
            x = x.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(x * torch.sigmoid(x), x, gradients[0])
        return gradient


class Function(Linear):
    def forward(self, x: Tensor) -> Tensor:
        return Swish.apply(self.own(x))


class Custom(Linear):
    def forward(self, x: Tensor) -> Tensor:
        return self.own(x) + torch.ops.monet_tests.doubled(x.detach())


class Sparse(Linear):
    def forward(self, x: Tensor) -> Tensor:
        few = (self.own.weight * (self.own.weight > 0)).to_sparse()
        return torch.sparse.mm(few, x.t()).t()


class Quantized(Linear):
    """A layer that was quantized after training, beside one that trains."""

    def __init__(self) -> None:
        super().__init__()
        frozen = nn.Sequential(nn.Linear(16, 16))
        self.frozen = torch.ao.quantization.quantize_dynamic(frozen, {nn.Linear}, dtype=torch.qint8)

    def forward(self, x: Tensor) -> Tensor:
        return self.own(x) + self.frozen(x.detach())


class Observed(Linear):
    """Training for quantization: observers look at values, and at their own settings, which are tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.quantize = torch.ao.quantization.FakeQuantize()

    def forward(self, x: Tensor) -> Tensor:
        return self.own(self.quantize(x))


class Gradient(Linear):
    """As force fields do: the gradient of an energy is a part of the forward."""

    def forward(self, x: Tensor) -> Tensor:
        (force,) = torch.autograd.grad(self.own(x).sin().sum(), x, create_graph=True)
        return x + force


class Everything(Linear):
    """State, dropout, batch norm, a checkpoint of its own, writes in place, and a value that is looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.drop, self.calls = nn.BatchNorm1d(16), nn.Dropout(0.5), 0
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.seen += x.detach().mean()
        x = checkpoint(lambda x: self.norm(self.own(x)).sin(), x, use_reentrant=False)
        if self.seen > -1e6:
            x = self.drop(x)
        x += self.calls
        return x


KINDS = [If, Item, Nonzero, Function, Custom, Sparse, Quantized, Observed, Gradient, Everything]


def inputs(rows: int = 32) -> tuple[Tensor]:
    torch.manual_seed(1)
    return (torch.randn(rows, 16),)


def target(model: nn.Module, args: tuple[Any, ...]) -> Target:
    return Target(model, args, {}, (), None, Path("train.py"), "Net", "")


def covered(model: nn.Module, args: tuple[Any, ...]) -> tuple[Captured, int, dict[str, str]]:
    def capture(opaque: Any) -> tuple[Captured, int]:
        return capture_step(model, args, {}, (), None, None, opaque)

    with pytest.raises(CaptureError) as failed:
        capture(())
    reasons = cover(target(model, args), capture, failed.value, CPU, None)
    return (*capture(sorted(reasons)), reasons)


@functools.cache
def captured_with(kind: type[nn.Module]) -> tuple[nn.Module, Captured, int, dict[str, str]]:
    torch.manual_seed(0)
    model = Layered(kind()).train()
    return model, *covered(model, inputs())


def planned_and_eager(kind: type[nn.Module], mode: str = "drop") -> tuple[Any, Any]:
    original, captured, _, _ = captured_with(kind)
    eager, model = copy.deepcopy(original), copy.deepcopy(original)
    monet_torch.apply(model, plan_for(captured, mode))
    return model, eager


@pytest.mark.parametrize("kind", KINDS)
def test_the_smallest_module_that_cannot_be_traced_is_a_block(kind: type[nn.Module]) -> None:
    path = {Quantized: "layers.2.frozen.0", Observed: "layers.2.quantize"}.get(kind, "layers.2")
    torch.manual_seed(0)
    before = Layered(kind()).state_dict()
    model, captured, _, reasons = captured_with(kind)
    assert list(reasons) == [path]
    (block,) = (o for o in captured.operators if o.block is not None)
    assert (block.module, block.pinned, block.name) == (path, True, "monet.opaque.default")
    assert {o.module for o in captured.operators} >= {"layers.1.up", "layers.4.up"}
    tensors = {k: t for k, t in before.items() if isinstance(t, Tensor)}
    assert_equal(tensors, {k: t for k, t in model.state_dict().items() if isinstance(t, Tensor)})
    assert not any(m._forward_hooks or m._forward_pre_hooks or "forward" in vars(m) for m in model.modules())
    assert getattr(model.layers[2], "calls", 0) == 0  # nothing has run but in rehearsals


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_state_and_generators_are_eagers(kind: type[nn.Module]) -> None:
    for mode in ("drop", "random"):
        model, eager = planned_and_eager(kind, mode)
        args = inputs()
        for turn in range(3):
            assert_equal(step(eager, args, turn), step(model, args, turn))
            args = tuple(x + 0.1 for x in args)
        draws = []
        for m in (eager, model):
            torch.manual_seed(3)
            m(*args).backward()
            draws.append(torch.rand(1))
        assert draws[0] == draws[1]
        assert getattr(eager.layers[2], "calls", 0) == getattr(model.layers[2], "calls", 0)
        assert monet_torch.status(model) == {"planned": 4, "larger": 0, "eager": {}, "peak": None}


def test_what_it_saves_is_what_eager_saves_and_nothing_of_it_runs_twice() -> None:
    """And what the plan drops around it comes back."""
    model, eager = planned_and_eager(Everything)
    runs: list[int] = []
    model.layers[2].own.register_forward_hook(lambda *_: runs.append(1))
    x = inputs(512)
    step(model, x)
    peaks = [tracker_peak(lambda m=m: step(m, x)).peak_bytes for m in (eager, model)]
    assert peaks[1] < 0.8 * peaks[0]
    runs.clear()
    step(model, x)
    assert len(runs) == 2  # in forward, and in the checkpoint's own backward


def test_the_profile_has_the_bytes_of_a_block_as_a_step_has_them() -> None:
    model, captured, loss, _ = captured_with(Everything)
    before = copy.deepcopy(model.state_dict())
    measured = profile(captured, loss, Cache(None, []), None, measure_on_device)
    (block,) = (o for o in captured.operators if o.block is not None)
    (eager,) = measured[block.id]
    assert eager.backward is not None
    assert eager.saves == [("i", 0)]  # the checkpoint's argument
    mask = 32 * 16 * 4
    assert eager.internal_bytes == mask
    names = [captured.values[block.inputs[g.input]].target.removeprefix("model.layers.2.") for g in eager.gradients]
    assert names == ["", "own.weight", "own.bias", "norm.weight", "norm.bias"]
    assert_equal(before, model.state_dict())
    assert model.layers[2].calls == 0


def test_hooks_of_a_block_fire_and_those_of_others_keep_a_forward_unplanned() -> None:
    model, _ = planned_and_eager(If)
    fired: list[str] = []
    handles = [
        model.layers[2].register_forward_hook(lambda *_: fired.append("forward")),
        model.layers[2].own.register_full_backward_hook(lambda *_: fired.append("backward")),
    ]
    step(model, inputs())  # the first forward is rehearsed
    fired.clear()
    step(model, inputs())
    assert fired == ["forward", "backward"]
    assert monet_torch.status(model)["planned"] == 2
    for handle in handles:
        handle.remove()
    model.layers[1].register_forward_hook(lambda *_: None)
    with pytest.warns(UserWarning, match="has hooks"):
        step(model, inputs())


def test_two_forwards_other_sizes_autocast_and_a_backward_that_never_comes() -> None:
    model, eager = planned_and_eager(Everything)
    found = []
    for m in (eager, model):
        torch.manual_seed(5)
        m(*inputs(8))
        first, second = m(*inputs()), m(*inputs(24))
        (2 * first).backward()
        second.backward()
        found.append({k: p.grad for k, p in m.named_parameters()})
    assert_equal(*found)
    assert monet_torch.status(model)["eager"] == {}
    model.eval()
    eager.eval()
    assert torch.equal(model(*inputs()), eager(*inputs()))


def test_a_block_runs_under_the_autocast_of_its_place() -> None:
    original, _, _, reasons = captured_with(Everything)
    eager, model = copy.deepcopy(original), copy.deepcopy(original)
    captured = capture(copy.deepcopy(original), inputs(), autocast=("cpu", torch.bfloat16), opaque=list(reasons))
    monet_torch.apply(model, plan_for(captured, "drop"))
    found = []
    for m in (eager, model):
        with torch.autocast("cpu", torch.bfloat16):
            found.append(step(m, inputs()))
    assert_equal(*found)
    assert monet_torch.status(model)["planned"] == 1


def test_a_loop_leaves_nothing_behind_and_traces_once(cells: weakref.WeakSet[Any]) -> None:
    model, _ = planned_and_eager(Everything)
    for turn in range(5):
        step(model, inputs(), turn)
    assert len(planned._runtimes[model].programs) == 1
    x = model(*inputs())
    del x
    gc.collect()
    assert len(cells) == 0


class Twice(nn.Module):
    """One module called twice, in a region without gradients too, its inputs by name and in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.gate = nn.Linear(16, 16), Named()

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self.gate({"x": x, "scale": 2})["out"]
        with torch.no_grad():
            y = self.gate({"x": x, "scale": 3}, shift=x)["out"]
        return (x * y).relu().sum()


class Named(Linear):
    def forward(self, batch: dict[str, Any], shift: Tensor | None = None) -> dict[str, Any]:
        x = self.own(batch["x"]) * batch["scale"]
        if shift is not None and shift.sum() > -1e6:
            x = x + shift
        return {"out": x if x.mean() > -1e6 else -x, "rest": None}


def planned_model(model: nn.Module, args: tuple[Any, ...]) -> tuple[nn.Module, nn.Module, dict[str, str]]:
    captured, _, reasons = covered(model, args)
    eager = copy.deepcopy(model)
    monet_torch.apply(model, plan_for(captured, "drop"))
    return model, eager, reasons


def test_a_module_may_be_called_twice_with_whatever_trees_hold() -> None:
    model, eager, reasons = planned_model(Twice().train(), inputs())
    assert list(reasons) == ["gate"]
    for turn in range(2):
        assert_equal(step(eager, inputs(), turn), step(model, inputs(), turn))
    assert monet_torch.status(model)["planned"] == 2


class Skips(Linear):
    """Hands on its input at times, or what needs no gradient."""

    mode = 0

    def forward(self, x: Tensor) -> Tensor:
        if x.mean() > 100:
            return x
        return torch.zeros_like(x) if x.mean() > 10 else self.own(x)


def test_what_a_block_returns_may_be_its_input_or_need_no_gradient_from_step_to_step() -> None:
    model, eager, _ = planned_model(Layered(Skips()).train(), inputs())
    for shift in (0.0, 30.0, 300.0, 0.0):
        (x,) = inputs()
        with torch.no_grad():
            for m in (model, eager):
                m.layers[1].down.bias.fill_(shift)
        assert_equal(step(eager, (x,)), step(model, (x,)))
    assert monet_torch.status(model)["planned"] == 4


class Picks(nn.Module):
    """Which and how many rows go on depends on values: so do the sizes of all that comes after."""

    def forward(self, x: Tensor) -> Tensor:
        return x[x.sum(1) > 0]


class Picking(Linear):
    def __init__(self) -> None:
        super().__init__()
        self.pick = Picks()

    def forward(self, x: Tensor) -> Tensor:
        return self.own(self.pick(x)).sum(0, keepdim=True) + x


def test_a_module_whose_sizes_depend_on_values_is_within_a_block_and_no_block() -> None:
    model, eager, reasons = planned_model(Layered(Picking()).train(), inputs())
    assert list(reasons) == ["layers.2"]
    for turn in range(2):
        assert_equal(step(eager, inputs(), turn), step(model, inputs(), turn))


class Rows(Linear):
    """As many rows as some sum says."""

    def forward(self, x: Tensor) -> Tensor:
        return self.own(x)[: int(x.detach().abs().sum()) // 10**6 + 3]


def test_other_sizes_than_were_traced_are_an_error_and_then_unplanned() -> None:
    model, eager, _ = planned_model(Layered(Rows()).train(), inputs())
    (x,) = inputs()
    step(model, (x,))
    with pytest.raises(
        PlanMismatch, match=r"layers.2, .* returned float32\[32, 16\] in place of float32\[3, 16\].*\[M313\]"
    ):
        step(model, (x * 1e5,))
    with pytest.warns(UserWarning, match="this depends on values"):
        assert_equal(step(eager, (x * 1e5,)), step(model, (x * 1e5,)))


class Losing(Linear):
    """Leaves a loss of its own for whoever sums them up."""

    def forward(self, x: Tensor) -> Tensor:
        self.loss = self.own(x).square().mean() if x.mean() > -1e6 else 0
        return self.own(x)


class Summing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(16, 16), Losing())
        self.outer = nn.Sequential(nn.Linear(16, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 16))

    def forward(self, x: Tensor) -> Tensor:
        x = self.inner(x)
        return self.outer(x).sum() + self.inner[1].loss


def test_what_a_block_sets_is_not_read_by_the_trace() -> None:
    """A trace would take the value of the step before. Here the root reads it, so nothing smaller can be a block."""
    with pytest.raises(CaptureError, match="depends on values"):
        planned_model(Summing().train(), inputs())


class Energy(Linear):
    """The gradient is of the whole model, not of one module."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = If()

    def forward(self, x: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        y = self.gate(self.own(x).sin())
        return y + torch.autograd.grad(y.sum(), x, create_graph=True)[0]


class Writes(Linear):
    def forward(self, x: Tensor) -> Tensor:
        x += 1
        return self.own(x) if x.mean() > -1e6 else x


def test_a_module_that_writes_to_what_it_is_given_is_within_a_block_and_no_block() -> None:
    around = nn.Sequential(nn.Linear(16, 16), Writes())
    model, eager, reasons = planned_model(Layered(around).train(), inputs())
    assert list(reasons) == ["layers.2"]
    assert_equal(step(eager, inputs()), step(model, inputs()))


class Memo(Linear):
    """Returns from its second call on what its first made."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        if self.calls % 2:
            self.last = self.own(x)
        return self.last if x.mean() > -1e6 else x


class Written(nn.Module):
    """What comes out of a block is written in place, while what went in, or came out before, is read later."""

    def __init__(self, within: nn.Module, second: bool) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(16, 16), nn.Linear(16, 16)
        self.within, self.second = within, second

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        before = self.within(x) if self.second else x
        y = self.within(x)
        y.mul_(2)
        return self.last(y + before).square().sum()


class Clamps(Linear):
    """Writes its parameter, a tensor of its own, and draws from a generator of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.code, self.generator = torch.ones(16), torch.Generator().manual_seed(3)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.own.weight.mul_(0.5)
            self.code.add_(torch.rand(16, generator=self.generator))
        return self.own(x) * self.code if x.mean() > -1e6 else x


class Aside(Linear):
    def forward(self, x: Tensor) -> Tensor:
        y = self.own(x).sin()
        self.aside = self.own(x).square().mean()  # `y` itself is written in place later
        return y if x.mean() > -1e6 else x


class Masked(If):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return super().forward(x) if mask is None else super().forward(x) * mask


class Masks(nn.Module):
    """Leaves out a mask that masks nothing, as transformers does where nobody traces."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.middle, self.last = Plain(), Masked(), Plain()

    def mask(self, x: Tensor) -> Tensor | None:
        mask = torch.ones_like(x)
        return None if not torch.compiler.is_compiling() and bool(mask.all()) else mask

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.middle(self.first(x), self.mask(x))).square().sum()


def test_a_block_is_given_in_the_rehearsal_what_it_is_given_in_the_trace() -> None:
    torch.manual_seed(0)
    model = Masks().train()
    eager = copy.deepcopy(model)
    captured, loss = capture_step(model, inputs(), {}, (), None, None, ["middle"])
    (block,) = (o for o in captured.operators if o.block is not None)
    assert len(block.inputs) == 2 + len(list(model.middle.parameters()))
    profile(captured, loss, Cache(None, []))
    monet_torch.apply(model, plan_for(captured, "drop"))
    assert_equal(step(model, inputs()), step(eager, inputs()))
    assert monet_torch.status(model)["planned"] == 1


def mask_of(x: Tensor) -> Tensor | None:
    """None in eager, as transformers does: an export can't look, and takes a mask."""
    mask = torch.ones_like(x)
    return None if not torch.compiler.is_compiling() and bool(mask.all()) else mask


class AsksInside(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.own = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        return (self.own(x).sin() if x.mean() > -1e6 else x), mask_of(x)


class AsksAround(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.block = nn.Linear(8, 8), AsksInside()

    def forward(self, x: Tensor) -> Tensor:
        mask = mask_of(x)
        y = self.first(x).relu()
        return cast("Tensor", self.block(y if mask is None else y * mask)[0].tanh())


def test_a_block_is_not_told_in_the_rehearsal_that_it_is_traced_though_others_are() -> None:
    torch.manual_seed(0)
    model, args = AsksAround().train(), (torch.randn(4, 8),)
    eager = copy.deepcopy(model)
    monet_torch.apply(model, plan_for(capture(model, args, opaque=["block"]), "drop"))
    assert_equal(step(model, args), step(eager, args))
    assert monet_torch.status(model)["planned"] == 1


class Observes(Linear):
    """Puts a hook on what is in it, once, as transformers does where it wants hidden states."""

    observes = False

    def forward(self, x: Tensor) -> Tensor:
        if not self.observes:
            self.observes = True
            self.own.register_forward_hook(lambda *_: None)
        return self.own(x).sin() if x.mean() > -1e6 else x


def test_hooks_that_a_rehearsed_forward_puts_are_gone_as_its_note_of_them_is() -> None:
    model = Layered(Observes()).train()
    capture_step(model, inputs(), {}, (), None, None, ["layers.2"])
    assert (model.layers[2].observes, len(model.layers[2].own._forward_hooks)) == (False, 0)


def test_a_rehearsal_leaves_parameters_tensors_and_generators_as_they_were() -> None:
    model = Layered(Clamps()).train()
    block = model.layers[2]
    before = copy.deepcopy(block)
    capture_step(model, inputs(), {}, (), None, None, ["layers.2"])
    assert torch.equal(block.own.weight, before.own.weight)
    assert torch.equal(block.code, before.code)
    assert torch.equal(block.generator.get_state(), before.generator.get_state())


def test_what_a_block_leaves_beside_its_output_can_be_differentiated_alone() -> None:
    model = Layered(Aside()).train()
    eager = copy.deepcopy(model)
    captured, _ = capture_step(model, inputs(), {}, (), None, None, ["layers.2"])
    monet_torch.apply(model, plan_for(captured, "drop"))
    for m in (model, eager):
        m(*inputs())
        m.layers[2].aside.backward()
    assert monet_torch.status(model)["planned"] == 1
    found, expected = ({k: p.grad for k, p in m.named_parameters() if p.grad is not None} for m in (model, eager))
    assert "layers.0.up.weight" in expected
    assert_equal(found, expected)


@pytest.mark.parametrize(
    ("model", "opaque", "sentence"),
    [
        (Written(If(), False), ["within"], r"within may return the memory of what is read after .* \[M218\]"),
        (Written(Memo(), True), ["within"], r"within may return the memory of what is read after .* \[M218\]"),
        (Layered(nn.Sequential(nn.Linear(16, 16), Writes())), ["layers.2.1"], r"layers.2.1 writes to .* \[M218\]"),
        (Energy(), ["gate"], r"a gradient is taken inside of the forward, which can't be traced \[M219\]"),
        (Summing(), ["inner.1"], r"the forward reads loss of inner.1, which inner.1 sets .* \[M220\]"),
        (Layered(Sparse()), [], r"aten.to_sparse.default gives a sparse_coo tensor, which a plan can't hold \[M221\]"),
    ],
)
def test_what_is_no_block_is_said(model: nn.Module, opaque: list[str], sentence: str) -> None:
    with pytest.raises(CaptureError, match=sentence):
        capture_step(model.train(), inputs(), {}, (), None, None, opaque)


def test_a_block_is_not_estimated() -> None:
    captured, loss = capture_step(Layered(If()).train(), inputs(), {}, (), None, None, ["layers.2"])
    measure = estimate.measure_for(estimate.find("A100"))
    with pytest.raises(MonetError, match=r"layers.2 can't be traced, .* profile on a device that is here \[M217\]"):
        profile(captured, loss, Cache(None, []), None, measure)


class Root(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Plain(), Plain()

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.second(x).sum() if x.mean() > -1e6 else x.sum()


def test_where_the_models_own_forward_fails_or_hardly_anything_is_left_there_is_no_block() -> None:
    with pytest.raises(CaptureError, match=r"test_opaque.py:\d+: what runs here depends on values"):
        covered(Root().train(), inputs())
    with pytest.raises(CaptureError, match="depends on values"):
        covered(nn.Sequential(nn.Flatten(), Root()).train(), inputs())


def test_alike_modules_are_blocks_together() -> None:
    class Stack(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.ModuleDict({"mix": Plain(), "gate": If()}) for _ in range(3))

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                x = layer["gate"](layer["mix"](x))
            return x.sum()

    captures = []

    def capture(opaque: Any) -> tuple[Captured, int]:
        captures.append(opaque)
        return capture_step(model, inputs(), {}, (), None, None, opaque)

    model = Stack().train()
    with pytest.raises(CaptureError) as failed:
        capture(())
    reasons = cover(target(model, inputs()), capture, failed.value, CPU, None)
    assert list(reasons) == ["layers.0.gate", "layers.1.gate", "layers.2.gate"]
    assert len(captures) == 2
