"""A backward in Python that can be run, and not differentiated: for one gradient, or for several at once.

Several come under `vmap` over a backward (`is_grads_batched` of torch.autograd.grad). There eager's kernels have rules
for it, and what writes in place or into memory of its own has none: it runs for each gradient by itself.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .._private import in_transform

Backward = Callable[..., Any]


class _EachByItself(torch.autograd.Function):
    """`run(*grads)`, a tuple of tensors and None."""

    @staticmethod
    def forward(run: Backward, *grads: Any) -> Any:
        return run(*grads)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], run: Backward, *grads: Any) -> Any:
        dims = in_dims[1:]
        every = [
            _EachByItself.apply(run, *(g if d is None else g.select(d, k) for g, d in zip(grads, dims, strict=True)))  # type: ignore[no-untyped-call]
            for k in range(info.batch_size)
        ]
        stacked = tuple(torch.stack(each) if isinstance(each[0], Tensor) else None for each in zip(*every, strict=True))
        return stacked, tuple(None if each is None else 0 for each in stacked)


class _Unpacked:
    """A function's context whose saved tensors are unpacked once, however often they are asked for."""

    def __init__(self, ctx: Any) -> None:
        self.ctx, self.saved_tensors = ctx, ctx.saved_tensors

    def __getattr__(self, name: str) -> Any:
        return getattr(self.ctx, name)


def once(backward: Backward) -> Any:
    """For the `backward` of an autograd.Function, below staticmethod."""

    @functools.wraps(backward)
    def run(ctx: Any, *grads: Tensor) -> Any:
        if not in_transform():
            return backward(ctx, *grads)

        unpacked = _Unpacked(ctx)

        def as_tuple(*grads: Tensor) -> tuple[Any, ...]:
            results = backward(unpacked, *grads)
            return results if isinstance(results, tuple) else (results,)

        return _EachByItself.apply(as_tuple, *grads)  # type: ignore[no-untyped-call]

    return torch.autograd.function.once_differentiable(run)
