"""Which modules of a model to checkpoint, and what to keep within them, so that it comes near to a plan.

`torch.utils.checkpoint` drops what is saved within a region and makes all of that again when the backward first comes
there. So small regions recompute into little memory, and large ones can drop more: what the operators of one module
save for each other lies within it. Of the modules up to a size, for every size, the choice is the least recomputing
that fits where the plan fits, by an estimate.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

from torch import nn

from ._private import schema_of
from .captured import HIDDEN_STATE, Captured, Operator, Ref
from .dispatched import Call, calls_of
from .plan import Plan

Observed = Mapping[str, Sequence[Counter[str]]]
"""For each module, how often each of its forwards in a step called which operators."""


@dataclass(frozen=True)
class Region:
    """A module and its operators, `first` to `last`; which runs of which operators are kept, and as which storages."""

    module: str
    first: int
    last: int
    keep: dict[str, list[int]]
    kept: frozenset[int]
    counts: tuple[str, ...]  # submodules whose buffers a forward writes


@dataclass(frozen=True)
class Regions:
    chosen: list[Region]
    out_of_place: list[str]  # modules that are not to overwrite their input


def choose(model: nn.Module, captured: Captured, graph: dict[str, Any], plan: Plan, observed: Observed) -> Regions:
    """The regions for `plan`, made from `graph`; none, where nothing that it drops lies within a module."""
    return _Choice(model, captured, graph, plan, observed).best()


class _Choice:
    def __init__(
        self, model: nn.Module, captured: Captured, graph: dict[str, Any], plan: Plan, observed: Observed
    ) -> None:
        self.model, self.captured, self.plan, self.observed = model, captured, plan, observed
        values = captured.values
        self.root = [v.storage for v in values]
        self.bytes = [row["bytes"] for row in graph["values"]]
        self.eager = [row["implementations"][0] for row in graph["operators"]]
        self.room = plan.predicted.get("peak", 0) - sum(graph["fixed"].values())
        self.outputs = {self.root[v] for v in captured.model_outputs if not values[self.root[v]].is_constant}
        self.kept = self.outputs | {
            self.root[v] for v, intervals in plan.values.items() if v < len(values) and intervals[0][0] < plan.operators
        }
        self.functional = {o.id for o in captured.operators if o.in_place and o.module in self.not_in_place}
        self.calls = calls_of(captured, self.functional)
        self.written = {
            self.root[o.inputs[0]] for o in captured.operators if o.in_place and o.id not in self.functional
        }

    @cached_property
    def not_in_place(self) -> set[str]:
        """Modules that overwrite their input with what the plan keeps, and can be told not to."""
        return {
            o.module
            for o in self.captured.operators
            if o.in_place
            and self.root[o.outputs[0]] in self.kept
            and getattr(self.model.get_submodule(o.module), "inplace", False) is True
        }

    @cached_property
    def regions(self) -> dict[str, Region]:
        """Every module that can be a region and drops something, outer ones before inner ones."""
        members: dict[str, list[int]] = {}
        for o in self.captured.operators:
            path = o.module.split(".") if o.module else []
            for depth in range(len(path)):
                members.setdefault(".".join(path[: depth + 1]), []).append(o.id)
        found = {name: self._region(name, ids) for name, ids in members.items()}
        useful = [region for region in found.values() if region is not None and self._drops(region)]
        return {region.module: region for region in sorted(useful, key=lambda r: (r.first, -r.last, r.module))}

    def _region(self, name: str, ids: list[int]) -> Region | None:
        first, last = ids[0], ids[-1]
        ran = self.observed.get(name, ())
        if len(ran) != 1 or last - first + 1 != len(ids):
            return None  # one policy is for one forward of the module
        operators = self.captured.operators[first : last + 1]
        if any(self._changes_more(o, first) for o in operators):
            return None
        counts = dict.fromkeys(self.captured.values[v].target.rpartition(".")[0] for o in operators for v in counted(o))
        keep: dict[str, list[int]] = {}
        kept: set[int] = set()
        seen: Counter[str] = Counter()
        now: Counter[str] = Counter()  # as long as what is functional is written in place
        for o in operators:
            for call in self.calls[o.id]:
                if self._can_keep(o, call):
                    keep.setdefault(call.name, []).append(seen[call.name])
                    kept.update(call.makes)
                seen[call.name] += 1
                now[call.name] += o.id not in self.functional
        if any(now[each] != ran[0][each] for each in keep):
            return None  # the forward calls other operators than its trace
        return Region(name, first, last, keep, frozenset(kept), tuple(counts))

    def _can_keep(self, o: Operator, call: Call) -> bool:
        """Does the plan keep what it makes, and may it stand for what running again would give?

        Who doesn't draw its random numbers again leaves them to those after it.
        """
        return (
            any(v in self.kept for v in call.makes)
            and not call.writes
            and not (call.random and o.random)
            and not any(v in self.written for v in call.makes)
        )

    def _changes_more(self, o: Operator, first: int) -> bool:
        """Does it write what was there before the region, other than in counting?"""
        if o.pinned:
            return not self._only_counts(o)
        if o.in_place is None or o.id in self.functional:
            return False
        producer = self.captured.values[self.root[o.inputs[0]]].producer
        return producer is None or producer < first

    def _only_counts(self, o: Operator) -> bool:
        """Does it write a buffer that nothing reads?"""
        if not schema_of(o.target).is_mutable or not o.inputs:
            return False
        root = self.root[o.inputs[0]]
        operators = self.captured.operators
        touching = [other for other in operators if root in {self.root[v] for v in (*other.inputs, *other.outputs)}]
        return self.captured.values[root].kind == "buffer" and all(
            schema_of(other.target).is_mutable and self.root[other.inputs[0]] == root for other in touching
        )

    def best(self) -> Regions:
        sizes = {name: self._saved_bytes(region) for name, region in self.regions.items()}
        least: tuple[tuple[int, int], list[Region]] | None = None
        for size in sorted(set(sizes.values())):
            chosen = self._up_to(size, sizes)
            peak, time = self._outcome(chosen)
            rank = (0, time) if peak <= self.room else (peak, time)
            if least is None or rank < least[0]:
                least = rank, chosen
        chosen = least[1] if least is not None else []
        within = {k for r in chosen for k in range(r.first, r.last + 1)}
        overwriting = {
            o.module
            for o in self.captured.operators
            if o.id in self.functional
            and (o.id in within or self.captured.values[self.root[o.inputs[0]]].producer in within)
        }
        return Regions(chosen, sorted(overwriting))

    def _up_to(self, size: int, sizes: Mapping[str, int]) -> list[Region]:
        """The largest regions that save at most so many bytes."""
        chosen: list[Region] = []
        for name, region in self.regions.items():
            if sizes[name] <= size and not (chosen and chosen[-1].last >= region.first):
                chosen.append(region)
        return chosen

    def _saved(self, region: Region) -> set[int]:
        return {s for k in range(region.first, region.last + 1) if self._backward(k) for s in self.eager[k]["saves"]}

    def _backward(self, k: int) -> dict[str, Any] | None:
        backward: dict[str, Any] | None = self.eager[k]["backward"]
        return backward

    def _saved_bytes(self, region: Region) -> int:
        return sum(self.bytes[s] for s in self._saved(region))

    def _inputs(self, region: Region) -> set[int]:
        read = {self.root[v] for o in self.captured.operators[region.first : region.last + 1] for v in o.inputs}
        producers = {root: self.captured.values[root].producer for root in read}
        return {root for root, producer in producers.items() if producer is not None and producer < region.first}

    def _drops(self, region: Region) -> bool:
        return bool(self._saved(region) - region.kept - self._inputs(region) - self.outputs)

    def _outcome(self, chosen: list[Region]) -> tuple[int, int]:
        """Bytes above what is fixed when the backward is at its worst, and nanoseconds of recompute: estimates."""
        n = len(self.captured.operators)
        where: list[Region | None] = [None] * n
        for region in chosen:
            where[region.first : region.last + 1] = [region] * (region.last - region.first + 1)
        first_need: dict[int, int] = {}  # the last in backward
        held, time = [0] * n, 0  # held from forward until the backward of an operator
        transient = dict.fromkeys((r.module for r in chosen), 0)
        for k in reversed(range(n)):
            within = where[k]
            if within is None:
                if self._backward(k):
                    first_need.update(dict.fromkeys(self.eager[k]["saves"], k))
                    held[k] += self.eager[k]["internal_bytes"]
                continue
            made = [call for call in self.calls[k] if keeps(within, call)]
            if not made:
                time += self.eager[k]["recompute"]["time"]
            if any(call.results > 1 for call in made):
                held[within.first] += self.eager[k]["internal_bytes"]
            elif self._backward(k):
                transient[within.module] += self.eager[k]["internal_bytes"]
        for region in chosen:
            there = region.kept | self._inputs(region)
            for s in there:
                first_need[s] = min(region.first, first_need.get(s, n))
            transient[region.module] += sum(self.bytes[s] for s in self._saved(region) - there - self.outputs)
        for s, k in (first_need | dict.fromkeys(self.outputs, 0)).items():
            held[k] += self.bytes[s]
        peak = 0
        for k, (live, within) in enumerate(zip(accumulate(held), where, strict=True)):
            again = transient[within.module] if within is not None else 0
            backward = self._backward(k)
            peak = max(peak, live + again + (backward["peak"] if backward else 0))
        return peak, time


def keeps(region: Region, call: Call) -> bool:
    return any(v in region.kept for v in call.makes)


def counted(o: Operator) -> list[int]:
    """The buffers that it writes."""
    if o.name in HIDDEN_STATE:
        positions, flag = HIDDEN_STATE[o.name]
        return [o.args[k].id for k in positions if o.args[flag] and isinstance(o.args[k], Ref)]
    return [o.inputs[0]] if o.pinned and schema_of(o.target).is_mutable else []
