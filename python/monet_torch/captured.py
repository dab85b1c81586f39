"""A model's forward as a flat list of operators on numbered values: the data that capture makes and a plan runs."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from ._private import OpOverload, pytree
from .autocast import Autocast
from .state import Changing

if TYPE_CHECKING:
    from .opaque import Block

# Composite operators whose schema hides that they write the running statistics: (position of the mutable
# statistics, position of the flag that says they are written).
HIDDEN_STATE = {"aten.batch_norm.default": ((3, 4), 5), "aten.instance_norm.default": ((3, 4), 5)}


@dataclass(frozen=True)
class Ref:
    """Stands for a value in the arguments of an operator."""

    id: int


@dataclass(frozen=True)
class Value:
    id: int
    name: str
    kind: str  # input | parameter | buffer | constant | activation
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    dtype: torch.dtype
    device: torch.device
    storage: int
    storage_bytes: int  # of the whole storage that it lives in
    producer: int | None
    requires_grad: bool
    target: str = ""  # name of a parameter or buffer in the module tree; "" for others

    @property
    def is_constant(self) -> bool:
        return self.kind != "activation"


@dataclass(frozen=True)
class Source:
    file: str
    line: int
    column: int | None = None

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Operator:
    """One operator; `args`/`kwargs` hold `Ref`s, `layout` places outputs (a value id, None, or a tuple of these)."""

    id: int
    target: OpOverload
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    layout: Any
    module: str
    module_type: str
    part: str
    source: Source | None
    in_place: OpOverload | None  # the in-place form that the user wrote
    random: bool
    pinned: bool
    grad: bool
    autocast: Autocast
    block: Block | None = None  # the call of an opaque module that this is

    @property
    def name(self) -> str:
        return str(self.target)


@dataclass
class Captured:
    """`inputs` are the value ids of the tensor leaves of (args, kwargs), None where a leaf is no tensor."""

    values: list[Value]
    operators: list[Operator]
    inputs: list[int | None]
    outputs: list[Any]  # flat: Ref or a plain value
    in_spec: pytree.TreeSpec
    out_spec: pytree.TreeSpec
    constants: dict[int, torch.Tensor] = field(default_factory=dict)  # tensors made while tracing
    changing: Changing = field(default_factory=dict)

    @cached_property
    def own_constants(self) -> list[Value]:
        """Inputs, parameters, buffers and constants that are no views of others: what a run has to be given."""
        return [v for v in self.values if v.is_constant and v.storage == v.id]

    @property
    def model_outputs(self) -> list[int]:
        return sorted({o.id for o in self.outputs if isinstance(o, Ref)})

    @cached_property
    def readers(self) -> dict[int, list[int]]:
        """Which operators read a storage, itself or a view of it, in order."""
        found: dict[int, list[int]] = {}
        for o in self.operators:
            for root in dict.fromkeys(self.values[v].storage for v in o.inputs):
                found.setdefault(root, []).append(o.id)
        return found

    @cached_property
    def activation_bytes(self) -> int:
        """Of all storages that operators of the model part make in a forward, kept or not."""
        made = {v for o in self.operators if o.part == "model" for v in o.outputs if self.values[v].storage == v}
        return sum(self.values[v].storage_bytes for v in made)

    def structure(self) -> str:
        """Hash of operators and wiring of the model part: equal for any batch size and any strides of the inputs.

        (Strides decide whether a `reshape` is a view or a copy, so what shares memory is no part of it.)
        """
        operators = [
            [o.name, o.module, list(o.inputs), list(o.outputs), o.in_place is not None, o.random, o.pinned]
            for o in self.operators if o.part == "model"
        ]  # fmt: skip
        text = json.dumps(operators, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def fingerprint(self) -> str:
        """Hash of everything that a run of this graph depends on, arguments and sizes included."""
        rows = [[o.name, repr(o.args), repr(o.kwargs), o.grad, repr(o.autocast)] for o in self.operators]
        rows.append([f"{v.shape} {v.stride} {v.dtype} {v.requires_grad}" for v in self.values])
        rows.append([repr(t.detach().cpu().flatten().tolist()) for t in self.constants.values() if t.numel() <= 4096])
        rows.append([str(id(t)) for t in self.constants.values() if t.numel() > 4096])
        return hashlib.sha256(json.dumps([self.structure(), rows]).encode()).hexdigest()
