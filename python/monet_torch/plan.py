"""The plan file, as the runtime needs it. What its fields mean: docs/format.md."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .capture import Captured
from .errors import MonetError, PlanMismatch


@dataclass(frozen=True)
class Plan:
    """Intervals `(from, to)` on the clock of docs/format.md, per storage and per operator's internals."""

    structure: str
    graph_hash: str
    model: str
    implementations: dict[int, str]
    values: dict[int, list[tuple[int, int]]]
    internals: dict[int, list[tuple[int, int]]]
    rng: frozenset[int]
    predicted: dict[str, int]
    budget: int | None

    def check(self, captured: Captured, model_operators: int | None = None) -> None:
        """Raise PlanMismatch unless this plan was made for a model of this structure."""
        if captured.structure() != self.structure:
            raise PlanMismatch(
                f"the plan was made for {self.model or 'another model'}, and the model in hand has other operators "
                "(changed since it was profiled?); profile and plan it again"
            )


def load_plan(source: str | os.PathLike[str] | dict[str, Any]) -> Plan:
    """Read a plan from a file, or from its parsed JSON. Raises MonetError with the place of the first fault."""
    name = "the plan"
    document: Any = source
    if not isinstance(source, dict):
        name = str(source)
        try:
            text = Path(source).read_text(encoding="utf-8")
        except OSError as error:
            raise MonetError(f"{name}: {error.strerror or error}; make a plan with `monet optimize`") from error
        try:
            document = json.loads(text)
        except json.JSONDecodeError as error:
            raise MonetError(
                f"{name}:{error.lineno}: not valid JSON ({error.msg}), is the file cut off? make the plan again"
            ) from error
    if not isinstance(document, dict) or document.get("format") != "monet-plan":
        raise MonetError(f"{name}: not a plan (its format is not monet-plan); make one with `monet plan`")
    if document.get("version") != 1:
        raise MonetError(f"{name}: plan version {document.get('version')}, this monet_torch reads version 1")
    try:
        graph = document["graph"]
        values: dict[int, list[tuple[int, int]]] = {}
        internals: dict[int, list[tuple[int, int]]] = {}
        for row in document["retain"]:
            intervals = [(int(a), int(b)) for a, b in row["intervals"]]
            if "value" in row:
                values[int(row["value"])] = intervals
            else:
                internals[int(row["internals"])] = intervals
        return Plan(
            structure=graph["structure"], graph_hash=graph["hash"], model=graph.get("model", ""),
            implementations={int(k): v for k, v in document["implementations"].items()}, values=values,
            internals=internals, rng=frozenset(document.get("rng", [])), predicted=document.get("predicted", {}),
            budget=document.get("budget"),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise MonetError(f"{name}: not a complete plan ({type(error).__name__}: {error}); make it again") from error
