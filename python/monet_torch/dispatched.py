"""What each captured operator comes to below autograd, where checkpoint policies and joint graphs see operators."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ._private import FakeTensorMode, TorchDispatchMode, pytree, schema_of, storage_key
from .autocast import in_autocast
from .captured import Captured, Operator, Ref
from .geometry import extent


@dataclass(frozen=True)
class Call:
    """One operator as the dispatcher meets it, once autograd is through with it.

    `makes` are the storages of the graph that begin in its results, and `random` says that it draws random numbers.
    """

    name: str
    results: int
    makes: tuple[int, ...]
    random: bool
    writes: bool


def calls_of(captured: Captured, functional: Container[int] = ()) -> list[list[Call]]:
    """For each operator, what it calls, in order, found on tensors without memory; nothing for an opaque module.

    Operators written in place run in place, but for those whose id is in `functional`.
    """
    found: list[list[Call]] = []
    with FakeTensorMode(allow_non_fake_inputs=True):
        for o in captured.operators:
            if o.block is not None:  # runs once, as it is
                found.append([])
                continue
            with _Recorder() as recorder:
                args, kwargs = pytree.tree_map_only(Ref, made_once(captured), (o.args, o.kwargs))
                target: Any = o.target
                if o.in_place is not None and o.id not in functional:
                    target = o.in_place
                    args = (args[0].clone(), *args[1:])
                recorder.calls.clear()
                result = run_as_captured(o, target, args, kwargs)
            tensors = [t for t in pytree.tree_leaves(result) if isinstance(t, Tensor)]
            roots = {
                storage_key(t): v for v, t in zip(o.outputs, tensors, strict=True) if captured.values[v].storage == v
            }
            found.append(_placed(recorder.calls, roots))
    torch.clear_autocast_cache()
    return found


def run_as_captured(o: Operator, target: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Run `target`, which stands for operator `o`, with and under what `o` was captured with."""
    grad = o.grad and not schema_of(o.target).is_mutable  # a leaf is written without
    with torch.set_grad_enabled(grad), in_autocast(o.autocast):
        return target(*args, **kwargs)


def made_once(captured: Captured) -> Callable[[Ref], Tensor]:
    """A maker of tensors for values, the same one for the same value; each has memory of its own."""
    made: dict[int, Tensor] = {}

    def make(ref: Ref) -> Tensor:
        if ref.id not in made:
            v = captured.values[ref.id]
            base = torch.empty(v.offset + extent(v.shape, v.stride), dtype=v.dtype, device=v.device)
            made[ref.id] = torch.as_strided(base, v.shape, v.stride, v.offset).detach().requires_grad_(v.requires_grad)
        return made[ref.id]

    return make


@dataclass
class _Called:
    func: Any
    results: list[Tensor]  # kept, so that storages stay distinct


def _placed(calls: list[_Called], roots: dict[int, int]) -> list[Call]:
    rows = []
    seen: set[int] = set()
    for call in calls:
        keys = [storage_key(t) for t in call.results]
        fresh = [k for k in dict.fromkeys(keys) if k not in seen]
        seen |= set(keys)
        rows.append(
            Call(
                str(call.func), len(call.results), tuple(roots[k] for k in fresh if k in roots),
                torch.Tag.nondeterministic_seeded in call.func.tags, schema_of(call.func).is_mutable,
            )
        )  # fmt: skip
    return rows


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[_Called] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.calls.append(_Called(func, [t for t in pytree.tree_leaves(result) if isinstance(t, Tensor)]))
        return result
