"""`apply`, `remove` and `status`: a module that runs its forward by a plan and is otherwise the same module."""

from __future__ import annotations

import contextlib
import copyreg
import functools
import os
import warnings
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, cast, overload

import torch
from torch import Tensor, nn

from ._private import pytree
from .capture import Captured, ambient_autocast, capture, is_capturing
from .errors import CaptureError, MonetError, PlanMismatch
from .plan import Plan, load_plan
from .runtime import Program

_MOST_PROGRAMS = 16  # input signatures captured per module; beyond these, forwards run as eager does
_runtimes: weakref.WeakKeyDictionary[nn.Module, _Runtime] = weakref.WeakKeyDictionary()
_classes: dict[type[nn.Module], type[nn.Module]] = {}
_originals: dict[type[nn.Module], type[nn.Module]] = {}


Loss = Callable[..., Tensor]


@overload
def apply(model: nn.Module, plan: str | os.PathLike[str] | dict[str, Any]) -> None: ...
@overload
def apply(model: nn.Module, plan: str | os.PathLike[str] | dict[str, Any], *, loss: Loss) -> Loss: ...
def apply(model: nn.Module, plan: str | os.PathLike[str] | dict[str, Any], *, loss: Loss | None = None) -> Loss | None:
    """Run the training forwards of `model` by `plan` from now on.

    Nothing else changes: parameters, buffers, `state_dict`, hooks on the model, DDP, `eval()`. The first training
    forward of each input shape captures the model once (seconds). A forward that the plan can't serve runs the
    model's own code; `status(model)` says how many did and why.

    With `loss`, returns a function to call in its place, `loss(output, *targets)`, that runs it by the plan too: for
    plans made with --loss.
    Raises MonetError when the plan can't be read or the model already has one.
    """
    if model in _runtimes:
        raise MonetError("this model already runs by a plan; call monet_torch.remove(model) first")
    runtime = _runtimes[model] = _Runtime(load_plan(plan))
    model.__class__ = _planned_class(type(model))
    if loss is None:
        return None
    planned_loss = _PlannedLoss(runtime, loss)
    functools.update_wrapper(planned_loss, loss, updated=())
    return planned_loss


def remove(model: nn.Module) -> None:
    """Give `model` its own forward back. A model without a plan is left as it is."""
    if _runtimes.pop(model, None) is not None:
        model.__class__ = _originals[type(model)]


def status(model: nn.Module) -> dict[str, Any]:
    """How many forwards ran by the plan, and how many as eager does, by reason."""
    runtime = _runtimes.get(model)
    if runtime is None:
        raise MonetError("this model has no plan; monet_torch.apply(model, plan) gives it one")
    return {"planned": runtime.planned, "eager": dict(runtime.eager)}


@contextlib.contextmanager
def paused(model: nn.Module) -> Iterator[None]:
    """Run the model's own forward meanwhile, and keep what was captured."""
    runtime = _runtimes[model]
    runtime.paused = True
    try:
        yield
    finally:
        runtime.paused = False


def _planned_class(original: type[nn.Module]) -> type[nn.Module]:
    """A subclass whose forward asks for a plan; it pickles and copies as the class it stands for."""
    if original in _classes:
        return _classes[original]

    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        runtime = _runtimes.get(self)
        if runtime is None or runtime.paused or is_capturing() or not self.training or not torch.is_grad_enabled():
            return original.forward(self, *args, **kwargs)
        return runtime(self, original.forward, args, kwargs)

    def reduce(self: nn.Module, protocol: Any) -> Any:
        function, arguments, *rest = cast(tuple[Any, ...], original.__reduce_ex__(self, protocol))
        if function is getattr(copyreg, "__newobj__", None) and arguments == (planned,):
            # Pickle insists that __newobj__ gets the object's own class; this is what older protocols call.
            return (copyreg._reconstructor, (original, object, None), *rest)  # type: ignore[attr-defined]
        return (function, tuple(original if a is planned else a for a in arguments), *rest)

    namespace = {
        "forward": forward, "__reduce_ex__": reduce, "__module__": original.__module__,
        "__qualname__": original.__qualname__, "__doc__": original.__doc__,
    }  # fmt: skip
    planned = type(original.__name__, (original,), namespace)
    _classes[original] = planned
    _originals[planned] = original
    return planned


_Plain = (bool, int, float, str, type(None))


class _Guard:
    """The plain attributes of every submodule (training flags, probabilities, switches): the trace depends on them."""

    def __init__(self, model: nn.Module) -> None:
        self.modules = list(model.modules())
        self.names = [[k for k, x in vars(m).items() if isinstance(x, _Plain)] for m in self.modules]
        self.ignored: set[tuple[int, str]] = set()

    def values(self) -> tuple[Any, ...]:
        return tuple(
            vars(m).get(k)
            for i, (m, names) in enumerate(zip(self.modules, self.names, strict=True))
            for k in names
            if (i, k) not in self.ignored
        )

    def ignore_changes(self, before: tuple[Any, ...], after: tuple[Any, ...]) -> None:
        """Attributes that change without changing the graph (counters) are no reason to trace again."""
        places = [(i, k) for i, names in enumerate(self.names) for k in names if (i, k) not in self.ignored]
        for place, a, b in zip(places, before, after, strict=True):
            if a != b and place[1] != "training":
                self.ignored.add(place)

    def hooked(self) -> str:
        """The class of a submodule with hooks, which a planned forward would not call; "" when there is none."""
        for m in self.modules[1:]:
            if m._forward_hooks or m._forward_pre_hooks or m._backward_hooks or m._backward_pre_hooks:
                return type(m).__name__
        return ""


class _Runtime:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.programs: dict[Any, Program | str] = {}
        self.guard: _Guard | None = None
        self.paused = False
        self.planned = 0
        self.eager: Counter[str] = Counter()
        self.trace: Callable[[str, int, int], None] | None = None
        self.latest: tuple[Captured, list[Any]] | None = None  # what the last planned forward returned

    def __call__(self, model: nn.Module, own: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        leaves, spec = pytree.tree_flatten((args, kwargs))
        program = self._program(model, args, kwargs, leaves, spec)
        if isinstance(program, str):
            if not self.eager[program]:
                warnings.warn(f"MONeT: this forward runs without its plan: {program}", stacklevel=4)
            self.eager[program] += 1
            return own(model, *args, **kwargs)
        self.planned += 1
        program.trace = self.trace
        constants = _constants(model, program.captured, leaves)
        device = next((t.device.type for t in constants), "cpu")
        with torch.autocast(device, enabled=False):
            outputs = program(constants)
        self.latest = (program.captured, [weakref.ref(t) if isinstance(t, Tensor) else None for t in outputs])
        return pytree.tree_unflatten(outputs, program.captured.out_spec)

    def _program(self, model: nn.Module, args: Any, kwargs: Any, leaves: list[Any], spec: Any) -> Program | str:
        if self.guard is None:
            self.guard = _Guard(model)
        hooked = self.guard.hooked()
        if hooked:
            return f"a submodule ({hooked}) has hooks"
        tensors = [t for t in leaves if isinstance(t, Tensor)]
        if any(type(t) is not Tensor and not isinstance(t, nn.Parameter) for t in tensors):
            return "an input is a tensor subclass"
        device = tensors[0].device.type if tensors else "cpu"
        autocast = ambient_autocast(device)
        signature = _signature(leaves)
        state = self.guard.values()
        key = (signature, str(spec), autocast, state)
        program = self.programs.get(key)
        if program is None:
            if len(self.programs) >= _MOST_PROGRAMS:
                return f"more than {_MOST_PROGRAMS} input shapes"
            program = self._capture(model, args, kwargs, autocast)
            self._learn(key, program)
            self.programs[(signature, str(spec), autocast, self.guard.values())] = program
        return program

    def _learn(self, key: Any, program: Program | str) -> None:
        """Did only a counter change since this signature was captured before?"""
        assert self.guard is not None
        if isinstance(program, str):
            return
        for known, other in list(self.programs.items()):
            if (
                known[:3] == key[:3] and isinstance(other, Program) and len(known[3]) == len(key[3])
                and other.captured.fingerprint() == program.captured.fingerprint()
            ):  # fmt: skip
                self.guard.ignore_changes(known[3], key[3])
                del self.programs[known]

    def _capture(self, model: nn.Module, args: Any, kwargs: Any, autocast: Any) -> Program | str:
        try:
            captured = capture(model, args, kwargs, autocast=autocast)
        except CaptureError as error:
            return f"it could not be captured ({error})"
        if not self.programs:
            return Program(captured, self.plan)  # the first time, a plan that doesn't fit is the user's to know
        try:
            return Program(captured, self.plan)
        except PlanMismatch as error:
            return str(error)


def _constants(model: nn.Module, captured: Captured, leaves: list[Any]) -> tuple[Tensor, ...]:
    """The tensors of this call for every constant: inputs, and parameters and buffers as the modules have them now."""
    inputs = {v: leaves[k] for k, v in enumerate(captured.inputs) if v is not None}
    found: list[Tensor] = []
    for value in captured.values:
        if not value.is_constant or value.storage != value.id:
            continue
        if value.kind == "input":
            found.append(inputs[value.id])
        elif value.kind == "constant":
            found.append(captured.constants[value.id])
        else:
            found.append(_lookup(model, value.target))
    return tuple(found)


def _lookup(model: nn.Module, target: str) -> Tensor:
    owner: Any = model
    *path, name = target.split(".")
    for part in path:
        owner = owner._modules[part]
    tensor: Tensor = getattr(owner, name)
    return tensor


class _LossModule(nn.Module):
    def __init__(self, loss: Loss) -> None:
        super().__init__()
        self._loss = (loss,)  # in a tuple, as in Step: a loss that is a module is not a child

    def forward(self, output: Any, targets: Any) -> Tensor:
        return self._loss[0](output, *targets)


class _PlannedLoss:
    """Runs the loss by the plan when it is given what the planned model just returned."""

    def __init__(self, runtime: _Runtime, loss: Loss) -> None:
        self.runtime, self.loss = runtime, loss
        self.programs: dict[Any, Program] = {}

    def __call__(self, output: Any, *targets: Any) -> Tensor:
        latest = self.runtime.latest
        leaves, spec = pytree.tree_flatten((output, targets))
        if latest is None or self.runtime.paused or not torch.is_grad_enabled() or not _same(output, latest[1]):
            return self.loss(output, *targets)
        device = next((t.device.type for t in leaves if isinstance(t, Tensor)), "cpu")
        autocast = ambient_autocast(device)
        key = (_signature(leaves), str(spec), autocast, id(latest[0]))
        program = self.programs.get(key)
        module = _LossModule(self.loss)
        if program is None:
            captured = capture(module, (output, targets), autocast=autocast)
            program = self.programs[key] = Program(captured, self.runtime.plan.of_loss(latest[0], captured))
        program.trace = self.runtime.trace
        with torch.autocast(device, enabled=False):
            (result,) = program(_constants(module, program.captured, leaves))
        return cast(Tensor, result)


def _same(output: Any, latest: list[Any]) -> bool:
    leaves = pytree.tree_leaves(output)
    return len(leaves) == len(latest) and all(
        x is (reference() if reference is not None else x) for x, reference in zip(leaves, latest, strict=True)
    )


def _signature(leaves: list[Any]) -> tuple[Any, ...]:
    return tuple(
        (t.shape, t.stride(), t.dtype, t.device, t.requires_grad) if isinstance(t, Tensor) else repr(t) for t in leaves
    )
