"""Autocast as data: the state an operator runs in, and its casts as operators of their own.

So a cast copy can be dropped and made again from its source, and weights are cast once as autocast's cache does.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from ._private import TorchDispatchMode, pytree, storage_key

Autocast = tuple[str, torch.dtype] | None
"""The device type and the dtype that autocast casts to; None where it is off."""


@contextlib.contextmanager
def in_autocast(state: Autocast) -> Iterator[None]:
    if state is None:
        yield
        return
    with torch.autocast(state[0], dtype=state[1]):
        yield


def ambient_autocast(device_type: str) -> Autocast:
    """The autocast state that the caller is in."""
    if not torch.is_autocast_enabled(device_type):
        return None
    return (device_type, torch.get_autocast_dtype(device_type))


def casts_before(
    target: Any, arguments: Any, fakes: Sequence[torch.Tensor], ids: Sequence[int], grad: bool, cast: Autocast
) -> tuple[dict[int, torch.dtype], Autocast]:
    """Which values to cast before `target`, and the state that it then runs in.

    `arguments(casts)` gives (args, kwargs) of fake tensors, those of `casts` cast; `ids` are the values among them,
    in order, and `fakes` their tensors. Where the operator with cast inputs is not what autocast runs, nothing is
    cast and it stays under autocast.
    """

    def run(casts: Mapping[int, torch.dtype], state: Autocast) -> list[torch.dtype] | None:
        args, kwargs = arguments(casts)
        with torch.set_grad_enabled(grad), in_autocast(state):
            try:
                return _dtypes(target(*args, **kwargs))
            except Exception:
                if state is not None:
                    raise
                return None  # types that don't go together without autocast

    spy = _CastSpy([fakes[v] for v in ids])
    with spy:
        wanted = run({}, cast)
    torch.clear_autocast_cache()
    # A value that is an argument twice is cast alike in both places.
    casts = {ids[position]: dtype for position, dtype in spy.casts.items()}
    return (casts, None) if run(casts, None) == wanted else ({}, cast)


class _CastSpy(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Which of an operator's inputs autocast casts, and to what: observed, since the lists live in C++."""

    def __init__(self, inputs: Sequence[torch.Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.by_storage = {(storage_key(t), t.dtype, tuple(t.shape)): i for i, t in enumerate(inputs)}
        self.casts: dict[int, torch.dtype] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.ops.aten._to_copy.default and "dtype" in kwargs:
            source = args[0]
            index = self.by_storage.get((storage_key(source), source.dtype, tuple(source.shape)))
            if index is not None:
                self.casts[index] = kwargs["dtype"]
        return func(*args, **kwargs)


def _dtypes(result: Any) -> list[torch.dtype]:
    return [t.dtype for t in pytree.tree_leaves(result) if isinstance(t, torch.Tensor)]
