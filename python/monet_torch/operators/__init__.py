"""What an operator may do besides what eager does: a registry of implementations that save less for backward."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch

from .._private import pytree
from ..captured import Captured, Operator, Ref
from ..errors import MonetError, PlanMismatch

Function = Callable[..., Any]
F = TypeVar("F", bound=Function)
EXACTNESS = ("bitwise", "same-kernel", "approximate")


@dataclass(frozen=True)
class StandIn:
    """A value that is made of an operator's output later, and what makes that output of it again."""

    value: int
    undo: Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Implementation:
    """`build(operator, in_place)` returns a function of the operator's own arguments.

    `exactness` says how its gradients compare with eager's: `bitwise`, `same-kernel` or `approximate`.
    `applies` looks at the operator and its values; what it refuses is not offered for that operator.
    With `own_output`, the output isn't eager's to the bit: what is made again is made by it too, else as eager does.
    With `in_two`, its backward is two nodes of autograd's: what the first saves is gone when the second runs.
    Where it saves its (first) output, `stand_in` may name a later value that a plan holds instead; where nobody knows
    of that, the output itself is held.
    With `looks`, it saves its output or its input, by what it sees in their numbers.
    With `overwrites`, it can be built in place for an operator that the user didn't write so, too.
    Without `compiles`, code that torch.compile makes runs eager's operator instead.
    """

    name: str
    exactness: str
    applies: Callable[[Captured, Operator], bool]
    build: Callable[[Operator, bool], Function]
    own_output: bool = False
    in_two: bool = False
    stand_in: Callable[[Captured, Operator], StandIn | None] | None = None
    looks: bool = False
    overwrites: bool = False
    compiles: bool = True


_registry: dict[str, list[Implementation]] = {}


def register(op: str, implementation: Implementation) -> None:
    """Offer `implementation` for the operator named `op` (as `aten.relu.default`), in place of one of its name.

    (A notebook cell or a model's file may run twice.)
    """
    if implementation.name == "eager" or implementation.exactness not in EXACTNESS:
        raise MonetError(
            "M322",
            f"implementation {implementation.name!r} of {op}: any name but 'eager' will do, and exactness is one of "
            f"{', '.join(EXACTNESS)}, not {implementation.exactness!r}",
        )
    others = [i for i in _registry.get(op, []) if i.name != implementation.name]
    if implementation.overwrites:
        implementation = replace(implementation, build=_over_an_alias(implementation.build))
    _registry[op] = [*others, implementation]


def implementation(
    op: str, *, name: str, exactness: str, applies: Callable[..., bool] | None = None, in_place: bool = False,
    own_output: bool = False, looks: bool = False, compiles: bool = True,
) -> Callable[[F], F]:  # fmt: skip
    """Offer the decorated function wherever a model runs the operator `op`: a plan may then choose it.

    `op` is the name in the training graph: `aten.silu.default`, or `mylib.bend.default` for an operator of
    `torch.library`. The function takes that operator's arguments and returns what it returns; what differs is what
    autograd saves meanwhile, which the profiler observes. `exactness` says how output and gradients compare with
    eager's: `bitwise`, `same-kernel` (equal up to the order of sums) or `approximate`, which plans use only when asked.

    `applies`, if given, gets the same arguments with a `Value` (shape, stride, dtype, device, kind, …) for each tensor
    and says whether the function can serve them. With `in_place` the function also takes a keyword `in_place`, and
    overwrites its first argument when that is true: where the model does, and where nothing else wants that any more.
    Without, operators that the model runs in place keep to eager.
    Say `own_output` where what it returns has other bits than eager's: a plan then makes it again by this function.
    Say `looks` where it looks at numbers to choose whether to save its output or its input: torch.compile can't.

        class Bend(torch.autograd.Function):  # saves its output, where eager's formula saves input and output
            ...

        @monet_torch.implementation(
            "mylib.bend.default", name="output", exactness="approximate", applies=lambda x: x.dtype == torch.float32
        )
        def bend_from_output(x):
            return Bend.apply(x)
    """

    def decorate(function: F) -> F:
        def serves(captured: Captured, operator: Operator) -> bool:
            if operator.in_place is not None and not in_place:
                return False
            if applies is None:
                return True
            args, kwargs = pytree.tree_map_only(
                Ref, lambda r: captured.values[r.id], (operator.args, operator.kwargs)
            )  # fmt: skip
            return bool(applies(*args, **kwargs))

        def build(operator: Operator, over: bool) -> Function:
            if not in_place:
                return function

            @functools.wraps(function)  # torch.compile asks for a name
            def run(*args: Any, **kwargs: Any) -> Any:
                return function(*args, in_place=over, **kwargs)

            return run

        kind = Implementation(name, exactness, serves, build, own_output, looks=looks, compiles=compiles)
        register(op, replace(kind, overwrites=in_place))
        return function

    return decorate


def alternatives(captured: Captured, operator: Operator) -> list[Implementation]:
    """The implementations besides eager that this operator may use, in order of registration."""
    return [i for i in _registry.get(operator.name, []) if i.applies(captured, operator)]


def has_own_output(captured: Captured, operator: Operator, name: str) -> bool:
    """Is what the implementation called `name` gives something else than eager's, to be made again by it alone?"""
    found = [i for i in _registry.get(operator.name, []) if i.name == name and i.own_output]
    return any(i.applies(captured, operator) for i in found)


def is_in_two(operator: Operator, name: str) -> bool:
    """Does the backward of the implementation called `name` run as two nodes?"""
    return any(i.in_two for i in _registry.get(operator.name, []) if i.name == name)


def compiles(operator: Operator, name: str) -> bool:
    """Can code that torch.compile makes run the implementation called `name`?"""
    return all(i.compiles for i in _registry.get(operator.name, []) if i.name == name)


def looks(captured: Captured, operator: Operator, name: str) -> bool:
    """Does the implementation called `name` choose what it saves by the numbers that it sees, where it applies?"""
    found = [i for i in _registry.get(operator.name, []) if i.name == name and i.looks]
    return any(i.applies(captured, operator) for i in found)


def runs_in_place(captured: Captured, operator: Operator, name: str) -> bool:
    """May the implementation called `name` overwrite its input, where nothing else wants that any more?"""
    if operator.in_place is not None:
        return True
    found = [i for i in _registry.get(operator.name, []) if i.name == name and i.overwrites]
    return can_overwrite(captured, operator) and any(i.applies(captured, operator) for i in found)


def can_overwrite(captured: Captured, operator: Operator) -> bool:
    """Is its first argument memory of the same shape, that no one can have but operators of the graph?

    (A user's own function may hold what it makes and what it reads, for its backward, where no hook sees it.)
    """
    values = captured.values
    if not operator.inputs or operator.pinned or len(operator.outputs) != 1:
        return False
    x, y = values[operator.inputs[0]], values[operator.outputs[0]]
    users = [captured.operators[i] for i in captured.readers.get(x.storage, [])]
    if x.producer is not None:
        users.append(captured.operators[x.producer])
    return (
        operator.args[0] == Ref(x.id) and operator.inputs.count(x.id) == 1 and x.storage_bytes > 0 and len(x.shape) > 0
        and not x.is_constant and x.storage == x.id and y.storage == y.id
        and (x.shape, x.stride, x.dtype, x.storage_bytes) == (y.shape, y.stride, y.dtype, y.storage_bytes)
        and all(user.name.startswith("aten.") for user in users)
    )  # fmt: skip


class _Alias(torch.autograd.Function):
    """The same memory, as a tensor that is nobody's view. What autograd saved of the other notices a write."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.detach()

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        return grads[0]


def _over_an_alias(build: Callable[[Operator, bool], Function]) -> Callable[[Operator, bool], Function]:
    """The same, but in place of what the user didn't write so it writes over a tensor of its own.

    (A write into a view, as a linear layer's output is, would have autograd copy gradients.)
    """

    def build_over(operator: Operator, in_place: bool) -> Function:
        call = build(operator, in_place)
        if not in_place or operator.in_place is not None:
            return call

        def run(x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            return call(_Alias.apply(x), *args, **kwargs)  # type: ignore[no-untyped-call]

        return run

    return build_over


def in_place_form(operator: Operator) -> Function | None:
    """What eager runs where the operator is written in place; None where there is no such thing."""
    if operator.in_place is not None:
        return operator.in_place
    library, name, overload = operator.name.split(".")
    packet = getattr(torch.ops.aten, f"{name}_", None) if library == "aten" else None
    return getattr(packet, overload, None)


def stand_in(captured: Captured, operator: Operator, name: str) -> StandIn | None:
    """What stands in for the output that the implementation called `name` saves, where it applies; None: nothing."""
    found = [i for i in _registry.get(operator.name, []) if i.name == name and i.applies(captured, operator)]
    return next((i.stand_in(captured, operator) for i in found if i.stand_in is not None), None)


# In-place forms that save the same as their functional forms,
_SAVES_ALIKE = {
    "aten.relu.default", "aten.sigmoid.default", "aten.tanh.default", "aten.add.Tensor", "aten.sub.Tensor",
}  # fmt: skip
# or a copy of what those save, their input; others save their result instead of their input.
_SAVES_A_COPY = {
    "aten.hardtanh.default", "aten.relu6.default", "aten.silu.default", "aten.gelu.default", "aten.mish.default",
    "aten.hardswish.default", "aten.hardsigmoid.default",
}  # fmt: skip


def eager(operator: Operator, in_place: bool) -> Function:
    """What eager PyTorch does. An operator written in place that must not overwrite its input works on a copy."""
    written = operator.in_place
    if written is None or (not in_place and operator.name in _SAVES_ALIKE):
        return operator.target
    if in_place:
        return written
    run = operator.target if operator.name in _SAVES_A_COPY else written  # one copy is enough

    def on_a_copy(x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        return run(x.clone(), *args, **kwargs)

    return on_a_copy


def named(captured: Captured, operator: Operator, name: str) -> Callable[[Operator, bool], Function]:
    """The builder of the implementation called `name`. Raises PlanMismatch when there is none for the operator.

    A plan serves other sizes than it was made for; where the implementation doesn't apply to one, that is eager's.
    """
    if name == "eager":
        return eager
    found = [i for i in _registry.get(operator.name, []) if i.name == name]
    if not found:
        raise PlanMismatch(
            "M308",
            f"the plan runs {operator.name} of {operator.module or 'the model'} as '{name}', which this monet_torch "
            "does not offer for it; plan again with this version",
        )
    return next((i.build for i in found if i.applies(captured, operator)), eager)


from . import (  # noqa: E402, F401  (each registers its own)
    activated,
    attention,
    choice,
    convolution,
    curves,
    dropout,
    linear,
    loss,
    norms,
    piecewise,
    pooling,
    relu,
    row_norms,
    weight_first,
)
