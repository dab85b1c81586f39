"""Modules that can't be traced, each run as one operator, as eager runs it.

`capture` doesn't look into such a module. What it takes and returns is seen in a rehearsal, a forward on the real
inputs that leaves nothing behind; in the trace one operator of torch.library stands for it. In a step that operator
calls the module itself: autograd records what it does and holds what it saves, its hooks fire and its state changes. So
it runs once, and nothing of it is recomputed.

What such a module returns has memory of its own: where it hands on its input, or a view, that is copied. Whether it
does may depend on values, and what shares memory is part of the graph.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from . import containers, generators
from ._private import QUANTIZED, FakeTensor, is_lazy, pytree, schema_of, storage_key, version_of
from .autocast import Autocast, in_autocast
from .errors import CaptureError, PlanMismatch
from .geometry import is_dense
from .state import HOOKS, attributes_by_name

if TYPE_CHECKING:
    from .captured import Captured

_PLAIN = (bool, int, str, bytes, type(None), torch.dtype, torch.device)


@dataclass(frozen=True)
class _Made:
    """A tensor that a block returns; strides are those of the copy where it returns no memory of its own."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device
    requires_grad: bool

    def __str__(self) -> str:
        return f"{str(self.dtype).removeprefix('torch.')}{list(self.shape)}"


@dataclass(eq=False)
class Block:
    """One call of an opaque module in a forward: what goes in and what comes out, as a rehearsal has seen it."""

    path: str
    module: weakref.ref[nn.Module]
    leaves: list[Any]  # of (args, kwargs), None for each tensor
    is_tensor: list[bool]
    in_spec: Any
    outputs: list[Any] = field(default_factory=list)  # leaves of what it returns; `_Made` for a tensor
    out_spec: Any = None
    example: list[Tensor] | None = None  # the tensors that it was given, for who measures it
    number: int = field(default_factory=count().__next__)

    def __post_init__(self) -> None:
        _blocks[self.number] = self

    def run(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Call the module. Raises PlanMismatch where what it returns isn't what the graph was traced with."""
        module = self.module()
        assert module is not None
        given = iter(inputs)
        leaves = [next(given) if tensor else x for tensor, x in zip(self.is_tensor, self.leaves, strict=True)]
        args, kwargs = pytree.tree_unflatten(leaves, self.in_spec)
        output = module(*args, **kwargs)
        found, spec = containers.flatten(output)
        if str(spec) != str(self.out_spec):
            raise self._other("something of another structure")
        theirs = {storage_key(t) for t in (*inputs, *_weights(module))}
        made: list[Tensor] = []
        for x, foreseen in zip(found, self.outputs, strict=True):
            if not isinstance(foreseen, _Made):
                if isinstance(x, Tensor) or x != foreseen:
                    raise self._other(f"{x!r} in place of {foreseen!r}")
                continue
            made.append(self._as_foreseen(x, foreseen, theirs))
            theirs.add(storage_key(made[-1]))
        return made

    def _as_foreseen(self, x: Tensor, foreseen: _Made, theirs: set[int]) -> Tensor:
        if not _is_ordinary(x):
            raise self._other(f"a {type(x).__name__} in place of {foreseen}")
        now = _describe(x)
        if (now.shape, now.dtype, now.device) != (foreseen.shape, foreseen.dtype, foreseen.device):
            raise self._other(f"{now} in place of {foreseen}")
        if x.requires_grad and not foreseen.requires_grad and torch.is_grad_enabled():
            raise self._other(f"{now} that requires a gradient in place of one that doesn't")
        if storage_key(x) in theirs or not _is_whole(x) or x.stride() != foreseen.stride:
            x = torch.empty_strided(now.shape, foreseen.stride, dtype=now.dtype, device=now.device).copy_(x)
        if foreseen.requires_grad and not x.requires_grad:
            x = x.detach().requires_grad_()  # what comes after it is traced with gradients, which end here
        return x

    def _other(self, what: str) -> PlanMismatch:
        return PlanMismatch(
            "M313",
            f"{self.path}, which runs as an opaque block, returned {what}: this depends on values, and the forward was "
            "traced with the other; call monet_torch.remove(model), or plan parts of the model that don't contain it",
        )

    def stand_in(self) -> list[Tensor]:
        """What it returns, of fake tensors."""
        made = []
        for foreseen in self.outputs:
            if isinstance(foreseen, _Made):
                t = torch.empty_strided(foreseen.shape, foreseen.stride, dtype=foreseen.dtype, device=foreseen.device)
                # No leaf: the user may write over it.
                made.append(t.requires_grad_().clone() if foreseen.requires_grad else t)
        return made


_blocks: weakref.WeakValueDictionary[int, Block] = weakref.WeakValueDictionary()
_library: Any = torch.library.Library("monet", "FRAGMENT")  # type: ignore[no-untyped-call]
_library.define("opaque(Tensor[] inputs, Tensor[] weights, int block) -> Tensor[]")


def _opaque(inputs: list[Tensor], weights: list[Tensor], number: int) -> list[Tensor]:
    """`weights`, the parameters and buffers of the module, say what it depends on; it uses its own."""
    if any(isinstance(t, FakeTensor) for t in (*inputs, *weights)):
        return _blocks[number].stand_in()
    return _blocks[number].run(inputs)


_library.impl("opaque", _opaque, "CompositeImplicitAutograd")
OPAQUE = torch.ops.monet.opaque.default


def block(number: int) -> Block:
    return _blocks[number]


def _weights(module: nn.Module) -> list[Tensor]:
    tensors = (*module.parameters(), *module.buffers())
    return [t for t in tensors if t.layout == torch.strided and t.dtype not in QUANTIZED]


def tensors_of(block: Block) -> list[Tensor]:
    """What the operator of a block that has an example takes, in order."""
    module = block.module()
    assert module is not None
    assert block.example is not None
    return [*block.example, *_weights(module)]


def is_inside(path: str, opaque: Sequence[str]) -> bool:
    return any(path == p or path.startswith(p + ".") for p in opaque)


def outside(model: nn.Module, opaque: Sequence[str]) -> list[nn.Module]:
    """The modules of `model`, but for opaque ones and what is in them. The first is the model."""
    return [m for path, m in model.named_modules() if not is_inside(path, opaque)]


# ---- the rehearsal ---------------------------------------------------------------------------------------------------


@dataclass
class Rehearsal:
    """Calls of each opaque module, by path, and the names of attributes that changed meanwhile, by module."""

    calls: dict[str, list[Block]] = field(default_factory=dict)
    changed: dict[str, set[str]] = field(default_factory=dict)

    def changing(self) -> dict[str, set[str]]:
        """Those of opaque modules and of what is in them."""
        return {path: names for path, names in self.changed.items() if is_inside(path, list(self.calls))}


def rehearse(
    model: nn.Module, opaque: Sequence[str], forward: Callable[[], Any], autocast: Autocast, examples: bool = False
) -> Rehearsal:
    """Run `forward` and see what the modules at the paths `opaque` take and return; all of `model` is then as it was.

    Raises CaptureError, its `module` the one around, where one can't be a block: it takes or returns what is no
    ordinary tensor or setting, or writes to what it is given.
    """
    calls: dict[str, list[Block]] = {path: [] for path in opaque}
    running: list[tuple[Block, list[Tensor], list[int]]] = []

    def entering(path: str) -> Callable[..., None]:
        def enter(module: nn.Module, args: Any, kwargs: Any) -> None:
            leaves, spec = containers.flatten((args, kwargs))
            tensors = [x for x in leaves if isinstance(x, Tensor)]
            if not all(map(_is_ordinary, tensors)):
                raise refused(path, "takes tensors that are sparse, quantized or of a subclass")
            made = Block(
                path, weakref.ref(module), [None if isinstance(x, Tensor) else x for x in leaves],
                [isinstance(x, Tensor) for x in leaves], spec,
            )  # fmt: skip
            if examples:
                made.example = [t.detach().clone().requires_grad_(t.requires_grad) for t in tensors]
            running.append((made, tensors, [version_of(t) for t in tensors]))
            _state.inside = True

        return enter

    def leave(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        made, tensors, versions = running.pop()
        _state.inside = bool(running)
        if not tensors and not _weights(module):
            raise refused(made.path, "takes no tensors")
        leaves, spec = containers.flatten((args, kwargs))
        same = str(spec) == str(made.in_spec) and all(
            a is b for a, b in zip([x for x in leaves if isinstance(x, Tensor)], tensors, strict=False)
        )
        if not same or [version_of(t) for t in tensors] != versions:
            raise refused(made.path, "writes to what it is given")
        found, made.out_spec = containers.flatten(output)
        for x in found:
            if not _is_ordinary(x) and not isinstance(x, _PLAIN):
                raise refused(made.path, f"returns a {type(x).__name__} that may be another each time")
        made.outputs = [_describe(x) if isinstance(x, Tensor) else x for x in found]
        calls[made.path].append(made)

    handles: list[Any] = []
    before = attributes_by_name(model)
    try:
        for path, module in model.named_modules():
            if path not in opaque:
                continue
            handles.append(module.register_forward_pre_hook(entering(path), prepend=True, with_kwargs=True))
            handles.append(module.register_forward_hook(leave, with_kwargs=True))
        # Saved tensors take no memory, but for those of the blocks, which may want them while they run.
        hooks = saved_tensors_hooks(lambda t: t if running else None, _unpacked)
        blocks = [module for path, module in model.named_modules() if path in opaque]
        with as_it_was(model, blocks) as changed, torch.enable_grad(), in_autocast(autocast), hooks, _rehearsing():
            forward()
            after = attributes_by_name(model)
            changed.update(
                (path, names)
                for path, now in after.items()
                if (names := {k for k in now.keys() | before[path].keys() if now.get(k) != before[path].get(k)})
            )
    finally:
        _state.inside = False
        for handle in handles:
            handle.remove()
    return Rehearsal(calls, changed)


_state = threading.local()


def is_rehearsing() -> bool:
    """True on a thread in a rehearsal: a planned module then runs its own forward."""
    return getattr(_state, "rehearsing", False)


def is_in_block() -> bool:
    """True on a thread in a rehearsal while a block runs, which does so as it will in training."""
    return getattr(_state, "inside", False)


@contextlib.contextmanager
def _rehearsing() -> Iterator[None]:
    _state.rehearsing = True
    try:
        yield
    finally:
        _state.rehearsing = False


def refused(path: str, why: str) -> CaptureError:
    """That the module at `path` can't be a block; the one around it may be."""
    return CaptureError("M218", f"{path} {why}, so it can't be a block by itself", module=path.rpartition(".")[0])


def refuse_shared_writes(captured: Captured) -> None:
    """Refuse a block if something is written in place behind it while what may be the same memory is still read.

    Whether a block returns what it is given, or what an earlier call of it returned, may depend on values; the trace
    knows of neither.
    """
    root = [v.storage for v in captured.values]
    last = {root[v]: o.id for o in captured.operators for v in o.inputs}
    last |= {root[v]: len(captured.operators) for v in captured.model_outputs}
    made: dict[str, set[int]] = {}
    for o in captured.operators:
        if o.block is None:
            continue
        outputs = made.setdefault(o.block.path, set())
        outputs |= {root[v] for v in o.outputs}
        alike = outputs | {root[v] for v in o.inputs if not captured.values[root[v]].is_constant}
        for w in captured.operators[o.id + 1 :]:
            if (w.in_place is not None or schema_of(w.target).is_mutable) and w.inputs:
                written = root[w.inputs[0]]
                if written in alike and any(last.get(r, -1) > w.id for r in alike - {written}):
                    raise refused(o.block.path, "may return the memory of what is read after it was written in place")


def _unpacked(t: Tensor | None) -> Tensor:
    if t is None:
        raise CaptureError("M219", "a gradient is taken inside of the forward, which can't be traced")
    return t


def _describe(t: Tensor) -> _Made:
    shape = tuple(t.shape)
    stride = t.stride() if is_dense(shape, t.stride()) else torch.empty(shape, device="meta").stride()
    return _Made(shape, tuple(stride), t.dtype, t.device, t.requires_grad)


def _is_ordinary(x: Any) -> bool:
    return (
        isinstance(x, Tensor) and type(x) in (Tensor, nn.Parameter) and x.layout == torch.strided
        and x.dtype not in QUANTIZED
    )  # fmt: skip


def _is_whole(t: Tensor) -> bool:
    whole = t.untyped_storage().nbytes() == t.numel() * t.element_size()
    return whole and is_dense(tuple(t.shape), t.stride()) and not is_lazy(t)


@contextlib.contextmanager
def as_it_was(model: nn.Module, blocks: Sequence[nn.Module] = ()) -> Iterator[dict[str, set[str]]]:
    """Let modules run meanwhile on copies of their buffers; then all attributes and generators are what they were.

    So are the parameters of `blocks`, which may write them, as one that clamps its weights does. Yields a dict for the
    caller's own use. What modules reach besides (globals, files) is theirs.
    """
    copies: dict[int, Tensor] = {}
    written: dict[int, tuple[Tensor, Tensor, int]] = {}
    drawn: list[tuple[torch.Generator, Tensor]] = []
    kept: list[tuple[nn.Module, dict[str, Any], list[tuple[Any, Any]], list[tuple[Any, Any]]]] = []
    for m in model.modules():
        own = vars(m)
        inner = [(own[k], dict(own[k])) for k in ("_buffers", "_parameters")]
        contents = [(x, x.copy()) for x in own.values() if type(x) in (list, dict, OrderedDict, set)]  # hooks, too
        kept.append((m, dict(own), inner, contents))
        for x in own.values():
            if isinstance(x, torch.Generator):
                drawn.append((x, x.get_state()))
            elif isinstance(x, Tensor) and _is_ordinary(x):
                written.setdefault(id(x), (x, x.detach().clone(), version_of(x)))
        if any(m is b for b in blocks):
            for x in m.parameters():
                written.setdefault(id(x), (x, x.detach().clone(), version_of(x)))
        for name, b in own["_buffers"].items():
            if b is not None:
                own["_buffers"][name] = copies.setdefault(id(b), b.detach().clone())
    devices = sorted({t.device.index for t in model.parameters() if t.device.type == "cuda"})
    try:
        with torch.random.fork_rng(devices), generators.as_they_were(model.modules()):
            yield {}
    finally:
        for generator, state in drawn:
            generator.set_state(state)
        with torch.no_grad():
            for x, before, version in written.values():
                if version_of(x) != version:
                    x.copy_(before)
        for m, own, inner, contents in kept:
            m.__dict__.clear()
            m.__dict__.update(own)
            for now, before in (*inner, *contents):
                now.clear()
                now.extend(before) if isinstance(now, list) else now.update(before)


# ---- the trace -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def standing_in(model: nn.Module, rehearsal: Rehearsal) -> Iterator[None]:
    """While `model` is traced, let one operator stand for each call of an opaque module."""
    kept: list[tuple[nn.Module, dict[str, Any], type]] = []
    paths = dict(model.named_modules())
    try:
        for path, calls in rehearsal.calls.items():
            module = paths[path]
            kept.append((module, dict(module.__dict__), type(module)))
            module.__dict__.update({name: OrderedDict() for name in HOOKS}, forward=_stand_in(path, module, calls))
            for inner in module.modules():
                kept.append((inner, dict(inner.__dict__), type(inner)))
                for name in script_objects(inner):  # torch.export wants to know them all
                    del inner.__dict__[name]
        for path, names in rehearsal.changing().items():
            module = paths[path]
            kept.append((module, dict(module.__dict__), type(module)))
            unseen = {name: _out_of_sight(path, name) for name in names}
            module.__class__ = type(type(module).__name__, (type(module),), unseen)
        yield
    finally:
        for module, own, kind in reversed(kept):
            module.__class__ = kind
            module.__dict__.clear()
            module.__dict__.update(own)


def script_objects(module: nn.Module) -> list[str]:
    """Names of its attributes that are objects of C++, as a quantized layer holds its weights."""
    return [name for name, x in module.__dict__.items() if isinstance(x, torch.ScriptObject)]


def _out_of_sight(path: str, name: str) -> property:
    """Outside of the block, the trace would read of this attribute what it was before."""

    def read(self: Any) -> Any:
        raise CaptureError("M220", f"the forward reads {name} of {path}, which {path} sets and which can't be traced")

    return property(read)


def _stand_in(path: str, module: nn.Module, calls: list[Block]) -> Callable[..., Any]:
    left = iter(calls)

    def forward(*args: Any, **kwargs: Any) -> Any:
        made = next(left, None)
        leaves, spec = containers.flatten((args, kwargs))
        tensors = [x for x in leaves if isinstance(x, Tensor)]
        plain = [None if isinstance(x, Tensor) else x for x in leaves]
        same = made is not None and str(spec) == str(made.in_spec) and plain == made.leaves
        if made is None or not same or [isinstance(x, Tensor) for x in leaves] != made.is_tensor:
            raise refused(path, "is called otherwise where it is traced")
        results = iter(torch.ops.monet.opaque(tensors, _weights(module), made.number))
        found = [next(results) if isinstance(x, _Made) else x for x in made.outputs]
        return pytree.tree_unflatten(found, made.out_spec)

    return forward
