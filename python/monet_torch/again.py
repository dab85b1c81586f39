"""The backward of a compiled piece, which makes again what the plan drops as often as the plan says.

A partitioner has each dropped tensor made again once, and there until its last use. A plan may hold it shorter, and
make it a second time: here a copy of the nodes that make it stands wherever the plan has it made.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import fx

from ._private import Labels

Held = Callable[[str, int], bool]
"""Does the plan hold what the forward node of that name makes, once made again, until the backward at that clock?"""


def as_planned(backward: fx.GraphModule, labels: Labels, clock: int, held: Held) -> fx.GraphModule:
    """`backward` with its recomputes where and as often as the plan has them; operator i goes backward at clock - i."""
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

    def make(wanted: fx.Node) -> None:
        waiting = [wanted]
        while waiting:
            node = waiting[-1]
            missing = [x for x in node.all_input_nodes if x not in there and x not in again]
            waiting += missing
            if not missing:
                waiting.pop()
                if node not in again:
                    again[node] = graph.node_copy(node, lambda x: there.get(x) or again[x])

    for node in nodes:
        if node in there or (node not in own and node.op != "output"):
            continue
        now = labels.of_backward(node)
        if now is not None and (operator is None or now < operator):
            operator = now
            again = {x: copy for x, copy in again.items() if held(x.name, clock - now)}
        for x in node.all_input_nodes:
            if x not in there and x not in again:
                make(x)
        there[node] = graph.node_copy(node, lambda x: there.get(x) or again[x])  # noqa: B023
    return fx.GraphModule(backward, graph)
