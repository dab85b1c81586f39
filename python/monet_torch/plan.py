"""The plan file, as the runtime needs it. What its fields mean: docs/format.md."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .captured import Captured
from .errors import MonetError, PlanMismatch


@dataclass(frozen=True)
class Plan:
    """Intervals `(from, to)` on the clock of docs/format.md, per storage and per operator's internals."""

    structure: str
    graph_hash: str
    model: str
    operators: int  # of the graph, loss included: the clock's n
    activation_bytes: int | None  # of the step that it was made for; None: it doesn't say
    implementations: dict[int, str]
    values: dict[int, list[tuple[int, int]]]
    internals: dict[int, list[tuple[int, int]]]
    offload: dict[int, tuple[int, int]]  # storages in host memory alone, between these clocks
    rng: frozenset[int]
    opaque: tuple[str, ...]  # paths of modules that run as one operator
    predicted: dict[str, int]
    budget: int | None

    def implementation(self, operator: int) -> str:
        """The name of the implementation by which an operator runs."""
        return self.implementations.get(operator, "eager")

    def check(self, captured: Captured) -> None:
        """Raise PlanMismatch unless this plan was made for a model of this structure."""
        if captured.structure() != self.structure:
            raise PlanMismatch(
                "M306",
                f"the plan was made for {self.model or 'another model'}, and the model in hand has other operators "
                "(changed since it was profiled, or run under another autocast?); profile and plan it again",
            )

    def of_loss(self, model: Captured, loss: Captured) -> Plan:
        """The part of this plan that speaks of the loss, in the ids and on the clock of a capture of the loss alone.

        The model's outputs are inputs there: the user holds them, so no recompute reaches past them.
        Raises PlanMismatch when the loss has another number of operators than the profiled one.
        """
        m = len(model.operators)
        if m + len(loss.operators) != self.operators:
            raise PlanMismatch(
                "M307",
                f"the plan was made with a loss of {self.operators - m} operators, and this one has "
                f"{len(loss.operators)}; profile with the loss that you train with (--loss)",
            )
        outputs = {v for k, v in enumerate(loss.inputs) if v is not None and k < len(model.outputs)}
        new = [v.id for v in loss.values if v.id not in outputs]
        local = {len(model.values) + k: v for k, v in enumerate(new)}

        def moved(intervals: list[tuple[int, int]]) -> list[tuple[int, int]]:
            return [(a - m, b - m) for a, b in intervals]

        return replace(
            self, structure=loss.structure(), operators=len(loss.operators),
            implementations={k - m: x for k, x in self.implementations.items() if k >= m},
            values={local[v]: moved(i) for v, i in self.values.items() if v in local},
            internals={o - m: moved(i) for o, i in self.internals.items() if o >= m},
            offload={local[v]: (a - m, b - m) for v, (a, b) in self.offload.items() if v in local},
            rng=frozenset(o - m for o in self.rng if o >= m),
        )  # fmt: skip


def load_plan(source: str | os.PathLike[str] | dict[str, Any]) -> Plan:
    """Read a plan from a file, or from its parsed JSON. Raises MonetError with the place of the first fault."""
    name = "the plan"
    document: Any = source
    if not isinstance(source, dict):
        name = str(source)
        try:
            text = Path(source).read_text(encoding="utf-8")
        except OSError as error:
            raise MonetError("M301", f"{name}: {error.strerror or error}; make a plan with `monet optimize`") from error
        try:
            document = json.loads(text)
        except json.JSONDecodeError as error:
            raise MonetError(
                "M302",
                f"not valid JSON ({error.msg}), is the file cut off? make the plan again",
                f"{name}:{error.lineno}",
            ) from error
    if not isinstance(document, dict) or document.get("format") != "monet-plan":
        raise MonetError("M303", f"{name}: not a plan (its format is not monet-plan); make one with `monet plan`")
    if document.get("version") != 1:
        raise MonetError("M304", f"{name}: plan version {document.get('version')}, this monet_torch reads version 1")
    try:
        graph = document["graph"]
        values: dict[int, list[tuple[int, int]]] = {}
        internals: dict[int, list[tuple[int, int]]] = {}
        offload: dict[int, tuple[int, int]] = {}
        n = int(graph["operators"])
        for row in document["retain"]:
            intervals = [(int(a), int(b)) for a, b in row["intervals"]]
            if not all(0 <= a < b < 2 * n for a, b in intervals):
                raise ValueError(f"interval out of range in {row}")
            if "value" in row:
                values[int(row["value"])] = intervals
            else:
                internals[int(row["internals"])] = intervals
            if "offload" in row:
                away, back = (int(clock) for clock in row["offload"])
                start, end = intervals[0]
                if "value" not in row or not start <= away < n <= back <= end:
                    raise ValueError(f"offload out of range in {row}")
                offload[int(row["value"])] = (away, back)
        return Plan(
            structure=graph["structure"], graph_hash=graph["hash"], model=graph.get("model", ""),
            operators=n, activation_bytes=graph.get("activation_bytes"),
            implementations={int(k): v for k, v in document["implementations"].items()}, values=values,
            internals=internals, offload=offload, rng=frozenset(document.get("rng", [])),
            opaque=tuple(graph.get("opaque", [])),
            predicted=document.get("predicted", {}), budget=document.get("budget"),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise MonetError(
            "M305", f"{name}: not a complete plan ({type(error).__name__}: {error}); make it again"
        ) from error
