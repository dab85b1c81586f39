"""What a trace of a model depends on besides its inputs, and a quick look whether that is still so."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from itertools import chain, count
from types import BuiltinFunctionType, FunctionType, MappingProxyType, MemberDescriptorType, MethodType, ModuleType
from typing import Any

from torch import Tensor, nn

from . import generators
from ._private import PARAMETERS_AGAIN, has_global_hooks

_PLAIN = (bool, int, float, complex, str, bytes, type(None))
# What every module has: parameters, buffers, hooks, …, seen to below.
_OWN = frozenset(vars(nn.Module())) | PARAMETERS_AGAIN
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")

_Own = list[dict[str, Any]]
"""The attributes of each module of a model, in the order of `modules()`."""


Changing = Mapping[str, set[str]]
"""Names of attributes that opaque modules change in their forwards, by the path of the module: no part of a state."""
_NOTHING: Changing = MappingProxyType({})


class State(tuple[Any, ...]):
    """A state as a key. It is hashed once: hundreds of entries would be at every forward."""

    _hash: int | None = None

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = super().__hash__()
        return self._hash


def state_of(model: nn.Module, but: Changing = _NOTHING) -> State:
    """What a trace of `model` depends on besides its inputs, as far as its modules hold it.

    Which modules there are and of what class, their own attributes (training flags, probabilities, settings), and
    how parameters and buffers lie in memory. Globals, closures and iterators are out of sight.
    """
    found = attributes_of(model, but)
    first: dict[int, int] = {}
    for m in model.modules():
        attributes = vars(m)
        for tensors in (attributes["_parameters"], attributes["_buffers"]):
            found += [(k, *_layout(t, first)) for k, t in tensors.items() if t is not None]
    return State(found)


def attributes_of(model: nn.Module, but: Changing = _NOTHING) -> list[Any]:
    found: list[Any] = []
    for path, m in model.named_modules():
        found.append((id(m), type(m), m.training))
        found += [(k, _frozen(x, 4)) for k, x in vars(m).items() if k not in _OWN and k not in but.get(path, ())]
    return found


def attributes_by_name(model: nn.Module) -> dict[str, dict[str, Any]]:
    """Of each module, by path, its own attributes as something that changes when they do."""
    return {path: {k: _frozen(x, 4) for k, x in vars(m).items() if k not in _OWN} for path, m in model.named_modules()}


class Watch:
    """The state of a model as it was, and what tells quickly that it still is.

    A forward asks each time, and to freeze every attribute of every module anew takes longer than the operators of a
    small model. Nothing here holds a module or what its attributes refer to: that could be the model itself.
    """

    def __init__(self, model: nn.Module, but: Changing = _NOTHING) -> None:
        self.state = state_of(model, but)
        modules = list(model.modules())
        self._modules = [weakref.ref(m) for m in modules]
        self._types = list(map(type, modules))
        self._but = [(at, names) for at, (path, _) in enumerate(model.named_modules()) if (names := but.get(path))]
        own = self._own(modules)
        self._keys, self._values, self._tensors = _keys(own), _values(own), _tensors(own)
        others = [
            (at, key, x)
            for at, attributes in enumerate(own)
            for key, x in attributes.items()
            if key not in _OWN and not _is_one_object(x)
        ]
        self._plain = [(at, key) for at, key, x in others if _is_plain(x)]
        self._data = [x for _, _, x in others if _is_plain(x)]
        # Once each: a configuration that all layers share is what it is, wherever it is looked at.
        changeable = {id(x): (at, key, x) for at, key, x in others if not _is_plain(x)}
        self._changeable = [(at, key, _frozen(x, 4)) for at, key, x in changeable.values()]
        self._places: dict[str, tuple[int, str, str]] = {}

    def look(self) -> list[nn.Module] | None:
        """All modules, as `modules()` has them, if the state is what it was; None if not, or if that is not sure."""
        modules = [m for m in (reference() for reference in self._modules) if m is not None]
        if list(map(type, modules)) != self._types:
            return None
        own = self._own(modules)
        same = _keys(own) == self._keys and _values(own) == self._values and _tensors(own) == self._tensors
        same = same and [own[at][key] for at, key in self._plain] == self._data
        if same and all(_frozen(own[at][key], 4) == frozen for at, key, frozen in self._changeable):
            return modules
        return None

    def _own(self, modules: list[nn.Module]) -> _Own:
        own = list(map(vars, modules))
        for at, names in self._but:
            own[at] = {k: x for k, x in own[at].items() if k not in names}
        return own

    def tensor(self, modules: list[nn.Module], target: str) -> Tensor:
        """The parameter or buffer of that path, as the modules have it now."""
        place = self._places.get(target)
        if place is None:
            path, _, name = target.rpartition(".")
            owner = modules[0].get_submodule(path)
            kind = next((k for k in ("_parameters", "_buffers") if name in vars(owner)[k]), "")
            place = self._places[target] = (modules.index(owner), kind, name)
        at, kind, name = place
        # Not by `getattr`, which looks in three places: there are hundreds of them, before a step's first operator.
        tensor: Tensor = modules[at].__dict__[kind][name] if kind else getattr(modules[at], name)
        return tensor


def tensor_at(model: nn.Module, target: str) -> Tensor:
    """The parameter or buffer of that path."""
    owner, _, name = target.rpartition(".")
    tensor = getattr(model.get_submodule(owner), name)
    assert isinstance(tensor, Tensor)
    return tensor


def _keys(own: _Own) -> list[str]:
    inner = ((kind, *a[kind]) for a in own for kind in ("_modules", "_parameters", "_buffers"))
    return [*chain.from_iterable(own), *chain.from_iterable(inner)]


def _values(own: _Own) -> list[int]:
    """All by who they are, child modules too; what can change without becoming another object is looked at besides."""
    return list(map(id, chain.from_iterable(chain(a.values(), a["_modules"].values()) for a in own)))


def _is_one_object(x: Any) -> bool:
    """Is what is equal to it the same object, and nothing else ever at its address? None, flags, small numbers."""
    return x is None or isinstance(x, bool) or (type(x) is int and -5 <= x <= 256)


def _is_plain(x: Any) -> bool:
    """Data that is compared by value and can't change in place."""
    return isinstance(x, _PLAIN) or (isinstance(x, tuple) and all(map(_is_plain, x)))


def _tensors(own: _Own) -> list[Any]:
    first: dict[int, int] = {}
    return [
        None if t is None else _layout(t, first)
        for a in own
        for t in chain(a["_parameters"].values(), a["_buffers"].values())
    ]


def _layout(t: Tensor, first: dict[int, int]) -> tuple[Any, ...]:
    """How it lies in memory, and the number of the first that is the same tensor: tied ones may be untied later."""
    return (t.requires_grad, t.dtype, t.shape, t.stride(), t.device, first.setdefault(id(t), len(first)))


def _frozen(x: Any, depth: int) -> Any:
    """Something hashable that changes when `x` does; beyond data and what is in objects, when it is another object."""
    if isinstance(x, _PLAIN):
        return (type(x), x)
    if depth and isinstance(x, (list, tuple, set, frozenset, deque)):
        return (type(x), tuple(_frozen(y, depth - 1) for y in x))
    if depth and isinstance(x, dict):
        return (type(x), tuple((_frozen(k, depth - 1), _frozen(y, depth - 1)) for k, y in x.items()))
    drawn = generators.state_of(x)
    if drawn is not None:
        return (type(x), _number(x), drawn)
    inside = _inside(x) if depth > 1 and not _is_code(x) else None  # itself one level, what is in it another
    return (type(x), _number(x), _frozen(inside, depth - 1)) if inside else (type(x), _number(x))


def _is_code(x: Any) -> bool:
    """Functions and the like, with notes of their own on them; tensors and modules are seen to elsewhere."""
    own = (type, Tensor, nn.Module, FunctionType, BuiltinFunctionType, MethodType, ModuleType, partial)
    return isinstance(x, own) or (callable(x) and type(x).__module__.partition(".")[0] == "torch")


def _inside(x: Any) -> dict[str, Any]:
    """The attributes of an object, those in slots too; of a NumPy array, its bytes."""
    found = getattr(x, "__dict__", None)
    attributes = dict(found) if isinstance(found, dict) else {}
    for base in type(x).__mro__:
        if "__slots__" in vars(base):  # by their descriptors, since `__own` has another name there
            slots = [name for name, place in vars(base).items() if isinstance(place, MemberDescriptorType)]
            attributes |= {name: getattr(x, name) for name in slots if hasattr(x, name)}
    if type(x).__module__ == "numpy" and hasattr(x, "tobytes"):
        attributes["bytes"] = x.tobytes()
    return attributes


_numbers: dict[int, tuple[Callable[[], Any], int]] = {}
_next = count()


def _number(x: Any) -> int:
    """Its own for each object, also where one is made at the address of another that is gone."""
    known = _numbers.get(id(x))
    if known is not None and known[0]() is x:
        return known[1]
    address, number = id(x), next(_next)
    try:
        reference: Callable[[], Any] = weakref.ref(x, lambda _: _forget(address, number))
    except TypeError:  # held, then: nothing that a weak reference can't be had of refers to much
        reference = partial(_same, x)
    _numbers[address] = (reference, number)
    return number


def _same(x: Any) -> Any:
    return x


def _forget(address: int, number: int) -> None:
    if _numbers.get(address, (None, -1))[1] == number:
        del _numbers[address]


def hooked(modules: list[nn.Module]) -> str:
    """Why hooks keep a forward from being planned; "" when none does. Hooks on the model, the first, fire as ever."""
    if has_global_hooks():
        return "there are hooks for every module"
    for m in modules[1:]:
        if any(map(vars(m).get, HOOKS)):
            return f"a submodule ({type(m).__name__}) has hooks"
    return ""
