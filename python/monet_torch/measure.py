"""What a training step really takes: bytes, seen from two sides, and time, beside something else's.

`allocator_peak` asks the allocator, so it sees what a kernel takes for itself while it runs. `tracker_peak`
follows storages, so it is the same to the byte in every run and shows structure alone. Neither is the
whole truth; a prediction should meet both.
"""

from __future__ import annotations

import gc
import math
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Any

import torch

from . import _private
from ._private import TorchDispatchMode, pytree, storage_key

Step = Callable[[], object]


@dataclass(frozen=True)
class MemoryEvent:
    """`bytes` more (or, negative, fewer) are in use from `time` on: nanoseconds, or a count of operators."""

    time: int
    bytes: int
    operator: str = ""


@dataclass(frozen=True)
class Measured:
    """Bytes above what was in use when the step started, at their most and when it ended."""

    peak_bytes: int
    end_bytes: int
    events: Sequence[MemoryEvent] = field(default=(), repr=False)
    allocated_peak_bytes: int | None = None
    """CUDA only: the same peak with the allocator's rounding. `peak_bytes` is what was asked for."""
    reserved_peak_bytes: int | None = None
    """CUDA only: the most that the allocator held from the device, above what it held at the start."""


def allocator_timeline(step: Step) -> list[MemoryEvent]:
    """Run `step` once and return every allocation and release on the CPU, in order of time.

    Memory that was there before the step is out of sight: freeing it is no event. A step that ends with
    less than it began therefore reads as one that freed nothing, so clear old gradients beforehand.
    """
    sizes: dict[int, int] = {}
    events = []
    with _without_collector():
        allocations = _private.cpu_allocations(step)
    for allocation in allocations:
        if allocation.bytes > 0:
            sizes[allocation.address] = allocation.bytes
            events.append(MemoryEvent(allocation.time_ns, allocation.bytes))
        elif allocation.address in sizes:
            events.append(MemoryEvent(allocation.time_ns, -sizes.pop(allocation.address)))
    return events


def allocator_peak(step: Step, device: torch.device | str = "cpu") -> Measured:
    """Run `step` once and return what it took at its most, as the allocator of `device` sees it.

    On the CPU this includes what kernels allocate through PyTorch while they run, and not what libraries
    such as oneDNN allocate by themselves. On CUDA it reads the caching allocator's own statistics.
    """
    device = torch.device(device)
    if device.type == "cuda":
        return _cuda_peak(step, device)
    return _summary(allocator_timeline(step))


MARK_BYTES = 1_000_003  # of an allocation that says "here" in the allocator's timeline


def leave_mark() -> None:
    """Allocate and free what no operator would."""
    torch.empty(MARK_BYTES, dtype=torch.uint8)


@dataclass(frozen=True)
class Window:
    """Live bytes above what was in use when the step started: at a mark, at their most until the next, and there."""

    before: int
    moment: int
    after: int


def windows(step: Callable[[Callable[[], None]], object], device: torch.device | str = "cpu") -> list[Window]:
    """Run `step(mark)` once; what the allocator saw from each call of `mark` to the next, and from the last to the end.

    What is meant by bytes: as in `allocator_peak`.
    """
    device = torch.device(device)
    if device.type == "cuda":
        return _cuda_windows(step, device)
    levels: list[list[int]] = []  # of each window, one after another
    live = 0
    for event in allocator_timeline(lambda: step(leave_mark)):
        if event.bytes == MARK_BYTES:
            levels.append([live])
        elif event.bytes != -MARK_BYTES:
            live += event.bytes
            if levels:
                levels[-1].append(live)
    return [Window(each[0], max(each), each[-1]) for each in levels]


def _cuda_windows(step: Callable[[Callable[[], None]], object], device: torch.device) -> list[Window]:
    samples: list[tuple[int, int]] = []  # at each mark: live now, and the most since the mark before

    def mark() -> None:
        stats = torch.cuda.memory_stats(device)
        samples.append((int(stats["requested_bytes.all.current"]), int(stats["requested_bytes.all.peak"])))
        torch.cuda.reset_peak_memory_stats(device)

    with _without_collector():
        torch.cuda.synchronize(device)
        start = int(torch.cuda.memory_stats(device)["requested_bytes.all.current"])
        step(mark)
        torch.cuda.synchronize(device)
        mark()
    return [Window(live - start, most - start, after - start) for (live, _), (after, most) in pairwise(samples)]


def tracker_peak(step: Step) -> Measured:
    """Run `step` once and return the bytes of all storages that were alive together at the worst moment.

    A storage counts once, however many views it has, from the operator that returned it until its last
    owner drops it. What an operator allocates and frees while it runs is not seen. The result is the same
    in every run. Under a dispatch mode, which this is, PyTorch never sums gradients in place where a value
    is used several times: such a moment reads higher than without, by one gradient.
    """
    tracker = _StorageTracker()
    with _without_collector(), tracker:
        step()
    return tracker.close()


class _StorageTracker(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._clock = 0
        self._operator = ""
        self._events: list[MemoryEvent] = []
        self._counted: dict[int, int] = {}
        self._uncounted: dict[int, int] = {}
        self._watchers: dict[int, weakref.ref[torch.UntypedStorage]] = {}
        self._open = True

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        self._operator = str(func)
        for storage in _storages((args, kwargs)):
            self._watch(storage, already_there=True)
        result = func(*args, **kwargs)
        self._clock += 1
        for storage in _storages(result):
            self._watch(storage, already_there=False)
        return result

    def close(self) -> Measured:
        self._open = False
        self._watchers.clear()
        return _summary(self._events)

    def _watch(self, storage: torch.UntypedStorage, *, already_there: bool) -> None:
        key = storage_key(storage)
        size = storage.nbytes()
        if key not in self._watchers:
            self._watchers[key] = weakref.ref(storage, lambda _: self._forget(key))
            self._uncounted[key] = size if already_there else 0
            self._counted[key] = 0
        difference = size - self._uncounted[key] - self._counted[key]
        self._counted[key] += difference
        self._record(difference)

    def _forget(self, key: int) -> None:
        if self._open:
            del self._watchers[key], self._uncounted[key]
            self._record(-self._counted.pop(key))

    def _record(self, difference: int) -> None:
        if difference:
            self._events.append(MemoryEvent(self._clock, difference, self._operator))


def _storages(tree: object) -> Iterator[torch.UntypedStorage]:
    for leaf in pytree.tree_leaves(tree):
        if isinstance(leaf, torch.Tensor) and leaf.layout == torch.strided:
            yield leaf.untyped_storage()


def _summary(events: Sequence[MemoryEvent]) -> Measured:
    live = peak = 0
    for event in events:
        live += event.bytes
        peak = max(peak, live)
    return Measured(peak, live, events)


def _cuda_peak(step: Step, device: torch.device) -> Measured:
    with _without_collector():
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_stats(device)
        step()
        torch.cuda.synchronize(device)
    after = torch.cuda.memory_stats(device)

    def above(kind: str, moment: str) -> int:
        return int(after[f"{kind}.all.{moment}"]) - int(before[f"{kind}.all.current"])

    return Measured(
        peak_bytes=above("requested_bytes", "peak"),
        end_bytes=above("requested_bytes", "current"),
        allocated_peak_bytes=above("allocated_bytes", "peak"),
        reserved_peak_bytes=above("reserved_bytes", "peak"),
    )


@contextmanager
def _without_collector() -> Iterator[None]:
    """Python's cycle collector frees when it likes: have it done before, and not meanwhile."""
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@dataclass(frozen=True)
class Interval:
    """A median with the range that holds the true one with 95% certainty, whatever the distribution."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Timing(Interval):
    """Seconds per call, as an interval and call by call."""

    samples: Sequence[float] = field(repr=False)

    def ratio_to(self, reference: Timing) -> Interval:
        """How many times as long as `reference`: the median over pairs that ran side by side."""
        return median_interval([a / b for a, b in zip(self.samples, reference.samples, strict=True)])


def interleaved(
    fns: Mapping[str, Step],
    pairs: int = 30,
    warmup: int = 3,
    threads: int | None = None,
    device: torch.device | str = "cpu",
) -> dict[str, Timing]:
    """Time every function once per round, `pairs` rounds long, after `warmup` rounds that don't count.

    A machine that slows down for a while slows all of them, and rounds alternate in direction so that none
    always runs after the same other one. Give a function twice, under two names, to see the noise floor.
    """
    device = torch.device(device)
    samples: dict[str, list[float]] = {name: [] for name in fns}
    names = list(fns)
    with _threads(threads):
        for turn in range(-warmup, pairs):
            for name in names if turn % 2 == 0 else reversed(names):
                seconds = _timed(fns[name], device)
                if turn >= 0:
                    samples[name].append(seconds)
    timings = {}
    for name, values in samples.items():
        middle = median_interval(values)
        timings[name] = Timing(middle.median, middle.low, middle.high, tuple(values))
    return timings


def median_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """The median, and the order statistics that enclose the true one with at least `confidence`.

    Each value falls below the true median with probability ½, independently of the distribution, so the
    number that do is binomial: leave out at both ends as many as it leaves less than half the doubt for.
    Fewer than six values can't give 95%: then it is the whole range.
    """
    if not values:
        raise ValueError("no values to take the median of")
    ordered = sorted(values)
    n = len(ordered)
    doubt = (1 - confidence) / 2
    left_out = 0
    below = 0.5**n
    while left_out + 1 <= (n - 1) // 2 and below + math.comb(n, left_out + 1) * 0.5**n <= doubt:
        left_out += 1
        below += math.comb(n, left_out) * 0.5**n
    return Interval(median(ordered), ordered[left_out], ordered[n - 1 - left_out])


def _timed(fn: Step, device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    fn()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


@contextmanager
def _threads(threads: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
