"""Linear layers and convolutions that keep a rounded input: what is rounded, by how much, and what it saves."""

from __future__ import annotations

import copy
import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from models import plan_for
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

import monet_torch
from monet_torch import operators
from monet_torch.capture import capture

KINDS = ["linear", "conv2d"]
NAMES = {"bfloat16": 1 / 256, "int8": 1 / 254}
"""How far an element may be from what it was: of itself, and of the largest in its row."""


@pytest.fixture(autouse=True)
def offered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offered in this file alone: others count what is registered."""
    monkeypatch.setattr(operators, "_registry", {op: [*many] for op, many in operators._registry.items()})
    from monet_torch.operators import fewer_bits

    importlib.reload(fewer_bits)


def call(kind: str, name: str) -> Any:
    if name == "eager":
        return F.linear if kind == "linear" else lambda *a: F.conv2d(*a, 2, 1)
    (found,) = [i for i in operators._registry[f"aten.{kind}.default"] if i.name == name]
    run: Any = found.build(None, False)  # type: ignore[arg-type]
    return run if kind == "linear" else lambda *a: run(*a, [2, 2], [1, 1], [1, 1], 1)


def tensors(kind: str, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(3, 5, 16), (8, 16), (8,)] if kind == "linear" else [(3, 4, 9, 8), (6, 4, 3, 3), (6,)]
    return [torch.randn(s, generator=generator).to(dtype).requires_grad_() for s in shapes]


def run(kind: str, name: str, inputs: list[Tensor]) -> tuple[Tensor, list[Tensor], int]:
    """Output, gradients, and bytes that were saved besides the weight."""
    packed: list[Tensor] = []

    def pack(t: Tensor) -> Tensor:
        packed.append(t)
        return t

    leaves = [t.detach().clone().requires_grad_() for t in inputs]
    with saved_tensors_hooks(pack, lambda t: t):
        y = call(kind, name)(*leaves)
    saved = sum(t.nbytes for t in packed if t.untyped_storage().data_ptr() != leaves[1].untyped_storage().data_ptr())
    g = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y.dtype)
    return y.detach(), list(torch.autograd.grad(y, leaves, g)), saved


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", KINDS)
def test_output_and_gradient_of_the_input_are_eagers_and_the_weights_is_as_far_as_is_said(kind: str, name: str) -> None:
    inputs = tensors(kind)
    y, (to_x, to_weight, to_bias), saved = run(kind, "eager", inputs)
    mine, (my_x, my_weight, my_bias), my_saved = run(kind, name, inputs)
    assert torch.equal(mine, y)
    assert torch.allclose(my_x, to_x, rtol=1e-6, atol=1e-6)
    assert torch.allclose(my_bias, to_bias, rtol=1e-6, atol=1e-6)
    assert my_weight.stride() == to_weight.stride()
    assert my_saved <= saved * (0.5 if name == "bfloat16" else 0.33)
    # The gradient of the weight is linear in x: at most the sum of every |gradient| times the most x may be off.
    x = inputs[0].detach()
    most = (
        x.abs() if name == "bfloat16" else x.abs().amax((2, 3) if kind == "conv2d" else -1, keepdim=True).expand_as(x)
    )
    size = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).abs()
    weight = inputs[1].detach().clone().requires_grad_()
    bound = torch.autograd.grad(call(kind, "eager")(most * NAMES[name], weight, None), weight, size)[0]
    off = (my_weight - to_weight).abs()
    assert (off <= bound + 1e-5).all()
    assert off.max() > 0, "it is rounded"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_8_bits_of_16(kind: str, dtype: torch.dtype) -> None:
    y, (_, to_weight, _), saved = run(kind, "eager", tensors(kind, dtype))
    mine, (_, my_weight, _), my_saved = run(kind, "int8", tensors(kind, dtype))
    assert torch.equal(mine, y)
    assert my_weight.dtype == dtype
    assert (my_weight - to_weight).abs().max() < 0.03 * to_weight.abs().max()
    assert my_saved < 0.7 * saved


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", KINDS)
def test_zeros_stay_zeros_and_what_is_not_finite_is_not_hidden(kind: str, name: str) -> None:
    x, *others = tensors(kind)
    zeros = run(kind, name, [torch.zeros_like(x), *others])[1][1]
    assert torch.equal(zeros, torch.zeros_like(zeros))
    for strange in (torch.nan, torch.inf):
        with torch.no_grad():
            spoiled = x.clone()
            spoiled[0, 1] = strange
        eager, mine = (run(kind, each, [spoiled, *others])[1][1] for each in ("eager", name))
        assert not eager.isfinite().all()
        assert not mine[~eager.isfinite()].isfinite().any()


@pytest.mark.parametrize("name", NAMES)
def test_a_plan_runs_them_also_under_autocast(name: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.Tanh(), nn.Conv2d(4, 6, 3), nn.Tanh(), nn.Flatten(), nn.Linear(24, 16), nn.Tanh(),
        nn.Linear(16, 5),
    )  # fmt: skip
    x = torch.randn(4, 3, 4, 4)
    for autocast, tolerance in ((None, 0.02), (("cpu", torch.bfloat16), 0.1)):
        eager, planned = copy.deepcopy(model), copy.deepcopy(model)
        captured = capture(planned, (x,), autocast=autocast)
        offered = {o.id for o in captured.operators if any(i.name == name for i in operators.alternatives(captured, o))}
        chosen = {str(i): name for i in offered}
        # The first reads the model's input, which is there; under autocast each reads a copy in 16 bits.
        assert len(chosen) == (3 if autocast is None else 4 if name == "int8" else 0)
        monet_torch.apply(planned, plan_for(captured, "keep") | {"implementations": chosen})
        for m in (eager, planned):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast is not None):
                m(x).square().sum().backward()
        assert monet_torch.status(planned)["planned"] == 1
        for p, q in zip(eager.parameters(), planned.parameters(), strict=True):
            assert (p.grad - q.grad).abs().max() <= tolerance * p.grad.abs().max()


def test_they_are_offered_to_who_asks_for_them_alone() -> None:
    script = "from monet_torch import operators; print([i.name for i in operators._registry['aten.linear.default']])"
    folder = str(Path(__file__).parent.parent)
    said = [
        subprocess.run([sys.executable, "-c", first + script], capture_output=True, text=True, check=True, cwd=folder)
        for first in ("", "import monet_torch.operators.fewer_bits; ")
    ]
    assert [each.stdout.strip() for each in said] == [
        "['own-gradient', 'onednn']", "['own-gradient', 'onednn', 'bfloat16', 'int8']"
    ]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(5, 3, 16), (2, 5, 3, 16)])
def test_rows_are_rows_however_many_dimensions_and_strides_there_are(name: str, shape: tuple[int, ...]) -> None:
    x, weight, bias = tensors("linear")
    x = torch.randn(shape, generator=torch.Generator().manual_seed(2)).transpose(0, 1)
    x[0, 0] *= 1e3  # the rows beside it are not rounded by its scale
    weights = [run_on(kind, x, weight, bias) for kind in ("eager", name)]
    rest = [run_on(kind, x[1:], weight, bias) for kind in ("eager", name)]
    assert (weights[0] - weights[1]).norm() < NAMES[name] * weights[0].norm()
    assert (rest[0] - rest[1]).norm() < NAMES[name] * rest[0].norm() * 2


def run_on(name: str, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The gradient of the weight. The input is given as it lies in memory."""
    leaves = [t.detach().requires_grad_() for t in (x, weight, bias)]
    y = call("linear", name)(*leaves)
    return torch.autograd.grad((y * y.detach().sign()).sum(), leaves[1])[0]
