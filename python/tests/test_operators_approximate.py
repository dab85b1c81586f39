"""Implementations that plans use only when asked: how far from eager they are, and when they save as eager does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from test_operators import Case, captured_alone
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from monet_torch import operators
from monet_torch.estimate import CARDS, measure_for

aten = torch.ops.aten
TOLERANCE = {torch.float64: 1e-14, torch.float32: 2e-6, torch.bfloat16: 5e-2, torch.float16: 8e-3}


def norm(*shape: int, bias: bool, last: bool = False, poor: int = 0) -> Callable[[torch.dtype], list[Tensor]]:
    """Input, weight and perhaps bias; the first `poor` weights are no use to divide by."""

    def make(dtype: torch.dtype) -> list[Tensor]:
        generator = torch.Generator().manual_seed(0)
        channels = shape[-1 if last else 1]
        x = torch.randn(shape, generator=generator, dtype=torch.float64) * 3 + 2
        weight = torch.rand(channels, generator=generator, dtype=torch.float64) + 0.5
        weight[-1] *= -1
        weight[:poor] *= torch.tensor([0.0, 1e-6]).repeat(channels)[:poor]
        shift = torch.randn(channels, generator=generator, dtype=torch.float64)
        return [t.to(dtype) for t in (x, weight, shift)[: 3 if bias else 2]]

    return make


def alone(*shape: int) -> Callable[[torch.dtype], list[Tensor]]:
    return lambda dtype: norm(*shape, bias=True)(dtype)[:1]


_batch = (None, None, True, 0.1, 1e-5, True)


def in_channels_last(dtype: torch.dtype) -> list[Tensor]:
    x, *others = norm(4, 16, 5, 6, bias=True)(dtype)
    return [x.contiguous(memory_format=torch.channels_last), *others]


def in_channels_last_with_a_poor_one(dtype: torch.dtype) -> list[Tensor]:
    x, *others = norm(4, 16, 5, 6, bias=True, poor=1)(dtype)
    return [x.contiguous(memory_format=torch.channels_last), *others]


CASES = {
    ("aten.batch_norm.default", "output"): [
        Case("images", aten.batch_norm.default, norm(4, 16, 5, 6, bias=True), _batch),
        Case("rows", aten.batch_norm.default, norm(40, 16, bias=True), _batch),
        Case("channels_last", aten.batch_norm.default, in_channels_last, _batch),
        Case("a poor channel", aten.batch_norm.default, norm(4, 16, 5, 6, bias=True, poor=1), _batch),
        Case("a poor channel, channels_last", aten.batch_norm.default, in_channels_last_with_a_poor_one, _batch),
        Case("two poor channels", aten.batch_norm.default, norm(4, 16, 5, 6, bias=True, poor=2), _batch),
    ],
    ("aten.rms_norm.default", "output"): [
        Case("rows", aten.rms_norm.default, norm(4, 9, 16, bias=False, last=True), (1e-5,), before=2),
        Case("a poor channel", aten.rms_norm.default, norm(4, 9, 16, bias=False, last=True, poor=1), before=2),
    ],
    ("aten.layer_norm.default", "output"): [
        Case("rows", aten.layer_norm.default, norm(4, 9, 16, bias=True, last=True), before=3),
        Case("no bias", aten.layer_norm.default, norm(4, 9, 16, bias=False, last=True), (None, 1e-3), before=2),
        Case("no weight", aten.layer_norm.default, alone(40, 16), (None, None, 1e-3), before=1),
        Case("a poor channel", aten.layer_norm.default, norm(4, 9, 16, bias=True, last=True, poor=1), before=3),
        Case("two poor channels", aten.layer_norm.default, norm(40, 16, bias=True, last=True, poor=2), before=3),
    ],
    ("aten.group_norm.default", "output"): [
        Case("images", aten.group_norm.default, norm(4, 16, 5, 6, bias=True), before=3),
        Case("series", aten.group_norm.default, norm(4, 16, 7, bias=True), (1e-3,), before=3),
        Case("no weight", aten.group_norm.default, alone(4, 16, 5, 6), (None, None, 1e-3), before=1),
        Case("a poor channel", aten.group_norm.default, norm(4, 16, 5, 6, bias=True, poor=1), before=3),
        Case("two poor channels", aten.group_norm.default, norm(4, 16, 5, 6, bias=True, poor=2), before=3),
    ],
}
if not hasattr(aten, "_fused_rms_norm"):  # in PyTorch 2.6, where there is no such implementation
    del CASES["aten.rms_norm.default", "output"]


SECOND: dict[Any, Callable[[Any], Any]] = {
    aten.rms_norm.default: lambda shape: [shape[-1]],
    aten.layer_norm.default: lambda shape: [shape[-1]],
    aten.group_norm.default: lambda shape: 4,
}
"""What comes between input and weight: the shape of what is normed, or a number of groups."""


def call_of(case: Case) -> Callable[..., Any]:
    if case.target in SECOND:
        return lambda x, *rest: (x, SECOND[case.target](x.shape), *rest)
    return lambda *arguments: arguments


def captured_norm(case: Case, dtype: torch.dtype) -> Any:
    captured = captured_alone(case, dtype)
    op = captured.operators[0]
    if case.target in SECOND:
        x, *rest = op.args
        captured.operators[0] = replace(op, args=(x, SECOND[case.target](captured.values[0].shape), *rest))
    return captured


def gradients_and_saves(case: Case, dtype: torch.dtype, call: Callable[..., Any]) -> Any:
    leaves = [t.requires_grad_() for t in case.inputs(dtype)]
    packed: list[Tensor] = []

    def pack(t: Tensor) -> Tensor:
        packed.append(t)
        return t

    with saved_tensors_hooks(pack, lambda t: t):
        y = call(*call_of(case)(*case.all_arguments(leaves)))
    saves_input = any(t.data_ptr() == leaves[0].data_ptr() for t in packed)
    saves_output = any(t.data_ptr() == y.data_ptr() for t in packed)
    g = torch.randn(y.shape, generator=torch.Generator().manual_seed(7)).to(dtype)
    return y.detach(), torch.autograd.grad(y, leaves, g), (saves_input, saves_output)


def everything() -> list[Any]:
    return [
        pytest.param(key, case, id=f"{key[0].split('.')[1]}-{case.name}".replace(" ", "_"))
        for key, cases in CASES.items()
        for case in cases
    ]


def implementation(key: tuple[str, str], captured: Any) -> operators.Implementation:
    (found,) = [i for i in operators.alternatives(captured, captured.operators[0]) if i.name == key[1]]
    return found


def test_every_approximate_implementation_has_cases_here() -> None:
    registered = {(op, i.name) for op, many in operators._registry.items() for i in many if i.exactness[0] == "a"}
    elsewhere = {"silu", "gelu", "mish", "hardswish", "scaled_dot_product_attention", "conv2d"}
    beside_another = {("aten.batch_norm.default", "activated")}  # not offered for an operator alone
    assert {key for key in registered if key[0].split(".")[1] not in elsewhere} == set(CASES) | beside_another


@pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda d: str(d).removeprefix("torch."))
@pytest.mark.parametrize(("key", "case"), everything())
def test_output_is_eagers_and_gradients_are_close_to_eagers(key: Any, case: Case, dtype: torch.dtype) -> None:
    captured = captured_norm(case, dtype)
    op, chosen = captured.operators[0], implementation(key, captured)
    assert chosen.exactness == "approximate"
    want_y, want, _ = gradients_and_saves(case, dtype, op.target)
    got_y, got, saves = gradients_and_saves(case, dtype, chosen.build(op, False))
    assert torch.equal(got_y, want_y)
    assert saves == (False, True)
    for mine, theirs in zip(got, want, strict=True):
        assert mine.dtype == theirs.dtype
        assert mine.stride() == theirs.stride()
        assert (mine - theirs).abs().max() <= TOLERANCE[dtype] * theirs.abs().max()


@pytest.mark.parametrize("key", CASES)
def test_where_many_weights_are_tiny_the_input_is_saved_as_in_eager(key: Any) -> None:
    first = CASES[key][0]
    last, bias = key[0] in ("aten.rms_norm.default", "aten.layer_norm.default"), key[0] != "aten.rms_norm.default"
    shape = (4, 9, 16) if last else (4, 16, 5, 6)
    case = Case("poor", first.target, norm(*shape, bias=bias, last=last, poor=9), first.arguments, before=first.before)
    captured = captured_norm(case, torch.float32)
    op = captured.operators[0]
    _, want, _ = gradients_and_saves(case, torch.float32, op.target)
    _, got, saves = gradients_and_saves(case, torch.float32, implementation(key, captured).build(op, False))
    assert saves == (True, False)
    for mine, theirs in zip(got, want, strict=True):
        assert (mine - theirs).abs().max() <= 2e-6 * theirs.abs().max()


def test_running_statistics_move_once_and_as_in_eager() -> None:
    case = CASES["aten.batch_norm.default", "output"][0]
    captured = captured_norm(case, torch.float32)
    op = captured.operators[0]
    statistics = []
    for call in (op.target, implementation(("aten.batch_norm.default", "output"), captured).build(op, False)):
        mean, var = torch.zeros(16), torch.ones(16)
        x, weight, bias = case.inputs(torch.float32)
        call(x.requires_grad_(), weight, bias, mean, var, True, 0.1, 1e-5, True).sum().backward()
        statistics.append(torch.stack([mean, var]))
    assert torch.equal(*statistics)


@pytest.mark.parametrize(("key", "case"), everything())
def test_it_can_be_estimated_for_a_card_that_is_not_here(key: Any, case: Case) -> None:
    captured = captured_norm(case, torch.float32)
    op = captured.operators[0]
    x = captured.values[0]
    measured = {m.name: m for m in measure_for(CARDS[0])(captured, op, [(x.shape, x.stride)])}
    assert measured[key[1]].saves == [*(("i", k) for k in range(1, len(op.inputs))), ("o", 0)]


def test_layers_that_have_nothing_to_divide_by_are_not_offered() -> None:
    def x(dtype: torch.dtype) -> list[Tensor]:
        return [torch.randn(4, 16, 5).to(dtype)]

    for case in [
        Case("no affine", aten.batch_norm.default, x, (None, None, *_batch)),
        Case("evaluation", aten.batch_norm.default, norm(40, 16, bias=True), (None, None, False, 0.1, 1e-5, True)),
        Case("no affine", aten.rms_norm.default, x, ([5],)),
        Case("a bias alone", aten.layer_norm.default, norm(9, 16, bias=True, last=True), ([16], None), before=1),
        Case("a bias alone", aten.group_norm.default, norm(4, 16, 5, bias=True), (4, None), before=1),
    ]:
        captured = captured_alone(case, torch.float32)
        assert operators.alternatives(captured, captured.operators[0]) == [], case.name


def test_gradients_of_gradients_are_refused() -> None:
    for key, cases in CASES.items():
        captured = captured_norm(cases[0], torch.float32)
        leaves = [t.requires_grad_() for t in cases[0].inputs(torch.float32)]
        arguments = call_of(cases[0])(*cases[0].all_arguments(leaves))
        y = implementation(key, captured).build(captured.operators[0], False)(*arguments)
        first, *_ = torch.autograd.grad(y, leaves, torch.ones_like(y).requires_grad_(), create_graph=True)
        with pytest.raises(RuntimeError, match="once_differentiable"):
            first.sum().backward()
