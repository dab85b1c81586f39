"""`torch.compile(model, backend="monet", options={"plan": FILE})`: the plan says what is saved, a compiler runs it.

Dynamo gives the model as one graph of calls. It is captured like any model, so that a plan's ids mean something, and
given to AOTAutograd operator by operator, each labelled; of the joint graph of forward and backward, what a label says
is kept becomes an output of the forward, and the backward computes the others again.
"""

from __future__ import annotations

import importlib.util
import inspect
import os
import re
import shutil
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn

from . import operators
from ._private import aot_compiled, inductor, inductor_boxed, is_of_transform, run_boxed, schema_of, tracing_mode
from .again import in_stretches
from .autocast import ambient_autocast
from .capture import capture
from .captured import Captured, Ref
from .errors import CaptureError, MonetError, PlanMismatch
from .pieces import Piece, pieces_of
from .plan import Plan, load_plan
from .units import human

Compiled = Callable[..., Any]
Maker = Callable[[fx.GraphModule, list[Any]], Compiled]
_USE = 'torch.compile(model, backend="monet", options={"plan": "….plan.json"})'
_MUCH = 0.05  # of the predicted peak
COMPILERS = ("inductor", "eager")


def backend(graph: fx.GraphModule, inputs: Sequence[Any], *, options: Mapping[str, Any] | None = None) -> Compiled:
    """Compile what torch.compile found in a model by the plan in `options["plan"]`, a file or its parsed JSON.

    `options["compiler"]` is what makes code of the forward and the backward: "inductor", where it works, or "eager",
    which runs their operators one by one. Forwards without gradients are compiled without the plan.
    Raises MonetError where the plan is missing, unreadable or one that this can't keep; PlanMismatch where it does not
    belong to the model.
    """
    options = dict(options or {})
    source, compiler = options.pop("plan", None), options.pop("compiler", None) or _usual_compiler(inputs)
    if source is None or options or compiler not in COMPILERS:
        raise MonetError(
            "M341", f'the backend "monet" is used as {_USE}; "compiler", "inductor" or "eager", may be named besides'
        )
    plan = load_plan(source)
    if plan.offload:
        raise MonetError(
            "M342",
            "this plan moves tensors to host memory, which compiled code can't; plan with `monet plan --no-offload`, "
            "or run it with monet_torch.apply",
        )
    if plan.opaque:
        raise MonetError(
            "M343",
            f"this plan leaves {', '.join(plan.opaque)} as eager runs it, since it can't be traced, and so it can't be "
            "compiled; run the plan with monet_torch.apply",
        )

    def without_plan() -> Compiled:
        return inductor(graph, list(inputs)) if compiler == "inductor" else graph.forward

    if not torch.is_grad_enabled() or not any(isinstance(t, Tensor) and t.requires_grad for t in inputs):
        return without_plan()
    try:
        captured = _captured(graph, inputs, plan)
    except PlanMismatch as error:
        if not _evaluates(graph):
            raise
        warnings.warn(
            "MONeT: this forward is compiled without its plan: the model is in eval(), and so it may run other "
            f"operators than the plan was made for ({error})",
            stacklevel=2,
        )
        return without_plan()
    _refuse_shared_writes(captured)
    found = pieces_of(captured, plan)
    if "peak" in plan.predicted and found.more > plan.predicted["peak"] * _MUCH:
        warnings.warn(
            f"MONeT: compiled, this plan may take up to {human(found.more)} more than it predicts, as gradients of "
            "operators that compile together come together, and some implementations can't be compiled; "
            "monet_torch.apply keeps to it",
            stacklevel=2,
        )
    eagers = {f"{plan.implementation(o.id)} of {o.name}" for o in captured.operators
              if not operators.compiles(o, plan.implementation(o.id))}  # fmt: skip
    if eagers:
        warnings.warn(
            f"MONeT: compiled code runs eager's operators for {', '.join(sorted(eagers))}, in their time and not in "
            "that which the plan predicts; monet_torch.apply keeps to it",
            stacklevel=2,
        )
    make = partial(in_stretches, compiled=inductor_boxed) if compiler == "inductor" else run_boxed
    return _in_a_row(captured, found.pieces, inputs, make)


def _evaluates(graph: fx.GraphModule) -> bool:
    """Are its layers told that they aren't in training, all that are told?"""
    told = set()
    for node in graph.graph.nodes:
        if node.op == "call_function":
            with suppress(TypeError, ValueError):  # not every built-in function says what it takes
                told.add(inspect.signature(node.target).bind(*node.args, **node.kwargs).arguments.get("training"))
    return False in told and True not in told


def _refuse_shared_writes(captured: Captured) -> None:
    """Each piece is compiled by itself: it would not know that what it writes is another piece's to read, as a view."""
    sharing = Counter(v.storage for v in captured.values)
    for o in captured.operators:
        if schema_of(o.target).is_mutable and o.inputs:
            root = captured.values[captured.values[o.inputs[0]].storage]
            if not root.is_constant and sharing[root.id] > 1:
                raise MonetError(
                    "M347",
                    f"{o.name} of {o.module or 'the model'} writes in place to what has views, which this can't "
                    "compile; run the plan with monet_torch.apply",
                )


def _usual_compiler(inputs: Sequence[Any]) -> str:
    """Inductor needs a C++ compiler on the CPU, and Triton on CUDA."""
    cuda = any(isinstance(t, Tensor) and t.is_cuda for t in inputs)
    there = importlib.util.find_spec("triton") if cuda else shutil.which(os.environ.get("CXX", "g++"))
    return "inductor" if there else "eager"


def _in_a_row(captured: Captured, pieces: Sequence[Piece], inputs: Sequence[Any], make: Maker) -> Compiled:
    """Compile all pieces; what is called takes what the graph takes, and lets go of each value after its last use."""
    given = [(k, v) for k, v in enumerate(captured.inputs) if v is not None]
    examples = {v: inputs[k] for k, v in given}
    with tracing_mode():
        for v in sorted({v for piece in pieces for v in piece.gives}):
            value = captured.values[v]
            tensor = torch.empty_strided(value.shape, value.stride, dtype=value.dtype, device=value.device)
            examples[v] = tensor.requires_grad_(value.requires_grad)
    compiled = [aot_compiled(p.graph, [examples[v] for v in p.takes], p.partition, make) for p in pieces]
    returned = set(captured.model_outputs)
    last = {v: k for k, piece in enumerate(pieces) for v in (*piece.gives, *piece.takes)}
    dead = [[v for v, at in last.items() if at == k and v not in returned] for k in range(len(pieces))]

    def run(*args: Any) -> tuple[Any, ...]:
        values = {v: args[k] for k, v in given}
        for call, piece, gone in zip(compiled, pieces, dead, strict=True):
            values.update(zip(piece.gives, call(*(values[v] for v in piece.takes)), strict=True))
            for v in gone:
                del values[v]
        return tuple(values[x.id] if isinstance(x, Ref) else x for x in captured.outputs)

    return run


# ---- The graph that dynamo found, captured like a model --------------------------------------------------------------


class _Call(nn.Module):
    """Calls in the name of a module of the model, so that the capture says whose operator it was."""

    def forward(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        return function(*args, **kwargs)


class _Tree(nn.Module):
    """The calls of a graph within a tree of modules that has the model's paths."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__()
        self._graph = (graph,)  # in a tuple: what it holds is no parameter of ours
        self._paths = {node: _path(node) for node in graph.graph.nodes}
        for path in sorted({p for p in self._paths.values() if p}):
            at: nn.Module = self
            for name in path.split("."):
                if name not in at._modules:
                    at.add_module(name, _Call())
                at = at.get_submodule(name)

    def forward(self, *inputs: Any) -> Any:
        return _Within(self, self._graph[0], self._paths).run(*inputs)


class _Within(fx.Interpreter):
    def __init__(self, tree: _Tree, graph: fx.GraphModule, paths: Mapping[fx.Node, str]) -> None:
        super().__init__(graph)
        self.tree, self.paths = tree, paths
        self.path = ""

    def run_node(self, n: fx.Node) -> Any:
        self.path = self.paths[n]
        return super().run_node(n)

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        return self._call(target, args, kwargs)

    def call_method(self, target: Any, args: Any, kwargs: Any) -> Any:
        return self._call(getattr(type(args[0]), target), args, kwargs)

    def _call(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        if not self.path:
            return function(*args, **kwargs)
        return self.tree.get_submodule(self.path)(function, args, kwargs)


_INDEX = re.compile(r"\[['\"]?([^\]'\"]+)['\"]?\]")
_ROOT = re.compile(r"[LG]\[['\"]\w+['\"]\](\[\d+\])?|self")


def _path(node: fx.Node) -> str:
    """Of the innermost module that made this call, as the model's `named_modules` has it.

    Paths begin with where dynamo found the model: `L['self']`, or what `forward` calls its first argument, or a name of
    who wraps it, as `L['args'][0]`.
    """
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    text = _ROOT.sub("", str(stack[-1][0]), count=1) if stack else ""
    return _INDEX.sub(r".\1", text.replace("._modules", "")).removeprefix(".")


def _captured(graph: fx.GraphModule, inputs: Sequence[Any], plan: Plan) -> Captured:
    if not all(isinstance(t, Tensor) for t in inputs):
        raise MonetError(
            "M345",
            "a plan is for one size, and torch.compile made the sizes variable; compile with dynamic=False, or run the "
            "plan with monet_torch.apply, which takes other sizes",
        )
    device = next(t.device.type for t in inputs)
    try:
        # Also within checkpointed regions. It isn't traced: where that fails, the transform would be left on.
        graphs = (m.graph for m in graph.modules() if isinstance(m, fx.GraphModule))
        if any(is_of_transform(node.target) for inner in graphs for node in inner.nodes):
            raise CaptureError("M346", "it runs a torch.func transform, as vmap is one")
        captured = capture(_Tree(graph), tuple(inputs), autocast=ambient_autocast(device))
    except CaptureError as error:
        raise MonetError(
            "M346", f"what torch.compile found can't be planned ({error.message}); run the plan with monet_torch.apply"
        ) from error
    try:
        plan.check(captured)
    except PlanMismatch as error:
        raise PlanMismatch(
            error.code,
            f"{error.sentence}. (Or torch.compile cut the model in pieces, or found other operators in it than in "
            "training: fullgraph=True says where it cuts; monet_torch.apply runs such a model by its plan)",
        ) from error
    return captured
