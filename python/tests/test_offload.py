"""Tensors that are in host memory for a while come back as they were, and nothing of them stays behind.

On the CPU by the same code as on CUDA, which `test_offload_cuda.py` is for.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import models
import pytest
import torch
from models import BACKWARDS, Make, assert_equal, assert_the_same_after, both, plan_for, planned_model, step
from torch import Tensor, nn

import monet_torch
from monet_torch import links, planned
from monet_torch.capture import capture
from monet_torch.errors import MonetError
from monet_torch.measure import allocator_peak, tracker_peak
from monet_torch.offload import Host
from monet_torch.profile import Cache
from monet_torch.runtime import Program

MAKERS: list[Make] = [models.convnet, models.decoder]
MODES = [("offload", seed) for seed in range(4)] + [("mixed", seed) for seed in range(6)]


def programs(model: nn.Module) -> list[Program]:
    return list(planned._runtimes[model].by_fingerprint.values())


def nothing_lent(model: nn.Module) -> bool:
    return all(program.host.lent == 0 for program in programs(model))


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> dict[bool, int]:
    """How many copies went to the host (False) and came back (True)."""
    made = {False: 0, True: 0}
    copy = Host.copy

    def counted(self: Host, to: Tensor, source: Tensor, device: Any, back: bool, buffer: Any) -> None:
        made[back] += 1
        copy(self, to, source, device, back, buffer)

    monkeypatch.setattr(Host, "copy", counted)
    return made


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(("mode", "seed"), MODES)
def test_gradients_buffers_and_loss_are_bitwise_equal(
    make: Make, mode: str, seed: int, copies: dict[bool, int]
) -> None:
    eager, model, args = planned_model(make, mode, seed, warm=False)
    for turn in range(3):
        assert_equal(step(eager, args, turn), step(model, args, turn))
        assert nothing_lent(model)
    assert copies[False] >= copies[True] >= 3
    assert monet_torch.status(model)["eager"] == {}


def test_host_memory_is_used_again_from_step_to_step() -> None:
    _, model, args = planned_model(models.convnet, "offload")
    (program,) = programs(model)
    before = [id(buffer) for buffer in program.host.free]
    assert before
    for turn in range(3):
        step(model, args, turn)
    assert sorted(before) == sorted(id(buffer) for buffer in program.host.free)


def tower() -> tuple[nn.Module, tuple[Tensor, ...]]:
    torch.manual_seed(0)
    layers = [m for _ in range(8) for m in (nn.Linear(32, 32), nn.Tanh())]
    return nn.Sequential(*layers), (torch.randn(256, 32),)


def test_what_is_away_takes_no_device_memory() -> None:
    """Measured from both sides: neither sees host memory, and both see less than with everything kept."""
    model, args = tower()
    captured = capture(model, args)
    away = plan_for(captured, "keep")
    n = len(captured.operators)
    for row in away["retain"]:
        v = row.get("value")
        if v is not None:
            last = max(o.id for o in captured.operators if v in models.roots(captured, (*o.inputs, *o.outputs)))
            row["offload"] = [last, 2 * n - 1 - last]
    peaks = {}
    for name, plan in (("keep", plan_for(captured, "keep")), ("offload", away)):
        monet_torch.apply(model, plan)

        def once() -> None:
            model(*args).sum().backward()

        once()
        peaks[name] = (allocator_peak(once).peak_bytes, tracker_peak(once).peak_bytes)
        monet_torch.remove(model)
    tensor = args[0].nbytes
    assert peaks["keep"][0] - peaks["offload"][0] >= 4 * tensor
    assert peaks["keep"][1] - peaks["offload"][1] >= 4 * tensor


def test_a_step_that_makes_its_buffers_counts_no_host_memory_either() -> None:
    peaks = {}
    for mode in ("keep", "offload"):
        _, model, args = planned_model(models.convnet, mode, warm=False)
        model(*args)  # captures; no backward, so that the buffers are all there is of it
        (program,) = programs(model)
        program.host.free.clear()

        def once(model: nn.Module = model, args: tuple[Tensor, ...] = args) -> None:
            model(*args).sum().backward()

        peaks[mode] = tracker_peak(once).peak_bytes
        assert (len(program.host.free) > 0) == (mode == "offload")
    assert peaks["offload"] < peaks["keep"]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("way", BACKWARDS)
@pytest.mark.parametrize(("mode", "seed"), [("offload", 1), ("offload", 2), ("mixed", 2)])
def test_gradients_are_the_same_however_backward_is_run(
    make: Make, way: Callable[..., None], mode: str, seed: int
) -> None:
    """Where backward runs in part, some operators at which a tensor was to be fetched never run."""
    eager, model, args = planned_model(make, mode, seed)
    assert_the_same_after(way, eager, model, args)
    assert nothing_lent(model)


def test_a_backward_that_never_comes_leaves_nothing(cells: weakref.WeakSet[Any]) -> None:
    _, model, args = planned_model(models.convnet, "offload")
    (program,) = programs(model)
    output = model(*args)
    assert program.host.lent > 0
    del output
    assert nothing_lent(model)
    assert len(cells) == 0


@pytest.mark.parametrize("mode", ["offload", "mixed"])
def test_an_exception_in_forward_or_backward_leaves_nothing(mode: str, cells: weakref.WeakSet[Any]) -> None:
    _, model, args = planned_model(models.convnet, mode)
    model(*args).sum().backward()

    class Stop(Exception):
        pass

    def stop(_: Tensor) -> None:
        raise Stop

    for name in ("conv1.weight", "conv2.weight", "stem.weight", "fc.weight"):
        handle = model.get_parameter(name).register_hook(stop)
        loss = model(*args).sum()
        with pytest.raises(Stop):
            loss.backward()
        handle.remove()
        del loss
        assert nothing_lent(model), name
        assert len(cells) == 0, name
    (program,) = programs(model)
    run = program.run
    assert run is not None
    for op in (4, 12, len(program.calls) - 1):

        def fail(*_: Any, **__: Any) -> None:
            raise Stop

        original = run.__globals__[f"f{op}"]
        run.__globals__[f"f{op}"] = fail
        with pytest.raises(Stop):
            model(*args)
        run.__globals__[f"f{op}"] = original
        assert nothing_lent(model), op
        assert len(cells) == 0, op


@pytest.mark.parametrize("size", [1, 3, 9])
def test_other_batch_sizes_run_by_the_same_plan(size: int) -> None:
    eager, model, _ = planned_model(models.convnet, "offload")
    args = (torch.randn(size, 3, 16, 16),)
    for turn in range(2):
        assert_equal(step(eager, args, turn), step(model, args, turn))
    assert nothing_lent(model)


def test_no_more_buffers_than_the_most_that_were_lent_at_once() -> None:
    _, model, _ = planned_model(models.convnet, "offload")
    for size in (2, 5, 3, 7, 1, 6):
        step(model, (torch.randn(size, 3, 16, 16),))
    (host,) = {program.host for program in programs(model)}  # one for all sizes
    assert len(host.free) <= len(programs(model)[0].away)


def test_buffers_of_other_sizes_are_replaced_one_by_one() -> None:
    host, cpu = Host(), torch.device("cpu")
    for buffer in [host.take(size, cpu) for size in (10, 100)]:
        host.give(buffer)
    assert host.take(1000, cpu).bytes.numel() == 1000
    assert [buffer.bytes.numel() for buffer in host.free] == [10]
    assert host.lent == 1


class Written(nn.Module):
    """What the first layer makes is written after it was made, by itself or through a view of it."""

    def __init__(self, through_a_view: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.through_a_view = nn.Linear(4, 4), nn.Linear(4, 4), through_a_view

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        if self.through_a_view:
            h[:, :2].mul_(2)
        else:
            h[:, 2:] = 0.5
        return self.b(h).sin()


@pytest.mark.parametrize("through_a_view", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_what_is_written_after_it_was_made_stays(through_a_view: bool, seed: int) -> None:
    eager, model, args = planned_model(lambda: (Written(through_a_view), (torch.randn(6, 4),)), "offload", seed)
    for turn in range(2):
        assert_equal(step(eager, args, turn), step(model, args, turn))
    assert nothing_lent(model)


def test_strides_that_are_not_the_traced_ones_come_back() -> None:
    """A transposed batch: the storage is copied as it is, whatever geometry lies over it."""
    eager, model, args = planned_model(models.convnet, "offload")
    turned = (args[0].to(memory_format=torch.channels_last),)
    for turn in range(2):
        assert_equal(step(eager, turned, turn), step(model, turned, turn))


def test_a_loss_outside_the_model_is_offloaded_too() -> None:
    eager, model, args = both(models.convnet)
    target = torch.randint(0, 5, (4,))

    def loss(output: Tensor, target: Tensor) -> Tensor:
        return nn.functional.cross_entropy(output.sin().cos(), target)

    from monet_torch.step import capture_step

    captured, _ = capture_step(model, args, {}, (target,), loss, None)
    plan = plan_for(captured, "offload", 1)
    m = sum(o.part == "model" for o in captured.operators)
    n = len(captured.operators)
    for row in plan["retain"]:
        if "offload" in row:
            away, back = row["offload"]
            own = captured.values[row["value"]].producer < m
            row["offload"] = [min(away, m - 1), max(back, 2 * n - m)] if own else [away, min(back, 2 * n - 1 - m)]
    plan["graph"]["structure"] = capture(model, args).structure()
    planned_loss = monet_torch.apply(model, plan, loss=loss)
    results = []
    for m_, f in ((eager, loss), (model, planned_loss)):
        for turn in range(2):
            torch.manual_seed(turn)
            m_.zero_grad()
            f(m_(*args), target).backward()
        results.append({k: p.grad.clone() for k, p in m_.named_parameters()})
    assert_equal(*results)
    assert nothing_lent(model)


@pytest.mark.parametrize(
    "row",
    [
        {"internals": 4, "intervals": [[4, 60]], "offload": [5, 50]},
        {"value": 30, "intervals": [[4, 60]], "offload": [5, 70]},
        {"value": 30, "intervals": [[4, 60]], "offload": [3, 50]},
        {"value": 30, "intervals": [[45, 60]], "offload": [45, 50]},
    ],
)
def test_an_offload_that_makes_no_sense_is_one_clear_sentence(row: dict[str, Any]) -> None:
    model, args = models.convnet()
    plan = plan_for(capture(model, args), "keep", operators=40)
    plan["retain"].append(row)
    with pytest.raises(MonetError, match="offload out of range"):
        monet_torch.apply(model, plan)


def test_links_are_measured_once_and_remembered(tmp_path: Path) -> None:
    cache = Cache(tmp_path, ["here"])
    transfer = links.measured(torch.device("cpu"), cache)
    assert transfer["overlaps"] is False
    for way in ("to_host", "from_host"):
        assert transfer[way]["bytes_per_second"] > 1e7
        assert transfer[way]["latency"] >= 0
    assert links.measured(torch.device("cpu"), Cache(tmp_path, ["here"])) == transfer
