"""The graph as the peers see it: tensors and operators by number, each operator with its first implementation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

Wish = tuple[int, int, int]
"""Tensor, from, to: if it is computed at a clock from … to, hold it to its last use up to `to` (judge.ts)."""


@dataclass(frozen=True)
class Tensor:
    bytes: int
    producer: int
    last_use: int
    """In forward."""
    internals: bool
    always: bool
    """Held to the end of the step whatever a plan says."""


@dataclass(frozen=True)
class Run:
    time: int
    peak: int


@dataclass(frozen=True)
class Operator:
    reads: list[int]
    makes: list[int]
    """Storages; its internals are `internals`."""
    internals: int
    needs: list[int]
    """What its backward unpacks; nothing where it has none."""
    forward: Run
    recompute: Run
    backward: Run | None
    takes: int
    """The storage that its output may take over in a recompute, -1: none."""
    takes_forward: int
    taken_bytes: int
    random: bool
    pinned: bool


@dataclass(frozen=True)
class Problem:
    fixed: int
    rng: int
    eager_peak: int
    tensors: list[Tensor]
    operators: list[Operator]
    before: list[int]
    """Bytes of gradients as backward step k starts; step k is operator n - 1 - k."""
    handing: list[int]
    """The most bytes of gradients while step k hands them on."""
    blocks: list[tuple[int, int]]
    """First and last operator between places where one tensor alone is still needed."""

    @staticmethod
    def read(path: Path) -> Problem:
        def run(given: dict[str, int] | None) -> Run | None:
            return None if given is None else Run(**given)

        document: dict[str, Any] = json.loads(path.read_text())
        runs = ("forward", "recompute", "backward")
        operators = [
            Operator(**operator | {name: run(operator[name]) for name in runs}) for operator in document["operators"]
        ]
        tensors = [Tensor(**tensor) for tensor in document["tensors"]]
        return Problem(**document | {"tensors": tensors, "operators": operators})

    @property
    def n(self) -> int:
        return len(self.operators)

    def steps(self) -> Iterator[tuple[int, int, Operator]]:
        """Backward steps in their order: number, operator's number, operator."""
        for k in range(self.n):
            yield k, self.n - 1 - k, self.operators[self.n - 1 - k]

    def made(self, j: int) -> int:
        return sum(self.tensors[t].bytes for t in self.operators[j].makes)

    @cached_property
    def first_use(self) -> list[int]:
        """The first operator whose recompute or backward uses a tensor: no step after its backward does."""
        first = [self.n] * len(self.tensors)
        for i, operator in enumerate(self.operators):
            for t in (*operator.reads, *operator.needs):
                first[t] = min(first[t], i)
        return first

    @cached_property
    def ancestors(self) -> list[list[int]]:
        """Per operator: what its backward runs again if nothing at all is held, ascending."""
        return [sorted(self.closure(operator.needs, set())) for operator in self.operators]

    def closure(self, needs: list[int], held: set[int]) -> set[int]:
        missing = [t for t in needs if t not in held and not self.tensors[t].always]
        found: set[int] = set()
        while missing:
            j = self.tensors[missing.pop()].producer
            if j in found:
                continue
            found.add(j)
            missing += [t for t in self.operators[j].reads if t not in held and not self.tensors[t].always]
        return found
