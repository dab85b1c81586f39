"""Measure every operator of a captured graph, once per distinct signature, on real tensors of its shapes.

What an operator saves is observed under a saved-tensor hook, not tabulated; its memory is read from the allocator
while it runs alone; its gradients' geometry decides how the operators before it are measured, so the graph is walked
backwards. Nothing needs the whole model's memory: one operator's tensors live at a time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from . import operators
from ._private import cpu_allocations, is_view, keep_card_busy, pytree, schema_of, storage_key, storages_of
from .autocast import in_autocast
from .captured import HIDDEN_STATE, Captured, Operator, Ref, Value
from .errors import MonetError, is_out_of_memory
from .geometry import extent, is_dense
from .measure import MARK_BYTES, allocator_peak, leave_mark
from .opaque import as_it_was, tensors_of

Progress = Callable[[str, int, int, str], None]
"""Called with stage, done, total and the name of the operator at hand."""

Geometry = tuple[tuple[int, ...], tuple[int, ...]]  # sizes, strides
Build = Callable[[Operator, bool], Callable[..., Any]]  # of an implementation
Samples = tuple[int, int]  # runs per time: at least, and where they are short at most
SAMPLES: Samples = (5, 15)
FEW_SAMPLES: Samples = (3, 3)
_BLOCK = 1 << 20


@dataclass
class Run:
    """Nanoseconds (the lower quartile, and the distance to the upper one as a share of it) and peak bytes.

    `out_of_place`: nanoseconds of a forward in place where it may not overwrite its input.
    """

    time: int
    peak: int
    spread: float = 0.0
    out_of_place: int | None = None


@dataclass
class Gradient:
    input: int
    bytes: int
    alias: int | None
    dense: bool
    view: bool
    geometry: Geometry
    late: bool = False


@dataclass
class Measured:
    """One implementation of one signature. `saves` are positions: ("i", k) the k-th input, ("o", k) output.

    `made`: bytes of the storage that each output lies in, which a kernel may make larger than the trace foresaw.
    `rest`: where the backward is two nodes of autograd's, the bytes that the second holds of what was saved, and its
    peak; it makes the `late` gradients.
    """

    name: str
    exactness: str
    saves: list[tuple[str, int]]
    internal_bytes: int
    forward: Run
    recompute: Run
    backward: Run | None
    gradients: list[Gradient] = field(default_factory=list)
    made: list[int] = field(default_factory=list)
    rest: tuple[int, int] | None = None


def signature_of(captured: Captured, o: Operator, gradients: Sequence[Geometry | None]) -> str:
    """All that the cost of an operator depends on, as text."""
    values = captured.values
    roots: dict[int, int] = {}

    def describe(ref: Ref) -> Any:
        v = values[ref.id]
        alias = roots.setdefault(v.storage, len(roots))
        return [alias, list(v.shape), list(v.stride), v.offset, str(v.dtype), v.requires_grad, v.kind != "activation"]

    arguments = pytree.tree_map_only(Ref, lambda r: json.dumps(describe(r)), (o.args, o.kwargs))
    names = [(i.name, operators.runs_in_place(captured, o, i.name)) for i in operators.alternatives(captured, o)]
    # A bound on integers counts too: it is the size of what they index.
    rows = [o.name, repr(arguments), str(o.in_place), o.grad, repr(o.autocast), repr(list(gradients)), names]
    return json.dumps(rows)


class Cache:
    """Measurements of this machine on disk: a JSON object of signature hash to result, replaced whole."""

    def __init__(self, folder: Path | None, environment: Sequence[str]) -> None:
        key = hashlib.sha256("\n".join(environment).encode()).hexdigest()[:16]
        self.path = folder / f"operators-{key}.json" if folder else None
        self.rows: dict[str, Any] = {}
        self.changed = False
        if self.path is not None and self.path.is_file():
            try:
                rows = json.loads(self.path.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                return  # measured again
            if isinstance(rows, dict):
                self.rows = rows

    def get(self, signature: str) -> list[Measured] | None:
        row = self.rows.get(_digest(signature))
        return [_from_json(m) for m in row] if row is not None else None

    def put(self, signature: str, result: list[Measured]) -> None:
        self.rows[_digest(signature)] = [_to_json(m) for m in result]
        self.changed = True

    def save(self) -> None:
        if self.path is None or not self.changed:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, json.dumps(self.rows, separators=(",", ":")))
        self.changed = False


def cache_folder() -> Path:
    """Where this machine's measurements are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "monet"


def write_whole(path: Path, text: str) -> None:
    """Write a file so that nobody ever sees half of it."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)  # a temporary file is its owner's alone; this one is an ordinary file
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _digest(signature: str) -> str:
    return hashlib.sha256(signature.encode()).hexdigest()[:32]


def _to_json(m: Measured) -> Any:
    return {
        "name": m.name, "exactness": m.exactness, "saves": m.saves, "internal_bytes": m.internal_bytes,
        "forward": vars(m.forward), "recompute": vars(m.recompute),
        "backward": vars(m.backward) if m.backward else None, "gradients": [vars(g) for g in m.gradients],
        "made": m.made, "rest": m.rest,
    }  # fmt: skip


def _from_json(row: Any) -> Measured:
    def geometry(g: Any) -> Geometry:
        return tuple(g[0]), tuple(g[1])

    return Measured(
        row["name"], row["exactness"], [(k, i) for k, i in row["saves"]], row["internal_bytes"],
        Run(**row["forward"]), Run(**row["recompute"]), Run(**row["backward"]) if row["backward"] else None,
        [
            Gradient(g["input"], g["bytes"], g["alias"], g["dense"], g["view"], geometry(g["geometry"]), g["late"])
            for g in row["gradients"]
        ],
        row["made"], tuple(row["rest"]) if row["rest"] else None,
    )  # fmt: skip


def profile(
    captured: Captured, loss: int, cache: Cache, progress: Progress | None = None, measure: Any = None
) -> list[list[Measured]]:
    """Per operator, its implementations (eager first). `loss` is the value whose gradient starts the backward.

    What the cache knows is tried on its heaviest operators: if they run faster now by a third, it was filled while the
    machine did something else, and is emptied.
    """
    measure = measure or measure_on_device
    recalled: list[tuple[Operator, list[Geometry | None], list[Measured]]] = []
    scalar: Geometry = ((), ())
    gradients: dict[int, Geometry] = {loss: scalar}
    results: list[list[Measured]] = [[] for _ in captured.operators]
    total = len(captured.operators)
    known: dict[str, list[Measured]] = {}
    for done, o in enumerate(reversed(captured.operators)):
        incoming = [gradients.get(v) if captured.values[v].requires_grad else None for v in o.outputs]
        signature = signature_of(captured, o, incoming)
        result = known.get(signature)
        if result is None and o.block is None:
            result = cache.get(signature)
            if result is not None:
                recalled.append((o, incoming, result))
        if result is None:
            if progress is not None:
                progress("profile", done, total, o.name)
            try:
                result = measure(captured, o, incoming)
            except (RuntimeError, MemoryError) as error:
                where = str(o.source or "")
                if not is_out_of_memory(error):
                    # The trace asks for shapes alone; that the dtypes don't match shows here.
                    raise MonetError(
                        "M214", f"{type(error).__name__}: {str(error).strip().splitlines()[0]}", where
                    ) from error
                raise MonetError(
                    "M215",
                    f"{o.name} alone does not fit the device; profile a smaller batch or another --device",
                    where,
                ) from None
            if o.block is None:  # what one takes depends on values
                cache.put(signature, result)
            if done % 16 == 0:
                cache.save()
        known[signature] = result
        results[o.id] = result
        for g in result[0].gradients:
            value = captured.values[o.inputs[g.input]]
            arrived = gradients.get(value.id)
            if arrived is None or not is_dense(*arrived):
                gradients[value.id] = g.geometry
    if _slower_than_now(captured, recalled, measure):
        cache.rows.clear()
        return profile(captured, loss, cache, progress, measure)
    if progress is not None:
        progress("profile", total, total, "")
    cache.save()
    return results


def _slower_than_now(
    captured: Captured, recalled: list[tuple[Operator, list[Geometry | None], list[Measured]]], measure: Any
) -> bool:
    """Whether the heaviest operators of the cache take a third less now. Other work only ever adds to a time."""

    def nanoseconds(result: list[Measured]) -> int:
        return result[0].forward.time + (result[0].backward.time if result[0].backward else 0)

    heaviest = sorted(recalled, key=lambda r: -nanoseconds(r[2]))[:3]
    then = sum(nanoseconds(result) for _, _, result in heaviest)
    if then < _WORTH_CHECKING_NS:
        return False
    now = sum(nanoseconds(measure(captured, o, incoming)) for o, incoming, _ in heaviest)
    return now < then * 2 / 3


_WORTH_CHECKING_NS = 1_000_000


# ---- one operator on real tensors ------------------------------------------------------------------------------------


class _Bench:
    """An operator with tensors to run on: arguments, leaves that want gradients, gradients of its outputs."""

    def __init__(self, captured: Captured, o: Operator, incoming: Sequence[Geometry | None], samples: Samples) -> None:
        self.captured, self.o, self.samples = captured, o, samples
        self.device = captured.values[o.inputs[0]].device if o.inputs else torch.device("cpu")
        self.tensors: dict[int, Tensor] = {}
        if o.block is None:
            self._materialise()
        else:
            self.tensors = dict(zip(o.inputs, tensors_of(o.block), strict=True))
        self.gradients = [
            None if g is None else _filled(g, captured.values[v].dtype, self.device)
            for v, g in zip(o.outputs, incoming, strict=True)
        ]
        self.wants = [
            v for v in dict.fromkeys(o.inputs) if o.grad and self.tensors[v].requires_grad
        ]  # fmt: skip
        self.has_backward = bool(self.wants) and any(g is not None for g in self.gradients)

    def _materialise(self) -> None:
        values = self.captured.values
        storages: dict[int, Tensor] = {}
        below = self._bound()
        for v in dict.fromkeys(self.o.inputs):
            value = values[v]
            flat = storages.get(value.storage)
            root = values[value.storage]
            if flat is None or flat.dtype != value.dtype:
                n = max(
                    root.storage_bytes // max(1, value.dtype.itemsize),
                    value.offset + extent(value.shape, value.stride),
                )
                # Some implementations save by what they see: the same weights at every batch size.
                torch.manual_seed(len(storages))
                flat = _fill(torch.empty(n, dtype=value.dtype, device=value.device), below, root.kind == "buffer")
                storages[value.storage] = flat
            tensor = torch.as_strided(flat, value.shape, value.stride, value.offset).detach()
            self._make_legal(v, tensor)
            if value.requires_grad and value.dtype.is_floating_point:
                tensor.requires_grad_()
            self.tensors[v] = tensor

    def _make_legal(self, v: int, tensor: Tensor) -> None:
        """Some operators don't take whatever comes."""
        name, args = self.o.name, self.o.args
        if name.startswith("aten.embedding_bag") and args[2] == Ref(v):  # where each bag begins in the indices
            indices = self.captured.values[args[1].id].shape[0]
            tensor.copy_(torch.arange(len(tensor)) * (indices // max(1, len(tensor))))
        elif name.startswith("aten.binary_cross_entropy.") and tensor.is_floating_point():  # probabilities
            tensor.sigmoid_()

    def _bound(self) -> int:
        """Integers are most often indices: keep them inside what they may index."""
        values = [self.captured.values[v] for v in self.o.inputs]
        floats = [v for v in values if v.dtype.is_floating_point and v.shape]
        if self.o.name.startswith("aten.embedding") and floats:
            return floats[0].shape[0]
        if floats and ("cross_entropy" in self.o.name or "nll_loss" in self.o.name):
            return floats[0].shape[1 if len(floats[0].shape) > 1 else 0]
        return max(1, min((d for v in floats for d in v.shape), default=1))

    def run(self, call: Callable[..., Any], tensors: dict[int, Tensor] | None = None) -> Any:
        tensors = tensors or self.tensors
        args, kwargs = pytree.tree_map_only(Ref, lambda r: tensors[r.id], (self.o.args, self.o.kwargs))
        with (
            torch.set_grad_enabled(self.o.grad and not schema_of(self.o.target).is_mutable),
            in_autocast(self.o.autocast),
        ):
            return call(*args, **kwargs)

    def outputs(self, result: Any) -> list[Tensor]:
        return [t for t in pytree.tree_leaves(result) if isinstance(t, Tensor)]

    def pairs(self, outputs: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Outputs that get a gradient, and their gradients."""
        both = [(t, g) for t, g in zip(outputs, self.gradients, strict=True) if g is not None and t.requires_grad]
        return [t for t, _ in both], [g for _, g in both]

    def backward(self, outputs: list[Tensor], retain: bool) -> tuple[Tensor | None, ...]:
        ys, gs = self.pairs(outputs)
        return torch.autograd.grad(ys, [self.tensors[v] for v in self.wants], gs, retain, allow_unused=True)


def _fill(flat: Tensor, below: int, positive: bool) -> Tensor:
    """Random contents, quickly: one random block, repeated."""
    n = flat.numel()
    size = min(n, _BLOCK)
    if flat.dtype.is_floating_point:
        block = torch.rand(size, device=flat.device) if positive else torch.randn(size, device=flat.device)
        block = (block + 0.1 if positive else block).to(flat.dtype)
    elif flat.dtype is torch.bool:
        block = torch.rand(size, device=flat.device) < 0.5
    elif flat.dtype.is_complex:
        block = torch.randn(size, dtype=flat.dtype, device=flat.device)
    else:
        block = torch.randint(0, max(1, below), (size,), device=flat.device).to(flat.dtype)
    for start in range(0, n, _BLOCK):
        part = flat[start : start + _BLOCK]
        part.copy_(block[: part.numel()])
    return flat


def _filled(geometry: Geometry, dtype: torch.dtype, device: torch.device) -> Tensor:
    shape, stride = geometry
    flat = _fill(torch.empty(max(1, extent(shape, stride)), dtype=dtype, device=device), 1, False)
    # No view of `flat`: whether a gradient comes back as a view is part of what is observed.
    return torch.empty(0, dtype=dtype, device=device).set_(flat.untyped_storage(), 0, shape, stride)


def measure_on_device(
    captured: Captured, o: Operator, incoming: Sequence[Geometry | None], samples: Samples = SAMPLES
) -> list[Measured]:
    """Run `o` alone, by each of its implementations, where its tensors live; between `samples` times for a time."""
    module = o.block.module() if o.block is not None else None
    with contextlib.nullcontext() if module is None else as_it_was(module, [module]):
        return _measure_all(captured, o, incoming, samples)


def _measure_all(
    captured: Captured, o: Operator, incoming: Sequence[Geometry | None], samples: Samples
) -> list[Measured]:
    bench = _Bench(captured, o, incoming, samples)
    results = [_measure(bench, "eager", "bitwise", operators.eager)]
    if bench.has_backward:
        again = results[0].recompute
        others = operators.alternatives(captured, o)
        if others and o.in_place is not None and results[0].internal_bytes:
            taken, spread = _time(_Timed(bench, o.target, False, warm=False))
            again = Run(taken, again.peak, spread)
        for alternative in others:
            m = _measure(
                bench, alternative.name, alternative.exactness, alternative.build, alternative.in_two,
                operators.stand_in(captured, o, alternative.name),
            )  # fmt: skip
            if not alternative.own_output:
                m.recompute = again  # one that wants no internals runs eager's operator
            if alternative.in_two:  # eager's kernels, one by one: it is no faster
                m.forward.time = results[0].forward.time
                m.backward = _slower(m.backward, results[0].backward)
            results.append(m)
    return results


def _slower(a: Run | None, b: Run | None) -> Run | None:
    return a if a is None or b is None else Run(max(a.time, b.time), a.peak, a.spread)


def _measure(
    bench: _Bench, name: str, exactness: str, build: Build, in_two: bool = False,
    instead: operators.StandIn | None = None,
) -> Measured:  # fmt: skip
    o = bench.o
    saves, internal_bytes, made = _observe(bench, build(o, False))
    if instead is not None:
        build = _undoing(build, instead.undo)
    plain = build(o, False)
    forward_peak, (backward_peak, *later), gradients = _memory(bench, name, build, in_two)
    in_place = operators.runs_in_place(bench.captured, o, name)
    if in_place and name != "eager":  # a plan takes the output off where it is the input's memory
        over = _in_place_peak(bench, build(o, True)) + bench.tensors[o.inputs[0]].untyped_storage().nbytes()
        forward_peak = max(forward_peak, over)
    with torch.set_grad_enabled(bench.has_backward):
        forward = _time(_Timed(bench, build(o, in_place), in_place))
        # A recompute runs eager's operator, for its internals too where it has any; out of place, and on what was kept.
        again = forward
        if name == "eager" and not o.pinned and (in_place or _fits_cache(bench)):
            again = _time(_Timed(bench, plain if internal_bytes else o.target, False, warm=False))
        copying = _time(_Timed(bench, plain, False))[0] if in_place else None
    run = Run(forward[0], forward_peak, forward[1], copying)
    recompute = Run(again[0], forward_peak + _copied(bench), again[1])
    if not bench.has_backward:
        return Measured(name, exactness, saves, internal_bytes, run, recompute, None, [], made)
    backward = _time(_TimedBackward(bench, plain))
    rest = None
    if in_two:
        rest = held_by_the_second_of_two(bench.captured, o, bench.tensors, bench.run(plain)), later[0]
    return Measured(
        name, exactness, saves, internal_bytes, run, recompute, Run(backward[0], backward_peak, backward[1]), gradients,
        made, rest,
    )  # fmt: skip


def _undoing(build: Build, undo: Callable[[Tensor], Tensor]) -> Build:
    """The same functions, but their backward takes a saved output for what stands in for it (and is as large)."""

    def build_undoing(o: Operator, in_place: bool) -> Callable[..., Any]:
        call = build(o, in_place)

        def run(*args: Any, **kwargs: Any) -> Any:
            made: set[int] = set()
            # (An output would hold the operator that holds it, were it not detached.)
            with saved_tensors_hooks(Tensor.detach, lambda t: undo(t) if storage_key(t) in made else t):
                result = call(*args, **kwargs)
            made.update(storage_key(t) for t in pytree.tree_leaves(result) if isinstance(t, Tensor))
            return result

        return run

    return build_undoing


def _copied(bench: _Bench) -> int:
    """Bytes of the copies that a recompute writes its running statistics to."""
    positions, flag = HIDDEN_STATE.get(bench.o.name, ((), 0))
    if not positions or not bench.o.args[flag]:
        return 0
    return sum(bench.tensors[ref.id].nbytes for ref in (bench.o.args[k] for k in positions) if isinstance(ref, Ref))


_OF_COLD = 5  # runs for a time on what lies in no cache, which wavers less


def _fits_cache(bench: _Bench) -> bool:
    """May what it reads still lie in the CPU's cache, just written? Then it takes longer on what was kept."""
    values = bench.captured.values
    read = sum(t.nbytes for v, t in bench.tensors.items() if values[v].kind == "activation")
    return bench.device.type == "cpu" and read < 2 * cache_bytes()


class _Timed:
    """The forward as it runs in a step: what it reads was just written (`warm`), its weights were not."""

    def __init__(self, bench: _Bench, call: Callable[..., Any], in_place: bool, warm: bool = True) -> None:
        self.bench, self.call, self.in_place, self.warm = bench, call, in_place, warm
        self.device = bench.device
        self.samples = bench.samples if warm else (min(_OF_COLD, bench.samples[0]), min(_OF_COLD, bench.samples[1]))
        self.tensors = bench.tensors

    def prepare(self) -> None:
        if self.in_place:
            first = self.bench.o.inputs[0]
            self.tensors = {**self.bench.tensors, first: self.bench.tensors[first].clone()}
        _chill(self.device)
        if self.warm:
            values = self.bench.captured.values
            _touch([t for v, t in self.tensors.items() if values[v].kind == "activation"])

    def run(self) -> Any:
        return self.bench.run(self.call, self.tensors)


class _TimedBackward:
    """The backward as it runs in a step: its gradient was just written, what it saved was not."""

    def __init__(self, bench: _Bench, call: Callable[..., Any]) -> None:
        self.bench = bench
        self.device, self.samples = bench.device, bench.samples
        self.outputs = bench.outputs(bench.run(call))

    def prepare(self) -> None:
        _chill(self.device)
        _touch([g for g in self.bench.gradients if g is not None])

    def run(self) -> Any:
        return self.bench.backward(self.outputs, True)


def _observe(bench: _Bench, call: Callable[..., Any]) -> tuple[list[tuple[str, int]], int, list[int]]:
    """Which of its inputs and outputs an operator saves for backward, how many bytes besides, and its outputs' own."""
    packed: list[Tensor] = []

    def pack(t: Tensor) -> Tensor:
        packed.append(t)
        return t

    with saved_tensors_hooks(pack, lambda t: t):
        outputs = bench.outputs(bench.run(call))
    places: dict[int, tuple[str, int]] = {}
    for k, t in enumerate(outputs):
        places[storage_key(t)] = ("o", k)
    for k, v in enumerate(bench.o.inputs):
        places[storage_key(bench.tensors[v])] = ("i", k)
    saves: list[tuple[str, int]] = []
    internals: dict[int, int] = {}
    for storage in (storage for t in packed for storage in storages_of(t)):
        if storage_key(storage) in places:
            saves.append(places[storage_key(storage)])
        else:
            internals[storage_key(storage)] = storage.nbytes()
    return sorted(set(saves)), sum(internals.values()), [t.untyped_storage().nbytes() for t in outputs]


def first_node_of_two(result: Any) -> Any:
    """The node of autograd's that comes first in the backward of an operator whose backward is two."""
    (node,) = {t.grad_fn for t in pytree.tree_leaves(result) if isinstance(t, Tensor)}
    return node


def held_by_the_second_of_two(captured: Captured, o: Operator, tensors: Mapping[int, Tensor], result: Any) -> int:
    """Bytes of the activations that it saves."""
    (second,) = {f for f, _ in first_node_of_two(result).next_functions if hasattr(f, "saved_tensors")}
    saved = {storage_key(t) for t in second.saved_tensors}
    found = {captured.values[v].storage for v in o.inputs if storage_key(tensors[v]) in saved}
    return sum(captured.values[root].storage_bytes for root in found if not captured.values[root].is_constant)


def leaves_of(node: Any) -> set[int]:
    """Addresses of the tensors that get a gradient from this very node, and from no other."""
    behind = (function for function, _ in node.next_functions)
    return {id(function.variable) for function in behind if hasattr(function, "variable")}


def _memory(
    bench: _Bench, name: str, build: Callable[[Operator, bool], Any], in_two: bool
) -> tuple[int, list[int], list[Gradient]]:
    """Peak bytes of forward and of each node of the backward, above what was live then, and the gradients' memory."""
    o = bench.o
    call, tensors, added = build(o, False), bench.tensors, 0
    if name == "eager" and o.in_place is not None:
        # In place on a copy made beforehand; its result then counts as if it were fresh memory.
        call = o.in_place
        tensors = dict(bench.tensors)
        tensors[o.inputs[0]] = bench.tensors[o.inputs[0]].clone()
        added = tensors[o.inputs[0]].untyped_storage().nbytes()
    found: list[Gradient] = []

    def backward(outputs: list[Tensor], between: Callable[[], None]) -> None:
        soon: set[int] = set()
        if in_two:
            first = first_node_of_two(outputs)
            soon = leaves_of(first)
            first.register_hook(lambda *_: between())
        found.extend(_describe_gradients(bench, bench.backward(outputs, False)))
        for g in found:
            g.late = in_two and id(bench.tensors[o.inputs[g.input]]) not in soon
        found.sort(key=lambda g: g.late)

    def step() -> None:
        outputs = bench.outputs(bench.run(call, tensors))
        if bench.has_backward:
            leave_mark()
            backward(outputs, leave_mark)

    if bench.device.type == "cuda":
        forward_peak, backward_peaks = _cuda_memory(bench, call, tensors, added, backward)
        return forward_peak + added, backward_peaks, found
    level = 0
    peaks, starts = [0], [0]  # of the forward, and of each node of the backward
    for _, _, size in cpu_allocations(step):
        if size == MARK_BYTES:
            peaks.append(0)
            starts.append(level)
        elif size != -MARK_BYTES:
            level += size
            peaks[-1] = max(peaks[-1], level - starts[-1])
    forward_peak, *backward_peaks = peaks
    return forward_peak + added, backward_peaks or [0], found


def _in_place_peak(bench: _Bench, call: Callable[..., Any]) -> int:
    """Peak bytes of a forward over a copy of its first argument that was made beforehand."""
    first = bench.o.inputs[0]
    tensors = {**bench.tensors, first: bench.tensors[first].clone()}
    return allocator_peak(lambda: bench.run(call, tensors), bench.device).peak_bytes


def _cuda_memory(
    bench: _Bench, call: Callable[..., Any], tensors: dict[int, Tensor], added: int, backward: Callable[..., None]
) -> tuple[int, list[int]]:
    before: list[int] = []
    peaks: list[int] = []

    def start() -> None:
        torch.cuda.synchronize(bench.device)
        torch.cuda.reset_peak_memory_stats(bench.device)
        before.append(int(torch.cuda.memory_stats(bench.device)["requested_bytes.all.current"]))

    def stop() -> None:
        torch.cuda.synchronize(bench.device)
        peaks.append(int(torch.cuda.memory_stats(bench.device)["requested_bytes.all.peak"]) - before[-1])

    def between() -> None:
        stop()
        start()

    bench.run(call, {v: t.clone().detach().requires_grad_(t.requires_grad) for v, t in bench.tensors.items()}
              if bench.o.in_place is None else tensors)  # fmt: skip
    if bench.o.in_place is not None and added:
        tensors = dict(bench.tensors)
        tensors[bench.o.inputs[0]] = bench.tensors[bench.o.inputs[0]].clone()
    start()
    outputs = bench.outputs(bench.run(call, tensors))
    stop()
    if not bench.has_backward:
        return peaks[0], [0]
    start()
    backward(outputs, between)
    stop()
    return peaks[0], peaks[1:]


def _describe_gradients(bench: _Bench, results: Sequence[Tensor | None]) -> list[Gradient]:
    owners = {
        storage_key(g): k for k, g in enumerate(bench.gradients) if g is not None
    }  # fmt: skip
    described = []
    for v, g in zip(bench.wants, results, strict=True):
        if g is None:
            continue
        storage = g.untyped_storage()
        alias = owners.get(storage_key(storage))
        shape, stride = tuple(g.shape), tuple(g.stride())
        described.append(
            Gradient(
                bench.o.inputs.index(v), 0 if alias is not None else storage.nbytes(), alias, is_dense(shape, stride),
                is_view(g),
                (shape, stride),
            )
        )  # fmt: skip
    return described


_cold: list[Tensor] = []


def _chill(device: torch.device) -> None:
    """Push everything out of the CPU's caches: in a step, hundreds of megabytes pass between two uses of a tensor."""
    if device.type != "cpu":
        return
    if not _cold:
        _cold.append(torch.zeros(2 * cache_bytes() // 4))
    _cold[0].add_(1)


def _touch(tensors: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for t in tensors:
            if t.is_cpu and t.numel() and t.dtype not in (torch.bool,):
                t.max() if not t.is_complex() else None


def cache_bytes() -> int:
    """Size of this CPU's last-level cache, or 32 MiB where it can't be read."""
    try:
        text = Path("/sys/devices/system/cpu/cpu0/cache/index3/size").read_text(encoding="ascii").strip()
        return int(text.rstrip("KM")) << (20 if text.endswith("M") else 10)
    except (OSError, ValueError):
        return 32 << 20


def keep_freed_memory() -> None:
    """Ask glibc not to give freed memory back to the system while this process measures.

    Else a large part of a step on the CPU is the system clearing pages again and again, more or less of it by
    chance, for eager and planned steps alike. A caching allocator, as CUDA's, does the same. Elsewhere: no effect.
    """
    import ctypes

    m_trim_threshold, m_mmap_max = -1, -4
    try:
        library = ctypes.CDLL(None)
        library.mallopt(m_mmap_max, 0)
        library.mallopt(m_trim_threshold, -1)
    except (OSError, AttributeError):
        return


def _time(timed: _Timed | _TimedBackward, target_ns: int = 40_000_000) -> tuple[int, float]:
    """Nanoseconds and their relative spread, after a warm-up, within about `target_ns` of running.

    Where other work comes between, as a wide spread says, it takes `_PATIENCE` times as long. Runs for which the system
    had to clear pages count only where all have some: in a step, memory was there before.
    """
    if timed.device.type == "cuda":
        return _cuda_time(timed)
    timed.prepare()
    timed.run()
    samples: list[int] = []
    fewest, most = timed.samples
    again, discarded = most, 0
    while len(samples) < fewest or (
        len(samples) < most and sum(samples) < target_ns * (_PATIENCE if _summary(samples)[1] > _WIDE_SPREAD else 1)
    ):
        timed.prepare()
        faults = _page_faults()
        start = time.perf_counter_ns()
        result = timed.run()
        taken = time.perf_counter_ns() - start
        del result
        if again > 0 and discarded < target_ns * _PATIENCE and _page_faults() - faults > _FEW_PAGES:
            again -= 1
            discarded += taken
        else:
            samples.append(taken)
    return _summary(samples)


def _page_faults() -> int:
    """How often the system gave this process a page so far; 0 where it doesn't say."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


_WIDE_SPREAD = 0.1
_PATIENCE = 3
_FEW_PAGES = 16


def _cuda_time(timed: _Timed | _TimedBackward) -> tuple[int, float]:
    """What the card works, not what the processor takes to ask for it: in a step it asks ahead of the card.

    So the card is kept busy until everything is queued. Where asking took longer than that, the card waited
    between kernels; then it is kept busy for longer and measured again.
    """
    for _ in range(3):
        timed.prepare()
        timed.run()
    samples: list[int] = []
    busy = _BUSY_NS
    while len(samples) < min(10, timed.samples[1]):
        timed.prepare()
        torch.cuda.synchronize(timed.device)
        begun = time.perf_counter_ns()
        first, start, end = (torch.cuda.Event(enable_timing=True) for _ in range(3))  # type: ignore[no-untyped-call]
        first.record()
        keep_card_busy(busy)
        start.record()
        timed.run()
        end.record()
        queued = time.perf_counter_ns() - begun
        torch.cuda.synchronize(timed.device)
        waited = int(first.elapsed_time(start) * 1e6)
        if waited < queued and busy < 16 * _BUSY_NS:
            busy *= 2
            continue
        samples.append(int(start.elapsed_time(end) * 1e6))
    return _summary(samples)


_BUSY_NS = 500_000


def _summary(samples: list[int]) -> tuple[int, float]:
    """The lower quartile, and how far the upper one is from it, as a share of it."""
    taken = quartile(samples)
    return taken, round((-quartile([-sample for sample in samples]) - taken) / max(1, taken), 4)


def quartile(samples: Sequence[int]) -> int:
    """The lower one, since what else the machine does only ever adds to a time."""
    return sorted(samples)[len(samples) // 4]


__all__ = ["Cache", "Geometry", "Gradient", "Measured", "Run", "Value", "measure_on_device", "profile", "write_whole"]
