"""Each sequence is short enough to add up by hand; K is one tensor of 1024 floats."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from monet_torch.measure import (
    Measured,
    allocator_peak,
    allocator_timeline,
    interleaved,
    median_interval,
    tracker_peak,
    windows,
)

K = 4096

Peak = Callable[[Callable[[], object]], Measured]
both = pytest.mark.parametrize("peak_of", [allocator_peak, tracker_peak])


def floats(tensors: int = 1) -> Tensor:
    return torch.zeros(tensors * 1024)


@both
def test_a_tensor_that_is_gone_makes_room_for_the_next(peak_of: Peak) -> None:
    def step() -> Tensor:
        a = floats(3)
        del a
        b = floats(2)
        return b

    measured = peak_of(step)
    assert (measured.peak_bytes, measured.end_bytes) == (3 * K, 0)


@both
def test_what_the_step_leaves_behind_is_its_end(peak_of: Peak) -> None:
    left: list[Tensor] = []

    def step() -> None:
        a = floats(3)
        left.append(floats(2))
        del a

    measured = peak_of(step)
    assert (measured.peak_bytes, measured.end_bytes) == (5 * K, 2 * K)


@both
def test_a_view_costs_nothing_and_keeps_its_base(peak_of: Peak) -> None:
    def step() -> None:
        base = floats(4)
        view = base[:10]
        other = view.view(2, 5).t()
        del base, view
        last = floats(1)
        del other, last

    measured = peak_of(step)
    assert (measured.peak_bytes, measured.end_bytes) == (5 * K, 0)
    assert [event.bytes for event in measured.events] == [4 * K, K, -4 * K, -K]


@both
def test_in_place_takes_nothing_out_of_place_takes_its_output(peak_of: Peak) -> None:
    def in_place() -> None:
        floats().neg_().relu_()

    def out_of_place() -> None:
        a = floats()
        a = a.neg()

    assert peak_of(in_place).peak_bytes == K
    assert peak_of(out_of_place).peak_bytes == 2 * K


@both
def test_tensors_from_before_do_not_count(peak_of: Peak) -> None:
    held = [floats(7)]

    def step() -> Tensor:
        result = held[0].view(7, 1024).sum(0)
        held.clear()
        return result

    measured = peak_of(step)
    assert (measured.peak_bytes, measured.end_bytes) == (K, 0)


@both
def test_saved_tensors_live_until_backward_has_used_them(peak_of: Peak) -> None:
    x = floats().requires_grad_()

    def step() -> None:
        y = x.sigmoid().sigmoid().sigmoid()
        y.backward(one.expand(1024))

    one = torch.ones(())
    step()
    x.grad = None
    measured = peak_of(step)
    # Forward keeps the three outputs. Backward of the third adds a gradient: 4 K. The last output stays,
    # the frame holds it, so the second is the worst: three outputs, gradient in, gradient out. The first
    # has two outputs and two gradients. The gradient of `x` is what is left.
    assert (measured.peak_bytes, measured.end_bytes) == (5 * K, K)
    x.grad = None


@both
def test_checkpoint_keeps_only_what_goes_in(peak_of: Peak) -> None:
    x = floats().requires_grad_()

    def chain(x: Tensor) -> Tensor:
        for _ in range(10):
            x = x.sigmoid()
        return x

    def step() -> None:
        y = checkpoint(chain, x, use_reentrant=False, preserve_rng_state=False)
        y.backward(gradient)

    gradient = floats()
    step()
    x.grad = None
    measured = peak_of(step)
    # The result, held by the caller; the ten outputs computed again; the last one's gradient.
    assert (measured.peak_bytes, measured.end_bytes) == (12 * K, K)
    x.grad = None


def test_only_the_allocator_sees_workspace() -> None:
    x = torch.zeros(1, 4, 32, 32, dtype=torch.float64)
    conv = nn.Conv2d(4, 4, 3, padding=1, bias=False, dtype=torch.float64)

    def step() -> None:
        with torch.no_grad():
            conv(x)

    output = x.nbytes
    assert tracker_peak(step).peak_bytes == output
    # The kernel for doubles unfolds the image: nine times the input.
    assert allocator_peak(step).peak_bytes >= 10 * output


def test_sums_at_a_fan_out_are_out_of_place_under_the_tracker_alone() -> None:
    x = floats().requires_grad_()
    gradient = floats()

    def step() -> None:
        y = x.neg()
        torch.autograd.backward([y.neg(), y.neg(), y.neg()], [gradient, gradient, gradient])
        x.grad = None

    assert allocator_peak(step).peak_bytes < tracker_peak(step).peak_bytes


def test_a_resized_storage_counts_with_its_new_size() -> None:
    def step() -> None:
        a = torch.empty(0)
        a.resize_(1024)
        a.add_(1)
        a.resize_(2048)

    assert tracker_peak(step).peak_bytes == 2 * K


def test_the_tracker_is_the_same_in_every_run() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(288, 10)
    )
    x = torch.randn(4, 3, 8, 8)

    def step() -> None:
        model.zero_grad()
        model(x).sum().backward()

    step()
    model.zero_grad()
    first = tracker_peak(step)
    for _ in range(3):
        model.zero_grad()
        assert tracker_peak(step) == first
    parameters = sum(p.nbytes for p in model.parameters())
    assert first.end_bytes == parameters


def test_windows_lie_between_marks_and_the_last_ends_with_the_step() -> None:
    def step(mark: Callable[[], None]) -> None:
        before = floats()
        mark()
        a = floats(2)
        del a
        mark()
        b = floats(3)
        del before
        mark()
        del b

    found = [(w.before, w.moment, w.after) for w in windows(step)]
    assert found == [(K, 3 * K, K), (K, 4 * K, 3 * K), (3 * K, 3 * K, 0)]


def test_memory_that_a_former_profile_saw_does_not_confuse_this_one() -> None:
    held: list[Tensor] = []
    allocator_timeline(lambda: held.append(floats(5)))
    assert allocator_timeline(held.clear) == []


def test_an_error_in_the_step_comes_through() -> None:
    def step() -> None:
        raise KeyError("the step's own")

    for peak_of in (allocator_peak, tracker_peak):
        with pytest.raises(KeyError, match="the step's own"):
            peak_of(step)


def test_the_profiler_is_silent_and_the_step_is_not() -> None:
    script = """
import os, sys, torch
from monet_torch.measure import allocator_peak
held = [torch.zeros(1024)]
def step():
    held.clear()
    torch.zeros(10)
    print("on stdout")
    print("on stderr", file=sys.stderr)
    os.write(2, b"straight to 2\\n")
allocator_peak(step)
print("after", file=sys.stderr)
"""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "on stdout\n"
    assert done.stderr == "on stderr\nstraight to 2\nafter\n"


def test_the_slower_one_is_told_from_the_faster() -> None:
    timings = interleaved({"short": lambda: time.sleep(0.001), "long": lambda: time.sleep(0.05)}, pairs=8, warmup=1)
    short, long = timings["short"], timings["long"]
    assert short.low <= short.median <= short.high < long.low
    assert len(short.samples) == 8
    ratio = long.ratio_to(short)
    assert 1.5 < ratio.low <= ratio.median <= ratio.high


def test_functions_take_turns_and_threads_are_put_back() -> None:
    order = ""
    threads = torch.get_num_threads()
    seen = set()

    def note(letter: str) -> Callable[[], None]:
        def fn() -> None:
            nonlocal order
            order += letter
            seen.add(torch.get_num_threads())

        return fn

    interleaved({"a": note("a"), "b": note("b")}, pairs=3, warmup=1, threads=1)
    assert order == "ba" + "ab" + "ba" + "ab"
    assert seen == {1}
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    ("n", "low", "high"),
    # Tabulated ranks of the 95% interval of a median, e.g. Conover, Practical Nonparametric Statistics.
    [(1, 1, 1), (5, 1, 5), (6, 1, 6), (8, 1, 8), (9, 2, 8), (10, 2, 9), (20, 6, 15), (30, 10, 21)],
)
def test_the_interval_of_the_median_has_the_ranks_of_the_tables(n: int, low: int, high: int) -> None:
    interval = median_interval(list(range(n, 0, -1)))
    assert (interval.low, interval.high) == (low, high)
    assert interval.median == (n + 1) / 2
