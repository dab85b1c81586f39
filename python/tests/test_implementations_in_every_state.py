"""Each implementation, alone in a small model with a plan, in what autograd is asked to do besides a plain step."""

from __future__ import annotations

import copy
import functools
import gc
import importlib
import re
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from models import assert_equal, plan_for
from torch import Tensor, nn

import monet_torch
from monet_torch import operators, planned
from monet_torch.capture import capture
from monet_torch.captured import Captured
from monet_torch.compiled import backend
from monet_torch.measure import tracker_peak
from monet_torch.operators import loss

MODES = ["keep", "drop"]
IN_16_BITS = 4e-2
ON_CUDA_ALONE = {
    ("scaled_dot_product_attention", "flash"), ("scaled_dot_product_attention", "efficient"),
    ("scaled_dot_product_attention", "cudnn"), ("conv2d", "native"), ("conv2d", "native-forward"),
    ("conv2d", "native-backward"), ("conv2d", "deterministic"), ("conv2d", "channels-last"),
    *((f"conv{dims}d", "weight-first-transposed") for dims in (1, 2, 3)),
}  # fmt: skip


class Call(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = (function,)

    def forward(self, x: Tensor) -> Tensor:
        return self.function[0](x)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 8) / 3)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.linear(x, self.weight).tanh(), self.weight)


def attention(x: Tensor) -> Tensor:
    q = x.view(2, 6, 2, 8).transpose(1, 2)
    return F.scaled_dot_product_attention(q, q.cos(), q.sin(), is_causal=True)


def activated(in_place: bool) -> nn.Module:
    return nn.Sequential(nn.BatchNorm2d(4), nn.LeakyReLU(0.1, in_place))


class Loss(nn.Module):
    target: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("target", torch.arange(12) % 8)

    def forward(self, x: Tensor) -> Tensor:
        return F.cross_entropy(x, self.target)


@dataclass(frozen=True)
class Row:
    """`name` of the operator `op`, which `part` runs on an activation of `shape`.

    `within`: how far gradients may be from eager's, as a share of the largest (IN_16_BITS, in 16); 0: not by a bit.
    """

    op: str
    name: str
    shape: tuple[int, ...]
    part: Callable[[], nn.Module]
    how: str = ""
    within: float = 0.0
    dtype: torch.dtype = torch.float32

    def __str__(self) -> str:
        return f"{self.op}-{self.name}{self.how and '-'}{self.how}"

    def offered(self, captured: Captured) -> list[int]:
        """Its operators that may run so."""
        return [
            o.id
            for o in captured.operators
            if o.module.startswith("part")
            and o.name.split(".")[1] == self.op
            and self.name in {i.name for i in operators.alternatives(captured, o)}
        ]


def calls(op: str, name: str, shape: tuple[int, ...], within: float = 0.0, **how: Callable[[Tensor], Tensor]) -> Any:
    return [Row(op, name, shape, lambda f=f: Call(f), key.replace("_", " ").strip(), within) for key, f in how.items()]


ROWS, MAPS, LINE, CUBE = (12, 8), (2, 4, 8, 8), (2, 3, 8), (2, 3, 4, 4, 8)
TABLE: list[Row] = [
    *calls("relu", "mask", ROWS, _=F.relu, in_place=F.relu_),
    *calls("hardtanh", "output", ROWS, _=F.hardtanh, in_place=F.hardtanh_),
    *calls("relu6", "output", ROWS, _=F.relu6),
    *calls("leaky_relu", "mask", ROWS, _=F.leaky_relu, in_place=F.leaky_relu_),
    *calls("leaky_relu", "output", ROWS, _=F.leaky_relu),
    *calls("hardsigmoid", "mask", ROWS, _=F.hardsigmoid, in_place=lambda x: F.hardsigmoid(x, inplace=True)),
    *calls("threshold", "mask", ROWS, _=lambda x: F.threshold(x, 0.1, 0.2), in_place=lambda x: F.threshold_(x, 0.1, 2)),
    *calls("clamp", "mask", ROWS, _=lambda x: x.clamp(-0.2, 0.3), in_place=lambda x: x.clamp_(-0.2, 0.3)),
    *calls("clamp_min", "mask", ROWS, _=lambda x: x.clamp_min(0.1), in_place=lambda x: x.clamp_min_(0.1)),
    *calls("clamp_max", "mask", ROWS, _=lambda x: x.clamp_max(0.1), in_place=lambda x: x.clamp_max_(0.1)),
    *calls("where", "mask", ROWS, _=lambda x: torch.where(x > 0.1, x, x * 3)),
    *calls("where", "mask", ROWS, else_a_number=lambda x: torch.where(x > 0.1, x, 0.5)),
    *calls("where", "mask", ROWS, a_number=lambda x: torch.where(x > 0.1, 0.5, x)),
    *calls("masked_fill", "mask", ROWS, _=lambda x: x.masked_fill(x > 0, 0.2)),
    *calls("masked_fill", "mask", ROWS, in_place=lambda x: x.masked_fill_(x > 0, 0.2)),
    *calls("max_pool1d", "index8", LINE, _=lambda x: F.max_pool1d(x, 3, 2, 1)),
    *calls("max_pool2d", "index8", MAPS, _=lambda x: F.max_pool2d(x, 3, 2, 1)),
    *calls("max_pool2d", "index4", MAPS, _=lambda x: F.max_pool2d(x, 3, 2, 1)),
    *calls("max_pool3d", "index8", CUBE, _=lambda x: F.max_pool3d(x, 2)),
    *calls("avg_pool1d", "shape", LINE, _=lambda x: F.avg_pool1d(x, 3, 2, 1)),
    *calls("avg_pool2d", "shape", MAPS, _=lambda x: F.avg_pool2d(x, 3, 2, 1)),
    *calls("avg_pool3d", "shape", CUBE, _=lambda x: F.avg_pool3d(x, 2)),
    *calls("adaptive_avg_pool1d", "shape", LINE, _=lambda x: F.adaptive_avg_pool1d(x, 3)),
    *calls("adaptive_avg_pool2d", "shape", MAPS, _=lambda x: F.adaptive_avg_pool2d(x, 3)),
    *calls("adaptive_avg_pool3d", "shape", CUBE, _=lambda x: F.adaptive_avg_pool3d(x, 2)),
    *calls("dropout", "mask", ROWS, _=lambda x: F.dropout(x, 0.4)),
    *calls("dropout", "replay", (1 << 14, 8), _=lambda x: F.dropout(x, 0.4)),
    Row("cross_entropy_loss", "chunks", ROWS, Loss),
    Row("linear", "own-gradient", ROWS, Tied),
    Row("linear", "onednn", ROWS, lambda: nn.Linear(8, 8), within=2e-6),
    Row("conv1d", "weight-first", LINE, lambda: nn.Conv1d(3, 4, 3, padding=1)),
    Row("conv2d", "weight-first", MAPS, lambda: nn.Conv2d(4, 4, 3, padding=1)),
    Row("conv3d", "weight-first", CUBE, lambda: nn.Conv3d(3, 4, 3, padding=1)),
    Row("batch_norm", "output", MAPS, lambda: nn.BatchNorm2d(4), within=2e-6),
    Row("batch_norm", "activated", MAPS, lambda: activated(False), within=2e-6),
    Row("batch_norm", "activated", MAPS, lambda: activated(True), "in place", within=2e-6),
    Row("rms_norm", "output", ROWS, lambda: nn.RMSNorm(8), within=2e-6),
    Row("layer_norm", "output", ROWS, lambda: nn.LayerNorm(8), within=2e-6),
    Row("group_norm", "output", MAPS, lambda: nn.GroupNorm(2, 4), within=2e-6),
    *calls("silu", "output", ROWS, 3e-4, _=F.silu, in_place=lambda x: F.silu(x, inplace=True)),
    *calls("gelu", "output", ROWS, 3e-4, _=F.gelu),
    *calls("mish", "output", ROWS, 3e-4, _=F.mish, in_place=lambda x: F.mish(x, inplace=True)),
    *calls("hardswish", "output", ROWS, 3e-4, _=F.hardswish, in_place=lambda x: F.hardswish(x, inplace=True)),
    Row("scaled_dot_product_attention", "math", (2, 6, 16), lambda: Call(attention), within=2e-2, dtype=torch.bfloat16),
    Row(
        "conv2d", "channels-last-forward", MAPS, lambda: nn.Conv2d(4, 4, 3, padding=1), within=2e-2,
        dtype=torch.bfloat16,
    ),
    Row("linear", "bfloat16", ROWS, lambda: nn.Linear(8, 8), within=1e-2),
    Row("linear", "int8", ROWS, lambda: nn.Linear(8, 8), within=1e-2),
    Row("conv2d", "bfloat16", MAPS, lambda: nn.Conv2d(4, 4, 3, padding=1), within=1e-2),
    Row("conv2d", "int8", MAPS, lambda: nn.Conv2d(4, 4, 3, padding=1), within=1e-2),
]  # fmt: skip
if not hasattr(torch.ops.aten, "_fused_rms_norm"):  # in PyTorch 2.6, where there is no such implementation
    TABLE = [row for row in TABLE if row.op != "rms_norm"]
BY_NAME = {str(row): row for row in TABLE}
every_row = pytest.mark.parametrize("row", TABLE, ids=str)


class Around(nn.Module):
    """Two outputs, of which each needs the operator, after what makes its input."""

    def __init__(self, row: Row) -> None:
        super().__init__()
        self.before = nn.Linear(row.shape[-1], row.shape[-1])
        self.part = row.part()
        self.gain = nn.Parameter(torch.tensor(1.5))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.part(self.before(x))
        return torch.tanh(y * self.gain), torch.sin(y)


@pytest.fixture(autouse=True)
def _all_are_offered_in_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(loss.CHUNK_BYTES, "cpu", 64)
    monkeypatch.setattr(operators, "_registry", {op: [*many] for op, many in operators._registry.items()})
    from monet_torch.operators import fewer_bits

    importlib.reload(fewer_bits)


def made(row: Row, dtype: torch.dtype) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    return Around(row).to(dtype).train(), torch.randn(row.shape, dtype=dtype).requires_grad_()


@functools.cache
def traced(name: str, autocast: Any = None) -> Captured:
    row = BY_NAME[name]
    model, x = made(row, torch.float32 if autocast else row.dtype)
    return capture(model, (x,), autocast=autocast)


def with_plan(row: Row, mode: str, autocast: Any = None) -> tuple[nn.Module, nn.Module, Tensor]:
    """Eager's, the same with a plan that has not run yet, and their input."""
    captured = traced(str(row), autocast)
    plan = plan_for(captured, mode)
    plan["implementations"] = {str(o): row.name for o in row.offered(captured)}
    assert plan["implementations"]
    eager, x = made(row, torch.float32 if autocast else row.dtype)
    model = copy.deepcopy(eager)
    monet_torch.apply(model, plan)
    return eager, model, x


Found = dict[str, Tensor]
State = Callable[[Any, Tensor], Found]


def total(outputs: tuple[Tensor, Tensor]) -> Tensor:
    return outputs[0].sum() + 2 * outputs[1].sum()


def gradients(model: nn.Module, x: Tensor) -> Found:
    """What there is, and then no more."""
    tensors = dict(model.named_parameters()) | {"x": x}
    found = {k: t.grad for k, t in tensors.items() if t.grad is not None}
    for t in tensors.values():
        t.grad = None
    return found | {f"buffer {k}": b.clone() for k, b in model.named_buffers()}


def plain(model: Any, x: Tensor) -> Found:
    total(model(x)).backward()
    return gradients(model, x)


def retained(model: Any, x: Tensor) -> Found:
    """Two backwards of one graph."""
    result = total(model(x))
    result.backward(retain_graph=True)
    first = gradients(model, x)
    result.backward()
    return {f"first {k}": g for k, g in first.items()} | gradients(model, x)


def one_input(model: Any, x: Tensor) -> Found:
    return {"x": torch.autograd.grad(total(model(x)), [x])[0]}


def one_parameter(model: Any, x: Tensor) -> Found:
    """The operator's last, whose input needs no gradient then; or the one after an operator that has none."""
    last = [model.gain, *model.part.parameters()][-1]
    return {"last": torch.autograd.grad(total(model(x)), [last])[0]}


def one_output(model: Any, x: Tensor) -> Found:
    """The first of two, then of another forward the second."""
    found = {}
    for which in (0, 1):
        model(x)[which].sum().backward()
        found |= {f"output {which} {k}": g for k, g in gradients(model, x).items()}
    return found


def two_forwards(model: Any, x: Tensor) -> Found:
    first, second = total(model(x)), total(model(x * 0.5))
    (first * 3 + second).backward()
    return gradients(model, x)


def batched(model: Any, x: Tensor) -> Found:
    """Several gradients of one output at once, as a Jacobian is made."""
    y = model(x)[1]
    grads = torch.randn(3, *y.shape, generator=torch.Generator().manual_seed(1)).to(y.dtype)
    return {"x": torch.vmap(lambda g: torch.autograd.grad(y, x, g, retain_graph=True)[0])(grads)}


def anomaly(model: Any, x: Tensor) -> Found:
    with torch.autograd.set_detect_anomaly(True):
        return plain(model, x)


STATES: list[State] = [retained, one_input, one_parameter, one_output, two_forwards, anomaly]


def assert_close(within: float, want: Found, got: Found) -> None:
    if not within:
        assert_equal(want, got)
        return
    assert want.keys() == got.keys()
    far = {k: float((got[k] - g).abs().max() / g.abs().max()) for k, g in want.items() if g.is_floating_point()}
    assert all(share <= within for share in far.values()), far


def assert_as_eager(row: Row, state: State, within: float, autocast: Any = None) -> None:
    """With all held and with nothing held, in the first step and in the one after it.

    And both plans to the bit as one another: what is made again is what was there.
    """
    results: list[Found] = []
    for mode in MODES:
        eager, model, x = with_plan(row, mode, autocast)
        for turn in range(2):
            both = []
            for m in (eager, model):
                torch.manual_seed(turn)
                both.append(state(m, x))
            assert_close(within, *both)
            results.append(both[1])
        assert monet_torch.status(model)["eager"] == {}
        (program,) = planned._runtimes[model].by_fingerprint.values()
        assert all(program.builders[o] is not operators.eager for o in program.plan.implementations)
    assert_equal(results[0], results[2])
    assert_equal(results[1], results[3])


def test_all_that_run_on_a_cpu_are_in_this_table_and_all_are_in_the_docs() -> None:
    registered = {(op.split(".")[1], i.name) for op, every in operators._registry.items() for i in every}
    assert {(row.op, row.name) for row in TABLE} == registered - ON_CUDA_ALONE
    docs = (Path(__file__).parents[2] / "docs" / "implementations.md").read_text(encoding="utf-8")
    lines = [line.split("|") for line in docs.splitlines() if line.startswith("| `")]
    rows = [[re.findall("`([^`]+)`", cell) for cell in cells[1:3]] for cells in lines]
    assert {(op, name) for ops, names in rows for op in ops for name in names} == registered | {("rms_norm", "output")}


@every_row
@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_gradients_are_eagers(row: Row, state: State) -> None:
    assert_as_eager(row, state, row.within)


@every_row
def test_several_gradients_at_once_are_eagers(row: Row) -> None:
    """(Which for some of them has kernels that sum in another order.)"""
    assert_as_eager(row, batched, max(row.within, 1e-6))


# Autocast makes a copy of a weight, so that none is shared; a norm whose weights have more bits than its input keeps to
# eager's; and what keeps an input of 32 bits in 16 finds one of 16.
NOT_UNDER_AUTOCAST = {
    "linear-own-gradient", "linear-onednn", "rms_norm-output", "layer_norm-output", "group_norm-output",
    "linear-bfloat16", "conv2d-bfloat16",
}  # fmt: skip


@every_row
def test_it_can_be_compiled(row: Row) -> None:
    """(Its operators one by one, in the piece that is made of them. Some run as eager's.)"""
    torch._dynamo.reset()
    captured = traced(str(row))
    plan = plan_for(captured, "keep")
    plan["implementations"] = {str(o): row.name for o in row.offered(captured)}
    eager, x = made(row, row.dtype)
    options = {"plan": plan, "compiler": "eager"}
    compiled = torch.compile(copy.deepcopy(eager), backend=backend, options=options, fullgraph=True)
    both = []
    for model in (eager, compiled):
        torch.manual_seed(0)
        both.append(total(model(x)).detach())
        torch.manual_seed(0)
        total(model(x)).backward()
        both.append(gradients(getattr(model, "_orig_mod", model), x))
    assert torch.equal(both[0], both[2])
    assert_close(row.within, both[1], both[3])


HALVES = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=lambda d: str(d).removeprefix("torch."))


@HALVES
def test_what_is_not_offered_under_autocast_is_known(dtype: torch.dtype) -> None:
    not_offered = {name for name, row in BY_NAME.items() if not row.offered(traced(name, ("cpu", dtype)))}
    assert not_offered == NOT_UNDER_AUTOCAST & BY_NAME.keys()


@HALVES
@pytest.mark.parametrize("both", [True, False], ids=["both passes", "forward alone"])
@pytest.mark.parametrize("row", [r for n, r in BY_NAME.items() if n not in NOT_UNDER_AUTOCAST], ids=str)
def test_gradients_are_eagers_under_autocast(row: Row, both: bool, dtype: torch.dtype) -> None:
    def cast(model: Any, x: Tensor) -> Found:
        with torch.autocast("cpu", dtype):
            result = total(model(x))
            if both:
                result.backward()
        if not both:
            result.backward()
        return gradients(model, x)

    assert_as_eager(row, cast, IN_16_BITS if row.within else 0, ("cpu", dtype))


@pytest.fixture
def _little_to_collect() -> Iterator[None]:
    """A look at memory collects garbage, and some million objects of PyTorch's take a while to look through."""
    gc.freeze()
    yield
    gc.unfreeze()


def bytes_left(step: Callable[[], object]) -> int:
    return tracker_peak(step).end_bytes


@every_row
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.usefixtures("_little_to_collect")
def test_a_backward_that_never_comes_leaves_nothing(row: Row, mode: str, cells: weakref.WeakSet[Any]) -> None:
    eager, model, x = with_plan(row, mode)
    results = []
    for m in (eager, model):
        torch.manual_seed(0)
        m(x)
        assert len(cells) == 0
        for _ in range(2):
            assert bytes_left(lambda m=m: m(x)) == 0  # type: ignore[misc]
        results.append(plain(m, x))
    assert_close(row.within, *results)


class Stopped(Exception):
    pass


def stopped(model: Any, x: Tensor, where: Tensor) -> Found:
    """What gradients there are after a backward that an exception ended."""

    def stop(_: Tensor) -> None:
        raise Stopped

    handle = where.register_hook(stop)
    try:
        total(model(x)).backward()
    except Stopped:
        return gradients(model, x)
    finally:
        handle.remove()
    raise AssertionError("it was not stopped")


@every_row
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.usefixtures("_little_to_collect")
@pytest.mark.parametrize("reached", [False, True], ids=["before the operator", "after the operator"])
def test_an_exception_in_the_middle_of_a_backward_leaves_nothing_and_spoils_nothing(
    row: Row, mode: str, reached: bool, cells: weakref.WeakSet[Any]
) -> None:
    """PyTorch keeps what it had not reached until the next backward; under a plan that holds nothing there is less."""
    eager, model, x = with_plan(row, mode)

    def stop(m: Any, results: list[Found]) -> None:
        results.append(stopped(m, x, m.before.weight if reached else m.gain))

    for turn in range(3):
        left, results = [], []
        for m in (eager, model):
            torch.manual_seed(turn)
            left.append(bytes_left(functools.partial(stop, m, results)))
            assert len(cells) == 0
            results.append(plain(m, x))
        assert_close(row.within, *results[::2])
        assert_close(row.within, *results[1::2])
    assert mode == "keep" or left[1] <= left[0]

    def stop_and_go_on() -> None:
        stop(model, [])
        plain(model, x)

    assert bytes_left(stop_and_go_on) == 0
