"""Capture a model's forward as it trains.

`torch.export` (training mode, non-strict, before decomposition) gives one node per operator the user wrote,
with file:line and module path; `flatten` makes a flat list of them.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import threading
import traceback
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import CheckpointFunction

from . import containers, generators
from ._private import (
    FakeTensor,
    called_uncompiled,
    function_behind,
    module_blamed,
    name_parts_of_containers,
    pytree,
    saved_tensors_hooks_now,
    wants_values,
    whole_stack_traces,
)
from .as_eager import trace_as_eager
from .autocast import Autocast
from .captured import Captured
from .errors import CaptureError, MonetError
from .flatten import Flattener, is_users
from .opaque import (
    Rehearsal,
    is_in_block,
    is_inside,
    refuse_shared_writes,
    refused,
    rehearse,
    script_objects,
    standing_in,
)
from .state import HOOKS

_state = threading.local()


def is_capturing() -> bool:
    """True on a thread that is tracing: a planned module then runs its own forward."""
    return getattr(_state, "capturing", False)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """torch.export warns and logs about matters that are ours to deal with."""
    loggers = [logging.getLogger(n) for n in ("torch", "torch.export", "torch.fx", "torch._dynamo")]
    levels = [logger.level for logger in loggers]
    _state.capturing = True
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        _state.capturing = False
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


_HOOKS_ON_TENSORS = (Tensor.register_hook, Tensor.register_post_accumulate_grad_hook, Tensor.retain_grad)


class _NothingLost(TorchFunctionMode):
    """Refuses what a trace would leave out without a word, and gradients would be others.

    What is behind an input is not traced: it may have come from anywhere.
    """

    def __init__(self, inputs: Any, running: list[str]) -> None:
        super().__init__()
        self.running = running
        self.inputs = {id(leaf) for leaf in pytree.tree_leaves(inputs)}
        self.around = saved_tensors_hooks_now()  # which see what a planned forward saves, as they do without a plan

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.is_inference_mode_enabled():
            raise CaptureError("M203", "inference_mode inside of a forward can't be traced; torch.no_grad can")
        if func in _HOOKS_ON_TENSORS:
            raise CaptureError(
                "M204",
                f"the forward calls {func.__name__} on a tensor, and a planned one could not; hooks on parameters and "
                "on what the model returns belong outside of the forward",
            )
        if saved_tensors_hooks_now() not in (None, self.around):
            raise CaptureError(
                "M211",
                "the forward uses saved_tensors_hooks (or save_on_cpu), and a planned one could not; use them around "
                "the model, or leave them to the plan (`--offload` moves tensors to host memory)",
            )
        self.check((args, kwargs))
        return func(*args, **(kwargs or {}))

    def check(self, tensors: Any) -> None:
        for tensor in containers.flatten(tensors)[0]:
            traced = isinstance(tensor, Tensor) and id(tensor) not in self.inputs
            function = function_behind(tensor) if traced else None
            if function is CheckpointFunction:
                self.running.clear()  # no module is to be left untraced for this: there is something better
                raise CaptureError(
                    "M205",
                    "a reentrant checkpoint can't be traced; call torch.utils.checkpoint with use_reentrant=False",
                )
            if function is not None:
                raise CaptureError(
                    "M206",
                    f"{function.__name__} is a torch.autograd.Function, and the backward that it defines can't be "
                    "traced; make it an operator, with torch.library.custom_op and register_autograd",
                )


@contextlib.contextmanager
def _nothing_lost(module: nn.Module, inputs: Any, model: nn.Module, running: list[str]) -> Iterator[None]:
    """`running` is kept to be the paths of those modules of `model` that run, the innermost last."""
    given: list[tuple[list[int], Any]] = []

    def held(args: Any, kwargs: Any) -> tuple[list[int], Any]:
        leaves, spec = containers.flatten((args, kwargs))
        return [id(leaf) for leaf in leaves], spec

    def before(module: nn.Module, args: Any, kwargs: Any) -> None:
        given.append(held(args, kwargs))

    def after(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        mode.check(output)
        if held(args, kwargs) != given.pop():
            raise CaptureError(
                "M207",
                "the forward puts something else into a list, dict or object that it was given, and a planned one "
                "could not; return it instead",
            )

    paths = {child: path for path, child in model.named_modules() if path}
    drawn = generators.state()

    def check_random() -> None:  # between two modules, so that it is known whose own code drew
        if generators.state() != drawn:
            raise CaptureError(
                "M222",
                "the forward draws random numbers from Python's random or NumPy's, and a planned one would go on with "
                "those of its trace; draw them with PyTorch, as a tensor",
            )

    def enter(module: nn.Module, args: Any) -> None:
        check_random()
        if module in paths:
            running.append(paths[module])

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        check_random()
        if module in paths:
            mode.check(output)
            running.pop()

    with _NothingLost(inputs, running) as mode:
        handles: list[Any] = [
            module.register_forward_pre_hook(before, with_kwargs=True),
            module.register_forward_hook(after, with_kwargs=True),
            # For all modules, since a forward may look which hooks of its own there are.
            register_module_forward_pre_hook(enter),
            register_module_forward_hook(leave),
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def _export(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], model: nn.Module, running: list[str]
) -> Any:
    # From 2.7 `export` itself stays before decomposition; in 2.6 that was a function of its own.
    version = tuple(int(p) for p in torch.__version__.split("+")[0].split(".")[:2])
    export: Callable[..., Any] = torch.export.export
    if version < (2, 7):
        export = getattr(torch.export, "export_for_training")  # noqa: B009  (gone from later versions)
    stderr = io.StringIO()
    running.clear()
    name_parts_of_containers()
    seen = _nothing_lost(module, (args, kwargs), model, running)
    try:
        with (
            _quiet(),
            seen,
            whole_stack_traces(),
            called_uncompiled(module),
            contextlib.redirect_stderr(stderr),
        ):
            return export(module, args, kwargs, strict=False)
    except Exception as error:
        # On stderr, torch.export prints the graph that it had so far; the rest is the user's.
        graph = f"{getattr(error, 'partial_fx_graph', '')}\n"
        stderr = io.StringIO(stderr.getvalue().replace(graph, "") if graph != "\n" else stderr.getvalue())
        raise
    finally:
        print(stderr.getvalue(), end="", file=sys.stderr)


def capture(
    module: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any] | None = None,
    *,
    autocast: Autocast = None,
    loss_prefix: str | None = None,
    opaque: Sequence[str] = (),
    examples: bool = False,
) -> Captured:
    """Capture `module(*args, **kwargs)` as it trains.

    `autocast` is the state in which the user calls the module. With `loss_prefix`, the module is a wrapper whose
    child of that name is the user's model; what runs outside that child is the loss part. Modules at the paths `opaque`
    of the user's model are blocks (`monet_torch.opaque`), which keep what they were given where `examples` are wanted.
    Raises CaptureError with the user's file and line where PyTorch cannot trace the forward.
    """
    kwargs = kwargs or {}
    leaves, _ = containers.flatten((args, kwargs))
    devices = {t.device.type for t in (*module.parameters(), *leaves) if isinstance(t, torch.Tensor)} | {"cpu"}
    with contextlib.ExitStack() as stack:
        for device in devices:  # the caller may be under autocast: `autocast` says so, and is applied per operator
            stack.enter_context(torch.autocast(device, enabled=False))
        model = module if loss_prefix is None else module.get_submodule(loss_prefix)
        stack.enter_context(_without_hooks(model))
        stack.enter_context(generators.as_they_were(module.modules()))
        running: list[str] = []
        rehearsal = Rehearsal()

        def trace() -> Any:
            nonlocal rehearsal
            if opaque:  # anew each time: what a function is told about being traced may change what a block is given
                rehearsal = rehearse(model, opaque, lambda: module(*args, **kwargs), autocast, examples)
            with standing_in(model, rehearsal), _attributes_as_they_were(module):
                exported = _export(module, args, kwargs, model, running)
            lost = next((name for name, x in exported.constants.items() if isinstance(x, FakeTensor)), None)
            if lost is not None:  # later versions of torch.export than 2.9 look for it themselves
                path = lost.rpartition(".")[0].removeprefix(f"{loss_prefix}.")
                raise CaptureError(
                    "M201", f"{path or 'the model'} computes what torch.export can't trace", module=path or None
                )
            return exported

        try:
            exported = trace_as_eager(trace, is_in_block)
        except Exception as error:
            told = explained(error)
            told.module = _module_at_fault(error, model, running, loss_prefix, opaque)
            raise told from error
        captured = Flattener(module, exported, autocast, loss_prefix, leaves).run()
    refuse_shared_writes(captured)
    blocks = {o.block for o in captured.operators if o.block is not None}
    for call in (call for calls in rehearsal.calls.values() for call in calls):
        if call not in blocks:  # the trace leaves out what nobody reads
            raise refused(call.path, "runs for something else than what it returns")
    captured.changing = rehearsal.changing()
    return captured


def _module_at_fault(
    error: Exception, model: nn.Module, running: list[str], loss_prefix: str | None, opaque: Sequence[str]
) -> str | None:
    if isinstance(error, CaptureError) and error.module is not None:
        return error.module
    if running:
        return running[-1]
    blamed = module_blamed(error)
    if blamed is not None:
        return blamed.removeprefix(f"{loss_prefix}.")
    others = (path for path, m in model.named_modules() if script_objects(m) and not is_inside(path, opaque))
    return next(others, None)


@contextlib.contextmanager
def _attributes_as_they_were(module: nn.Module) -> Iterator[None]:
    """What a forward sets on modules while it is traced; torch.export itself sees to it in later versions than 2.6."""
    kept = [(m, dict(vars(m))) for m in module.modules()]
    try:
        yield
    finally:
        for m, own in kept:
            m.__dict__.clear()
            m.__dict__.update(own)


@contextlib.contextmanager
def _without_hooks(module: nn.Module) -> Iterator[None]:
    """Hooks on the model itself run around a planned forward; they are not part of it."""
    hooks = {name: module.__dict__[name] for name in HOOKS}
    try:
        module.__dict__.update({name: OrderedDict() for name in HOOKS})
        yield
    finally:
        module.__dict__.update(hooks)


def explained(error: BaseException) -> CaptureError:
    """What is wrong, in PyTorch's words where they say it, with the innermost line of the user's code."""
    where = user_frame(error)
    if isinstance(error, MonetError):
        return CaptureError(error.code, error.sentence, where)
    if wants_values(error):
        return CaptureError(
            "M202",
            "what runs here depends on values of tensors (an `if`, a loop or a size), so no one schedule fits it; "
            "compute it without looking at values, as torch.where does",
            where,
        )
    text = str(error).strip().split("\n")[0] or type(error).__name__
    return CaptureError("M201", f"{type(error).__name__}: {text}", where)


def user_frame(error: BaseException) -> str:
    """`file:line` of the innermost frame of `error` outside torch, this package and the standard library."""
    standard = os.path.dirname(os.path.abspath(os.__file__)) + os.sep
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if is_users(frame.filename) and not frame.filename.startswith(standard):
            return f"{frame.filename}:{frame.lineno}"
    return ""
