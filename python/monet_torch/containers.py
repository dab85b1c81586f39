"""What a model takes and returns may be dataclasses, dict-like or plain objects: PyTorch's trees must know the class.

Else one is a leaf, and the tensors in it are seen by nobody. Making a class known changes nothing about it.
"""

from __future__ import annotations

import dataclasses
from collections import UserDict
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
            elif dataclasses.is_dataclass(kind):
                torch.export.register_dataclass(kind)
            else:
                register_container(kind, _attributes, _from_attributes)


def _holds_tensors(x: Any) -> bool:
    if isinstance(x, (UserDict, dict)) or dataclasses.is_dataclass(x):
        return True
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


def _items(mapping: Any) -> tuple[dict[str, Any], Any]:
    return dict(mapping), None


def _from_items(kind: type[Any], parts: dict[str, Any], _: Any) -> Any:
    return kind(parts)


def _attributes(x: Any) -> tuple[dict[str, Any], Any]:
    settings = {name: part for name, part in vars(x).items() if isinstance(part, _CONSTANT)}
    return {name: part for name, part in vars(x).items() if name not in settings}, settings


def _from_attributes(kind: type[Any], parts: dict[str, Any], settings: Any) -> Any:
    made = object.__new__(kind)
    vars(made).update(settings, **parts)
    return made
