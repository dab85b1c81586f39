"""A convolution pass by pass in other ways: each pass runs in its way, laid out as eager's, where it may win."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from models import plan_for
from torch import Tensor, nn
from torch.backends import cudnn
from torch.utils._python_dispatch import TorchDispatchMode

import monet_torch
from monet_torch import operators
from monet_torch.capture import capture
from monet_torch.captured import Value
from monet_torch.estimate import CARDS, measure_for
from monet_torch.operators import convolution

aten = torch.ops.aten
WAYS: dict[str, list[dict[str, bool]]] = {
    "native": [{"enabled": False}, {"enabled": False}],
    "native-forward": [{"enabled": False}, {}],
    "native-backward": [{}, {"enabled": False}],
    "deterministic": [{"deterministic": True}, {"deterministic": True}],
    "channels-last": [{"last": True}, {"last": True}],
    "channels-last-forward": [{"last": True}, {}],
}
"""Of forward and backward, what differs from how eager runs here."""
ROUNDING = {torch.float32: 1e-6, torch.bfloat16: 8e-3, torch.float16: 1e-3}


def by(name: str) -> Any:
    (found,) = [i for i in operators._registry["aten.conv2d.default"] if i.name == name]
    return found.build(None, False)  # type: ignore[arg-type]


def run(call: Any, dtype: torch.dtype, bias: bool) -> list[Tensor]:
    """Output and gradients."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, 6, 9, 8), (4, 3, 3, 2), *([(4,)] if bias else [])]
    leaves = [torch.randn(s, generator=generator).to(dtype).requires_grad_() for s in shapes]
    y = call(*leaves, *([] if bias else [None]), [2], [1, 2], [1, 2], 2)
    grad = torch.randn(y.shape, generator=generator).to(dtype)
    return [y.detach(), *torch.autograd.grad(y, leaves, grad)]


class Watch(TorchDispatchMode):  # type: ignore[misc]
    """Under which flags and in which layout convolutions run, in both directions."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[dict[str, bool]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "convolution" in str(func):
            images = [t for t in args[: 2 if "backward" in str(func) else 1] if t.dim() == 4]
            last = all(t.is_contiguous(memory_format=torch.channels_last) for t in images)
            self.seen.append({"enabled": cudnn.enabled, "deterministic": cudnn.deterministic, "last": last})
        return func(*args, **(kwargs or {}))


def test_every_way_has_cases_here() -> None:
    names = [i.name for i in operators._registry["aten.conv2d.default"]]
    assert [name for name in names if not name.startswith("weight-first")] == list(WAYS)


@pytest.mark.parametrize("name", WAYS)
def test_each_pass_runs_in_its_way_and_leaves_the_flags_as_they_were(name: str) -> None:
    before = (cudnn.enabled, cudnn.deterministic, cudnn.benchmark)
    usual = {"enabled": before[0], "deterministic": before[1], "last": False}
    with Watch() as watch:
        run(by(name), torch.float32, True)
    assert watch.seen == [usual | way for way in WAYS[name]]
    assert (cudnn.enabled, cudnn.deterministic, cudnn.benchmark) == before


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dtype", ROUNDING, ids=lambda d: str(d).removeprefix("torch."))
@pytest.mark.parametrize("name", WAYS)
def test_it_is_the_same_convolution(name: str, dtype: torch.dtype, bias: bool) -> None:
    """On the CPU the flags change nothing, so the bits show that all settings arrive."""
    for mine, theirs in zip(run(by(name), dtype, bias), run(aten.conv2d.default, dtype, bias), strict=True):
        assert mine.dtype == theirs.dtype
        assert mine.stride() == theirs.stride()
        if "last" in name:
            assert (mine - theirs).abs().max() <= ROUNDING[dtype] * theirs.abs().max()
        else:
            assert torch.equal(mine, theirs)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_of_the_forward_alone_the_gradients_are_eagers_to_the_bit(dtype: torch.dtype) -> None:
    _, *mine = run(by("channels-last-forward"), dtype, True)
    _, *theirs = run(aten.conv2d.default, dtype, True)
    for a, b in zip(mine, theirs, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", WAYS)
def test_what_is_not_finite_is_not_hidden(name: str) -> None:
    for strange in (torch.nan, torch.inf):
        x = torch.zeros(1, 3, 6, 6).bfloat16()
        x[0, 1, 2, 3] = strange
        x.requires_grad_()
        y = by(name)(x, torch.ones(2, 3, 3, 3).bfloat16().requires_grad_(), None)
        (want,) = torch.autograd.grad(y.sum(), x)
        assert torch.equal(y.isfinite(), aten.conv2d.default(x, torch.ones(2, 3, 3, 3).bfloat16()).isfinite())
        assert want.isfinite().all()


def value(*shape: int, device: str = "cuda", channels_last: bool = False, dtype: torch.dtype = torch.float32) -> Value:
    like = torch.empty(shape, device="meta")
    stride = like.to(memory_format=torch.channels_last).stride() if channels_last else like.stride()
    return Value(0, "", "activation", shape, stride, 0, dtype, torch.device(device), 0, 4, None, True)


def test_a_convolution_without_cudnn_is_offered_where_unfolding_takes_less() -> None:
    weight = value(64, 64, 3, 3)
    offered = convolution._smaller
    assert offered(value(32, 64, 56, 56), weight, None, [1, 1], [1, 1])
    assert not offered(value(32, 64, 56, 56, device="cpu"), weight, None, [1, 1], [1, 1])
    assert not offered(value(32, 64, 56, 56, channels_last=True), weight, None, [1, 1], [1, 1])
    assert not offered(value(2, 64, 512, 512), weight, None, [1, 1], [1, 1]), "one of two samples, nine times as large"
    assert not offered(value(32, 64, 56, 56), value(64, 64, 1, 1)), "needs no workspace"
    assert not offered(value(32, 64, 56, 56), value(64, 1, 3, 3), None, [1, 1], [1, 1], [1, 1], 64)


def test_the_channels_are_put_last_where_that_may_win() -> None:
    weight, half = value(64, 64, 3, 3), torch.bfloat16
    assert convolution._on_cuda(value(32, 64, 56, 56), weight)
    assert not convolution._on_cuda(value(32, 64, 56, 56, channels_last=True), weight)
    offered = convolution._in_16_bits_on_the_cpu
    assert offered(value(8, 64, 9, 9, device="cpu", dtype=half), weight)
    assert not offered(value(8, 64, 9, 9, device="cpu"), weight), "in 32 bits it took longer"
    assert not offered(value(8, 64, 9, 9, device="cpu", dtype=half), value(64, 1, 3, 3)), "depthwise took longer"
    assert not offered(value(8, 64, 9, 9, device="cpu", dtype=half, channels_last=True), weight)


@pytest.mark.parametrize("mode", ["keep", "drop", "random"])
def test_a_plan_runs_it_under_autocast(mode: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Conv2d(4, 6, 3), nn.Flatten(), nn.Linear(24, 5))
    x = torch.randn(4, 3, 6, 6)
    captured = capture(model, (x,), autocast=("cpu", torch.bfloat16))
    names = {o.id: [i.name for i in operators.alternatives(captured, o)] for o in captured.operators}
    chosen = {str(k): "channels-last-forward" for k, each in names.items() if "channels-last-forward" in each}
    assert len(chosen) == 2
    op = captured.operators[int(next(iter(chosen)))]
    y = captured.values[op.outputs[0]]
    on_a_card = [m.name for m in measure_for(CARDS[0])(captured, op, [(y.shape, y.stride)])]
    assert "channels-last-forward" not in on_a_card, "it is the CPU's alone"

    def gradients() -> list[Tensor]:
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            y = model(x)
        y.float().square().sum().backward()
        return [p.grad for p in model.parameters() if p.grad is not None]

    want = gradients()
    monet_torch.apply(model, plan_for(captured, mode) | {"implementations": chosen})
    got = gradients()
    assert monet_torch.status(model)["planned"] == 1
    assert len(got) == len(want) == 6
    for mine, theirs in zip(got, want, strict=True):
        assert (mine - theirs).abs().max() <= 0.03 * theirs.abs().max()


def test_gradients_of_gradients_are_refused() -> None:
    x = torch.randn(1, 2, 4, 4, requires_grad=True)
    y = by("native")(x, torch.randn(2, 2, 3, 3, requires_grad=True))
    (first,) = torch.autograd.grad(y, x, torch.ones_like(y).requires_grad_(), create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()
