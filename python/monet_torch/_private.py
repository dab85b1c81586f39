"""Everything here leans on parts of PyTorch that carry no promise, so that a new release is one file's work.

docs/compat.md says on which versions it was seen to work.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial, wraps
from inspect import signature
from types import FrameType
from typing import Any, NamedTuple, TypeVar, cast

import torch
from torch import Tensor, fx
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
)
from torch.profiler import ProfilerActivity, profile
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import TreeSpec
from torch.utils.checkpoint import CheckpointPolicy

__all__ = [
    "ATTENTION_FUSES_FEWER_KEYS",
    "CLAMP_PASSES_AT_BOUNDS",
    "HAS_PRODUCT_BY_ONEDNN",
    "LOOKS_AT_VALUES",
    "PARAMETERS_AGAIN",
    "QUANTIZED",
    "FakeTensor",
    "FakeTensorMode",
    "Joint",
    "Labels",
    "OpOverload",
    "TorchDispatchMode",
    "TreeSpec",
    "aot_compiled",
    "asked_whether_traced",
    "base_of",
    "called_uncompiled",
    "cpu_allocations",
    "function_behind",
    "has_global_hooks",
    "in_transform",
    "inductor",
    "inductor_boxed",
    "is_compiled",
    "is_lazy",
    "is_of_transform",
    "is_view",
    "keep_alone",
    "keep_card_busy",
    "labelled",
    "module_blamed",
    "name_parts_of_containers",
    "never_compiled",
    "out_of_transforms",
    "product_by_onednn",
    "pytree",
    "register_container",
    "run_boxed",
    "saved_tensors_hooks_now",
    "schema_of",
    "set_activation_memory_budget",
    "set_grad_enabled",
    "storage_key",
    "storages_of",
    "takes_list",
    "tracing_mode",
    "version_of",
    "wants_values",
]


LOOKS_AT_VALUES = (DataDependentOutputException, DynamicOutputShapeException)
"""What a fake tensor raises where it would take values to know."""


def wants_values(error: BaseException) -> bool:
    """Did torch.export want to know a value: to branch on, or as a number, such as a size of what is to be made?"""
    return type(error).__name__.startswith("GuardOnDataDependent") or "but got FakeTensor" in str(error)


PARAMETERS_AGAIN = frozenset({"_flat_weights", "_flat_weight_refs"})
"""Attributes of nn.RNNBase that list its parameters, and are made again in a forward that finds other ones."""


def _observe_clamp() -> bool:
    with torch.inference_mode(False), torch.enable_grad():
        at_bound = torch.ones((), requires_grad=True)
        (gradient,) = torch.autograd.grad(torch.clamp(at_bound, min=1.0), at_bound)
    return bool(gradient)


CLAMP_PASSES_AT_BOUNDS = _observe_clamp()
"""Does clamp pass the gradient where its input equals a bound? Until 2.13 it does, from 2.14 on it doesn't."""

HAS_PRODUCT_BY_ONEDNN = bool(torch._C._has_mkldnn) and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def product_by_onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x [..., in] by weight [out, in] transposed, plus bias: as Inductor runs a linear layer on the CPU, in 32 bits."""
    result: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return result


def _observe_attention() -> bool:
    query, key = torch.zeros(1, 2, 2, 8), torch.zeros(1, 1, 2, 8)
    return torch._fused_sdp_choice(query, key, key, enable_gqa=True) != 0


ATTENTION_FUSES_FEWER_KEYS = _observe_attention()
"""Has the CPU a fused form for fewer heads of keys than of queries? In 2.6 it has none: eager's is the composite."""

Function = TypeVar("Function", bound=Callable[..., Any])


def storage_key(memory: Tensor | torch.UntypedStorage) -> int:
    """What tensors that share memory have in common, fake ones too, and others that are alive have not."""
    storage = memory.untyped_storage() if isinstance(memory, Tensor) else memory
    key: int = storage._cdata
    return key


def schema_of(operator: OpOverload) -> torch.FunctionSchema:
    """What an operator takes and gives, by name and type, and whether it writes."""
    return operator._schema


def storages_of(tensor: Tensor) -> list[torch.UntypedStorage]:
    """What holds its contents: of a sparse tensor, those of its indices and values."""
    if tensor.layout == torch.sparse_coo:
        parts = [tensor._indices(), tensor._values()]
    elif tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        parts = [tensor.crow_indices(), tensor.col_indices(), tensor.values()]
    elif tensor.layout in (torch.sparse_csc, torch.sparse_bsc):
        parts = [tensor.ccol_indices(), tensor.row_indices(), tensor.values()]
    else:
        parts = [tensor]
    return [part.untyped_storage() for part in parts]


QUANTIZED = frozenset({torch.quint8, torch.qint8, torch.qint32, torch.quint4x2, torch.quint2x4})
"""A fake tensor of one of these is not quantized, as a real one is."""

_ATTRIBUTE = re.compile(r"model attribute: ([\w.]+)\.[^.\s]+\. Please")


def module_blamed(error: BaseException) -> str | None:
    """The path of the module that torch.export names in its own words, where it found out only after the trace."""
    found = _ATTRIBUTE.search(str(error))
    return found[1] if found else None


@contextmanager
def asked_whether_traced(answer: Callable[[FrameType | None], bool | None]) -> Iterator[None]:
    """Let `answer`, given the frame that asks, say what `is_compiling` and `is_exporting` say; None: as they would.

    What took the function out of `torch.compiler` when it was imported still asks the function itself.
    """
    compiler: Any = torch.compiler
    originals = {name: getattr(compiler, name) for name in ("is_compiling", "is_exporting") if hasattr(compiler, name)}

    def asking(original: Callable[[], bool]) -> Callable[[], bool]:
        @wraps(original)
        def ask() -> bool:
            said = answer(sys._getframe(1))
            return original() if said is None else said

        return ask

    for name, original in originals.items():
        setattr(compiler, name, asking(original))
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(compiler, name, original)


def register_container(
    kind: type[Any], parts_of: Callable[[Any], tuple[dict[str, Any], Any]], made_of: Callable[..., Any]
) -> None:
    """Let trees, and with them torch.export, look into objects of `kind`.

    `parts_of(x)` gives its parts by name and its settings; `made_of(kind, parts, settings)` makes such an object.
    """

    def flatten(x: Any) -> tuple[list[Any], Any]:
        parts, settings = parts_of(x)
        return list(parts.values()), (list(parts), settings)

    def flatten_with_keys(x: Any) -> tuple[list[Any], Any]:
        parts, settings = parts_of(x)
        return [(pytree.MappingKey(name), part) for name, part in parts.items()], (list(parts), settings)

    def unflatten(parts: Any, context: Any) -> Any:
        names, settings = context
        return made_of(kind, dict(zip(names, parts, strict=True)), settings)

    name = f"{kind.__module__}.{kind.__qualname__}"
    pytree.register_pytree_node(
        kind, flatten, unflatten, serialized_type_name=name, flatten_with_keys_fn=flatten_with_keys
    )


def name_parts_of_containers() -> None:
    """Let torch.export take containers whose parts were registered without names, as those that diffusers returns."""

    def named(flatten: Callable[[Any], tuple[Any, Any]], x: Any) -> tuple[list[Any], Any]:
        parts, context = flatten(x)
        return [(pytree.SequenceKey(k), part) for k, part in enumerate(parts)], context

    for kind, node in list(pytree.SUPPORTED_NODES.items()):
        if node.flatten_with_keys_fn is None:
            pytree.SUPPORTED_NODES[kind] = node._replace(flatten_with_keys_fn=partial(named, node.flatten_fn))


@contextmanager
def whole_stack_traces() -> Iterator[None]:
    """Let torch.export name the line inside a method that `forward` calls, not only the line in `forward`.

    `TracerBase._filter_traceback_frames` (seen in 2.13) keeps frames called "forward" alone where it is told so. Where
    there is no such method (2.6), export keeps those alone too, but leaves a node the trace that it already has.
    """
    tracer: Any = torch.fx.proxy.TracerBase
    name = "_filter_traceback_frames" if hasattr(tracer, "_filter_traceback_frames") else "create_node"
    original = getattr(tracer, name)

    def created(self: Any, *args: Any, **kwargs: Any) -> Any:
        node = original(self, *args, **kwargs)
        if node.op not in ("placeholder", "output"):
            node.meta.setdefault("stack_trace", "".join(traceback.format_stack()))
        return node

    def whole(self: Any, summary: Any) -> Any:
        told = getattr(self, "_record_forward_stack_traces_only", False)
        self._record_forward_stack_traces_only = False
        try:
            return original(self, summary)
        finally:
            self._record_forward_stack_traces_only = told

    setattr(tracer, name, created if name == "create_node" else whole)
    try:
        yield
    finally:
        setattr(tracer, name, original)


def function_behind(tensor: Tensor) -> type | None:
    """The `torch.autograd.Function` of the user's that made this tensor, if one did.

    What PyTorch makes inside of an operator (`torch._library`) is nobody's, nor is what holds a checkpoint's inputs.
    """
    function: Any = getattr(type(tensor.grad_fn), "_forward_cls", None)
    if function is None or function.__module__.startswith("torch._") or function.__name__ == "_NoopSaveInputs":
        return None
    return cast(type, function)


def saved_tensors_hooks_now() -> Any:
    """The innermost `saved_tensors_hooks` that the user's code runs under, or None; not those of a checkpoint.

    None always before 2.8, which can't be asked.
    """
    innermost = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)
    hooks = None if innermost is None else innermost(True)
    return None if hooks is None or hooks[0].__module__ == "torch.utils.checkpoint" else hooks


def in_transform() -> bool:
    """Does a `torch.func` transform (grad, vmap, jvp, …) or forward-mode differentiation run what runs now?"""
    return torch._C._are_functorch_transforms_active() or torch.autograd.forward_ad._current_level >= 0


def out_of_transforms() -> AbstractContextManager[Any]:
    """Run what comes here as it would without the `torch.func` transforms around it."""
    clear: Callable[[], AbstractContextManager[Any]] = torch._functorch.pyfunctorch.temporarily_clear_interpreter_stack
    return clear()


def is_of_transform(function: Any) -> bool:
    """Is this one of the calls that dynamo writes a `torch.func` transform (grad, vmap, jvp, …) as?"""
    return str(getattr(function, "__module__", "")).startswith(("torch._functorch", "torch._C._functorch"))


@contextmanager
def called_uncompiled(model: torch.nn.Module) -> Iterator[None]:
    """Let modules that were told to `compile()` be called as they are: torch.export (2.6) can't trace the compiled."""
    compiled: list[Any] = [m for m in model.modules() if m._compiled_call_impl is not None]
    calls = [m._compiled_call_impl for m in compiled]
    for m in compiled:
        m._compiled_call_impl = None
    try:
        yield
    finally:
        for m, call in zip(compiled, calls, strict=True):
            m._compiled_call_impl = call


def is_compiled(model: torch.nn.Module) -> bool:
    """Is this what torch.compile returned for a module?"""
    return hasattr(model, "_orig_mod")


def never_compiled(reason: str) -> Callable[[Function], Function]:
    """Have torch.compile leave a function as it is; `reason` is said where it may not leave anything (fullgraph)."""

    def leave(function: Function) -> Function:
        options = {"reason": reason} if "reason" in signature(torch.compiler.disable).parameters else {}  # since 2.7
        left: Function = torch.compiler.disable(function, **options)  # type: ignore[no-untyped-call]
        return left

    return leave


def set_activation_memory_budget(share: float) -> None:
    """What torch.compile's partitioner may keep from now on, as a share of what it keeps by itself."""
    import torch._functorch.config

    torch._functorch.config.activation_memory_budget = share


def version_of(tensor: Tensor) -> int:
    """How often this memory was written in place: the count that autograd checks."""
    return tensor._version


def base_of(tensor: Tensor) -> Tensor | None:
    """The tensor that this one is a view of, as autograd knows it."""
    return tensor._base


def is_lazy(tensor: Tensor) -> bool:
    """Does its memory hold the conjugate or the negative of what it means?"""
    return tensor.is_conj() or tensor.is_neg()


def has_global_hooks() -> bool:
    """Are there hooks for every module of the process?"""
    from torch.nn.modules import module

    names = (
        "_global_forward_hooks",
        "_global_forward_pre_hooks",
        "_global_backward_hooks",
        "_global_backward_pre_hooks",
    )
    return any(getattr(module, name, None) for name in names)


def is_view(tensor: Tensor) -> bool:
    """Does autograd know a base of this tensor? Then its memory has a second owner."""
    return tensor._is_view()


def keep_card_busy(nanoseconds: int) -> None:
    """Queue at least this much waiting on the current CUDA stream; needs no memory and touches no cache.

    `torch.cuda._sleep` counts cycles of the card's clock; 2 GHz is above what a card runs at in a step.
    """
    torch.cuda._sleep(2 * nanoseconds)  # type: ignore[no-untyped-call]


class Allocation(NamedTuple):
    """One call of the CPU allocator: `bytes` is negative when it gives memory back."""

    time_ns: int
    address: int
    bytes: int


def cpu_allocations(step: Callable[[], object]) -> list[Allocation]:
    """Run `step` once and return what it asked of the CPU allocator, in order of time.

    The documented side of the profiler sums memory per operator and loses the order. Its raw event
    tree (`kineto_results.experimental_event_tree`) keeps every call, on every thread, with the address.
    Memory from before is reported when it is freed only if an earlier profile happened to see its
    allocation, so match addresses before believing a free.
    """
    with (
        _without_profiler_noise(),
        profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as session,
    ):
        step()
    profiler = session.profiler
    if profiler is None or profiler.kineto_results is None:
        raise RuntimeError("torch.profiler kept no results: this build of PyTorch has no Kineto")
    allocations = [
        Allocation(node.start_time_ns, node.extra_fields.ptr, node.extra_fields.alloc_size)
        for node in _walk(profiler.kineto_results.experimental_event_tree())
        if node.tag == torch._C._profiler._EventType.Allocation and node.extra_fields.device.type == "cpu"
    ]
    allocations.sort(key=lambda allocation: allocation.time_ns)
    return allocations


def _walk(roots: list[Any]) -> Iterator[Any]:
    pending = list(roots)
    while pending:
        node = pending.pop()
        yield node
        pending.extend(node.children)


_NOISE = re.compile(
    rb"USDT:.*SyncActivityProfilerHandler|CPUAllocator\.cpp.*Memory block of unknown size"
    rb"|DeviceProperties\.cpp.*gpuGetDeviceCount failed"  # a build with CUDA, and no card
)


@contextmanager
def _without_profiler_noise() -> Iterator[None]:
    """Keep the C++ side of the profiler from writing to the user's stderr.

    `KINETO_LOG_LEVEL` and `TORCH_CPP_LOG_LEVEL` would do it, but are read once, when torch is imported.
    So file descriptor 2 goes to a file meanwhile, and all other lines are written out afterwards.
    """
    try:
        sys.stderr.flush()
        stderr = os.dup(2)
    except (AttributeError, OSError, ValueError):
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            held.seek(0)
            kept = b"".join(line for line in held if not _NOISE.search(line))
            while kept:
                kept = kept[os.write(2, kept) :]


# ---- AOTAutograd -----------------------------------------------------------------------------------------------------

_LABEL = "nn_module_stack"  # what a traced operator inherits from the node that was run, in every version

set_grad_enabled = torch._C._set_grad_enabled
"""As dynamo writes it into graphs."""


def labelled(node: fx.Node, label: int | fx.Node) -> fx.Node:
    """Mark `node`, and all that AOTAutograd makes of it in the forward, with a number, or as another node is."""
    node.meta[_LABEL] = label.meta[_LABEL] if isinstance(label, fx.Node) else {"monet": (str(label), "")}
    return node


class Labels:
    """What AOTAutograd left of labels in the nodes that it traced: in its own way those of the backward, too."""

    def __init__(self, joint: fx.GraphModule) -> None:
        numbers = ((node.meta.get("seq_nr"), self.of_forward(node)) for node in joint.graph.nodes)
        self._by_number: dict[int, int] = {}  # forward and backward of an operation of autograd have the same
        for number, label in numbers:
            if number is not None and label is not None:
                self._by_number.setdefault(number, label)

    def of_forward(self, node: fx.Node) -> int | None:
        label = (node.meta.get(_LABEL) or {}).get("monet")
        return None if label is None else int(label[0])

    def of_backward(self, node: fx.Node) -> int | None:
        """Of the operator whose gradient a node computes, where that is known."""
        number = node.meta.get("seq_nr")
        return None if number is None else self._by_number.get(number)

    def after_tangents(self, nodes: Sequence[fx.Node]) -> set[fx.Node]:
        """Those that depend on a gradient that comes in."""
        found: set[fx.Node] = set()
        for node in nodes:
            if (node.op == "placeholder" and "tangents" in str(node.target)) or any(
                x in found for x in node.all_input_nodes
            ):
                found.add(node)
        return {node for node in found if node.op != "output"}

    def writes(self, node: fx.Node) -> bool:
        return isinstance(node.target, OpOverload) and schema_of(node.target).is_mutable

    def makes_memory(self, node: fx.Node) -> bool:
        """Is it no view?"""
        target = node.target
        return not isinstance(target, OpOverload) or all(r.alias_info is None for r in schema_of(target).returns)


class Joint:
    """The joint graph of forward and backward that AOTAutograd traced from labelled nodes."""

    def __init__(self, graph: fx.GraphModule, outputs: int) -> None:
        self.labels = Labels(graph)
        nodes = list(graph.graph.nodes)
        backward = self.labels.after_tangents(nodes)
        returned = pytree.tree_leaves(nodes[-1].args)[:outputs]
        self.returned = {x for x in returned if isinstance(x, fx.Node)}
        self.nodes: list[fx.Node] = []  # of the forward, but for what goes in
        self.forward: dict[int, list[fx.Node]] = {}
        self._first: dict[int, fx.Node] = {}
        self._aliases: dict[int, list[fx.Node]] = {}
        for node in nodes[:-1]:
            if node in backward or node.meta.get("partitioner_tag") == "is_backward":
                continue
            if isinstance(node.meta.get("val"), Tensor):
                key = storage_key(node.meta["val"])
                self._first.setdefault(key, node)
                self._aliases.setdefault(key, []).append(node)
            if node.op == "call_function":
                self.nodes.append(node)
                label = self.labels.of_forward(node)
                if label is not None:
                    self.forward.setdefault(label, []).append(node)
        self._within = set(self.nodes)

    def made(self, nodes: Sequence[fx.Node]) -> list[fx.Node]:
        """Those whose memory is new."""
        tensors = [node for node in nodes if isinstance(node.meta.get("val"), Tensor)]
        return [node for node in tensors if self._first[storage_key(node.meta["val"])] is node]

    def leaves(self, node: fx.Node, returns: bool) -> bool:
        """Does another label's forward read its memory, or, where that counts, who called?"""
        own = self.labels.of_forward(node)
        aliases = self._aliases[storage_key(node.meta["val"])]
        users = {user for alias in aliases for user in alias.users if user in self._within}
        return any(self.labels.of_forward(user) not in (None, own) for user in users) or (
            returns and any(alias in self.returned for alias in aliases)
        )


def keep_alone(
    joint: fx.GraphModule, inputs: Any, found: Joint, kept: Sequence[fx.Node], outputs: int, more: Mapping[str, Any]
) -> Any:
    """Split a joint graph: of what the forward makes, only `kept` goes to the backward, which makes the rest again.

    By the tags that PyTorch's own selective checkpointing leaves for its partitioners.
    """
    from functorch.compile import default_partition  # type: ignore[import-untyped]

    for node in found.nodes:
        node.meta["recompute"] = CheckpointPolicy.PREFER_RECOMPUTE
    kept = [*kept, *(_as_it_was(joint, node, at) for node in found.nodes for at in _statistics(node))]
    for node in kept:
        node.meta["recompute"] = CheckpointPolicy.MUST_SAVE
    if _TAGS_ARE_KEPT:
        forward, backward = default_partition(joint, inputs, num_fwd_outputs=outputs, **more)
    else:
        forward, backward = _partitioned(joint, kept, outputs)
    for node in (*forward.graph.nodes, *backward.graph.nodes):
        node.meta.pop("recompute", None)  # done: who compiles them is not to do it again
    return forward, backward


_TAGS_ARE_KEPT = torch.__version__ >= "2.13"
"""Does PyTorch's default partitioner go by such tags? In 2.6 and 2.9 it hands them to that of the least cut, which
makes one of several results again all the same.
"""


def _partitioned(joint: fx.GraphModule, kept: Sequence[fx.Node], outputs: int) -> tuple[fx.GraphModule, fx.GraphModule]:
    """By hand what `default_partition` does with these tags in later versions."""
    from torch._functorch import partitioners

    joint.graph.eliminate_dead_code()
    there = dict.fromkeys(joint.graph.nodes)
    given = [x for x in there if x.op == "placeholder" and "tangents" not in str(x.target)]
    saved = [*given, *(x for x in kept if x in there)]
    forward, backward = partitioners._extract_fwd_bwd_modules(joint, saved, [], num_fwd_outputs=outputs)
    again = {node.name for node in backward.graph.nodes}
    for node in there:
        if node.name not in again:  # its random numbers neither
            node.meta.pop("recompute", None)
    if partitioners.has_recomputable_rng_ops(joint):
        forward, backward = partitioners.functionalize_rng_ops(joint, forward, backward, 0)
    return forward, backward


def _statistics(node: fx.Node) -> list[int]:
    """Where a norm takes running statistics that it then replaces, for which the forward writes over them."""
    schema = getattr(node.target, "_schema", None)
    names = [a.name for a in schema.arguments] if schema is not None else []
    return [
        k for k, (name, given) in enumerate(zip(names, node.args, strict=False))
        if name in ("running_mean", "running_var") and isinstance(given, fx.Node) and given.op == "placeholder"
    ]  # fmt: skip


def _as_it_was(joint: fx.GraphModule, node: fx.Node, at: int) -> fx.Node:
    """Give `node` a copy of an argument that is written later, for when it runs again."""
    given = node.args[at]
    assert isinstance(given, fx.Node)
    with joint.graph.inserting_before(node):
        copy = joint.graph.call_function(torch.ops.aten.clone.default, (given,))
    copy.meta.update(val=given.meta["val"], partitioner_tag="is_forward")
    node.update_arg(at, copy)
    return copy


def aot_compiled(
    graph: fx.GraphModule, inputs: list[Any], partition: Callable[..., Any], pieces: Callable[..., Any]
) -> Callable[..., Any]:
    """Differentiate `graph` ahead of time, split it by `partition` and have `pieces` compile forward and backward.

    What is saved is not to be written over in the backward ("donated"): a retained graph is gone through again.
    """
    from torch._dynamo.backends.common import aot_autograd

    def keeping(part: fx.GraphModule, given: list[Any]) -> Callable[..., Any]:
        metadata: Any = torch._guards.TracingContext.get().fw_metadata
        if metadata is not None:
            metadata.bw_donated_idxs = []
        made: Callable[..., Any] = pieces(part, given)
        return made

    compiled: Callable[..., Any] = aot_autograd(fw_compiler=keeping, bw_compiler=keeping, partition_fn=partition)(
        graph, inputs
    )
    return compiled


def tracing_mode() -> FakeTensorMode:
    """What makes the tensors without memory that torch.compile traces with, while a backend runs."""
    mode = torch._guards.TracingContext.get().fake_mode
    assert mode is not None
    return mode


def run_boxed(graph: fx.GraphModule, inputs: list[Any]) -> Callable[..., Any]:
    """A function of a list that runs a graph operator by operator, and lets go of its inputs as it goes."""
    return takes_list(lambda args: fx.Interpreter(graph).boxed_run(args))


_SCALAR: dict[str, Any] = {} if torch.__version__ >= "2.13" else {"cpp.simdlen": 1}
"""Inductor's vector code for the CPU adds wrongly at indices that repeat, as for an embedding's gradient: in 2.6 with
one thread the last is all there is, and up to 2.9 with several it doesn't know of a vector that is filled in part.
"""


def _in_vectors_or_not(compiled: Callable[[dict[str, Any]], Any]) -> Callable[..., Any]:
    """By vector code, where that is to be trusted; scalar code, where the compiler refuses what Inductor wrote.

    (2.13 writes vectors of booleans that are cast to floats, which its library doesn't have.)
    """
    try:
        run: Callable[..., Any] = compiled({**_SCALAR})
    except Exception as error:
        if _SCALAR or "C++ compile error" not in str(error):
            raise
        run = compiled({"cpp.simdlen": 1})
    return run


def inductor_boxed(graph: fx.GraphModule, inputs: list[Any]) -> Callable[..., Any]:
    """A function of a list that runs a forward or backward graph of AOTAutograd's, as Inductor compiles it.

    Not by `torch._inductor.compile`, which would have AOTAutograd trace the graph once more: that knows nothing of
    operators that draw the random numbers of the forward again (`run_with_rng_state`). Random numbers are eager's,
    and what comes out lies in memory as it does in eager, since other graphs were traced to take it so.
    """
    from torch._inductor import config
    from torch._inductor.compile_fx import compile_fx_inner
    from torch._inductor.decomposition import select_decomp_table
    from torch.fx.experimental.proxy_tensor import make_fx

    def compiled(options: dict[str, Any]) -> Callable[..., Any]:
        changed = {"fallback_random": True, "layout_optimization": False, "triton.cudagraphs": False}
        with tracing_mode(), config.patch({**changed, **options}):
            lowered = make_fx(graph, decomposition_table=select_decomp_table())(*inputs)
            (output,) = (node for node in lowered.graph.nodes if node.op == "output")
            output.meta["user_visible_output_idxs"] = [
                k for k, x in enumerate(pytree.tree_leaves(output.args)) if isinstance(x, fx.Node)
            ]
            return compile_fx_inner(lowered, inputs)

    return _in_vectors_or_not(compiled)


def takes_list(run: Callable[[list[Any]], Any]) -> Callable[..., Any]:
    """As AOTAutograd wants to be told."""
    run._boxed_call = True  # type: ignore[attr-defined]
    return run


def inductor(graph: fx.GraphModule, inputs: list[Any]) -> Callable[..., Any]:
    """Compile a graph that runs without gradients."""
    return _in_vectors_or_not(lambda options: torch._inductor.compile(graph, inputs, options=options))
