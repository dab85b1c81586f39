"""What an entry function returns: `model, inputs`, and perhaps `loss_fn` and `targets`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from . import containers
from .errors import MonetError


class Entry(NamedTuple):
    model: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    loss: Callable[..., Tensor] | None
    targets: tuple[Any, ...]


def read_entry(returned: tuple[Any, ...], what: str) -> Entry:
    """`inputs` are a tuple or list (positional), a mapping (by name), or the one argument itself.

    `loss_fn` takes the output and then the targets, a tuple or list or the only one. Raises MonetError, which begins
    with `what`, on anything else.
    """
    if not 2 <= len(returned) <= 4:
        raise MonetError(
            "M111", f"{what} returned {len(returned)} things; return model, inputs, loss_fn, and perhaps targets"
        )
    model, inputs, loss, targets = (*returned, None, None)[:4]
    if not isinstance(model, nn.Module):
        raise MonetError("M111", f"{what} returned a {type(model).__name__} first; return model, inputs, loss_fn")
    if loss is not None and not callable(loss):
        raise MonetError(
            "M111",
            f"{what} returned a {type(loss).__name__} as its loss; return a function of the model's output, or None",
        )
    if isinstance(inputs, Mapping):
        args, kwargs = (), dict(inputs)
    else:
        args, kwargs = _several(inputs), {}
    given = () if targets is None else _several(targets)
    if given and loss is None:
        raise MonetError("M111", f"{what} returned targets and no loss that takes them; return a function of both")
    if not any(isinstance(leaf, Tensor) for leaf in containers.flatten((args, kwargs))[0]):
        raise MonetError("M111", f"{what} returned no tensor among its inputs; return what the model is called with")
    return Entry(model, args, kwargs, loss, given)


def _several(x: Any) -> tuple[Any, ...]:
    return tuple(x) if type(x) in (tuple, list) else (x,)
