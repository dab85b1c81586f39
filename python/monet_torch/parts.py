"""Parts of a model that can be planned by themselves, where the whole can't be captured.

The rest runs as eager runs it, and keeps what eager keeps.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from . import containers
from ._private import pytree, storage_key, storages_of
from .autocast import Autocast, in_autocast
from .errors import CaptureError, MonetError
from .opaque import as_it_was
from .step import capture_step, loss_of
from .target import Target

_MOST_TRIES = 60  # captures, of some tenths of a second each
_WORTH = 0.02  # of what training keeps; below that a part is not worth a plan


@dataclass
class Call:
    """What a submodule was called with first, and the bytes that all its calls keep for backward."""

    args: Any
    kwargs: Any
    kept: int = 0


@dataclass
class Part:
    """Submodules whose graphs are alike, so that one plan serves all: `name` has `*` for their numbers."""

    name: str
    paths: list[str] = field(default_factory=list)
    kept: int = 0


def only(made: Target, name: str, device: torch.device, autocast: Autocast) -> Target:
    """The first submodule of that name (`encoder.layers.*`) as a model, with the inputs that it gets in a step.

    Its loss is the sum of its outputs. Raises MonetError where there is none, or where it isn't called.
    """
    made = replace(made, model=made.model.to(device))
    paths = [path for path, _ in made.model.named_modules() if path and matches(path, name)]
    if not paths:
        children = ", ".join(child for child, _ in made.model.named_children())
        raise MonetError("M125", f"{made.name} has no submodule {name!r}; it has {children or 'none'}")
    _, calls = record(made, device, autocast, paths)
    called = next((path for path in paths if path in calls), None)
    if called is None:
        raise MonetError("M126", f"{name} of {made.name} is not called in a forward as it trains; name a part that is")
    call = calls[called]
    return replace(
        made, model=made.model.get_submodule(called), args=call.args, kwargs=call.kwargs, targets=(), loss=None
    )


def matches(path: str, name: str) -> bool:
    steps, pattern = path.split("."), name.split(".")
    return len(steps) == len(pattern) and all(map(fnmatchcase, steps, pattern))


def record(
    made: Target, device: torch.device, autocast: Autocast, paths: list[str] | None = None
) -> tuple[int, dict[str, Call]]:
    """Run a forward with its loss: the bytes that it keeps for backward, and what each submodule is called with.

    The model is then as it was.
    """
    model = made.model.to(device)
    args, kwargs, targets = pytree.tree_map_only(Tensor, lambda t: t.to(device), (made.args, made.kwargs, made.targets))
    calls: dict[str, Call] = {}
    running: list[str] = []
    seen = {storage_key(s) for t in (*model.parameters(), *model.buffers()) for s in storages_of(t)}
    total = 0

    def pack(t: Tensor) -> Tensor:
        nonlocal total
        for storage in storages_of(t):
            if storage_key(storage) not in seen:
                seen.add(storage_key(storage))
                total += storage.nbytes()
                for path in running:
                    calls[path].kept += storage.nbytes()
        held.append(t)  # the address of a storage that is gone may be another's
        return t

    def entering(path: str) -> Callable[..., None]:
        def enter(module: nn.Module, args: Any, kwargs: Any) -> None:
            if path not in calls:
                calls[path] = Call(*_cut_off(args, kwargs))
            running.append(path)

        return enter

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        running.pop()

    held: list[Tensor] = []
    handles = []
    for path, module in model.named_modules():
        if path and (paths is None or path in paths):
            handles.append(module.register_forward_pre_hook(entering(path), with_kwargs=True))
            handles.append(module.register_forward_hook(leave))
    try:
        with as_it_was(model), saved_tensors_hooks(pack, lambda t: t), in_autocast(autocast):
            loss_of(model(*args, **kwargs), targets, made.loss)
    finally:
        for handle in handles:
            handle.remove()
    return total, calls


class _FromAbove(torch.autograd.Function):
    """An input that comes from another module: its gradient is handed on, and nothing holds it."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return None, None


def _cut_off(args: Any, kwargs: Any) -> tuple[Any, Any]:
    leaves, spec = containers.flatten((args, kwargs))
    anchor = torch.zeros((), requires_grad=True)

    def cut(t: Any) -> Any:
        if not isinstance(t, Tensor) or isinstance(t, nn.Parameter):
            return t
        cut_off = t.detach()
        return _FromAbove.apply(anchor, cut_off) if t.requires_grad else cut_off  # type: ignore[no-untyped-call]

    result: tuple[Any, Any] = pytree.tree_unflatten([cut(leaf) for leaf in leaves], spec)
    return result


def general(path: str) -> str:
    """The path with `*` for its numbers."""
    return re.sub(r"(?<=\.)\d+(?=\.|$)|^\d+(?=\.|$)", "*", path)


def find(made: Target, device: torch.device, autocast: Autocast) -> tuple[list[Part], int]:
    """The largest submodules that can be captured, alike ones as one, and the bytes that the whole model keeps."""
    total, calls = record(made, device, autocast)
    found: dict[tuple[str, str], Part] = {}
    tries = 0

    def visit(module: nn.Module, path: str) -> None:
        nonlocal tries
        for name, child in module.named_children():
            below = f"{path}.{name}" if path else name
            call = calls.get(below)
            if call is None or call.kept >= _WORTH * total:
                if call is not None and tries < _MOST_TRIES:
                    tries += 1
                    structure = _structure(child, call, autocast)
                    if structure is not None:
                        alike = general(below)
                        part = found.setdefault((alike, structure), Part(alike))
                        part.paths.append(below)
                        part.kept += call.kept
                        continue
                visit(child, below)

    visit(made.model, "")
    names = [part.name for part in found.values()]
    for part in found.values():
        if len(part.paths) == 1 or names.count(part.name) > 1:
            part.name = part.paths[0]
    return sorted(found.values(), key=lambda part: -part.kept), total


def _structure(module: nn.Module, call: Call, autocast: Autocast) -> str | None:
    training = module.training
    try:
        captured, _ = capture_step(module, call.args, call.kwargs, (), None, autocast)
    except (CaptureError, MonetError):
        return None
    finally:
        module.train(training)
    return captured.structure()


def advice(made: Target, device: torch.device, autocast: Autocast, within: str = "") -> str:
    """What can be planned of a model that can't be captured whole, as the end of a sentence; "" for nothing.

    `within` is the part of the whole that `made` is: parts are named from the whole on.
    """
    try:
        parts, total = find(made, device, autocast)
    except Exception:  # the error is that the whole can't be captured; this is help
        return ""
    if not parts:
        return ""
    prefix = f"{within}." if within else ""
    named = [
        f"--part {prefix + part.name!r} ({f'{len(part.paths)} alike, ' if len(part.paths) > 1 else ''}"
        f"{part.kept / max(1, total):.0%} of what it keeps)"
        for part in parts[:4]
    ]
    return f"; parts of it can be planned by themselves: {', '.join(named)}"
