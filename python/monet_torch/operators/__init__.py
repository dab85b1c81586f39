"""What an operator may do besides what eager does: a registry of implementations that save less for backward."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ..captured import Captured, Operator

Function = Callable[..., Any]


@dataclass(frozen=True)
class Implementation:
    """`build(operator, in_place)` returns a function of the operator's own arguments.

    `exactness` says how its gradients compare with eager's: `bitwise`, `same-kernel` or `approximate`.
    `applies` looks at the operator and its values; what it refuses is not offered for that operator.
    """

    name: str
    exactness: str
    applies: Callable[[Captured, Operator], bool]
    build: Callable[[Operator, bool], Function]


_registry: dict[str, list[Implementation]] = {}


def register(op: str, implementation: Implementation) -> None:
    """Offer `implementation` for the ATen operator named `op` (as `aten.relu.default`)."""
    _registry.setdefault(op, []).append(implementation)


def alternatives(captured: Captured, operator: Operator) -> list[Implementation]:
    """The implementations besides eager that this operator may use, in order of registration."""
    return [i for i in _registry.get(operator.name, []) if i.applies(captured, operator)]


# In-place forms that save the same as their functional forms; others save their result instead of their input.
_SAVES_ALIKE = {"aten.relu.default", "aten.add.Tensor", "aten.sub.Tensor"}


def eager(operator: Operator, in_place: bool) -> Function:
    """What eager PyTorch does. An operator written in place that must not overwrite its input works on a copy."""
    written = operator.in_place
    if written is None or (not in_place and operator.name in _SAVES_ALIKE):
        return operator.target
    if in_place:
        return written

    def on_a_copy(x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        return written(x.clone(), *args, **kwargs)

    return on_a_copy


def named(captured: Captured, operator: Operator, name: str) -> Callable[[Operator, bool], Function] | None:
    """The builder of the implementation called `name`, or None when this operator has none of that name."""
    if name == "eager":
        return eager
    return next((i.build for i in alternatives(captured, operator) if i.name == name), None)


from . import dropout, linear, pooling, relu  # noqa: E402, F401  (each registers its implementations)
