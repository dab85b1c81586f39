"""The graph at other batch sizes: the step is traced at a second one, and what differs grows along a line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ._private import pytree
from .errors import MonetError

_TIMES = {"time", "out_of_place"}
_SIZES = {
    "shape",
    "bytes",
    "internal_bytes",
    "peak",
    "holds",
    *_TIMES,
}  # all other fields must be the same at every size


class Uneven(Exception):
    """What does not grow along a line with the batch, as a sentence."""


def size_of(inputs: Any) -> int | None:
    """The first extent of the first tensor that has one: what is taken to be the batch."""
    tensors = (t for t in pytree.tree_leaves(inputs) if isinstance(t, Tensor))
    return next((t.shape[0] for t in tensors if t.dim() and t.shape[0]), None)


def second_size(size: int) -> int:
    """Half where that is two or more: cheaper to measure, and not one, where much is laid out otherwise."""
    return size // 2 if size >= 4 else 2 * size


def resized(inputs: Any, size: int) -> Any:
    """The inputs with another batch: every tensor whose first extent is the batch has its rows repeated or cut."""
    old = size_of(inputs)

    def change(t: Tensor) -> Tensor:
        if old is None or not t.dim() or t.shape[0] != old:
            return t
        return t.repeat(-(-size // old), *[1] * (t.dim() - 1))[:size].clone()

    return pytree.tree_map_only(Tensor, change, inputs)


def growth(graph: dict[str, Any], inputs: Any, graph_of: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    """The graph's section `batch` (docs/format.md). `graph_of` traces and measures the step with the inputs it gets.

    Where the graph can't be told at other sizes, the section says why.
    """
    size = size_of(inputs)
    if size is None:
        return {"size": None, "why_not": "no input has a first extent that could be the batch"}
    other = second_size(size)
    try:
        return {"size": size, "slopes": _Lines(graph, size, other).slopes(graph_of(resized(inputs, other)))}
    except Uneven as difference:
        return {"size": size, "why_not": str(difference)}
    except MonetError as error:
        return {"size": size, "why_not": f"with a batch of {other} it fails: {error}"}


class _Lines:
    def __init__(self, graph: dict[str, Any], size: int, other: int) -> None:
        self.graph, self.size, self.samples = graph, size, size - other

    def slopes(self, second: dict[str, Any]) -> dict[str, Any]:
        """By how much each number grows per sample; what does not grow is left out."""
        parts = ("fixed", "operators", "values")
        return self._of({k: self.graph[k] for k in parts}, {k: second[k] for k in parts}, ()) or {}

    def _of(self, a: Any, b: Any, path: tuple[Any, ...]) -> Any:
        if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
            keys: Any = [k for k in a if k != "spread"]
        elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
            keys = range(len(a))
        elif a == b:
            return None
        else:
            return self._slope(a, b, path)
        found = {str(k): row for k in keys if (row := self._of(a[k], b[k], (*path, k))) is not None}
        if path and path[-1] == "shape" and len(found) > 1:
            raise Uneven(f"{self._place(path)} has more than one extent that grows with the batch")
        return found or None

    def _slope(self, a: Any, b: Any, path: tuple[Any, ...]) -> float | None:
        names = [p for p in path if isinstance(p, str)]
        if names[0] != "fixed" and names[-1] not in _SIZES:
            raise Uneven(f"{self._place(path)} has other {names[-1]} at another batch size")
        slope: float = (a - b) / self.samples
        # What grows faster than the batch, such as all its pairs, would have less than nothing of one sample.
        if "shape" in names and (slope != int(slope) or a - slope * (self.size - 1) < 0):
            raise Uneven(f"{self._place(path)} does not grow along a line with the batch")
        if names[-1] in _TIMES:  # a measured one wavers; more samples take no less time, and none take none or more
            return round(min(max(0.0, slope), a / self.size), 3) or None
        return int(slope) if slope == int(slope) else slope

    def _place(self, path: tuple[Any, ...]) -> str:
        if len(path) < 2:
            return "the step"
        row = self.graph[path[0]][path[1]]
        producer = row["id"] if path[0] == "operators" else row["producer"]
        if producer is None:
            return f"the {row['kind']} {row['name']}"
        operator = self.graph["operators"][producer]
        source = operator["source"]
        return f"{operator['op']}{' at {file}:{line}'.format(**source) if source else ''}"
