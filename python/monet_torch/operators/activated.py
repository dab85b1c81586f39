"""Batch norm and the leaky ReLU after it from one tensor, z: the norm's output y is had back from z where it is wanted.

What autograd saves is y, as by `output` in `norms`; z stands in for it, so that y need not be held, and may be
overwritten. Approximate like that: y is then rounded once more. (A ReLU can't be undone.)
"""

from __future__ import annotations

from functools import partial
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from .._private import pytree
from ..captured import Captured, Operator, Ref
from . import Implementation, StandIn, register
from .norms import LEAST, BatchNorm, trains

aten = torch.ops.aten


def _least(dtype: torch.dtype) -> float:
    """The weight below which a channel is poor: where z loses digits, next to 0, float16 has few below it."""
    return 1e-2 if dtype is torch.float16 else LEAST


def _stand_in(captured: Captured, operator: Operator) -> StandIn | None:
    """z, if a leaky ReLU is all that reads y."""
    values = captured.values
    (y,) = operator.outputs
    readers = captured.readers.get(y, [])
    if len(readers) != 1 or y in {values[v].storage for v in captured.model_outputs}:
        return None
    later = captured.operators[readers[0]]
    if later.name != "aten.leaky_relu.default" or later.pinned or {operator.part, later.part} != {"model"}:
        return None
    (z,) = later.outputs
    slope = later.args[1] if len(later.args) > 1 else later.kwargs.get("negative_slope", 0.01)
    dtype = values[y].dtype
    undone = isfinite(slope) and slope * _least(dtype) >= torch.finfo(dtype).tiny
    alike = values[z].dtype == dtype and values[z].shape == values[y].shape
    if not undone or not alike or values[z].storage != z or later.inputs != (y,) or not later.grad:
        return None
    return StandIn(z, partial(aten.leaky_relu, negative_slope=1 / slope))


def _applies(captured: Captured, operator: Operator) -> bool:
    args, kwargs = pytree.tree_map_only(Ref, lambda r: captured.values[r.id], (operator.args, operator.kwargs))
    return trains(*args, **kwargs) and _stand_in(captured, operator) is not None


def _build(operator: Operator, in_place: bool) -> Any:
    def run(
        x: Tensor, weight: Tensor, bias: Tensor, mean: Any, var: Any, training: bool, momentum: float, eps: float,
        cudnn: bool,
    ) -> Any:  # fmt: skip
        least = _least(x.dtype)
        return BatchNorm.apply(x, weight, bias, mean, var, momentum, eps, cudnn, least)  # type: ignore[no-untyped-call]

    return run


register(
    "aten.batch_norm.default",
    Implementation("activated", "approximate", _applies, _build, stand_in=_stand_in, looks=True),
)
