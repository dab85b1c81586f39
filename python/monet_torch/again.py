"""The backward of a compiled piece, which makes again what the plan drops as often as the plan says.

A partitioner has each dropped tensor made again once, and there until its last use. A plan may hold it shorter, and
make it a second time: here a copy of the nodes that make it stands wherever the plan has it made. A compiler that
orders a graph as it likes would move them together again, so it is given one stretch from recompute to recompute.
"""

from __future__ import annotations

import operator as python
from collections.abc import Callable
from typing import Any

from torch import fx

from ._private import Labels, takes_list

Held = Callable[[str, int], bool]
"""Does the plan hold what the forward node of that name makes, once made again, until the backward at that clock?"""

Boxed = Callable[[list[Any]], Any]
"""A compiled graph: takes its inputs in a list, which it empties, so that it can let go of each."""
Compiler = Callable[[fx.GraphModule, list[Any]], Boxed]

_STRETCH = "monet_stretch"


def as_planned(backward: fx.GraphModule, labels: Labels, clock: int, held: Held) -> fx.GraphModule:
    """`backward` with its recomputes where and as often as the plan has them; operator i goes backward at clock - i.

    Its nodes are marked by stretches: each recompute begins another.
    """
    nodes = list(backward.graph.nodes)
    if any(labels.writes(node) for node in nodes):
        return backward
    given = [node for node in nodes if node.op in ("placeholder", "get_attr")]
    own = labels.after_tangents(nodes)
    graph = fx.Graph()
    there: dict[fx.Node, fx.Node] = {}
    for node in given:
        there[node] = graph.node_copy(node)
    again: dict[fx.Node, fx.Node] = {}  # what was made again, as long as it is there
    operator: int | None = None
    stretch = 0

    def copied(node: fx.Node) -> fx.Node:
        copy = graph.node_copy(node, lambda x: there.get(x) or again[x])
        copy.meta[_STRETCH] = stretch
        return copy

    def make(wanted: list[fx.Node]) -> None:
        nonlocal stretch
        waiting = [x for x in wanted if x not in there and x not in again]
        if any(labels.makes_memory(x) for x in waiting):
            stretch += 1
        while waiting:
            node = waiting[-1]
            missing = [x for x in node.all_input_nodes if x not in there and x not in again]
            waiting += missing
            if not missing:
                waiting.pop()
                if node not in again:
                    again[node] = copied(node)

    for node in nodes:
        if node in there or (node not in own and node.op != "output"):
            continue
        now = labels.of_backward(node)
        if now is not None and (operator is None or now < operator):
            operator = now
            again = {x: copy for x, copy in again.items() if held(x.name, clock - now)}
        make(node.all_input_nodes)
        there[node] = copied(node)
    return fx.GraphModule(backward, graph)


def in_stretches(graph: fx.GraphModule, inputs: list[Any], compiled: Compiler) -> Boxed:
    """Compile each stretch of `graph` by itself; what is called runs one after another, and lets go of what is over."""
    (output,) = (node for node in graph.graph.nodes if node.op == "output")
    given = [node for node in graph.graph.nodes if node.op == "placeholder"]
    stretches: dict[int, list[fx.Node]] = {}
    where: dict[fx.Node, int] = {}
    for node in graph.graph.nodes:
        if node.op == "call_function":
            is_part = node.target is python.getitem  # of several results, which nothing but tensors may leave
            where[node] = where[node.args[0]] if is_part else node.meta.get(_STRETCH, 0)
            stretches.setdefault(where[node], []).append(node)
    if len(stretches) <= 1:
        return compiled(graph, inputs)
    examples = dict(zip(given, inputs, strict=True))
    rows = []
    for at, nodes in stretches.items():
        takes = list(dict.fromkeys(x for n in nodes for x in n.all_input_nodes if x in examples))
        gives = [n for n in nodes if any(where.get(user) != at for user in n.users)]
        part = _part(graph, nodes, takes, gives)
        rows.append((compiled(part, [examples[x] for x in takes]), takes, gives))
        examples.update((n, n.meta["val"]) for n in gives)
    last = {x: k for k, (_, takes, _) in enumerate(rows) for x in takes}
    for x in output.all_input_nodes:
        last[x] = len(rows)

    def run(args: list[Any]) -> list[Any]:
        values = {x: arg for x, arg in zip(given, args, strict=True) if x in last}
        args.clear()
        for k, (call, takes, gives) in enumerate(rows):
            values.update(zip(gives, call([values.pop(x) if last[x] == k else values[x] for x in takes]), strict=True))
        return [values[x] if isinstance(x, fx.Node) else x for x in output.args[0]]

    return takes_list(run)


def _part(graph: fx.GraphModule, nodes: list[fx.Node], takes: list[fx.Node], gives: list[fx.Node]) -> fx.GraphModule:
    part = fx.Graph()
    here = {x: part.placeholder(x.name) for x in takes}
    for x in dict.fromkeys(x for n in nodes for x in n.all_input_nodes if x.op == "get_attr"):
        here[x] = part.node_copy(x)
    for node in nodes:
        here[node] = part.node_copy(node, here.__getitem__)
    part.output([here[x] for x in gives])
    return fx.GraphModule(graph, part)
