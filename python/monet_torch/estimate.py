"""Times and bytes for a card that is not here: a roofline over published peak numbers. Always labelled an estimate."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from . import operators
from ._private import FakeTensorMode, is_view, pytree, schema_of, storage_key
from .autocast import in_autocast
from .captured import Captured, Operator, Ref
from .errors import MonetError
from .geometry import extent, is_dense
from .profile import Geometry, Gradient, Measured, Run, first_node_of_two, held_by_the_second_of_two, leaves_of

Shape = Sequence[int]


@dataclass(frozen=True)
class Card:
    """Peak dense TFLOP/s in fp32 (TF32 where PyTorch's convolutions use it by default) and 16 bits, GB/s, GiB.

    From the vendor's document that `source` names. `compute` and `memory` are the shares of its peaks that a good
    kernel reaches: usual ones, or those measured on the card `calibrated_on`.
    """

    name: str
    fp32: float
    half: float
    bandwidth: float
    gib: int
    source: str
    launch_ns: int = 4000
    compute: float = 0.8
    memory: float = 0.9
    calibrated_on: str | None = None


CARDS = [Card(**row) for row in json.loads(Path(__file__).with_name("cards.json").read_text(encoding="utf-8"))]


def find(name: str) -> Card:
    """The card called `name`, in whatever spelling. Raises MonetError with the names there are."""
    key = name.lower().replace(" ", "").replace("_", "-").removeprefix("nvidia")
    for card in CARDS:
        if card.name.lower() == key:
            return card
    raise MonetError("M122", f"--device {name}: neither a device here nor one of {', '.join(c.name for c in CARDS)}")


def describe(card: Card) -> dict[str, Any]:
    return {
        "type": "cuda", "name": card.name, "total_bytes": card.gib << 30, "threads": 1, "estimated": True,
        **({} if card.calibrated_on is None else {"calibrated_on": card.calibrated_on}),
    }  # fmt: skip


def measure_for(card: Card) -> Callable[..., list[Measured]]:
    """A stand-in for `measure_on_device` that runs nothing: fake tensors give shapes, saves and flops."""

    def measure(captured: Captured, o: Operator, incoming: Sequence[Geometry | None]) -> list[Measured]:
        if o.block is not None:
            raise MonetError(
                "M217",
                f"{o.block.path} can't be traced, so what it takes has to be seen where it runs; profile on a device "
                "that is here",
            )
        results = [_estimate(card, captured, o, incoming, "eager", "bitwise", operators.eager)]
        if results[0].backward is not None:
            for a in _alternatives(captured, o):
                undoes = operators.stand_in(captured, o, a.name) is not None
                m = _estimate(card, captured, o, incoming, a.name, a.exactness, a.build, a.in_two, undoes)
                if not a.own_output:
                    m.recompute = results[0].recompute
                results.append(m)
        return results

    return measure


def _alternatives(captured: Captured, o: Operator) -> list[operators.Implementation]:
    """Those that the card would be offered, though the trace was made on the CPU.

    Of what is for cards alone most takes another workspace, of which nothing is known here; two nodes save something.
    """
    own, card = {*o.inputs, *o.outputs}, torch.device("cuda")
    there = [replace(v, device=card) if v.id in own else v for v in captured.values]
    here = operators.alternatives(captured, o)
    return [a for a in operators.alternatives(replace(captured, values=there), o) if a.in_two or a in here]


def _attention(query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    """Flops of two products, (rows, size) by (size, keys) and (rows, keys) by (keys, size), per sample and head."""
    return 2 * prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def _attention_backward(gradient: Shape, query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    """Five products: the probabilities are made again."""
    return _attention(query, key, value) * 5 // 2


# The counter knows attention as a card runs it; traced on the CPU it is the CPU's fused form.
_FLOPS = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}


def _estimate(
    card: Card, captured: Captured, o: Operator, incoming: Sequence[Geometry | None], name: str, exactness: str,
    build: Any, in_two: bool = False, undoes: bool = False,
) -> Measured:  # fmt: skip
    with FakeTensorMode(allow_non_fake_inputs=True), torch.set_grad_enabled(o.grad), in_autocast(o.autocast):
        tensors = {v: _fake(captured, v) for v in dict.fromkeys(o.inputs)}
        args, kwargs = pytree.tree_map_only(Ref, lambda r: tensors[r.id], (o.args, o.kwargs))
        packed: list[Tensor] = []

        def pack(t: Tensor) -> Tensor:
            packed.append(t)
            return t

        with FlopCounterMode(display=False, custom_mapping=_FLOPS) as flops, saved_tensors_hooks(pack, lambda t: t):
            if schema_of(o.target).is_mutable:
                with torch.no_grad():
                    result = build(o, False)(*args, **kwargs)
            else:
                result = build(o, False)(*args, **kwargs)
        outputs = [t for t in pytree.tree_leaves(result) if isinstance(t, Tensor)]
        places = {storage_key(t): ("o", k) for k, t in enumerate(outputs)}
        for k, v in enumerate(o.inputs):
            places[storage_key(tensors[v])] = ("i", k)
        saves, internals = set(), {}
        for t in packed:
            key = storage_key(t)
            if key in places:
                saves.add(places[key])
            else:
                internals[key] = t.untyped_storage().nbytes()
        fresh = sum(
            {storage_key(t): t.untyped_storage().nbytes() for t in outputs if places[storage_key(t)][0] == "o"}.values()
        )
        internal_bytes = sum(internals.values())
        if o.name == "aten.dropout.default" and name == "eager" and o.random:
            # The CPU saves the scaled mask in the input's type, CUDA a byte per element (seen on a real card).
            internal_bytes = outputs[0].numel()
        moved = fresh + sum(_bytes(t) for t in tensors.values() if fresh) + internal_bytes
        dtype = outputs[0].dtype if outputs else torch.float32
        forward = Run(_roofline(card, flops.get_total_flops(), moved, dtype, fresh > 0), fresh + internal_bytes)

        wants = [v for v in dict.fromkeys(o.inputs) if o.grad and tensors[v].requires_grad]
        given = [k for k, g in enumerate(incoming) if g is not None and outputs[k].requires_grad]
        pairs = [(outputs[k], geometry) for k in given if (geometry := incoming[k]) is not None]
        if not wants or not pairs:
            return Measured(name, exactness, sorted(saves), internal_bytes, forward, forward, None)
        soon = leaves_of(first_node_of_two(outputs)) if in_two else {id(tensors[v]) for v in wants}
        held = held_by_the_second_of_two(captured, o, tensors, outputs) if in_two else 0
        gs = [torch.empty_strided(*g, dtype=t.dtype) for t, g in pairs]
        with FlopCounterMode(display=False, custom_mapping=_FLOPS) as flops_back:
            results = torch.autograd.grad([t for t, _ in pairs], [tensors[v] for v in wants], gs, allow_unused=True)
        owners = {storage_key(g): k for k, g in zip(given, gs, strict=True)}
        gradients = []
        for v, g in zip(wants, results, strict=True):
            if g is None:
                continue
            alias = owners.get(storage_key(g))
            lies = (tuple(g.shape), tuple(g.stride()))
            size = 0 if alias is not None else g.untyped_storage().nbytes()
            late = id(tensors[v]) not in soon
            gradients.append(Gradient(o.inputs.index(v), size, alias, is_dense(*lies), is_view(g), lies, late))
        gradients.sort(key=lambda g: g.late)
        made = sum(g.bytes for g in gradients)
        rest = sum(g.bytes for g in gradients if g.late)
        moved = made + sum(_bytes(g) for g in gs if made) + internal_bytes
        moved += sum(_bytes(t) for t in packed if made)
        time = _roofline(card, flops_back.get_total_flops(), moved, dtype, made > 0)
        undone = fresh if undoes and ("o", 0) in saves else 0  # the output is made again, of what stands in for it
        time += _roofline(card, 0, 2 * undone, dtype, undone > 0)
        backward = Run(time, made - rest + undone)
        return Measured(
            name, exactness, sorted(saves), internal_bytes, forward, forward, backward, gradients,
            rest=(held, rest) if in_two else None,
        )  # fmt: skip


def _fake(captured: Captured, v: int) -> Tensor:
    value = captured.values[v]
    n = max(1, value.offset + extent(value.shape, value.stride))
    flat = torch.empty(n, dtype=value.dtype)
    tensor = torch.as_strided(flat, value.shape, value.stride, value.offset).detach()
    return tensor.requires_grad_(value.requires_grad)


def _bytes(t: Tensor) -> int:
    return t.numel() * t.element_size()


def _roofline(card: Card, flops: int, moved: int, dtype: torch.dtype, launches: bool) -> int:
    """t = max(flops / (compute · peak), bytes / (memory · bandwidth)) + launch, in nanoseconds."""
    if not launches and not flops:
        return 0
    peak = card.half if dtype in (torch.float16, torch.bfloat16) else card.fp32
    compute = flops / (card.compute * peak * 1e12)
    memory = moved / (card.memory * card.bandwidth * 1e9)
    return int(max(compute, memory) * 1e9) + card.launch_ns
