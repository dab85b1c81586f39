"""What a model takes and returns may be dataclasses, dict-like or plain objects: PyTorch's trees must know the class.

Else one is a leaf, and the tensors in it are seen by nobody. Making a class known changes nothing about it.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict, UserDict, defaultdict
from typing import Any

import torch
from torch import Tensor, nn

from ._private import TreeSpec, pytree, register_container

_CONSTANT = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, type)


def flatten(tree: Any) -> tuple[list[Any], TreeSpec]:
    """The leaves of `tree`, with those within dataclasses, `UserDict`s (as BatchEncoding) and objects that hold
    nothing but tensors and settings (as DynamicCache), and how they lie in it."""
    while True:
        leaves, spec = pytree.tree_flatten(tree)
        unknown = [leaf for leaf in leaves if not isinstance(leaf, (Tensor, *_CONSTANT)) and _holds_tensors(leaf)]
        if not unknown:
            return leaves, spec
        for kind in {type(leaf) for leaf in unknown}:
            if issubclass(kind, (UserDict, dict)):
                register_container(kind, _items, _from_items)
            else:
                register_container(kind, _attributes, _from_attributes)


def _holds_tensors(x: Any) -> bool:
    if isinstance(x, nn.Module):
        return False
    if dataclasses.is_dataclass(x):
        return True
    if isinstance(x, (UserDict, dict)):
        return not isinstance(x, defaultdict) and not _has_slots(type(x))
    inside = _contents(x, 0)
    return inside is not None and any(isinstance(leaf, Tensor) for leaf in inside)


def _contents(x: Any, depth: int) -> list[Any] | None:
    """Tensors and settings in an object of a class that trees don't know; None where there is anything else."""
    if isinstance(x, (Tensor, *_CONSTANT)):
        return [x]
    leaves = pytree.tree_leaves(x)
    if len(leaves) != 1 or leaves[0] is not x:
        parts = leaves
    elif isinstance(x, nn.Module) or not hasattr(x, "__dict__") or _has_slots(type(x)) or depth > 4:
        return None
    else:
        parts = list(vars(x).values())
    found: list[Any] = []
    for part in parts:
        inside = _contents(part, depth + 1)
        if inside is None:
            return None
        found += inside
    return found


def _has_slots(kind: type[Any]) -> bool:
    return any(vars(base).get("__slots__") for base in kind.__mro__)


@dataclasses.dataclass(frozen=True)
class _Attribute:
    """A name beside the keys of a dict, one of which may be the same."""

    name: str


def _items(mapping: Any) -> tuple[dict[Any, Any], Any]:
    attributes, settings = _attributes(mapping)
    if isinstance(mapping, UserDict):
        del attributes["data"]
    return {**dict(mapping), **{_Attribute(name): part for name, part in attributes.items()}}, settings


def _from_items(kind: type[Any], parts: dict[Any, Any], settings: Any) -> Any:
    attributes = {key.name: part for key, part in parts.items() if isinstance(key, _Attribute)}
    items = {key: part for key, part in parts.items() if not isinstance(key, _Attribute)}
    if issubclass(kind, UserDict):
        return _from_attributes(kind, {**attributes, "data": items}, settings)
    made = _from_attributes(kind, attributes, settings)
    for key, part in items.items():
        (OrderedDict if issubclass(kind, OrderedDict) else dict).__setitem__(made, key, part)
    return made


def _attributes(x: Any) -> tuple[dict[str, Any], Any]:
    """Settings are a part of how the tree is made: with others, another trace is wanted."""
    fields = dataclasses.fields(x) if dataclasses.is_dataclass(x) else ()
    all_of_it = {f.name: getattr(x, f.name) for f in fields if hasattr(x, f.name)} | getattr(x, "__dict__", {})
    settings = {name: part for name, part in all_of_it.items() if isinstance(part, _CONSTANT)}
    return {name: part for name, part in all_of_it.items() if name not in settings}, settings


def _from_attributes(kind: type[Any], parts: dict[str, Any], settings: Any) -> Any:
    """Not by its constructor, which may want something else, or do something again."""
    made: Any = kind.__new__(kind)  # type: ignore[call-overload]
    for name, part in {**settings, **parts}.items():
        object.__setattr__(made, name, part)
    return made
