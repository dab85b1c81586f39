"""Attention by another backend: close to eager's, laid out as eager's, and offered where it can serve and may win."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from models import plan_for
from torch import Tensor, nn

import monet_torch
from monet_torch import operators
from monet_torch._private import ATTENTION_FUSES_FEWER_KEYS
from monet_torch.capture import capture
from monet_torch.captured import Captured, Operator
from monet_torch.estimate import CARDS, measure_for
from monet_torch.profile import Cache, profile

TOLERANCE = {torch.bfloat16: 0.03, torch.float16: 4e-3}  # of the largest; measured below 0.011 and 0.0014
BATCH, HEADS, ROWS, SIZE = 2, 4, 24, 8
Arguments = Callable[[torch.dtype], tuple[list[Tensor], dict[str, Any]]]


def seeded(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def heads_first(dtype: torch.dtype) -> list[Tensor]:
    return [seeded(BATCH, HEADS, ROWS, SIZE, seed=k).to(dtype) for k in range(3)]


def rows_first(dtype: torch.dtype) -> list[Tensor]:
    return [t.transpose(1, 2).contiguous().transpose(1, 2) for t in heads_first(dtype)]


def parts_of_one(dtype: torch.dtype) -> list[Tensor]:
    together = seeded(BATCH, ROWS, 3 * HEADS * SIZE).to(dtype)
    return [t.view(BATCH, ROWS, HEADS, SIZE).transpose(1, 2) for t in together.split(HEADS * SIZE, -1)]


def of_another(dtype: torch.dtype) -> list[Tensor]:
    return [seeded(BATCH, HEADS, n, SIZE, seed=n).to(dtype) for n in (5, ROWS, ROWS)]


def grouped(dtype: torch.dtype) -> list[Tensor]:
    query, *others = heads_first(dtype)
    return [query, *(t[:, : HEADS // 2].clone() for t in others)]


def not_finite(dtype: torch.dtype) -> list[Tensor]:
    tensors = heads_first(dtype)
    tensors[0][0, 0, 3, 1], tensors[1][1, 2, 4, 2], tensors[2][1, 0, 5, 0] = torch.nan, torch.inf, -torch.inf
    return tensors


lower = torch.ones(ROWS, ROWS, dtype=torch.bool).tril()
CASES: dict[str, Arguments] = {
    "heads first": lambda d: (heads_first(d), {}),
    "causal": lambda d: (rows_first(d), {"is_causal": True}),
    "parts of one tensor": lambda d: (parts_of_one(d), {"is_causal": True, "scale": 0.5}),
    "other rows": lambda d: (of_another(d), {}),
    "mask of booleans": lambda d: (rows_first(d), {"attn_mask": lower}),
    "mask of numbers": lambda d: (rows_first(d), {"attn_mask": seeded(ROWS, ROWS, seed=9).to(d)}),
    "fewer keys": lambda d: (grouped(d), {"enable_gqa": True}),
    "not finite": lambda d: (not_finite(d), {}),
}


class Attention(nn.Module):
    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.settings = settings

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(query * 1, key * 1, value * 1, **self.settings)


def captured_attention(tensors: list[Tensor], settings: dict[str, Any]) -> tuple[Captured, Operator]:
    leaves = [t.detach().requires_grad_() for t in tensors]
    captured = capture(Attention(**settings), tuple(leaves))
    (op,) = [o for o in captured.operators if o.name == "aten.scaled_dot_product_attention.default"]
    return captured, op


def offered(tensors: list[Tensor], settings: dict[str, Any], device: str = "cpu") -> list[str]:
    captured, op = captured_attention(tensors, settings)
    captured.values[:] = [replace(v, device=torch.device(device)) for v in captured.values]
    return [i.name for i in operators.alternatives(captured, op)]


def by(name: str) -> Any:
    (found,) = [i for i in operators._registry["aten.scaled_dot_product_attention.default"] if i.name == name]
    return found.build(None, False)  # type: ignore[arg-type]


def run(call: Any, tensors: list[Tensor], settings: dict[str, Any]) -> list[Tensor]:
    """Output and gradients."""
    settings = dict(settings)
    rest = (settings.pop("attn_mask", None), 0.0, settings.pop("is_causal", False))
    leaves = [t.detach().requires_grad_() for t in tensors]
    y = call(*leaves, *rest, **settings)
    return [y.detach(), *torch.autograd.grad(y, leaves, seeded(*y.shape, seed=7).to(y))]


def eager(*args: Any, **kwargs: Any) -> Tensor:
    result: Tensor = torch.ops.aten.scaled_dot_product_attention.default(*args, **kwargs)
    return result


@pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda d: str(d).removeprefix("torch."))
@pytest.mark.parametrize("name", CASES)
def test_the_composite_form_is_close_to_the_fused_one_and_laid_out_as_it_is(name: str, dtype: torch.dtype) -> None:
    tensors, settings = CASES[name](dtype)
    if "enable_gqa" in settings and not ATTENTION_FUSES_FEWER_KEYS:
        assert offered(tensors, settings) == []
        pytest.skip("eager has no fused form for fewer keys in this version")
    assert offered(tensors, settings) == ["math"]
    for mine, theirs in zip(run(by("math"), tensors, settings), run(eager, tensors, settings), strict=True):
        assert mine.dtype == theirs.dtype
        assert mine.stride() == theirs.stride()
        there = mine.isfinite()  # at an infinite score the fused form gives zeros for NaN
        assert theirs[there].isfinite().all()
        assert (mine - theirs)[there].abs().max() <= TOLERANCE[dtype] * theirs[there].abs().max()


def test_what_another_backend_cannot_do_or_cannot_win_is_not_offered() -> None:
    half = rows_first(torch.bfloat16)
    long = [seeded(1, 1, 8 * SIZE + 1, SIZE).bfloat16() for _ in range(3)]
    for why, tensors, settings in [
        ("draws random numbers", half, {"dropout_p": 0.1}),
        ("32 bits", rows_first(torch.float32), {}),
        ("no batch", [t[0] for t in half], {}),
        ("nothing", [t[:0] for t in half], {}),
        ("many keys", long, {}),
        ("mask that trains", half, {"attn_mask": seeded(ROWS, ROWS).bfloat16().requires_grad_()}),
        ("values of another size", [*half[:2], half[2][..., :4]], {}),
    ]:
        assert offered(tensors, settings) == [], why


def test_on_cuda_all_backends_that_may_serve_are_offered() -> None:
    assert offered(rows_first(torch.bfloat16), {}, "cuda") == ["math", "flash", "efficient", "cudnn"]
    assert offered(rows_first(torch.float32), {}, "cuda") == ["math", "efficient"]
    assert offered(rows_first(torch.float32), {"dropout_p": 0.1}, "cuda") == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="where there is a card, what its backends refuse depends on it")
@pytest.mark.parametrize("name", ["flash", "efficient", "cudnn"])
def test_where_a_backend_refuses_it_is_eagers_to_the_bit(name: str) -> None:
    tensors, settings = CASES["causal"](torch.bfloat16)
    for mine, theirs in zip(run(by(name), tensors, settings), run(eager, tensors, settings), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: these backends run there alone")
@pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda d: str(d).removeprefix("torch."))
@pytest.mark.parametrize("name", ["math", "flash", "efficient", "cudnn"])
def test_on_a_card_each_backend_is_close_to_eagers_choice(name: str, dtype: torch.dtype) -> None:
    for case in ("heads first", "causal", "parts of one tensor"):
        tensors, settings = CASES[case](dtype)
        tensors = [t.cuda() for t in tensors]
        for mine, theirs in zip(run(by(name), tensors, settings), run(eager, tensors, settings), strict=True):
            assert (mine - theirs).abs().max() <= TOLERANCE[dtype] * theirs.abs().max()


def test_it_can_be_estimated_for_a_card_that_is_not_here() -> None:
    tensors, settings = CASES["parts of one tensor"](torch.bfloat16)
    captured, op = captured_attention(tensors, settings)
    y = captured.values[op.outputs[0]]
    fused, composite = measure_for(CARDS[0])(captured, op, [(y.shape, y.stride)])
    assert composite.name == "math"
    assert composite.internal_bytes > fused.internal_bytes


def test_an_estimate_counts_the_products_of_attention() -> None:
    """Large enough that a card is bound by them: two products forwards, five backwards."""
    tensors = [seeded(1, 4, 1024, 64).bfloat16() for _ in range(3)]
    captured, op = captured_attention(tensors, {})
    y, card = captured.values[op.outputs[0]], CARDS[0]
    (eager_, *_) = measure_for(card)(captured, op, [(y.shape, y.stride)])
    product = 2 * 4 * 1024 * 1024 * 64 / (card.compute * card.half * 1e12) * 1e9
    assert eager_.backward is not None
    assert abs(eager_.forward.time - card.launch_ns - 2 * product) <= 1
    assert abs(eager_.backward.time - card.launch_ns - 5 * product) <= 1


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.into, self.out = nn.Linear(HEADS * SIZE, 3 * HEADS * SIZE), nn.Linear(HEADS * SIZE, HEADS * SIZE)

    def forward(self, x: Tensor) -> Tensor:
        parts = (t.view(BATCH, ROWS, HEADS, SIZE).transpose(1, 2) for t in self.into(x).split(HEADS * SIZE, -1))
        y = F.scaled_dot_product_attention(*parts, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(BATCH, ROWS, -1)).float().square().mean()


@pytest.mark.parametrize("mode", ["keep", "drop", "random"])
def test_a_plan_runs_it_under_autocast(mode: str) -> None:
    torch.manual_seed(0)
    model, x = Block(), seeded(BATCH, ROWS, HEADS * SIZE)
    captured = capture(model, (x,), autocast=("cpu", torch.bfloat16))
    (op,) = [o for o in captured.operators if "attention" in o.name]
    measured = profile(captured, captured.model_outputs[-1], Cache(None, []))[op.id]
    assert [(m.name, m.exactness) for m in measured] == [("eager", "bitwise"), ("math", "approximate")]

    def gradients() -> list[Tensor]:
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(x)
        loss.backward()
        return [p.grad for p in model.parameters() if p.grad is not None]

    want = gradients()
    monet_torch.apply(model, plan_for(captured, mode) | {"implementations": {str(op.id): "math"}})
    got = gradients()
    assert monet_torch.status(model)["planned"] == 1
    assert len(got) == len(want) == 4
    for mine, theirs in zip(got, want, strict=True):
        assert (mine - theirs).abs().max() <= 0.03 * theirs.abs().max()
