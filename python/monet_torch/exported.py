"""HEAD"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

# For each module that runs again in backward: which runs of which operators, counted from 0, keep their result.
KEEP: dict[str, dict[str, list[int]]] = {}
# For each of these, submodules that count in their buffers, as batch norm does: running again is not to count twice.
COUNTS: dict[str, list[str]] = {}
# What these write in place is kept: they no longer do.
OUT_OF_PLACE: list[str] = []


def apply(model: nn.Module) -> None:
    """Let `model` keep these results and compute the others again. Once, after it is built and before it is wrapped."""
    module: Any
    for name in OUT_OF_PLACE:
        module = model.get_submodule(name)
        module.inplace = False
    for name, keep in KEEP.items():
        module = model.get_submodule(name)
        counting = [model.get_submodule(each) for each in COUNTS.get(name, [])]
        module.forward = partial(_checkpointed, module, module.forward, keep, counting)


def _checkpointed(
    module: nn.Module, forward: Any, keep: dict[str, list[int]], counting: list[nn.Module], *args: Any, **kwargs: Any
) -> Any:
    if not module.training or not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    contexts = partial(_contexts, module, keep, counting)
    return checkpoint(partial(forward, **kwargs), *args, use_reentrant=False, context_fn=contexts)


def _contexts(
    module: nn.Module, keep: dict[str, list[int]], counting: list[nn.Module]
) -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
    seen: dict[bool, Counter[str]] = {False: Counter(), True: Counter()}
    contexts: Any = create_selective_checkpoint_contexts
    forward, again = contexts(partial(_policy, keep, seen))
    modes = [(each, each.training) for each in module.modules()]  # running again, they are as they are now
    return forward, _Once(_running_again(modes, counting, again))


def _policy(
    keep: dict[str, list[int]], seen: dict[bool, Counter[str]], context: Any, op: Any, *args: Any, **kwargs: Any
) -> CheckpointPolicy:
    name = str(op)
    runs = seen[context.is_recompute]  # some versions of PyTorch ask again in the recompute
    runs[name] += 1
    return CheckpointPolicy.MUST_SAVE if runs[name] - 1 in keep.get(name, ()) else CheckpointPolicy.PREFER_RECOMPUTE


class _Once(AbstractContextManager[Any]):
    """A region runs again for one backward: what it kept is used up then."""

    def __init__(self, context: AbstractContextManager[Any]) -> None:
        self.context: AbstractContextManager[Any] | None = context
        self.entered: AbstractContextManager[Any]

    def __enter__(self) -> Any:
        if self.context is None:
            raise RuntimeError(
                "what checkpoints with a policy kept is used up after one backward: with retain_graph=True, run the "
                "forward again before the second"
            )
        self.entered, self.context = self.context, None
        return self.entered.__enter__()

    def __exit__(self, *error: Any) -> Any:
        return self.entered.__exit__(*error)


@contextmanager
def _running_again(
    modes: list[tuple[nn.Module, bool]], counting: list[nn.Module], again: AbstractContextManager[Any]
) -> Iterator[None]:
    later = [(module, module.training) for module, _ in modes]
    own = [(module, dict(module.named_buffers(recurse=False))) for module in counting]
    try:
        for module, training in modes:
            module.training = training
        for module, buffers in own:
            for name, buffer in buffers.items():
                setattr(module, name, buffer.clone())
        with again:
            yield
    finally:
        for module, buffers in own:
            for name, buffer in buffers.items():
                setattr(module, name, buffer)
        for module, training in later:
            module.training = training
