"""`apply`, `remove` and `status`: a module that runs its forward by a plan and is otherwise the same module."""

from __future__ import annotations

import contextlib
import copyreg
import functools
import logging
import os
import sys
import warnings
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from types import FrameType
from typing import Any, cast, overload

import torch
from torch import Tensor, nn

from . import containers
from ._private import in_transform, is_compiled, never_compiled, pytree
from .autocast import ambient_autocast
from .capture import capture, is_capturing, user_frame
from .captured import Captured
from .errors import CaptureError, MonetError, PlanMismatch
from .flatten import is_users
from .offload import Host
from .opaque import is_rehearsing, outside
from .plan import Plan, load_plan
from .post_mortem import explain, note, peak_so_far
from .runtime import Program, Trace
from .state import State, Watch, attributes_of, hooked, state_of, tensor_at
from .units import human

_MOST_SIGNATURES = 128  # input signatures captured per module (for 128 lengths of a sequence), and
_MOST_STATES = 16  # states of its attributes per signature; beyond these, forwards run as eager does
_runtimes: weakref.WeakKeyDictionary[nn.Module, _Runtime] = weakref.WeakKeyDictionary()
_classes: dict[type[nn.Module], type[nn.Module]] = {}
_originals: dict[type[nn.Module], type[nn.Module]] = {}
_never_compiled = never_compiled(
    "what runs by a MONeT plan is not compiled: leave fullgraph out, or compile a model without a plan [M323]"
)

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

    A relative path is looked for in the working folder, then beside the file that calls this.

    With `loss`, returns a function to call in its place, `loss(output, *targets)`, that runs it by the plan too: for
    plans made with --loss.
    Raises MonetError when the plan can't be read, or the model already has one or is what torch.compile returned.
    """
    if is_compiled(model):
        raise MonetError(
            "M310", "this is a compiled model; apply the plan to the model itself, and compile that if you like"
        )
    if model in _runtimes:
        raise MonetError("M309", "this model already runs by a plan; call monet_torch.remove(model) first")
    runtime = _runtimes[model] = _Runtime(load_plan(_found(plan, sys._getframe(1))))
    model.__class__ = _planned_class(type(model))
    if loss is None:
        return None
    planned_loss = _PlannedLoss(runtime, loss)
    functools.update_wrapper(planned_loss, loss, updated=())
    return planned_loss


def _found(plan: str | os.PathLike[str] | dict[str, Any], caller: FrameType) -> str | os.PathLike[str] | dict[str, Any]:
    if isinstance(plan, dict) or Path(plan).exists():
        return plan
    beside = Path(caller.f_globals.get("__file__", "")).parent / plan
    return beside if beside.exists() else plan


def remove(model: nn.Module) -> None:
    """Give `model` its own forward back. A model without a plan is left as it is."""
    if _runtimes.pop(model, None) is not None:
        model.__class__ = _originals[type(model)]


def status(model: nn.Module) -> dict[str, Any]:
    """How many forwards ran by the plan, how many as eager does, by reason, and the peak of the model's device so far.

    `larger` is how many of the planned ones were larger than the one that the plan was made for, and may take more
    than it predicts; None where the plan doesn't say its size. The peak is in bytes, of the whole process, as
    torch.cuda.max_memory_allocated has it; None on the CPU.
    """
    runtime = _runtime_of(model)
    larger = runtime.larger if runtime.plan.activation_bytes is not None else None
    return {
        "planned": runtime.planned, "larger": larger, "eager": dict(runtime.eager),
        "peak": peak_so_far(_device(model)),
    }  # fmt: skip


def explain_out_of_memory(model: nn.Module) -> str:
    """What the plan of `model` promised, what became of it, and the next budget to try, for who is out of memory.

    An error that a planned forward or a recompute raises carries this as a note (Python 3.11). One of a kernel in
    the backward does not pass by here: call this where you catch it.
    """
    runtime = _runtime_of(model)
    return explain(runtime.plan, _device(model), runtime.eager, runtime.larger)


def _runtime_of(model: nn.Module) -> _Runtime:
    runtime = _runtimes.get(model)
    if runtime is None:
        raise MonetError("M311", "this model has no plan; monet_torch.apply(model, plan) gives it one")
    return runtime


def _device(model: nn.Module) -> torch.device:
    return next((t.device for t in chain(model.parameters(), model.buffers())), torch.device("cpu"))


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

    @functools.wraps(original.forward)  # some look at what a forward takes: transformers' Trainer does
    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if not self.training or not torch.is_grad_enabled():
            return original.forward(self, *args, **kwargs)
        return _training_forward(self, original.forward, args, kwargs)

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


@_never_compiled  # nor is `_runtimes` looked at by torch.compile, whose guards would hold what it had in it then
def _training_forward(model: nn.Module, own: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    runtime = _runtimes.get(model)
    if runtime is None or runtime.paused or is_rehearsing():
        return own(model, *args, **kwargs)
    if is_capturing():
        return runtime.traced(model, own, args, kwargs)
    try:
        return runtime(model, own, args, kwargs)
    except MonetError as error:
        if user_frame(error):
            raise
        # The person called the model; how far below it went is for the log.
        logging.getLogger("monet_torch").debug("raised here", exc_info=True)
        raise error.with_traceback(None) from error.__cause__


class _Runtime:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.host = Host()
        self.programs: dict[Any, Program | str] = {}
        self.by_fingerprint: dict[str, Program] = {}
        self.captures: Counter[Any] = Counter()
        self.changed = False
        self.paused = False
        self.planned = 0
        self.larger = 0
        self.eager: Counter[str] = Counter()
        self.trace: Trace | None = None
        self.watch: Watch | None = None
        self.changing: dict[str, set[str]] = {}  # attributes that opaque modules change
        self.latest: tuple[Captured, list[Any]] | None = None  # what the last planned forward returned

    def __call__(self, model: nn.Module, own: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        try:
            return self._forward(model, own, args, kwargs)
        except Exception as error:
            note(error, self.plan, _device(model), self.eager, self.larger)
            raise

    def _forward(self, model: nn.Module, own: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        leaves, spec = containers.flatten((args, kwargs))
        watch, modules = self._watched(model)
        reason = (
            "a torch.func transform, or forward-mode differentiation, runs it"
            if in_transform()
            else hooked(self._seen(model, modules))
        )
        program = reason or self._program(model, watch.state, args, kwargs, leaves, spec)
        if isinstance(program, str):
            self.say(program)
            return own(model, *args, **kwargs)
        self.planned += 1
        if self.plan.activation_bytes is not None and program.captured.activation_bytes > self.plan.activation_bytes:
            given = [x for x in leaves if isinstance(x, Tensor) and x.layout == torch.strided]
            copied = sum(x.numel() * x.element_size() for x in given if not x.is_contiguous())
            self.say_larger(program.captured.activation_bytes, self.plan.activation_bytes, copied)
        program.trace = self.trace
        constants = _constants(program.captured, leaves, functools.partial(watch.tensor, modules))
        device = next((t.device.type for t in constants), "cpu")
        try:
            with torch.autocast(device, enabled=False):
                outputs = program(constants)
        except PlanMismatch as error:  # one forward is lost; others run as they would without a plan
            self.programs.update({key: str(error) for key, known in self.programs.items() if known is program})
            raise
        self.latest = (program.captured, [weakref.ref(t) if isinstance(t, Tensor) else None for t in outputs])
        return pytree.tree_unflatten(outputs, program.captured.out_spec)

    def traced(self, model: nn.Module, own: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """The forward while it is traced. (The trace puts attributes back afterwards, so look here.)"""
        before = attributes_of(model)
        result = own(model, *args, **kwargs)
        self.changed = self.changed or attributes_of(model) != before
        return result

    def say(self, reason: str) -> None:
        """Count what runs as eager does, and say so once per reason."""
        if not self.eager[reason]:
            warnings.warn(f"MONeT: this forward runs without its plan: {reason}", stacklevel=_users_level())
        self.eager[reason] += 1

    def say_larger(self, bytes_made: int, planned: int, copied: int) -> None:
        """Count what may take more memory than the plan promises, and say so the first time.

        `copied`: bytes that copies of all inputs that are not contiguous would take.
        """
        if not self.larger:
            explained = bytes_made - planned <= copied
            why = " (an input is not contiguous: where a view of it can't be had, it is copied)" if explained else ""
            warnings.warn(
                f"MONeT: this forward makes {human(bytes_made)} of activations, {human(bytes_made - planned)} more "
                f"than the plan was made for{why}: it runs by the plan and may take more memory than that predicts; "
                "for a promise, profile and plan with the largest inputs, or anew if the model has changed",
                stacklevel=_users_level(),
            )
        self.larger += 1

    def _watched(self, model: nn.Module) -> tuple[Watch, list[nn.Module]]:
        modules = self.watch.look() if self.watch is not None else None
        if self.watch is None or modules is None:
            self.watch, modules = self._watch_anew(model), list(model.modules())
        return self.watch, modules

    def _watch_anew(self, model: nn.Module) -> Watch:
        watch = Watch(model, self.changing)
        # The one that is known: it is found as it is the same object, not by comparing hundreds of entries.
        watch.state = next((s for _, s in self.programs if s == watch.state), watch.state)
        return watch

    def _seen(self, model: nn.Module, modules: list[nn.Module]) -> list[nn.Module]:
        """Those that a trace looks into. An opaque module has its hooks run."""
        return outside(model, self.plan.opaque) if self.plan.opaque else modules

    def _program(
        self, model: nn.Module, state: State, args: Any, kwargs: Any, leaves: list[Any], spec: Any
    ) -> Program | str:
        tensors = [t for t in leaves if isinstance(t, Tensor)]
        if any(type(t) is not Tensor and not isinstance(t, nn.Parameter) for t in tensors):
            return "an input is a tensor subclass"
        device = tensors[0].device.type if tensors else "cpu"
        autocast = ambient_autocast(device)
        call = (_signature(leaves), str(spec), autocast)
        program = self.programs.get((call, state))
        if program is not None:
            return program
        known = {c for c, _ in self.programs}
        if call not in known and len(known) >= _MOST_SIGNATURES:
            return f"more than {_MOST_SIGNATURES} input shapes; pad to fewer sizes"
        if not all(isinstance(p, nn.Parameter) for p in model.parameters()):
            return "torch.func.functional_call gave it other parameters before its first forward with its own"
        if self.captures[call] >= _MOST_STATES:
            return f"attributes of its modules changed more than {_MOST_STATES} times"
        self.captures[call] += 1
        self.changed = False
        program = self._capture(model, args, kwargs, autocast)
        if self.changed:
            # What Python does in a forward happens in a trace and in no planned forward.
            program = "its forward changes attributes of its modules"
        elif isinstance(program, Program) and program.captured.changing:
            for path, names in program.captured.changing.items():
                self.changing.setdefault(path, set()).update(names)
            self.watch = self._watch_anew(model)
            state = self.watch.state
        self.programs[call, state] = program
        return program

    def _capture(self, model: nn.Module, args: Any, kwargs: Any, autocast: Any) -> Program | str:
        try:
            captured = capture(model, args, kwargs, autocast=autocast, opaque=self.plan.opaque)
        except CaptureError as error:
            return f"it could not be captured ({error})"
        fingerprint = captured.fingerprint()
        known = self.by_fingerprint.get(fingerprint)
        if known is not None:
            return known
        try:
            program = self.by_fingerprint[fingerprint] = Program(captured, self.plan, self.host)
        except PlanMismatch as error:
            if self._fits_plain_inputs(model, args, kwargs, autocast):
                return (
                    "an input is not contiguous, or is passed twice, and with it the model runs other operators "
                    "than the plan was made for"
                )
            if not self.programs:
                raise  # the first time, a plan that doesn't fit is the user's to know
            return str(error)
        return program

    def _fits_plain_inputs(self, model: nn.Module, args: Any, kwargs: Any, autocast: Any) -> bool:
        """Is it how the inputs lie in memory that keeps the plan from fitting, and not the model?

        (`contiguous` is no operator where it has nothing to do, and one tensor passed twice is one value.)
        """
        leaves = [t for t in pytree.tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        if all(t.is_contiguous() for t in leaves) and len({id(t) for t in leaves}) == len(leaves):
            return False
        plain = pytree.tree_map_only(
            Tensor,
            lambda t: t.detach().clone(memory_format=torch.contiguous_format).requires_grad_(t.requires_grad),
            (args, kwargs),
        )
        try:
            self.plan.check(capture(model, *plain, autocast=autocast, opaque=self.plan.opaque))
        except MonetError:
            return False
        return True


def _users_level() -> int:
    """How many frames above its caller the user's code is."""
    frame: FrameType | None = sys._getframe(1)
    level = 1
    while frame is not None and not is_users(frame.f_code.co_filename):
        frame, level = frame.f_back, level + 1
    return level


def _constants(captured: Captured, leaves: list[Any], lookup: Callable[[str], Tensor]) -> tuple[Tensor, ...]:
    """The tensors of this call for every constant: inputs, and parameters and buffers as the modules have them now."""
    inputs = {v: leaves[k] for k, v in enumerate(captured.inputs) if v is not None}
    found: list[Tensor] = []
    for value in captured.own_constants:
        if value.kind == "input":
            found.append(inputs[value.id])
        else:
            found.append(captured.constants[value.id] if value.kind == "constant" else lookup(value.target))
    return tuple(found)


class _LossModule(nn.Module):
    def __init__(self, loss: Loss) -> None:
        super().__init__()
        self._loss = (loss,)  # in a tuple, as in Step: a loss that is a module is not a child

    def forward(self, output: Any, targets: Any, named: Any) -> Tensor:
        return self._loss[0](output, *targets, **named)


class _PlannedLoss:
    """Runs the loss by the plan when it is given what the planned model just returned; else as it is."""

    def __init__(self, runtime: _Runtime, loss: Loss) -> None:
        self.runtime, self.loss = runtime, loss
        self.programs: dict[Any, tuple[Captured, Program | str]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loss, name)

    @_never_compiled
    def __call__(self, output: Any, *targets: Any, **named: Any) -> Tensor:
        latest = self.runtime.latest
        leaves, spec = containers.flatten((output, targets, named))
        if latest is None or self.runtime.paused or not torch.is_grad_enabled() or not _same(output, latest[1]):
            return self.loss(output, *targets, **named)
        device = next((t.device.type for t in leaves if isinstance(t, Tensor)), "cpu")
        autocast = ambient_autocast(device)
        state = state_of(self.loss) if isinstance(self.loss, nn.Module) else ()
        key = (_signature(leaves), str(spec), autocast, id(latest[0]), state)
        module = _LossModule(self.loss)
        if key not in self.programs:
            self.programs[key] = (latest[0], self._capture(module, (output, targets, named), autocast, latest[0]))
        _, program = self.programs[key]
        if isinstance(program, str):
            self.runtime.say(program)
            return self.loss(output, *targets, **named)
        program.trace = self._trace(len(latest[0].operators))
        with torch.autocast(device, enabled=False):
            (result,) = program(_constants(program.captured, leaves, functools.partial(tensor_at, module)))
        return cast(Tensor, result)

    def _trace(self, before: int) -> Trace | None:
        """In the ids and on the clock of model and loss together: the loss comes after so many operators."""
        trace = self.runtime.trace
        return trace and (lambda kind, clock, operator: trace(kind, clock + before, operator + before))

    def _capture(self, module: nn.Module, args: Any, autocast: Any, model: Captured) -> Program | str:
        if len(self.programs) >= _MOST_SIGNATURES:
            return f"more than {_MOST_SIGNATURES} shapes of loss inputs"
        try:
            captured = capture(module, args, autocast=autocast)
            return Program(captured, self.runtime.plan.of_loss(model, captured), self.runtime.host)
        except (CaptureError, PlanMismatch) as error:
            return f"the loss: {error}"


def _same(output: Any, latest: list[Any]) -> bool:
    leaves = pytree.tree_leaves(output)
    return len(leaves) == len(latest) and all(
        x is (reference() if reference is not None else x) for x, reference in zip(leaves, latest, strict=True)
    )


def _signature(leaves: list[Any]) -> tuple[Any, ...]:
    """What a trace depends on in its inputs: also which are one and the same tensor, or a parameter."""
    first: dict[int, int] = {}
    return tuple(
        (
            t.shape, t.stride(), t.dtype, t.device, t.requires_grad, first.setdefault(id(t), k),
            id(t) if isinstance(t, nn.Parameter) else None,
        )
        if isinstance(t, Tensor)
        else repr(t)
        for k, t in enumerate(leaves)
    )  # fmt: skip
