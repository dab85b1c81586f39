"""What one planned forward holds: handles for autograd, cells for memory, and the recomputes that a backward starts.

Each tensor that autograd would save is replaced by a `Handle`; what the handle stands for is held in a `Cell` as long
as the plan says, or made again by the operators that made it. Cells are held by the handles themselves, so autograd
frees memory at the moment it frees eager's: when a node has run.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from . import post_mortem
from ._private import is_lazy, out_of_transforms, pytree, storage_key, version_of
from .autocast import in_autocast
from .captured import HIDDEN_STATE, Captured, Operator, Ref
from .errors import BackwardRefused, PlanMismatch
from .offload import Parcel

if TYPE_CHECKING:
    from .runtime import Program

STRONG, INTERNAL = -1, -2  # a handle's `root` where it is no storage of the graph


class Cell:
    """Holds the memory of one storage, here or in host memory; whoever refers to the cell keeps it alive."""

    __slots__ = ("__weakref__", "parcel", "remade", "tensor", "version")

    def __init__(self, tensor: Tensor, remade: bool) -> None:
        self.tensor: Tensor | None = tensor  # None: it is away
        self.remade = remade  # by a recompute or a fetch: its version says nothing about the forward
        self.version = version_of(tensor)
        self.parcel: Parcel | None = None

    def leave(self) -> None:
        """Give the device memory of what was sent to the host free, unless it was written since."""
        if self.parcel is not None and self.tensor is not None and version_of(self.tensor) == self.version:
            self.tensor = None
            self.parcel.wait()

    def here(self) -> Tensor:
        """The tensor on the device, fetched if need be."""
        if self.tensor is None:
            assert self.parcel is not None
            self.tensor, self.remade = self.parcel.arrive(), True
        return self.tensor


class Handle:
    """What autograd stores instead of a tensor: a storage of the graph and a geometry, or the tensor itself."""

    __slots__ = (
        "__weakref__", "cell", "extra", "frame", "offset", "op", "root", "size", "stride", "tensor", "undo", "version",
        "whole",
    )  # fmt: skip

    def __init__(self, frame: Frame, tensor: Tensor) -> None:
        self.frame = frame
        self.tensor: Tensor | None = tensor
        self.version: int = version_of(tensor)
        self.root = STRONG
        self.cell: Cell | None = None
        self.extra: list[Cell] | None = None  # kept for a recompute that this operator's backward starts
        self.op = -1
        self.size: tuple[int, ...] = ()
        self.stride: tuple[int, ...] = ()
        self.offset = 0
        self.whole = True
        self.undo: Callable[[Tensor], Tensor] | None = None  # what makes the tensor of what stands in for it


class Lifeline:
    """Dies with the graph above a forward's outputs: no backward can come then, so what is held can go.

    Autograd would see to that by itself, but for a backward that raised: then PyTorch (seen in 2.13) keeps the
    operators it had not reached yet, with whatever their hooks packed.
    """

    __slots__ = ("frame",)

    def __init__(self, frame: Frame) -> None:
        self.frame = weakref.ref(frame)

    def __del__(self) -> None:
        frame = self.frame()
        if frame is not None:
            frame.release()


@dataclass
class _Closure:
    """What one recompute still has to do: operators in order, and how often each storage will yet be read."""

    operators: list[int]
    reads: dict[int, int]


class Frame:
    """One forward of a program and the backward that follows it."""

    def __init__(self, program: Program, constants: tuple[Tensor, ...]) -> None:
        self.program = program
        self.pending: list[Handle] = []
        n = len(program.captured.operators)
        self.handles: list[list[weakref.ref[Handle]]] = [[] for _ in range(n)]
        self.saved: list[list[int]] = [[] for _ in range(n)]  # the roots of each operator's handles, as they were found
        self.unpacks_left = [0] * n
        self.held: dict[int, Cell] | None = {}  # cells made so far, while the forward runs
        self.cells: dict[int, weakref.ref[Cell]] = {}
        self.rng: dict[int, Any] = {}
        # Per operator: handles to be emptied once it has unpacked all.
        self.remade: dict[int, list[weakref.ref[Handle]]] = {}
        self.told: set[int] = set()  # whose backward was told to start
        self.output_cells: list[Cell] = []
        self.constants = dict(zip((v.id for v in program.captured.own_constants), constants, strict=True))
        self.versions: dict[int, int] = {}

    # ---- forward -------------------------------------------------------------------------------------------------

    def pack(self, tensor: Tensor) -> Handle:
        handle = Handle(self, tensor)
        self.pending.append(handle)
        return handle

    def save_rng(self, op: int) -> None:
        self.rng[op] = _rng_state(self.program.captured, op)

    def in_state(self, o: Operator, call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with torch.set_grad_enabled(o.grad), in_autocast(o.autocast):
            return call(*args, **kwargs)

    def starts(self, op: int) -> None:
        """For who watches: the forward of `op` comes next, and what the one before it left is gone."""
        if self.program.trace is not None:
            self.program.trace("forward", op, op)

    def end(self, op: int, tensors: tuple[Tensor, ...]) -> None:
        """Operator `op` has run on and to `tensors`: say what the tensors that autograd saved are."""
        program = self.program
        assert self.held is not None
        for position, root in program.cells_to_make[op]:
            cell = Cell(tensors[position].detach(), False)
            self.held[root] = cell
            self.cells[root] = weakref.ref(cell)
            if root in program.away and tensors[position].untyped_storage().nbytes():
                cell.parcel = Parcel(program.host, cell.here())
        if not program.geometry_checked:
            self._check_geometry(op, tensors)
        for earlier in program.awaited.get(op, ()):
            self._arrived(earlier)
        pending = self.pending
        if not pending:  # nothing of this operator can hold what is to be held until its backward: hold it to the end
            self.output_cells += [self.held[r] for r in program.ends[op] if r in self.held]
            return
        self.pending = []
        o = program.captured.operators[op]
        # Outputs first: one that took over its input's memory is what that memory now holds.
        ids = (*o.outputs, *o.inputs)
        tensors = (*tensors[len(o.inputs) :], *tensors[: len(o.inputs)])
        addresses = [storage_key(t) for t in tensors]
        clock = program.clock - op
        instead = program.stand_ins.get(op)
        for handle in pending:
            handle.op = op
            if o.block is not None:
                continue  # what it saves depends on values, so no plan says when it can go
            tensor = handle.tensor
            assert tensor is not None
            address = storage_key(tensor)
            try:
                v = ids[addresses.index(address)]
            except ValueError:
                self.saved[op].append(INTERNAL)
                if program.hold_internals[op] < 0 and not o.pinned and (not o.random or op in self.rng):
                    handle.root, handle.tensor = INTERNAL, None
                continue
            root = program.root[v]
            if instead is not None and v == o.outputs[0]:
                root, handle.undo = instead.value, instead.undo
            if program.constant[v] or tensor.dtype != program.captured.values[root].dtype or is_lazy(tensor):
                continue
            self.saved[op].append(root)
            if not program.tracked[root]:
                continue
            producer = program.captured.values[root].producer
            assert producer is not None
            kept = self.held.get(root) if program.hold[root] >= clock else None
            if kept is None and program.captured.operators[producer].pinned:
                continue
            handle.root, handle.cell, handle.tensor = root, kept, None
            if handle.undo is not None:
                continue
            size, stride, offset = tensor.shape, tensor.stride(), int(tensor.storage_offset())
            if (size, stride, offset) != program.geometry[root]:
                handle.whole, handle.size, handle.stride, handle.offset = False, size, stride, offset
        for root in program.ends[op]:
            if not any(h.root == root for h in pending) and root in self.held:
                first = pending[program.first_node[op]]
                first.extra = [*(first.extra or ()), self.held[root]]
        self.handles[op] = [weakref.ref(h) for h in pending]
        self.unpacks_left[op] = len(pending)

    def _arrived(self, op: int) -> None:
        """What stands in for the output of operator `op` is made: its handles hold it from here on."""
        program = self.program
        root = program.stand_ins[op].value
        assert self.held is not None
        cell = self.held.get(root)
        if cell is None or program.hold[root] < program.clock - op:
            return
        handles = self.live_handles(op)
        for handle in handles:
            if handle.root == root:
                handle.cell = cell
        if root in program.ends[op] and not any(h.root == root for h in handles):
            if handles:
                handles[0].extra = [*(handles[0].extra or ()), cell]
            else:
                self.output_cells.append(cell)

    def _check_geometry(self, op: int, tensors: tuple[Tensor, ...]) -> None:
        """Kernels may lay out a result otherwise than the trace foresaw; what really came counts."""
        program = self.program
        o = program.captured.operators[op]
        for v, tensor in zip((*o.inputs, *o.outputs), tensors, strict=True):
            program.geometry[v] = (tuple(tensor.shape), tensor.stride(), int(tensor.storage_offset()))
        for v, tensor in zip(o.outputs, tensors[len(o.inputs) :], strict=True):
            root = program.root[v]
            own = storage_key(tensor)
            shared = [u for u, t in zip(o.inputs, tensors, strict=False) if storage_key(t) == own]
            foreseen = root != v
            if foreseen != bool(shared) and not program.in_place[op] and not o.pinned:
                raise PlanMismatch(
                    "M312",
                    f"{o.name} of {o.module or 'the model'} {'copied' if foreseen else 'returned a view'} where the "
                    "trace foresaw otherwise; report this operator, and call monet_torch.remove(model) meanwhile",
                )

    def leave(self, op: int) -> None:
        """Operator `op` has run: what is to be away from here on goes, once its copy has ended."""
        assert self.held is not None
        for root in self.program.leaving[op]:
            cell = self.held.get(root)
            if cell is not None:
                self._trace_transfer("offload", op, root)
                cell.leave()

    def _trace_transfer(self, event: str, clock: int, root: int) -> None:
        producer = self.program.captured.values[root].producer
        if self.program.trace is not None and producer is not None:
            self.program.trace(event, clock, producer)

    def forward_is_over(self) -> None:
        held = self.held or {}
        self.output_cells += [held[r] for r in self.program.model_outputs if r in held]
        self.held = None
        self.pending = []
        # Now and not at the start: a forward may count its calls or update its own statistics.
        self.versions = {v: version_of(t) for v, t in self.constants.items()}

    def release(self) -> None:
        self.output_cells = []
        self.constants = {}
        self.rng = {}
        for references in self.handles:
            for reference in references:
                handle = reference()
                if handle is not None:
                    handle.tensor = handle.cell = handle.extra = None

    # ---- backward ------------------------------------------------------------------------------------------------

    def cell(self, root: int) -> Cell | None:
        reference = self.cells.get(root)
        return reference() if reference is not None else None

    def live_handles(self, op: int) -> list[Handle]:
        return [h for h in (r() for r in self.handles[op]) if h is not None]

    def recompute_for(self, op: int) -> None:
        # Under vmap over a backward, the forward is what it was: one, and its random numbers drawn once.
        with self._noting(op), out_of_transforms():
            self._recompute_for(op)

    def fetch_for(self, op: int) -> None:
        """The backward of `op` begins: send for what is to be back from here on."""
        with self._noting(op):
            for root in self.program.returning[op]:
                cell = self.cell(root)
                if cell is not None and cell.tensor is None and cell.parcel is not None and not cell.parcel.coming:
                    self._trace_transfer("fetch", self.program.clock - op, root)
                    cell.parcel.fetch()

    @contextlib.contextmanager
    def _noting(self, op: int) -> Iterator[None]:
        """Let an error say what memory was planned, where it is that it ran out."""
        try:
            yield
        except Exception as error:
            device = self.program.captured.values[self.program.captured.operators[op].outputs[0]].device
            post_mortem.note(error, self.program.plan, device, {}, 0, (self.program, self.program.clock - op))
            raise

    def _recompute_for(self, op: int) -> None:
        """Make everything that the backward of `op` unpacks and that is not there (docs/format.md, Backward 1)."""
        program = self.program
        mine = self.live_handles(op)
        needed = {h.root for h in mine if h.root >= 0}
        internals_missing = any(h.root == INTERNAL and h.tensor is None for h in mine)
        closure = self._closure(op, needed, internals_missing)
        clock = program.clock - op
        retained = program.retain.get(clock, {})
        retained_internals = program.retain_internals.get(clock, {})
        made: dict[int, Cell] = {}
        for j in closure.operators:
            if program.trace is not None:
                program.trace("recompute", clock, j)
            wants_internals = (j == op and internals_missing) or j in retained_internals
            o = program.captured.operators[j]
            over = self._may_take_over(o, closure, needed, retained, made, wants_internals)
            results = self._run_again(o, made, over, wants_internals, clock)
            for v in set(o.inputs):
                root = program.root[v]
                if not program.constant[v]:
                    closure.reads[root] -= 1
                    if not closure.reads[root] and root not in needed and root not in retained:
                        made.pop(root, None)
            for v, tensor in zip(o.outputs, results, strict=True):
                root = program.root[v]
                if root == v and self.cell(root) is None and (
                    closure.reads.get(root) or root in needed or root in retained
                ):  # fmt: skip
                    made[root] = Cell(tensor, True)
                    self.cells[root] = weakref.ref(made[root])
            results.clear()
        self._attach(op, made, needed, retained)

    def _closure(self, op: int, needed: set[int], internals_missing: bool) -> _Closure:
        program = self.program
        found: set[int] = set()
        stack = [r for r in needed if self.cell(r) is None]
        producers = [program.captured.values[r].producer for r in stack]
        waiting = [p for p in producers if p is not None]
        if internals_missing:
            waiting.append(op)
        while waiting:
            j = waiting.pop()
            if j in found:
                continue
            found.add(j)
            for root in program.input_roots[j]:
                producer = program.captured.values[root].producer
                if self.cell(root) is None and producer is not None:
                    waiting.append(producer)
        reads: dict[int, int] = {}
        for j in found:
            for v in set(program.captured.operators[j].inputs):
                if not program.constant[v]:
                    reads[program.root[v]] = reads.get(program.root[v], 0) + 1
        return _Closure(sorted(found), reads)

    def _may_take_over(
        self, o: Operator, closure: _Closure, needed: set[int], retained: dict[int, int], made: dict[int, Cell],
        wants_internals: bool,
    ) -> bool:  # fmt: skip
        if not self.program.in_place[o.id] or wants_internals:
            return False
        v = o.inputs[0]
        return (
            self.program.root[v] == v and v in made and v not in needed and v not in retained
            and closure.reads[v] == 1 and o.inputs.count(v) == 1
        )  # fmt: skip

    def _run_again(
        self, o: Operator, made: dict[int, Cell], in_place: bool, wants_internals: bool, clock: int
    ) -> list[Tensor]:
        program = self.program
        if o.pinned:
            raise BackwardRefused(
                "M314",
                f"MONeT: {o.name} of {o.module or 'the model'} would have to run twice, which changes its result; "
                "the plan does not fit this backward: call monet_torch.remove(model) before it",
            )
        cache: dict[int, Tensor] = {}

        def tensor_of(ref: Ref) -> Tensor:
            v = ref.id
            if v not in cache:
                cache[v] = self._value(v, made, o.grad and not in_place)
            return cache[v]

        args, kwargs = pytree.tree_map_only(Ref, tensor_of, (o.args, o.kwargs))
        if o.name in HIDDEN_STATE:
            # The running statistics were updated in the forward and are not to be again; the batch's own don't
            # depend on them. Copies stand in, so that as many tensors are packed.
            positions, flag = HIDDEN_STATE[o.name]
            if args[flag]:
                args = tuple(a if k not in positions or a is None else a.clone() for k, a in enumerate(args))
        packed: list[Any] = []
        keep = [h.root == INTERNAL if h is not None else False for h in (r() for r in self.handles[o.id])]

        def pack(tensor: Tensor) -> None:
            k = len(packed)
            packed.append(tensor.detach() if wants_internals and k < len(keep) and keep[k] else None)

        call = program.recompute_call(o, in_place, wants_internals)
        with contextlib.ExitStack() as stack:
            # Kernels may depend on whether gradients are wanted, so run as the forward ran. In place needs no_grad.
            stack.enter_context(torch.set_grad_enabled(o.grad and not in_place))
            stack.enter_context(saved_tensors_hooks(pack, _never_unpacked))
            for device in {"cpu", *(t.device.type for t in cache.values())}:
                stack.enter_context(torch.autocast(device, enabled=False))
            stack.enter_context(in_autocast(o.autocast))
            if o.random:
                stack.enter_context(self._rng_of_forward(o))
            result = call(*args, **kwargs)
        if wants_internals:
            self._take_internals(o, packed, clock)
        cache.clear()
        leaves = [t.detach() for t in pytree.tree_leaves(result) if isinstance(t, Tensor)]
        return leaves

    def _value(self, v: int, made: dict[int, Cell], grad: bool) -> Tensor:
        """The tensor of value v: a constant as it is, an activation as a leaf over its cell's memory."""
        program = self.program
        root = program.root[v]
        value = program.captured.values[v]
        if program.constant[v]:
            base = self.constants[root]
            self._check_constant(root, base)
            if root == v:
                return base
            base = base.detach()
            moved = int(base.storage_offset()) - program.geometry[root][2]  # another slice of what it was a slice of
        else:
            cell = made.get(root) or self.cell(root)
            assert cell is not None, f"value {root} is neither held nor recomputed"
            base, moved = cell.here(), 0
            if not cell.remade and version_of(base) != cell.version:
                raise _changed(base, cell.version, value.name)
        with torch.no_grad():
            size, stride, offset = program.geometry[v]
            tensor = base if root == v else torch.as_strided(base, size, stride, offset + moved)
        tensor = tensor.detach()
        return tensor.requires_grad_(value.requires_grad) if grad else tensor

    def _check_constant(self, v: int, tensor: Tensor) -> None:
        if version_of(tensor) != self.versions[v]:
            raise _changed(tensor, self.versions[v], self.program.captured.values[v].target)

    @contextlib.contextmanager
    def _rng_of_forward(self, o: Operator) -> Iterator[None]:
        if o.id not in self.rng:
            raise BackwardRefused(
                "M315",
                f"MONeT: {o.name} of {o.module or 'the model'} draws random numbers and the plan kept no state to draw "
                "them again; call monet_torch.remove(model) for this kind of backward",
            )
        now = _rng_state(self.program.captured, o.id)
        _set_rng_state(self.rng[o.id])
        try:
            yield
        finally:
            _set_rng_state(now)

    def _take_internals(self, o: Operator, packed: list[Any], clock: int) -> None:
        """Hand the internals of a second run to the handles of the first: they are packed in the same order."""
        end = self.program.retain_internals.get(clock, {}).get(o.id)
        owner = self.program.clock - end if end is not None else o.id
        for reference, tensor in zip(self.handles[o.id], packed, strict=True):
            handle = reference()
            if handle is not None and handle.root == INTERNAL:
                handle.tensor = tensor
                handle.version = version_of(tensor)
                self.remade.setdefault(owner, []).append(reference)

    def _attach(self, op: int, made: dict[int, Cell], needed: set[int], retained: dict[int, int]) -> None:
        """Let the handles of the operator at which each new cell ends hold it."""
        for root, cell in made.items():
            owner = self.program.clock - retained[root] if root in retained else op
            handles = self.live_handles(owner)
            if not handles and root in needed:  # that operator has no backward here: hold it for this one alone
                owner, handles = op, self.live_handles(op)
            users = [h for h in handles if h.root == root]
            for handle in users:
                handle.cell = cell
            if not users and handles:
                users = [handles[self.program.first_node[owner]]]
                users[0].extra = [*(users[0].extra or ()), cell]
            self.remade.setdefault(owner, []).extend(weakref.ref(h) for h in users)

    def unpacked(self, op: int) -> None:
        """Count the unpacks of an operator; after the last, what was recomputed for it is the engine's to free."""
        if self.program.trace is not None:
            self._starts_backward(op)
        left = self.unpacks_left[op] - 1
        self.unpacks_left[op] = left
        if left <= 0:
            self.told.discard(op)
            self.unpacks_left[op] = len(self.handles[op])  # a retained graph may be unpacked again
            for reference in self.remade.pop(op, ()):
                handle = reference()
                if handle is None:
                    continue
                handle.cell = None
                handle.extra = None
                if handle.root == INTERNAL:
                    handle.tensor = None

    def _starts_backward(self, op: int) -> None:
        """For who watches: the backward of `op` comes next, as nothing has to be made for it any more."""
        if op in self.told or any(
            h.tensor is None if h.root == INTERNAL else h.root >= 0 and h.cell is None and self.cell(h.root) is None
            for h in self.live_handles(op)
        ):
            return
        self.told.add(op)
        if self.program.trace is not None:
            self.program.trace("backward", self.program.clock - op, op)


def unpack(handle: Handle) -> Tensor:
    frame, op = handle.frame, handle.op
    root = handle.root
    if op < 0:  # an opaque module takes gradients in its forward
        assert handle.tensor is not None
        return handle.tensor
    # … or in a backward of its own.
    if torch.is_grad_enabled() and frame.program.captured.operators[op].block is None:
        raise BackwardRefused(
            "M316",
            "MONeT: gradients of gradients (create_graph=True) are not supported under a plan; call "
            "monet_torch.remove(model) before this step",
        )
    if op in frame.program.returning:
        frame.fetch_for(op)
    if root == STRONG:
        tensor = handle.tensor
        assert tensor is not None
        if version_of(tensor) != handle.version:
            raise _changed(tensor, handle.version, "")
    elif root == INTERNAL:
        if handle.tensor is None:
            frame.recompute_for(op)
        tensor = handle.tensor
        assert tensor is not None
    else:
        cell = handle.cell or frame.cell(root)
        if cell is None:
            frame.recompute_for(op)
            cell = handle.cell or frame.cell(root)
            assert cell is not None
        tensor = cell.here()
        expected = handle.version if handle.undo is None else cell.version
        if not cell.remade and version_of(tensor) != expected:
            raise _changed(tensor, expected, "")
        if not handle.whole:
            tensor = torch.as_strided(tensor, handle.size, handle.stride, handle.offset)
    frame.unpacked(op)
    # What is made here belongs to this backward, which has been told to start by now.
    return tensor if handle.undo is None or root == STRONG else handle.undo(tensor)


def _never_unpacked(_: object) -> Tensor:
    raise AssertionError("the graph of a recompute is never differentiated")


def _changed(tensor: Tensor, expected: int, name: str) -> RuntimeError:
    what = f" ({name})" if name else ""
    return RuntimeError(
        "one of the variables needed for gradient computation has been modified by an inplace operation: "
        f"[{tensor.type()} {list(tensor.shape)}]{what} is at version {version_of(tensor)}; expected version {expected} "
        "instead."
    )


def _rng_state(captured: Captured, op: int) -> tuple[Tensor, Tensor | None, torch.device | None]:
    o = captured.operators[op]
    device = captured.values[o.outputs[0]].device
    if device.type == "cuda":
        return torch.get_rng_state(), torch.cuda.get_rng_state(device), device
    return torch.get_rng_state(), None, None


def _set_rng_state(state: tuple[Tensor, Tensor | None, torch.device | None]) -> None:
    cpu, cuda, device = state
    torch.set_rng_state(cpu)
    if cuda is not None and device is not None:
        torch.cuda.set_rng_state(cuda, device)
