"""What `torch.export` gives, made a flat list of operators.

`no_grad` and autocast regions come as submodules and are inlined, each operator carrying its state; in-place
operators are made functional where nothing else can see the difference; an outer autocast is not recorded, so its
casts are made operators of their own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from ._private import LOOKS_AT_VALUES, QUANTIZED, FakeTensorMode, OpOverload, is_lazy, pytree, schema_of, storage_key
from .autocast import Autocast, casts_before, in_autocast
from .captured import HIDDEN_STATE, Captured, Operator, Ref, Source, Value
from .errors import CaptureError
from .geometry import extent
from .opaque import OPAQUE, block
from .state import tensor_at

_NOT_THE_USERS = tuple(os.path.dirname(os.path.abspath(f)) + os.sep for f in (torch.__file__, __file__))


def is_users(file: str) -> bool:
    """Is this file neither torch's nor ours?"""
    return os.path.isabs(file) and not file.startswith(_NOT_THE_USERS)


_FRAME = re.compile(r'File "([^"]+)", line (\d+)')


def source_of(stack_trace: str) -> Source | None:
    for file, line in reversed(_FRAME.findall(stack_trace)):
        if is_users(file):
            return Source(file, int(line))
    return None


@dataclass
class _Placeholder:
    """An argument of the graph, made a value at its first use: ids don't depend on what else is passed in."""

    name: str
    kind: str
    tensor: torch.Tensor
    target: str
    leaf: int | None
    ref: Ref | None = None


def functional_form(target: OpOverload) -> OpOverload | None:
    """The functional form of `relu_`, `add_.Tensor`, …"""
    namespace, _, name = schema_of(target).name.partition("::")
    if not name.endswith("_") or name.endswith("__"):
        return None
    packet = getattr(getattr(torch.ops, namespace), name[:-1], None)
    if packet is None:
        return None

    def takes(form: OpOverload) -> list[str]:
        return [str(a.real_type) for a in schema_of(form).arguments]

    # `transpose_` is `transpose.int`: what it takes says more than what it is called.
    overloads = sorted(packet.overloads(), key=lambda o: o != schema_of(target).overload_name)
    return next((f for f in (getattr(packet, o) for o in overloads) if takes(f) == takes(target)), None)


_IGNORED = {"aten._assert_tensor_metadata.default", "aten._assert_async.msg", "aten._assert_scalar.default"}


def is_random(target: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    if torch.Tag.nondeterministic_seeded not in target.tags:
        return False
    name = str(target)
    if name.startswith(("aten.dropout", "aten.feature_dropout", "aten.alpha_dropout", "aten.feature_alpha_dropout")):
        return bool(args[1]) and bool(args[2])
    if name == "aten.scaled_dot_product_attention.default":
        return bool(kwargs.get("dropout_p", args[4] if len(args) > 4 else 0.0))
    return True


_Place = tuple[str, str, str, Source | None]  # path and class of the module, part, line


def _at(place: _Place) -> str | None:
    return place[0] if place[2] == "model" else None


class Flattener:
    def __init__(
        self, module: nn.Module, exported: Any, autocast: Autocast, loss_prefix: str | None, leaves: list[Any]
    ) -> None:
        self.module, self.exported, self.leaves = module, exported, leaves
        self.ambient, self.loss_prefix = autocast, loss_prefix
        self.values: list[Value] = []
        self.operators: list[Operator] = []
        self.fakes: list[torch.Tensor] = []  # keeps storages alive, so that their addresses stay distinct
        self.roots: dict[int, int] = {}  # storage address -> value id
        self.casts: dict[tuple[int, torch.dtype], int] = {}
        self.constants: dict[int, torch.Tensor] = {}
        self.inputs: list[int | None] = []
        self.orders: dict[torch.fx.Graph, dict[torch.fx.Node, int]] = {}
        self.touched: dict[int, set[int]] = {}  # storage -> operators that read or write it
        self.mutated: set[int] = set()
        self.hidden: set[int] = set()  # statistics that a norm updates without its schema saying so
        self.mode = FakeTensorMode(allow_non_fake_inputs=True)

    def run(self) -> Captured:
        signature = self.exported.graph_signature
        env: dict[torch.fx.Node, Any] = {}
        placeholders = [n for n in self.exported.graph.nodes if n.op == "placeholder"]
        specs = {s.arg.name: s for s in signature.input_specs}
        shared: dict[int, _Placeholder] = {}  # tied weights are one value
        leaves = 0
        with self.mode:
            for node in placeholders:
                spec = specs[node.name]
                kind = spec.kind.name.lower()
                if kind == "user_input":
                    if isinstance(node.meta.get("val"), torch.Tensor):
                        env[node] = _Placeholder(node.name, "input", self.leaves[leaves], "", leaves)
                    else:
                        env[node] = getattr(spec.arg, "value", None)
                    leaves += 1
                    self.inputs.append(None)
                    continue
                if kind in ("parameter", "buffer"):
                    tensor = tensor_at(self.module, spec.target)
                elif kind == "constant_tensor":
                    tensor, kind = self.exported.constants[spec.target], "constant"
                else:
                    raise CaptureError("M210", f"the forward uses a {kind} ({spec.target}), which a plan can't hold")
                env[node] = shared.setdefault(id(tensor), _Placeholder(node.name, kind, tensor, spec.target, None))
            outputs = self._inline(self.exported.graph_module, self.exported.graph, env, True, self.ambient)
        tree = self.exported.call_spec
        self._pin()
        return Captured(
            self.values, self.operators, self.inputs, self._user_outputs(outputs), tree.in_spec, tree.out_spec,
            self.constants,
        )  # fmt: skip

    def _user_outputs(self, outputs: Any) -> list[Any]:
        for spec in self.exported.graph_signature.output_specs:
            if spec.kind.name != "USER_OUTPUT":
                raise CaptureError(
                    "M209", f"the forward replaces {spec.target or 'an input'}, which a plan can't repeat"
                )
        return [self._resolve(o) for o in outputs]

    def _resolve(self, x: Any) -> Any:
        """A use of a placeholder: give it its value now."""
        if not isinstance(x, _Placeholder):
            return x
        if x.ref is None:
            x.ref = self._constant(x.name, x.kind, x.tensor, x.target)
            if x.kind == "constant":
                self.constants[x.ref.id] = x.tensor
            if x.leaf is not None:
                self.inputs[x.leaf] = x.ref.id
        return x.ref

    def _constant(self, name: str, kind: str, tensor: torch.Tensor, target: str) -> Ref:
        trains = tensor.requires_grad
        # Only the geometry counts; empty_strided keeps a real tensor's memory out of the fake one.
        size = tensor.untyped_storage().nbytes() // max(1, tensor.element_size())
        whole = tensor.storage_offset() == 0 and extent(tensor.shape, tensor.stride()) == size
        if whole or not size:
            fake = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=tensor.device)
        else:
            base = torch.empty(size, dtype=tensor.dtype, device=tensor.device)
            fake = torch.as_strided(base, tensor.shape, tensor.stride(), tensor.storage_offset()).detach()
        fake.requires_grad_(trains)
        return self._add_value(name, kind, fake, None, target)

    def _add_value(self, name: str, kind: str, fake: torch.Tensor, producer: int | None, target: str = "") -> Ref:
        address = storage_key(fake)
        id_ = len(self.values)
        root = self.roots.setdefault(address, id_)
        self.fakes.append(fake)
        self.values.append(
            Value(
                id_, name, kind, tuple(fake.shape), tuple(fake.stride()), int(fake.storage_offset()), fake.dtype,
                fake.device, root, fake.untyped_storage().nbytes(), producer, fake.requires_grad, target,
            )
        )  # fmt: skip
        return Ref(id_)

    def _inline(
        self, owner: torch.nn.Module, graph: torch.fx.Graph, env: dict[torch.fx.Node, Any], grad: bool, cast: Autocast
    ) -> Any:
        """Walk `graph` with `env` filled for its placeholders; returns its outputs as Refs."""
        for node in graph.nodes:
            if node.op == "placeholder":
                continue
            if node.op == "get_attr":
                found: Any = owner
                for part in str(node.target).split("."):
                    found = getattr(found, part)
                if isinstance(found, torch.Tensor):
                    ref = self._constant(node.name, "constant", found, "")
                    self.constants[ref.id] = found
                    env[node] = ref
                else:
                    env[node] = found
                continue
            args, kwargs = pytree.tree_map_only(torch.fx.Node, lambda n: env[n], (node.args, node.kwargs))
            if not str(node.target).startswith("wrap_with_") and node.op != "output":
                args, kwargs = pytree.tree_map(self._resolve, (args, kwargs))
            if node.op == "output":
                return args[0]
            if node.op != "call_function":
                raise CaptureError(
                    "M210",
                    f"the captured forward has a {node.op} node, which is not supported",
                    module=_at(self._place(node)),
                )
            name = str(node.target)
            if callable(node.target) and getattr(node.target, "__name__", "") == "getitem":
                env[node] = args[0][args[1]]
            elif name == "wrap_with_set_grad_enabled":
                env[node] = self._call(args[1], args[2:], args[0], cast)
            elif name == "wrap_with_autocast":
                device, dtype, enabled = args[0], args[1], args[2]
                inner = (device, dtype or torch.get_autocast_dtype(device)) if enabled else None
                env[node] = self._call(args[4], args[5:], grad, inner)
            elif name in _IGNORED:
                env[node] = None
            elif isinstance(node.target, OpOverload):
                env[node] = self._operator(node, args, kwargs, env, grad, cast)
            else:
                where = source_of(node.meta.get("stack_trace", "") or "")
                raise CaptureError(
                    "M210",
                    f"the forward uses {name}, which can't be captured as one operator",
                    str(where or ""),
                    _at(self._place(node)),
                )
        raise CaptureError("M210", "the captured forward has no output")

    def _call(self, submodule: Any, args: Sequence[Any], grad: bool, cast: Autocast) -> Any:
        inner = dict(zip((n for n in submodule.graph.nodes if n.op == "placeholder"), args, strict=True))
        return self._inline(submodule, submodule.graph, inner, grad, cast)

    def _place(self, node: torch.fx.Node) -> _Place:
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        path, type_name = (str(stack[-1][0]), str(stack[-1][1])) if stack else ("", "")
        part = "model"
        if self.loss_prefix is not None:
            inside = [p for p, _ in stack if p == self.loss_prefix or str(p).startswith(self.loss_prefix + ".")]
            part = "model" if inside else "loss"
            path = path.removeprefix(self.loss_prefix).removeprefix(".") if inside else "loss"
        return path, type_name, part, source_of(node.meta.get("stack_trace", "") or "")

    def _operator(
        self, node: torch.fx.Node, args: Any, kwargs: Any, env: dict[torch.fx.Node, Any], grad: bool, cast: Autocast
    ) -> Any:
        target: Any = node.target
        place = self._place(node)
        in_place = None
        if schema_of(target).is_mutable:
            written = args[0] if args else None
            if node.name.startswith("copy__default") and isinstance(written, Ref):
                # Not the user's (that is named copy_): how torch.export, since 2.7, says `self.buffer = …`.
                raise CaptureError(
                    "M209",
                    f"the forward replaces {self.values[written.id].target or 'an input'}, which a plan can't repeat",
                )
            functional = functional_form(target)
            later = self._later_aliases(node, written, env)
            if functional is not None and self._only_looks_otherwise(target, functional, written):
                target = functional
            elif (
                functional is not None and isinstance(written, Ref) and not later
                and not self.values[written.id].is_constant and self.values[written.id].storage == written.id
                and not is_random(functional, args, kwargs) and self._same_result(functional, args, kwargs, written)
            ):  # fmt: skip
                in_place, target = target, functional
            else:
                for leaf in pytree.tree_leaves((args, kwargs)):
                    if isinstance(leaf, Ref):
                        self.mutated.add(self.values[leaf.id].storage)
        if cast is not None and target is not OPAQUE:
            args, kwargs, cast = self._lower_autocast(target, args, kwargs, grad, cast, place)
        result = self._append(target, args, kwargs, node.name, grad, cast, place, in_place)
        if target is not node.target:
            # Both names of the tensor now mean the new value.
            for other, value in list(env.items()):
                if value == args[0] and other is not node:
                    env[other] = result
        return result

    def _only_looks_otherwise(self, target: OpOverload, functional: OpOverload, written: Any) -> bool:
        """`detach_`, `unsqueeze_`: nothing is written, so a view that all names mean from here on is the same."""
        view = torch.Tag.inplace_view in target.tags and schema_of(functional).returns[0].alias_info is not None
        return view and isinstance(written, Ref) and not self.values[written.id].is_constant

    def _same_result(self, functional: Any, args: Any, kwargs: Any, written: Ref) -> bool:
        """The functional form must give a tensor of the same geometry (an in-place add may not promote)."""
        try:
            fake_args, fake_kwargs = self._fakes_of(args, kwargs)
            result = functional(*fake_args, **fake_kwargs)
        except Exception:
            return False
        value = self.values[written.id]
        return (
            isinstance(result, torch.Tensor) and tuple(result.shape) == value.shape and result.dtype == value.dtype
            and tuple(result.stride()) == value.stride
        )  # fmt: skip

    def _later_aliases(self, node: torch.fx.Node, written: Any, env: dict[torch.fx.Node, Any]) -> bool:
        """Does a view of what is written live on? Then the write can be seen through it."""
        if not isinstance(written, Ref):
            return True
        root = self.values[written.id].storage
        order = self._order(node.graph)
        for other, value in env.items():
            if isinstance(value, _Placeholder):
                continue
            leaves = (value,) if isinstance(value, Ref) else pytree.tree_leaves(value)
            if any(isinstance(r, Ref) and r != written and self.values[r.id].storage == root for r in leaves) and any(
                order.get(user, len(order)) > order[node] for user in other.users
            ):
                return True
        return False

    def _order(self, graph: torch.fx.Graph) -> dict[torch.fx.Node, int]:
        if graph not in self.orders:
            self.orders[graph] = {node: k for k, node in enumerate(graph.nodes)}
        return self.orders[graph]

    def _fakes_of(self, args: Any, kwargs: Any) -> tuple[Any, Any]:
        fakes: tuple[Any, Any] = pytree.tree_map_only(Ref, lambda r: self.fakes[r.id], (args, kwargs))
        return fakes

    def _append(
        self, target: Any, args: Any, kwargs: Any, name: str, grad: bool, cast: Autocast,
        place: _Place, in_place: Any,
    ) -> Any:  # fmt: skip
        fake_args, fake_kwargs = self._fakes_of(args, kwargs)
        # A leaf may be written under no_grad only (running counters are no leaves that train).
        with torch.set_grad_enabled(grad and not schema_of(target).is_mutable), in_autocast(cast):
            try:
                result = target(*fake_args, **fake_kwargs)
            except LOOKS_AT_VALUES as error:
                raise CaptureError(
                    "M202",
                    f"how large what {target} gives is depends on values of tensors, so no one schedule fits it",
                    str(place[3] or ""),
                    _at(place),
                ) from error
        id_ = len(self.operators)
        outputs: list[int] = []

        def number(t: Any) -> Any:
            if not isinstance(t, torch.Tensor):
                return t
            if t.layout != torch.strided or t.dtype in QUANTIZED:
                kind = "quantized" if t.dtype in QUANTIZED else str(t.layout).removeprefix("torch.")
                raise CaptureError(
                    "M221", f"{target} gives a {kind} tensor, which a plan can't hold", str(place[3] or ""), _at(place)
                )
            ref = self._add_value(name if not outputs else f"{name}_{len(outputs)}", "activation", t, id_)
            outputs.append(ref.id)
            return ref

        layout = pytree.tree_map(number, result)
        inputs = tuple(leaf.id for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Ref))
        path, type_name, part, source = place
        self.operators.append(
            Operator(
                id_, target, tuple(args), dict(kwargs), inputs, tuple(outputs), layout, path, type_name, part,
                source, in_place, is_random(target, args, kwargs), False, grad, cast,
                block(args[2]) if target is OPAQUE else None,
            )
        )  # fmt: skip
        if target is OPAQUE:  # it may write to its buffers
            self.hidden |= {self.values[r.id].storage for r in args[1] if self.values[r.id].kind == "buffer"}
        for v in outputs:
            value = self.values[v]
            if value.storage != v and (value.dtype != self.values[value.storage].dtype or is_lazy(self.fakes[v])):
                self.mutated.add(value.storage)  # no geometry alone describes this view: let it run once
        if str(target) in HIDDEN_STATE:
            positions, flag = HIDDEN_STATE[str(target)]
            if args[flag]:
                self.hidden |= {self.values[args[k].id].storage for k in positions if isinstance(args[k], Ref)}
        for v in (*inputs, *outputs):
            self.touched.setdefault(self.values[v].storage, set()).add(id_)
        return layout

    def _lower_autocast(
        self, target: Any, args: Any, kwargs: Any, grad: bool, cast: Autocast,
        place: _Place,
    ) -> tuple[Any, Any, Autocast]:  # fmt: skip
        """Make the casts that autocast does inside an operator operators of their own."""
        leaves, spec = pytree.tree_flatten((args, kwargs))
        ids = [leaf.id for leaf in leaves if isinstance(leaf, Ref)]

        def arguments(casts: Any) -> Any:
            return pytree.tree_map_only(
                Ref, lambda r: self.fakes[r.id].to(casts[r.id]) if r.id in casts else self.fakes[r.id], (args, kwargs)
            )

        dtypes, state = casts_before(target, arguments, self.fakes, ids, grad, cast)
        if not dtypes:
            return args, kwargs, state
        made: dict[int, Ref] = {}

        def cast_of(ref: Ref) -> Ref:
            if ref.id not in dtypes:
                return ref
            if ref.id not in made:
                value, key = self.values[ref.id], (ref.id, dtypes[ref.id])
                if key not in self.casts:
                    name = f"{value.name}_cast"
                    arguments = (ref, key[1])
                    result: Ref = self._append(torch.ops.aten.to.dtype, arguments, {}, name, grad, None, place, None)
                    if not value.is_constant:
                        made[ref.id] = result
                        return result
                    self.casts[key] = result.id  # as autocast's cache of weights does
                made[ref.id] = Ref(self.casts[key])
            return made[ref.id]

        new_args, new_kwargs = pytree.tree_unflatten(
            [cast_of(leaf) if isinstance(leaf, Ref) else leaf for leaf in leaves], spec
        )
        return new_args, new_kwargs, None

    def _pin(self) -> None:
        """Whatever touches memory that is written through an alias must run once, as eager runs it."""
        pinned: set[int] = set()
        for storage in self.mutated:
            pinned |= self.touched.get(storage, set())
        norms = {o.id for o in self.operators if o.name in HIDDEN_STATE}  # a recompute leaves the statistics alone
        for storage in self.hidden:
            pinned |= self.touched.get(storage, set()) - norms
        self.operators = [
            replace(o, pinned=True) if o.id in pinned or o.block is not None else o for o in self.operators
        ]
