"""The training graph as a document. What its fields mean: docs/format.md."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from . import operators
from ._private import pytree, storage_key
from .captured import Captured, Operator
from .optimizer import state_bytes, step_bytes
from .profile import Measured, Run


def document(
    captured: Captured, measured: Sequence[Sequence[Measured]], *, model: nn.Module, inputs: Any, loss: int,
    gradients: str, optimizer: str, device: dict[str, Any], made_from: dict[str, Any], folder: Path,
    opaque: dict[str, str],
) -> dict[str, Any]:  # fmt: skip
    """Assemble the graph file's JSON object, without its hash. `inputs` is the pytree of tensors given to the step.

    `opaque` says of each opaque module, by its path, why it can't be traced.
    """
    storages = [v for v in captured.values if v.storage == v.id]
    sizes = {v.id: v.storage_bytes for v in storages}
    for o, (eager, *_) in zip(captured.operators, measured, strict=True):
        sizes |= {v: n for v, n in zip(o.outputs, eager.made, strict=bool(eager.made)) if v in sizes}
    graph: dict[str, Any] = {
        "format": "monet-graph", "version": 1, "hash": "", "structure": captured.structure(), "made_from": made_from,
        "device": device, "fixed": fixed_bytes(model, inputs, gradients, optimizer), "gradients": gradients,
        # Those of a card are on the host, too.
        "optimizer_step": optimizer_step(model, gradients, optimizer, device["type"]),
        "rng_state_bytes": 0 if device["type"] == "cuda" else torch.get_rng_state().numel(),
        "values": [
            {
                "id": v.id, "name": v.target or v.name, "kind": v.kind, "shape": list(v.shape),
                "dtype": str(v.dtype).removeprefix("torch."),
                "bytes": sizes.get(v.id, 0), "storage": v.storage, "producer": v.producer,
                "requires_grad": v.requires_grad,
            }
            for v in captured.values
        ],
        "operators": [
            _operator(captured, o, m, folder, opaque) for o, m in zip(captured.operators, measured, strict=True)
        ],
        "outputs": sorted({*captured.model_outputs, loss}),
    }  # fmt: skip
    assert storages, "a graph without values has no operators either"
    return graph


def hashed(graph: dict[str, Any]) -> dict[str, Any]:
    """The complete document, with its hash."""
    bare = {**graph, "hash": ""}
    return {**bare, "hash": hashlib.sha256(json.dumps(bare, sort_keys=True).encode()).hexdigest()}


def _operator(
    captured: Captured, o: Operator, measured: Sequence[Measured], folder: Path, opaque: dict[str, str]
) -> dict[str, Any]:
    why = opaque[o.block.path].replace(f"{folder}{os.sep}", "") if o.block is not None else None
    return {
        "id": o.id, "op": o.name, "module": o.module, "module_type": o.module_type, "part": o.part,
        "source": _source(o, folder), "inputs": list(o.inputs), "outputs": list(o.outputs),
        "in_place": o.in_place is not None, "random": o.random, "pinned": o.pinned,
        **({} if why is None else {"opaque": why}),
        "implementations": [_implementation(captured, o, m) for m in measured],
    }  # fmt: skip


def _source(o: Operator, folder: Path) -> dict[str, Any] | None:
    if o.source is None:
        return None
    path = Path(o.source.file)
    file = os.path.relpath(path, folder) if path.is_relative_to(folder) else str(path)
    return {"file": file, "line": o.source.line, "column": o.source.column}


def _implementation(captured: Captured, o: Operator, m: Measured) -> dict[str, Any]:
    instead = operators.stand_in(captured, o, m.name)
    places = {"i": o.inputs, "o": o.outputs if instead is None else (instead.value, *o.outputs[1:])}
    roots = {captured.values[places[kind][k]].storage for kind, k in m.saves}

    def run(r: Run) -> dict[str, Any]:
        return {"time": r.time, "peak": r.peak, "spread": r.spread}

    def gradients(late: bool) -> list[dict[str, Any]]:
        return [
            {"input": g.input, "bytes": g.bytes, "alias": g.alias, "dense": g.dense, "view": g.view}
            for g in m.gradients if g.late == late
        ]  # fmt: skip

    backward = None
    if m.backward is not None:
        backward = {**run(m.backward), "gradients": gradients(False)}
        if m.rest is not None:
            holds, peak = m.rest
            backward["rest"] = {"holds": holds, "peak": peak, "gradients": gradients(True)}
    copying = {} if m.forward.out_of_place is None else {"out_of_place": m.forward.out_of_place}
    return {
        "name": m.name, "exactness": m.exactness,
        "saves": sorted(r for r in roots if not captured.values[r].is_constant), "internal_bytes": m.internal_bytes,
        **({"in_place": True} if o.in_place is None and operators.runs_in_place(captured, o, m.name) else {}),
        "forward": run(m.forward) | copying, "recompute": run(m.recompute), "backward": backward,
    }  # fmt: skip


def fixed_bytes(model: nn.Module, inputs: Any, gradients: str, optimizer: str) -> dict[str, int]:
    """What is on the device from start to end of the step."""

    def total(tensors: Any) -> int:
        seen: dict[int, int] = {}
        for t in tensors:
            storage = t.untyped_storage()
            seen[storage_key(storage)] = storage.nbytes()
        return sum(seen.values())

    trainable = [p for p in model.parameters() if p.requires_grad]
    weights = sum(p.numel() * p.element_size() for p in trainable)
    return {
        "parameters": total(model.parameters()),
        "buffers": total(model.buffers()),
        "inputs": total(t for t in pytree.tree_leaves(inputs) if isinstance(t, Tensor)),
        "gradients": weights if gradients == "accumulate" else 0,
        "optimizer": state_bytes(optimizer, trainable),
    }


def optimizer_step(model: nn.Module, gradients: str, optimizer: str, device: str) -> int:
    """Bytes above what is fixed at the peak of the optimizer's step, which gradients that came with backward see."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    fresh = sum(p.numel() * p.element_size() for p in trainable) if gradients == "fresh" else 0
    return fresh + step_bytes(optimizer, trainable, foreach=device == "cuda")


def describe_device(device: torch.device) -> dict[str, Any]:
    """The device as the graph file names it."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return {
            "type": "cuda", "name": properties.name, "total_bytes": properties.total_memory,
            "threads": torch.get_num_threads(), "estimated": False,
        }  # fmt: skip
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        total = 0
    total = min((n for n in (total, *map(_limit, LIMITS)) if n > 0), default=0)
    return {
        "type": "cpu", "name": _cpu_name(), "total_bytes": total, "threads": torch.get_num_threads(),
        "estimated": False,
    }  # fmt: skip


LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""What a container may take, by version 2 and by version 1 of Linux's control groups."""


def _limit(file: Path) -> int:
    """0 where there is none, as everywhere but in a container."""
    try:
        return int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):  # the word "max"
        return 0


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
