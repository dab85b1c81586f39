"""Every implementation in the registry does what eager does, bit for bit, and saves what it says it saves."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import inf, nan
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils import _pytree as pytree

from monet_torch import operators
from monet_torch.captured import Captured, Operator, Ref, Value
from monet_torch.estimate import CARDS, measure_for
from monet_torch.flatten import functional_form, is_random
from monet_torch.measure import allocator_peak, allocator_timeline
from monet_torch.operators import bits, loss

aten = torch.ops.aten
FLOATS = [torch.float32, torch.bfloat16, torch.float16, torch.float64]
_LARGE_WINDOWS = {"windows that overlap wholly", "largest window"}
SPECIAL = [float("nan"), float("inf"), float("-inf"), 0.0, -0.0, 6.0, -1.0]
Key = tuple[str, str]


@dataclass(frozen=True)
class Case:
    """`target` on the tensors of `inputs` (the same at each call), `arguments` after the first so many of them."""

    name: str
    target: Any
    inputs: Callable[[torch.dtype], list[Tensor]]
    arguments: tuple[Any, ...] = ()
    in_place: bool = True  # where the operator has such a form
    before: int = 9

    def all_arguments(self, tensors: Sequence[Any]) -> tuple[Any, ...]:
        return (*tensors[: self.before], *self.arguments, *tensors[self.before :])


def filled(shape: Sequence[int], dtype: torch.dtype, seed: int = 0, special: bool = True) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    flat = torch.randn(tuple(shape), generator=generator).mul_(4).reshape(-1)
    if special:
        flat[::5] = torch.tensor(SPECIAL).repeat(len(flat) // 5 // len(SPECIAL) + 1)[: len(flat[::5])]
    return flat.reshape(tuple(shape)).to(dtype)


def plain(*shape: int) -> Callable[[torch.dtype], list[Tensor]]:
    return lambda dtype: [filled(shape, dtype)]


def channels_last(*shape: int) -> Callable[[torch.dtype], list[Tensor]]:
    return lambda dtype: [filled(shape, dtype).contiguous(memory_format=torch.channels_last)]


def channels_last_3d(*shape: int) -> Callable[[torch.dtype], list[Tensor]]:
    return lambda dtype: [filled(shape, dtype).contiguous(memory_format=torch.channels_last_3d)]


def transposed(*shape: int) -> Callable[[torch.dtype], list[Tensor]]:
    return lambda dtype: [filled(shape, dtype).transpose(0, -1)]


def second_half(*shape: int) -> Callable[[torch.dtype], list[Tensor]]:
    return lambda dtype: [filled((2, *shape), dtype)[1]]


def ties(*shape: int) -> Callable[[torch.dtype], list[Tensor]]:
    return lambda dtype: [torch.randint(0, 3, shape, generator=torch.Generator().manual_seed(0)).to(dtype)]


def all_of(value: float, *shape: int) -> Callable[[torch.dtype], list[Tensor]]:
    return lambda dtype: [torch.full(shape, value, dtype=dtype)]


def linear(*shape: int, bias: bool, special: bool = False) -> Callable[[torch.dtype], list[Tensor]]:
    def make(dtype: torch.dtype) -> list[Tensor]:
        tensors = [filled(shape, dtype, 0, special), filled((7, shape[-1]), dtype, 1, special)]
        return tensors + ([filled((7,), dtype, 2, special)] if bias else [])

    return make


def pointwise(target: Any, *arguments: Any, in_place: bool = True) -> list[Case]:
    with_arguments = "".join(f" {a}" for a in arguments)
    return [
        Case(name + with_arguments, target, inputs, arguments, in_place)
        for name, inputs in {
            "one element": plain(1),
            "no multiple of eight": plain(3, 29),
            "large": plain(4, 8, 17, 17),
            "channels_last": channels_last(2, 5, 7, 3),
            "transposed": transposed(5, 4, 9),
            "second half of a storage": second_half(3, 21),
        }.items()
    ]


def convolution(
    shape: Sequence[int], weight: Sequence[int], *arguments: Any, bias: bool = True, last: bool = False,
    special: bool = False,
) -> Case:  # fmt: skip
    dims = len(weight) - 2
    target = {1: aten.conv1d.default, 2: aten.conv2d.default, 3: aten.conv3d.default}[dims]
    layout = {2: torch.channels_last, 3: torch.channels_last_3d}[dims] if last else torch.contiguous_format

    def make(dtype: torch.dtype) -> list[Tensor]:
        x = filled(shape, dtype, 0, special).contiguous(memory_format=layout)
        return [x, filled(weight, dtype, 1, special), *([filled(weight[:1], dtype, 2, special)] if bias else [])]

    name = f"{list(shape)} by {list(weight)} {list(arguments)}{' last' if last else ''}{' special' if special else ''}"
    return Case(name, target, make, arguments if bias or not arguments else (None, *arguments))


def pool(name: str, inputs: Callable[[torch.dtype], list[Tensor]], *arguments: Any) -> Case:
    return Case(name, aten.max_pool2d.default, inputs, arguments)


def condition(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(5)) < 0.4


def choice(*shapes: Sequence[int]) -> Callable[[torch.dtype], list[Tensor]]:
    """A condition of the first shape, and what it chooses from."""
    return lambda dtype: [condition(*shapes[0]), *(filled(s, dtype, k) for k, s in enumerate(shapes[1:]))]


def logits(rows: int, classes: int, ignored: int = -100, special: bool = False) -> Any:
    def make(dtype: torch.dtype) -> list[Tensor]:
        target = torch.randint(0, classes, (rows,), generator=torch.Generator().manual_seed(1))
        target[::4] = ignored
        return [filled((rows, classes), dtype, 0, special), target]

    return make


_hardtanh = [
    *pointwise(aten.hardtanh.default, 0.0, 6.0),
    Case("default bounds", aten.hardtanh.default, plain(3, 29)),
    Case("equal bounds", aten.hardtanh.default, plain(3, 29), (6.0, 6.0)),
    Case("bounds at infinity", aten.hardtanh.default, plain(3, 29), (float("-inf"), float("inf"))),
]

_max_pool2d = [
    pool("as in ResNet", plain(2, 3, 13, 11), [3, 3], [2, 2], [1, 1]),
    pool("kernel alone", plain(2, 3, 8, 8), [2, 2]),
    pool("one number for both", plain(2, 3, 9, 9), [3], [2], [1]),
    pool("no multiple", plain(1, 2, 7, 9), [2, 2]),
    pool("ceil mode", plain(2, 3, 8, 9), [3, 3], [2, 2], [0, 0], [1, 1], True),
    pool("ceil mode with padding", plain(2, 3, 8, 9), [3, 2], [2, 3], [1, 1], [1, 1], True),
    pool("dilation", plain(2, 3, 13, 17), [3, 3], [1, 2], [1, 1], [2, 3]),
    pool("dilation and most padding", plain(1, 2, 11, 12), [4, 2], [3, 1], [2, 1], [3, 5], True),
    pool("not square", plain(2, 3, 12, 9), [5, 2], [1, 3], [2, 1]),
    pool("wide", plain(1, 1, 4, 40), [1, 7], [1, 2], [0, 3]),
    pool("windows that overlap wholly", plain(1, 2, 9, 9), [5, 5], [1, 1], [2, 2]),
    pool("largest window", plain(1, 1, 20, 20), [16, 16], [2, 2], [8, 8]),
    pool("gaps between windows", plain(1, 2, 11, 11), [2, 2], [4, 5]),
    pool("ties", ties(2, 3, 10, 10), [3, 3], [2, 2], [1, 1]),
    pool("all minus infinity", all_of(float("-inf"), 1, 2, 8, 8), [3, 3], [2, 2], [1, 1]),
    pool("all NaN", all_of(float("nan"), 1, 2, 8, 8), [3, 3], [2, 2], [1, 1]),
    pool("no batch", plain(3, 9, 9), [3, 3], [2, 2], [1, 1]),
    pool("second half of a storage", second_half(2, 3, 6, 6), [2, 2]),
    pool("one channel, either layout", channels_last(2, 1, 6, 6), [3, 3], [2, 2], [1, 1]),
    pool("one pixel", channels_last(2, 5, 1, 1), [3, 3], [2, 2], [1, 1]),
    pool("channels_last", channels_last(2, 5, 9, 8), [3, 3], [2, 2], [1, 1]),
    pool("channels_last with dilation", channels_last(2, 17, 13, 12), [3, 2], [2, 1], [1, 1], [2, 1], True),
]

_conv2d = [
    convolution((4, 6, 9, 8), (4, 6, 3, 3)),
    convolution((4, 6, 9, 8), (4, 6, 3, 3), [1, 1], [1, 1], bias=False),
    convolution((2, 6, 9, 8), (4, 3, 3, 2), [2], [1, 2], [1, 2], 2),
    convolution((1, 6, 9, 9), (4, 6, 1, 1), [2]),
    convolution((3, 8, 7, 7), (8, 1, 3, 3), [1], [1], [1], 8, bias=False),
    convolution((2, 6, 9, 8), (4, 6, 3, 3), last=True),
    convolution((1, 8, 12, 11), (2, 8, 1, 1), [3, 2], [0, 2], last=True),
    convolution((2, 6, 9, 8), (4, 6, 3, 3), special=True),
]

CASES: dict[Key, list[Case]] = {
    ("aten.conv1d.default", "weight-first"): [
        convolution((3, 4, 20), (5, 4, 3), [1], [1]),
        convolution((8, 8, 15), (64, 2, 1), [1], [0], [1], 4, bias=False),
    ],
    ("aten.conv2d.default", "weight-first"): _conv2d,
    ("aten.conv3d.default", "weight-first"): [
        convolution((2, 4, 5, 6, 7), (3, 4, 3, 2, 3), [1, 2, 1], [1]),
        convolution((1, 4, 6, 5, 7), (6, 2, 2, 3, 2), [1], [0], [1], 2, last=True),
    ],
    ("aten.relu.default", "mask"): pointwise(aten.relu.default),
    ("aten.hardtanh.default", "output"): _hardtanh,
    ("aten.relu6.default", "output"): pointwise(aten.relu6.default),
    ("aten.leaky_relu.default", "mask"): [
        *pointwise(aten.leaky_relu.default),
        *pointwise(aten.leaky_relu.default, 0.2),
    ],
    ("aten.leaky_relu.default", "output"): pointwise(aten.leaky_relu.default, 0.2, in_place=False),
    ("aten.hardsigmoid.default", "mask"): pointwise(aten.hardsigmoid.default),
    ("aten.threshold.default", "mask"): [
        *pointwise(aten.threshold.default, 0.5, -1.0),
        *pointwise(aten.threshold.default, 0.0, 0.0),
    ],
    ("aten.clamp.default", "mask"): [
        *pointwise(aten.clamp.default, -0.1),
        *pointwise(aten.clamp.default, None, 0.3),
        *pointwise(aten.clamp.default, -1, 6),
        Case("bounds crossed", aten.clamp.default, plain(3, 29), (2, 1)),
    ],
    ("aten.clamp_min.default", "mask"): pointwise(aten.clamp_min.default, 0.1),
    ("aten.clamp_max.default", "mask"): pointwise(aten.clamp_max.default, 0.1),
    ("aten.where.self", "mask"): [
        Case("alike", aten.where.self, choice((3, 29), (3, 29), (3, 29))),
        Case("one is broadcast", aten.where.self, choice((4, 5, 7), (4, 5, 7), (5, 1))),
        Case("one is a scalar", aten.where.self, choice((4, 5), (), (4, 5))),
        Case(
            "channels_last",
            aten.where.self,
            lambda dtype: [
                condition(2, 5, 7, 3).contiguous(memory_format=torch.channels_last),
                *channels_last(2, 5, 7, 3)(dtype) * 2,
            ],
        ),
    ],
    ("aten.where.ScalarOther", "mask"): [Case("number", aten.where.ScalarOther, choice((3, 29), (3, 29)), (0.5,))],
    ("aten.where.ScalarSelf", "mask"): [
        Case("number", aten.where.ScalarSelf, choice((3, 29), (3, 29)), (0.5,), before=1),
    ],
    ("aten.masked_fill.Scalar", "mask"): [
        Case("minus infinity", aten.masked_fill.Scalar, lambda d: [*plain(3, 29)(d), condition(3, 29)], (-inf,)),
        Case(
            "transposed",
            aten.masked_fill.Scalar,
            lambda d: [*transposed(3, 29)(d), condition(29, 3)],
            (1,),
            in_place=False,
        ),
    ],
    ("aten.max_pool2d.default", "index8"): _max_pool2d,
    ("aten.max_pool2d.default", "index4"): [c for c in _max_pool2d if c.name not in _LARGE_WINDOWS],
    ("aten.max_pool1d.default", "index8"): [
        Case("padding", aten.max_pool1d.default, plain(2, 3, 17), ([3], [2], [1])),
        Case("no batch", aten.max_pool1d.default, plain(3, 17), ([4],)),
        Case("dilation, ceil mode", aten.max_pool1d.default, plain(2, 3, 19), ([3], [2], [1], [2], True)),
        Case("all NaN", aten.max_pool1d.default, all_of(nan, 1, 2, 9), ([3],)),
    ],
    ("aten.max_pool3d.default", "index8"): [
        Case("kernel alone", aten.max_pool3d.default, plain(2, 3, 5, 7, 6), ([2, 2, 2],)),
        Case(
            "everything",
            aten.max_pool3d.default,
            plain(2, 3, 7, 7, 9),
            ([3, 2, 3], [2, 1, 2], [1, 1, 1], [1, 2, 2], True),
        ),
        Case("no batch", aten.max_pool3d.default, plain(3, 6, 6, 6), ([3], [2], [1])),
        Case("largest window", aten.max_pool3d.default, plain(1, 1, 8, 8, 9), ([8, 4, 8], [1, 2, 1])),
        Case("all NaN", aten.max_pool3d.default, all_of(nan, 1, 2, 4, 4, 4), ([2, 2, 2],)),
    ],
    ("aten.avg_pool2d.default", "shape"): [
        Case("kernel alone", aten.avg_pool2d.default, plain(2, 3, 9, 8), ([2, 2],)),
        Case(
            "padding doesn't count", aten.avg_pool2d.default, plain(2, 3, 9, 8), ([3, 2], [2, 1], [1, 1], True, False)
        ),
        Case("divisor, no batch", aten.avg_pool2d.default, plain(3, 9, 8), ([3], [2], [1], False, True, 5)),
        Case("channels_last", aten.avg_pool2d.default, channels_last(2, 5, 9, 8), ([3, 3], [2, 2], [1, 1])),
        Case("one channel", aten.avg_pool2d.default, channels_last(2, 1, 6, 6), ([2, 2],)),
        Case("one pixel", aten.avg_pool2d.default, channels_last(2, 5, 1, 1), ([1, 1],)),
    ],
    ("aten.adaptive_avg_pool2d.default", "shape"): [
        Case("no multiple", aten.adaptive_avg_pool2d.default, plain(2, 3, 9, 8), ([4, 3],)),
        Case("larger, no batch", aten.adaptive_avg_pool2d.default, plain(3, 5, 6), ([7, 7],)),
        Case("channels_last", aten.adaptive_avg_pool2d.default, channels_last(2, 5, 9, 8), ([3, 4],)),
        Case("one channel", aten.adaptive_avg_pool2d.default, channels_last(2, 1, 6, 6), ([6, 6],)),
        Case("one pixel", aten.adaptive_avg_pool2d.default, channels_last(2, 5, 1, 1), ([2, 2],)),
    ],
    ("aten.avg_pool1d.default", "shape"): [
        Case("kernel alone", aten.avg_pool1d.default, plain(2, 3, 17), ([4],)),
        Case("everything, no batch", aten.avg_pool1d.default, plain(3, 17), ([3], [2], [1], True, False)),
        Case("one channel", aten.avg_pool1d.default, plain(2, 1, 9), ([3], [2])),
        Case("one place", aten.avg_pool1d.default, plain(2, 5, 1), ([1],)),
    ],
    ("aten.avg_pool3d.default", "shape"): [
        Case("kernel alone", aten.avg_pool3d.default, plain(2, 3, 5, 7, 6), ([2, 2, 2],)),
        Case(
            "everything",
            aten.avg_pool3d.default,
            plain(2, 3, 7, 7, 9),
            ([3, 2, 3], [2, 1, 2], [1, 1, 1], True, False, 5),
        ),
        Case("no batch", aten.avg_pool3d.default, plain(3, 6, 6, 6), ([3], [2], [1])),
        Case("one channel", aten.avg_pool3d.default, channels_last_3d(2, 1, 4, 6, 6), ([2],)),
        Case("one place", aten.avg_pool3d.default, channels_last_3d(2, 5, 1, 1, 1), ([1],)),
    ],
    ("aten.adaptive_avg_pool1d.default", "shape"): [
        Case("no multiple", aten.adaptive_avg_pool1d.default, plain(2, 3, 17), ([4],)),
        Case("larger, no batch", aten.adaptive_avg_pool1d.default, plain(3, 5), ([7],)),
        Case("one place", aten.adaptive_avg_pool1d.default, plain(2, 5, 1), ([2],)),
    ],
    ("aten.adaptive_avg_pool3d.default", "shape"): [
        Case("no multiple", aten.adaptive_avg_pool3d.default, plain(2, 3, 5, 7, 6), ([3, 1, 4],)),
        Case("larger, no batch", aten.adaptive_avg_pool3d.default, plain(3, 2, 5, 3), ([4, 6, 3],)),
        Case("one channel", aten.adaptive_avg_pool3d.default, channels_last_3d(2, 1, 4, 6, 6), ([2, 2, 2],)),
        Case("one place", aten.adaptive_avg_pool3d.default, channels_last_3d(2, 5, 1, 1, 1), ([2, 1, 2],)),
    ],
    ("aten.cross_entropy_loss.default", "chunks"): [
        Case("mean", aten.cross_entropy_loss.default, logits(33, 37)),
        Case("one row", aten.cross_entropy_loss.default, logits(1, 1000, 3)),
        Case("two classes", aten.cross_entropy_loss.default, logits(700, 2)),
        Case("none", aten.cross_entropy_loss.default, logits(65, 40, 2), (None, 0, 2)),
        Case("sum, class 0 ignored", aten.cross_entropy_loss.default, logits(65, 40, 0), (None, 2, 0)),
        Case("all ignored", aten.cross_entropy_loss.default, logits(1, 500, 7), (None, 1, 7)),
        Case("NaN and infinities", aten.cross_entropy_loss.default, logits(129, 17, 3, True), (None, 0)),
        Case("NaN and infinities, mean", aten.cross_entropy_loss.default, logits(129, 17, 3, True)),
    ],
    ("aten.dropout.default", "replay"): [
        Case("no multiple of eight", aten.dropout.default, plain(3, 43691), (0.3, True)),
        Case("high", aten.dropout.default, plain(2, 4, 1 << 15), (0.9, True)),
    ],
    ("aten.dropout.default", "mask"): [
        Case("no multiple of eight", aten.dropout.default, plain(3, 29), (0.3, True)),
        Case("large", aten.dropout.default, plain(4, 8, 17, 17), (0.1, True)),
        Case("high", aten.dropout.default, plain(5, 40), (0.9, True)),
        Case("one element", aten.dropout.default, plain(1), (0.5, True)),
        Case("scalar", aten.dropout.default, plain(), (0.5, True)),
        Case("second half of a storage", aten.dropout.default, second_half(3, 21), (0.5, True)),
    ],
    ("aten.linear.default", "own-gradient"): [
        Case("no bias", aten.linear.default, linear(4, 5, bias=False)),
        Case("bias", aten.linear.default, linear(4, 5, bias=True)),
        Case("three dimensions", aten.linear.default, linear(2, 3, 5, bias=True)),
        Case("NaN and infinities", aten.linear.default, linear(4, 5, bias=True, special=True)),
        Case("one vector", aten.linear.default, linear(5, bias=True)),
        Case("empty batch", aten.linear.default, linear(0, 5, bias=True)),
        Case("no features", aten.linear.default, linear(4, 0, bias=False)),
    ],
}
WRITTEN_IN_PLACE = {
    "aten.relu.default": aten.relu_.default,
    "aten.hardtanh.default": aten.hardtanh_.default,
    "aten.relu6.default": aten.relu6_.default,
    "aten.leaky_relu.default": aten.leaky_relu_.default,
    "aten.hardsigmoid.default": aten.hardsigmoid_.default,
    "aten.threshold.default": aten.threshold_.default,
    "aten.clamp.default": aten.clamp_.default,
    "aten.clamp_min.default": aten.clamp_min_.default,
    "aten.clamp_max.default": aten.clamp_max_.default,
    "aten.masked_fill.Scalar": aten.masked_fill_.Scalar,
}


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(loss.CHUNK_BYTES, "cpu", 256)


def internal_bytes(key: Key, outputs: int) -> int:
    """What docs and docstrings promise: a bit, half a byte or a byte per element, a state, or nothing."""
    sizes = {
        "mask": -(-outputs // 8), "index8": outputs, "index4": -(-outputs // 2), "output": 0, "own-gradient": 0,
        "weight-first": 0,
        "shape": 0, "replay": torch.get_rng_state().nbytes, "chunks": 4,
    }  # fmt: skip
    return sizes[key[1]]


def captured_alone(case: Case, dtype: torch.dtype, kind: str = "parameter") -> Captured:
    """The graph of one operator, as capture makes it, by hand: no trace for each of a thousand cases."""
    tensors = case.inputs(dtype)
    values = [
        Value(
            k, f"x{k}", "activation" if k == 0 or t.dtype is torch.bool else kind, tuple(t.shape), t.stride(),
            int(t.storage_offset()), t.dtype, t.device, k, t.untyped_storage().nbytes(), None, t.is_floating_point(),
            "" if k == 0 else f"x{k}",
        )
        for k, t in enumerate(tensors)
    ]  # fmt: skip
    try:
        made = case.target(*case.all_arguments(case.inputs(torch.float32)))
    except (RuntimeError, IndexError):  # nothing is known of what it makes
        made = torch.empty(0)
    layout = torch.empty_like(made, dtype=dtype)
    values.append(
        Value(
            len(tensors), "y", "activation", tuple(made.shape), made.stride(), 0, dtype, made.device, len(tensors),
            layout.untyped_storage().nbytes(), 0, True,
        )
    )  # fmt: skip
    args = case.all_arguments([Ref(k) for k in range(len(tensors))])
    written = WRITTEN_IN_PLACE.get(str(case.target)) if case.in_place else None
    op = Operator(
        0, case.target, args, {}, tuple(range(len(tensors))), (len(tensors),), Ref(len(tensors)), "layer", "Layer",
        "model", None, written, is_random(case.target, args, {}), False, True, None,
    )  # fmt: skip
    spec = pytree.tree_flatten(())[1]
    # A tied weight has two users.
    again = [op] if str(case.target) == "aten.linear.default" else []
    return Captured(values, [op, *again], [0], [Ref(len(tensors))], spec, spec)


def implementation(key: Key, captured: Captured) -> operators.Implementation:
    (found,) = [i for i in operators.alternatives(captured, captured.operators[0]) if i.name == key[1]]
    return found


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Equal to the bit: +0 is not -0; but a NaN is a NaN, whatever its sign (2.6 gives both, in half precision)."""
    a, b = (t.masked_fill(t.isnan(), torch.nan) if t.is_floating_point() else t for t in (a, b))
    integer = {2: torch.int16, 4: torch.int32, 8: torch.int64}[a.element_size()]
    return a.shape == b.shape and torch.equal(a.contiguous().view(integer), b.contiguous().view(integer))


def gradient_for(y: Tensor, layout: str) -> Tensor:
    g = torch.empty_like(y)
    g.copy_(filled(y.shape, y.dtype, 9) if y.numel() else g)
    if layout == "expanded":
        return torch.full((), 3.0, dtype=y.dtype).expand(y.shape)
    if layout == "other order":
        order = list(reversed(range(y.dim())))
        return g.permute(order).contiguous().permute(order)
    return g


@dataclass
class Ran:
    output: Tensor
    gradients: list[Tensor]
    rng: Tensor
    taken_over: bool
    saved: dict[int, int]  # address of a storage -> bytes
    known: set[int]  # addresses of inputs and output


def run(case: Case, dtype: torch.dtype, call: Callable[..., Any], in_place: bool, layout: str) -> Ran:
    leaves = [t.requires_grad_(t.is_floating_point()) for t in case.inputs(dtype)]
    first = leaves[0].view_as(leaves[0]) if not in_place else torch.empty_like(leaves[0]).copy_(leaves[0])
    saved: dict[int, int] = {}
    held: list[Tensor] = []

    def pack(t: Tensor) -> Tensor:
        held.append(t)
        saved[t.untyped_storage()._cdata] = t.untyped_storage().nbytes()
        return t

    torch.manual_seed(3)
    with saved_tensors_hooks(pack, lambda t: t):
        y = call(*case.all_arguments([first, *leaves[1:]]))
    rng = torch.get_rng_state()
    gradients = torch.autograd.grad(y, [t for t in leaves if t.requires_grad], gradient_for(y, layout))
    known = {t.untyped_storage()._cdata for t in (first, *leaves[1:], y)}
    return Ran(y.detach(), list(gradients), rng, y.numel() > 0 and y.data_ptr() == first.data_ptr(), saved, known)


def everything() -> list[Any]:
    return [
        pytest.param(key, case, id=f"{key[0].split('.')[1]}-{key[1]}-{case.name}".replace(" ", "_"))
        for key, cases in CASES.items()
        for case in cases
    ]


def test_every_bitwise_implementation_has_cases_here() -> None:
    registered = {(op, i.name) for op, every in operators._registry.items() for i in every if i.exactness == "bitwise"}
    assert registered == set(CASES)


def modes(captured: Captured, name: str) -> list[tuple[str, Operator, bool]]:
    """Out of place, in place as the user wrote it, and in place though nobody wrote so: where each can be."""
    op = captured.operators[0]
    bare = replace(op, in_place=None)
    return [
        ("out of place", op, False),
        *([("in place", op, True)] if op.in_place is not None else []),
        *([("in place, unwritten", bare, True)] if operators.runs_in_place(captured, bare, name) else []),
    ]


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: str(d).removeprefix("torch."))
@pytest.mark.parametrize(("key", "case"), everything())
def test_output_gradient_and_rng_are_eagers_to_the_bit(key: Key, case: Case, dtype: torch.dtype) -> None:
    captured = captured_alone(case, dtype)
    chosen = implementation(key, captured)
    assert chosen.exactness == "bitwise"
    for mode, op, in_place in modes(captured, key[1]):
        written = in_place and op.in_place is not None
        for layout in ("dense", "expanded", "other order"):
            try:
                want = run(case, dtype, operators.eager(op, written), written, layout)
            except RuntimeError as error:  # NotImplementedError, or in 2.6 a plain one
                if "not implemented for" not in str(error):
                    raise
                pytest.skip(f"nor has eager a kernel: {error}")
            got = run(case, dtype, chosen.build(op, in_place), in_place, layout)
            where = f"{mode}, {layout} gradient"
            assert same_bits(got.output, want.output), where
            assert got.output.stride() == want.output.stride(), where
            for mine, theirs in zip(got.gradients, want.gradients, strict=True):
                assert same_bits(mine, theirs), where
                assert mine.dtype == theirs.dtype
            assert torch.equal(got.rng, want.rng), where
            assert (got.taken_over, want.taken_over) == (in_place, written), where


@pytest.mark.parametrize(
    "key", [(op, i.name) for op, every in operators._registry.items() for i in every if i.overwrites]
)
def test_in_place_it_takes_what_it_takes_besides_its_output(key: Key) -> None:
    """So a plan knows the one peak by the other."""
    cases = CASES.get(key) or [Case("large", getattr(aten, key[0].split(".")[1]).default, plain(4, 8, 17, 17))]
    case = next((c for c in cases if c.name.startswith("large")), cases[0])
    captured = captured_alone(case, torch.float32)
    assert len(modes(captured, key[1])) > 1
    peaks = {}
    for mode, op, in_place in modes(captured, key[1]):
        first, *others = case.inputs(torch.float32)
        leaf = torch.empty_like(first).copy_(first).requires_grad_(first.is_floating_point())
        tensors = [leaf.clone(memory_format=torch.preserve_format), *others]
        call, arguments = implementation(key, captured).build(op, in_place), case.all_arguments(tensors)
        peaks[mode] = allocator_peak(functools.partial(call, *arguments)).peak_bytes
    output = captured.values[-1].storage_bytes
    assert all(peak == peaks["out of place"] - output for mode, peak in peaks.items() if mode != "out of place"), peaks


@pytest.mark.parametrize(("key", "case"), everything())
def test_it_saves_what_it_says_and_never_more_than_eager(key: Key, case: Case) -> None:
    captured = captured_alone(case, torch.float32)
    op, chosen = captured.operators[0], implementation(key, captured)
    want = run(case, torch.float32, operators.eager(op, False), False, "dense")
    got = run(case, torch.float32, chosen.build(op, False), False, "dense")

    def internals(ran: Ran) -> int:
        return sum(size for address, size in ran.saved.items() if address not in ran.known)

    stated = internal_bytes(key, got.output.numel())
    assert internals(got) == stated
    padding = 8  # of the last byte, for outputs of a few elements
    assert sum(got.saved.values()) <= sum(want.saved.values()) + padding
    if key[1] in ("mask", "index8", "index4", "shape", "replay"):
        assert not got.saved.keys() & got.known, "nothing but the mask"


@pytest.mark.parametrize("inputs", [plain(0, 3), plain(2, 0, 4, 4), plain(0, 3, 8, 8)])
def test_without_elements_only_what_can_is_offered(inputs: Callable[[torch.dtype], list[Tensor]]) -> None:
    for target, arguments in [
        (aten.relu.default, ()), (aten.hardtanh.default, ()), (aten.dropout.default, (0.5, True)),
        (aten.leaky_relu.default, ()), (aten.hardsigmoid.default, ()), (aten.threshold.default, (1.0, 2.0)),
        (aten.clamp.default, (1.0,)), (aten.max_pool2d.default, ([2, 2],)), (aten.max_pool1d.default, ([2],)),
        (aten.max_pool3d.default, ([2],)), (aten.avg_pool2d.default, ([2, 2],)),
        (aten.adaptive_avg_pool2d.default, ([2, 2],)), (aten.avg_pool1d.default, ([2],)),
        (aten.avg_pool3d.default, ([2],)), (aten.adaptive_avg_pool1d.default, ([2],)),
        (aten.adaptive_avg_pool3d.default, ([2, 2, 2],)),
    ]:  # fmt: skip
        captured = captured_alone(Case("empty", target, inputs, arguments), torch.float32)
        assert operators.alternatives(captured, captured.operators[0]) == []


def test_layouts_and_settings_that_an_implementation_cannot_do_are_not_offered() -> None:
    for case in [
        Case("other order", aten.max_pool2d.default, transposed(2, 3, 6, 6), ([2, 2],)),
        Case("to one pixel", aten.adaptive_avg_pool2d.default, plain(2, 3, 6, 6), ([1, 1],)),
        Case("to one place", aten.adaptive_avg_pool1d.default, plain(2, 3, 6), ([1],)),
        Case("to one place", aten.adaptive_avg_pool3d.default, plain(2, 3, 6, 4, 4), ([1, 1, 1],)),
        Case("other order", aten.avg_pool3d.default, channels_last_3d(2, 3, 6, 4, 4), ([2],)),
        Case("negative slope", aten.leaky_relu.default, plain(3, 29), (-0.1,)),
        Case("threshold at infinity", aten.threshold.default, plain(3, 29), (inf, 0.0)),
        Case("small condition", aten.where.self, choice((1, 29), (3, 29), (3, 29))),
        Case("weights of classes", aten.cross_entropy_loss.default, logits(65, 40), (torch.ones(40),)),
        Case("label smoothing", aten.cross_entropy_loss.default, logits(65, 40), (None, 1, -100, 0.1)),
        Case("one chunk", aten.cross_entropy_loss.default, logits(2, 3)),
        Case("probabilities", aten.cross_entropy_loss.default, lambda d: [*plain(65, 40)(d), *plain(65, 40)(d)]),
        Case("window over 256 places", aten.max_pool2d.default, plain(1, 1, 40, 40), ([16, 17],)),
        Case("channels_last", aten.dropout.default, channels_last(2, 3, 6, 6), (0.5, True)),
        Case("evaluation", aten.dropout.default, plain(4, 4), (0.5, False)),
        Case("nothing dropped", aten.dropout.default, plain(4, 4), (0.0, True)),
        Case("all dropped", aten.dropout.default, plain(4, 4), (1.0, True)),
        Case("expanded", aten.relu.default, lambda dtype: [filled((4, 1), dtype).expand(4, 3)]),
        Case("with gaps", aten.hardtanh.default, lambda dtype: [filled((4, 8), dtype)[:, ::2]]),
        Case("scalar", aten.relu.default, plain()),
    ]:
        captured = captured_alone(case, torch.float32)
        assert operators.alternatives(captured, captured.operators[0]) == [], case.name


def test_a_weight_with_one_use_or_no_gradient_gains_nothing() -> None:
    case = Case("weight", aten.linear.default, linear(4, 5, bias=False))
    alone = captured_alone(case, torch.float32)
    alone.operators.pop()
    activation = captured_alone(case, torch.float32, kind="activation")
    for captured in (alone, activation):
        assert "own-gradient" not in {i.name for i in operators.alternatives(captured, captured.operators[0])}


def test_functional_and_in_place_forms_are_found_by_name() -> None:
    for functional, in_place in WRITTEN_IN_PLACE.items():
        assert str(functional_form(in_place)) == functional
    assert functional_form(aten.relu.default) is None


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: str(d).removeprefix("torch."))
@pytest.mark.parametrize("name", sorted(operators._SAVES_ALIKE | operators._SAVES_A_COPY))
def test_what_is_written_in_place_saves_the_same_where_its_input_is_to_stay(name: str, dtype: torch.dtype) -> None:
    packet = getattr(aten, name.split(".")[1])
    written = getattr(getattr(aten, f"{name.split('.')[1]}_"), name.split(".")[2])
    target = getattr(packet, name.split(".")[2])
    case = Case(name, target, plain(7, 11), (2.5,) if name.endswith(".Tensor") else ())
    op = replace(captured_alone(case, dtype).operators[0], in_place=written)
    runs = []
    for call in (written, operators.eager(op, False)):
        leaf = case.inputs(dtype)[0].requires_grad_()
        x = leaf.clone() if call is written else leaf.view_as(leaf)
        packed: list[Tensor] = []

        def pack(t: Tensor, packed: list[Tensor] = packed) -> Tensor:
            packed.append(t.detach())
            return t

        with saved_tensors_hooks(pack, lambda t: t):
            y = call(x, *case.arguments)
        gradient = torch.autograd.grad(y, leaf, filled(y.shape, dtype, 9))[0]
        runs.append((y.detach(), packed, gradient, x))
    (y1, packed1, gradient1, _), (y2, packed2, gradient2, x2) = runs
    assert same_bits(y1, y2)
    assert same_bits(gradient1, gradient2)
    assert len(packed1) == len(packed2)
    assert all(map(same_bits, packed1, packed2))
    assert same_bits(x2.detach(), case.inputs(dtype)[0])  # it was to stay
    own = [[t.data_ptr() != y.data_ptr() for t in packed] for y, packed in ((y1, packed1), (y2, packed2))]
    assert own[0] == own[1]
    assert all(t.data_ptr() != x2.data_ptr() for t in packed2)


def test_gradients_of_gradients_are_refused() -> None:
    for key, cases in CASES.items():
        captured = captured_alone(cases[0], torch.float32)
        op = captured.operators[0]
        leaves = [t.requires_grad_(t.is_floating_point()) for t in cases[0].inputs(torch.float32)]
        y = implementation(key, captured).build(op, False)(*cases[0].all_arguments(leaves))
        wanted = [t for t in leaves if t.requires_grad]
        gradients = torch.autograd.grad(y, wanted, torch.ones_like(y).requires_grad_(), create_graph=True)
        first = gradients[1] if key[1] == "own-gradient" else gradients[0]
        with pytest.raises(RuntimeError, match="once_differentiable"):
            first.sum().backward()


@pytest.mark.parametrize("own", [False, True])
def test_the_two_gradients_of_a_tied_weight_are_summed_in_place_only_if_the_linear_owns_its_own(own: bool) -> None:
    weight = torch.randn(211, 13, requires_grad=True)
    ids = torch.randint(0, 211, (2, 3), generator=torch.Generator().manual_seed(0))
    case = Case("tied", aten.linear.default, lambda dtype: [torch.randn(6, 13, dtype=dtype), weight.detach()])
    captured = captured_alone(case, torch.float32)
    op = captured.operators[0]
    call = implementation(("aten.linear.default", "own-gradient"), captured).build(op, False)
    if not own:
        call = operators.eager(op, False)

    def step() -> None:
        call(F.embedding(ids, weight), weight).sum().backward()

    step()
    reference = weight.grad
    weight.grad = None
    live = most = 0
    for event in allocator_timeline(step):
        if abs(event.bytes) == weight.nbytes:
            live += event.bytes // weight.nbytes
            most = max(most, live)
    assert most == (2 if own else 3)
    assert reference is not None
    assert weight.grad is not None
    weight.grad = None
    F.linear(F.embedding(ids, weight), weight).sum().backward()
    assert weight.grad is not None
    assert same_bits(weight.grad, reference)


@pytest.mark.parametrize(("key", "case"), everything())
def test_it_can_be_estimated_for_a_card_that_is_not_here(key: Key, case: Case) -> None:
    captured = captured_alone(case, torch.float32)
    op = captured.operators[0]
    y = run(case, torch.float32, op.target, False, "dense").output
    measured = {m.name: m for m in measure_for(CARDS[0])(captured, op, [(tuple(y.shape), y.stride())])}
    on_a_card = "weight-first-transposed" if key[1] == "weight-first" else key[1]
    if on_a_card != key[1] and captured.values[op.inputs[1]].shape[1] == 1:
        assert list(measured) == ["eager"], "a card has none for a depthwise one"
        return
    internal = measured[on_a_card].internal_bytes
    assert internal == internal_bytes(key, y.numel())
    assert internal <= measured["eager"].internal_bytes + sum(captured.values[v].storage_bytes for v in op.inputs)


@pytest.mark.parametrize("n", [1, 2, 7, 8, 1003])
def test_nibbles_come_back_as_they_were_packed(n: int) -> None:
    numbers = torch.randint(0, 16, (n,), dtype=torch.uint8, generator=torch.Generator().manual_seed(n))
    packed = bits.pack_nibbles(numbers)
    assert packed.untyped_storage().nbytes() == -(-n // 2)
    assert torch.equal(bits.unpack_nibbles(packed, n), numbers)


@pytest.mark.parametrize("n", [1, 7, 8, 9, 64, 1003])
def test_bits_come_back_as_they_were_packed(n: int) -> None:
    mask = torch.rand(n, generator=torch.Generator().manual_seed(n)) < 0.5
    packed = bits.pack(mask)
    assert packed.dtype is torch.uint8
    assert packed.numel() == -(-n // 8)
    assert packed.untyped_storage().nbytes() == packed.numel()
    assert torch.equal(bits.unpack(packed, n), mask)
