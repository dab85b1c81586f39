"""A plan's operators in pieces that compile one by one, each with a backward of its own.

What AOTAutograd compiles gives the gradients of all its parameters at once, when its backward ends: in one piece, that
takes more memory than the plan. So the operators are cut where no backward beyond the cut makes again what lies before
it, and pieces with few gradients are joined.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, fx, nn
from torch.autograd.graph import saved_tensors_hooks

from . import operators
from ._private import FakeTensorMode, Joint, keep_alone, labelled, pytree, set_grad_enabled, storage_key
from .again import as_planned
from .captured import Captured, Operator, Ref
from .dispatched import made_once, run_as_captured
from .errors import MonetError
from .plan import Plan

# Pieces are joined while their gradients take less than this part of the activations, or of all gradients.
_OF_ACTIVATIONS, _OF_GRADIENTS = 32, 16
Builder = Callable[[Operator, bool], Callable[..., Any]]


@dataclass(frozen=True)
class Piece:
    """Operators `first` to `last` as a graph; the values that it takes and gives, and what splits its joint graph."""

    first: int
    last: int
    takes: list[int]
    gives: list[int]
    graph: fx.GraphModule
    partition: Partition


@dataclass(frozen=True)
class Pieces:
    """`more`: bytes that a plan doesn't foresee at most.

    The gradients of a piece end together, and some implementations are eager's.
    """

    pieces: list[Piece]
    more: int


def pieces_of(captured: Captured, plan: Plan) -> Pieces:
    """Cut the operators of `captured`, which `plan` was made for, into pieces.

    Raises MonetError where an operator is run in a way that compiled code can't repeat.
    """
    plan, held = _as_compiled(captured, plan)
    builders = [_builder(captured, o, plan) for o in captured.operators]
    gradients = [_gradients(captured, o) for o in captured.operators]
    few = max(captured.activation_bytes // _OF_ACTIVATIONS, sum(gradients) // _OF_GRADIENTS)
    ranges: list[tuple[int, int]] = []
    first = 0
    for last in _cuts(captured, plan, builders):
        if ranges and sum(gradients[ranges[-1][0] : last + 1]) <= few:
            ranges[-1] = (ranges[-1][0], last)
        else:
            ranges.append((first, last))
        first = last + 1
    more = held + max(sum(own) - max(own) for own in (gradients[a : b + 1] for a, b in ranges))
    return Pieces([_piece(captured, plan, builders, a, b) for a, b in ranges], more)


def _builder(captured: Captured, o: Operator, plan: Plan) -> Builder:
    if o.autocast is not None:
        raise MonetError(
            "M344",
            f"{o.name} of {o.module or 'the model'} runs under autocast in a way that compiled code does not repeat; "
            "run the plan with monet_torch.apply",
        )
    return operators.named(captured, o, plan.implementation(o.id))


def _as_compiled(captured: Captured, plan: Plan) -> tuple[Plan, int]:
    """Without implementations that compiled code can't repeat, and the bytes that eager's operators hold besides.

    It makes one graph of a backward, in which nothing comes first, and looks at no number. Of who does look, to save
    its output, what it reads is held instead.
    """
    values, implementations = dict(plan.values), dict(plan.implementations)
    longer, besides = 0, 0  # until both gradients are made, one convolution after another; and from forward
    for o in captured.operators:
        name = plan.implementation(o.id)
        if operators.is_in_two(o, name):
            del implementations[o.id]
            longer = max(longer, captured.values[o.inputs[0]].storage_bytes)
        elif not operators.compiles(o, name):
            del implementations[o.id]
            if o.random:
                besides += captured.values[o.outputs[0]].storage_bytes  # the mask that eager's dropout keeps
        elif operators.looks(captured, o, name):
            del implementations[o.id]
            besides += captured.values[o.inputs[0]].storage_bytes
            instead = operators.stand_in(captured, o, name)
            output = captured.values[o.outputs[0] if instead is None else instead.value].storage
            for root in {captured.values[v].storage for v in o.inputs}:
                values[root] = [*values.get(root, ()), *plan.values.get(output, ())]
    return replace(plan, values=values, implementations=implementations), longer + besides


def _gradients(captured: Captured, o: Operator) -> int:
    """Bytes of the gradients that its backward gives to parameters."""
    read = (captured.values[v] for v in set(o.inputs))
    return sum(v.storage_bytes for v in read if v.is_constant and v.requires_grad)


def _cuts(captured: Captured, plan: Plan, builders: Sequence[Builder]) -> list[int]:
    """After which operators no backward makes again what lies before; the last one always."""
    values = captured.values
    root = [v.storage for v in values]
    kept = _from_forward(plan, plan.values) | {root[v] for v in captured.model_outputs}
    internals = _from_forward(plan, plan.internals)
    far = len(captured.operators)
    reach: list[int] = []  # of a storage that has to be there: the first operator that runs for it
    for v in values:
        if v.is_constant or v.id in kept or v.producer is None or v.storage != v.id:
            reach.append(far if v.storage == v.id else reach[v.storage])
        else:
            reach.append(min([v.producer, *(reach[root[u]] for u in captured.operators[v.producer].inputs)]))
    first = []
    for o, (saved, inside) in zip(captured.operators, _saved(captured, builders), strict=True):
        again = {root[u] for u in o.inputs} if inside and o.id not in internals else set()
        first.append(min([o.id, *(reach[r] for r in saved | again)]))
    found = []
    nearest = far
    for k in reversed(range(far)):
        if nearest > k:
            found.append(k)
        nearest = min(nearest, first[k])
    return found[::-1]


def _from_forward(plan: Plan, rows: Mapping[int, Sequence[tuple[int, int]]]) -> set[int]:
    return {k for k, intervals in rows.items() if any(start < plan.operators for start, _ in intervals)}


def _saved(captured: Captured, builders: Sequence[Builder]) -> list[tuple[set[int], bool]]:
    """For each operator, the storages of the graph that autograd saves, and whether it saves anything else."""
    found = []
    with FakeTensorMode(allow_non_fake_inputs=True):
        for o, build in zip(captured.operators, builders, strict=True):
            packed: list[Tensor] = []
            make = made_once(captured)
            args, kwargs = pytree.tree_map_only(Ref, make, (o.args, o.kwargs))
            with saved_tensors_hooks(packed.append, lambda x: x):
                result = run_as_captured(o, build(o, False), args, kwargs)
            tensors = [t for t in pytree.tree_leaves(result) if isinstance(t, Tensor)]
            known = {storage_key(make(Ref(v))): captured.values[v].storage for v in o.inputs}
            known |= {storage_key(t): captured.values[v].storage for v, t in zip(o.outputs, tensors, strict=True)}
            keys = {storage_key(t) for t in packed}
            found.append(({known[k] for k in keys if k in known}, not keys <= known.keys()))
    return found


# ---- One piece, for AOTAutograd --------------------------------------------------------------------------------------


def _piece(captured: Captured, plan: Plan, builders: Sequence[Builder], first: int, last: int) -> Piece:
    """The operators as the plan runs them, as one graph; each node is labelled with its operator."""
    within = captured.operators[first : last + 1]
    made = {v for o in within for v in o.outputs}
    later = {v for o in captured.operators[last + 1 :] for v in o.inputs} | set(captured.model_outputs)
    takes = list(dict.fromkeys(v for o in within for v in o.inputs if v not in made and v not in captured.constants))
    gives = sorted(made & later)

    graph, holder = fx.Graph(), nn.Module()
    nodes: dict[int, fx.Node] = {v: graph.placeholder(f"value_{v}") for v in takes}
    for v in dict.fromkeys(v for o in within for v in o.inputs if v in captured.constants):
        holder.register_buffer(f"constant_{v}", captured.constants[v])
        nodes[v] = graph.get_attr(f"constant_{v}")

    def place(layout: Any, node: fx.Node) -> None:
        if isinstance(layout, Ref):
            nodes[layout.id] = node
        elif isinstance(layout, (list, tuple)):
            for k, part in enumerate(layout):
                if part is not None:
                    place(part, labelled(graph.call_function(_item, (node, k)), node))

    grad = True
    for o in within:
        if o.grad != grad:
            graph.call_function(set_grad_enabled, (o.grad,))
            grad = o.grad
        args, kwargs = pytree.tree_map_only(Ref, lambda r: nodes[r.id], (o.args, o.kwargs))
        place(o.layout, labelled(graph.call_function(builders[o.id](o, False), args, kwargs), o.id))
    if not grad:
        graph.call_function(set_grad_enabled, (True,))
    graph.output(tuple(nodes[v] for v in gives))
    partition = Partition(captured, plan, {captured.values[v].storage for v in gives})
    return Piece(first, last, takes, gives, fx.GraphModule(holder, graph), partition)


def _item(result: Any, k: int) -> Any:
    return result[k]


class Partition:
    """Splits the joint graph of a piece: what the plan keeps goes to the backward, which makes the rest again."""

    def __init__(self, captured: Captured, plan: Plan, gives: set[int]) -> None:
        self.captured, self.plan, self.gives = captured, plan, gives
        returned = {captured.values[v].storage for v in captured.model_outputs}
        self.values = _from_forward(plan, plan.values) | returned
        self.internals = _from_forward(plan, plan.internals)

    def __call__(self, joint: fx.GraphModule, inputs: Any, *, num_fwd_outputs: int, **more: Any) -> Any:
        found = Joint(joint, num_fwd_outputs)
        kept: list[fx.Node] = []
        intervals: dict[str, Sequence[tuple[int, int]]] = {}
        for op, nodes in found.forward.items():
            for value, node in self._tensors(op, nodes, found):
                rows = self.plan.internals.get(op, ()) if value is None else self.plan.values.get(value, ())
                intervals[node.name] = rows
                if op in self.internals if value is None else value in self.values:
                    kept.append(node)
        forward, backward = keep_alone(joint, inputs, found, kept, num_fwd_outputs, more)

        def held(name: str, until: int) -> bool:
            return any(start < until <= end for start, end in intervals.get(name, ()))

        return forward, as_planned(backward, found.labels, 2 * self.plan.operators - 1, held)

    def _tensors(self, op: int, nodes: list[fx.Node], joint: Joint) -> list[tuple[int | None, fx.Node]]:
        """What operator `op` makes: its values are those that others read; the others, None, are its internals."""
        values = [v for v in self.captured.operators[op].outputs if self.captured.values[v].storage == v]
        made = joint.made(nodes)
        returns = any(v in self.gives for v in values)
        outer = [node for node in made if joint.leaves(node, returns)]
        if len(outer) != len(values):  # some are read by nobody: then all are as one that the plan keeps, if it does
            values = [v for v in values if v in self.values][:1] * len(outer)
        return [*zip(values, outer, strict=False), *((None, node) for node in made if node not in outer)]
