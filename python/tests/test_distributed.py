"""DistributedDataParallel around a planned model gives the gradients that it gives without a plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import models
import pytest
import torch
import torch.distributed as dist
from models import (
    assert_an_example_trains_by_torchrun_as_without_a_plan,
    assert_equal,
    examples_importable,
    on_every_rank,
    plan_for,
)
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

import monet_torch
from monet_torch import planned
from monet_torch.capture import capture

WORLD = 2
SMALL_BUCKET = 1 / 1024  # MB: about one layer's gradients
MODES = ["keep", "drop", "random"]
# Keeps everything, keeps nothing, and something between; gradients of two batches, synchronised with the second.
RUNS = [("keep", False), ("drop", False), ("random", False), ("random", True)]
WRAPPINGS: dict[str, dict[str, bool]] = {
    "plain": {}, "unused": {"find_unused_parameters": True}, "static": {"static_graph": True}
}  # fmt: skip


def fresh() -> nn.Module:
    model, _ = models.convnet()
    return model.train()


def batch(rank: int, turn: int) -> Tensor:
    return torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(10 * turn + rank))


def steps(model: nn.Module, rank: int, accumulate: bool) -> dict[str, Tensor]:
    """Two steps of SGD, with a step of accumulation without synchronisation before each where asked for."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    found: dict[str, Tensor] = {}
    for turn in range(2):
        torch.manual_seed(100 + 10 * turn + rank)
        optimizer.zero_grad()
        if accumulate and isinstance(model, DistributedDataParallel):
            with model.no_sync():
                model(batch(rank, turn + 10)).square().sum().backward()
        model(batch(rank, turn)).square().sum().backward()
        found |= {f"{turn} {k}": p.grad.clone() for k, p in model.named_parameters() if p.grad is not None}
        optimizer.step()
    return found | {k: v.clone() for k, v in model.state_dict().items()}


def order(inside: nn.Module, rank: int, **wrapping: bool) -> list[str]:
    """In which order a wrapper's gradients come and its buckets are handed over, in three steps.

    (After the first step, buckets are made anew in the order in which gradients came.)
    """
    happened: list[str] = []
    if "find_unused_parameters" in wrapping:
        inside.idle = nn.Linear(2, 2)
    wrapped = DistributedDataParallel(inside, bucket_cap_mb=SMALL_BUCKET, **wrapping)
    names = {id(p): name for name, p in inside.named_parameters()}
    for p in inside.parameters():
        p.register_post_accumulate_grad_hook(lambda p: happened.append(names[id(p)]))

    def said(bucket: dist.GradBucket) -> dist.GradBucket:
        happened.append("bucket of " + ", ".join(names[id(p)] for p in bucket.parameters()))
        return bucket

    # (A lambda, since annotations are strings here and those of a hook are compared with classes.)
    wrapped.register_comm_hook(dist.group.WORLD, lambda group, bucket: allreduce_hook(group, said(bucket)))
    if inside in planned._runtimes:
        planned._runtimes[inside].trace = lambda kind, *_: happened.append(kind) if kind == "recompute" else None
    for turn in range(3):
        happened.append(f"step {turn}")
        torch.manual_seed(rank)
        wrapped(batch(rank, turn)).square().sum().backward()
    return happened


def worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=WORLD)
    try:
        results: dict[str, Any] = {}
        captured = capture(fresh(), (batch(rank, 0),))
        for accumulate in (False, True):
            results[f"eager, {accumulate}"] = steps(DistributedDataParallel(fresh()), rank, accumulate)
        for mode, accumulate in RUNS:
            plan, inside = plan_for(captured, mode, 1), fresh()
            monet_torch.apply(inside, plan)
            wrapped = DistributedDataParallel(inside)
            results[f"applied, then wrapped: {mode}, {accumulate}"] = steps(wrapped, rank, accumulate)
            results[f"status: {mode}, {accumulate}"] = monet_torch.status(inside)
        wrapped = DistributedDataParallel(fresh())
        monet_torch.apply(wrapped.module, plan_for(captured, "drop"))
        results["wrapped, then applied: drop, False"] = steps(wrapped, rank, False)
        monet_torch.remove(wrapped.module)
        results["wrapped, then removed: drop, False"] = type(wrapped.module) is models.ConvNet
        for name, wrapping in WRAPPINGS.items():
            results[f"order: eager, {name}"] = order(fresh(), rank, **wrapping)
            for mode in MODES:
                inside = fresh()
                monet_torch.apply(inside, plan_for(captured, mode, 1))
                results[f"order: {mode}, {name}"] = order(inside, rank, **wrapping)
        results["structure"] = captured.structure()
        torch.save(results, f"{folder}/{rank}.pt")
    finally:
        dist.destroy_process_group()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return on_every_rank(worker, WORLD, tmp_path_factory.mktemp("meeting"))


@pytest.mark.parametrize(("mode", "accumulate"), RUNS)
def test_a_planned_model_in_a_wrapper_trains_as_without_a_plan(
    mode: str, accumulate: bool, results: list[dict[str, Any]]
) -> None:
    for found in results:
        assert_equal(found[f"eager, {accumulate}"], found[f"applied, then wrapped: {mode}, {accumulate}"])
        assert found[f"status: {mode}, {accumulate}"] == {
            "planned": 4 if accumulate else 2,
            "larger": 0,
            "eager": {},
            "peak": None,
        }


def test_a_wrapped_model_takes_a_plan_as_well(results: list[dict[str, Any]]) -> None:
    for found in results:
        assert_equal(found["eager, False"], found["wrapped, then applied: drop, False"])
        assert found["wrapped, then removed: drop, False"]


def test_both_processes_have_the_same_gradients_and_they_are_not_those_of_one(results: list[dict[str, Any]]) -> None:
    first, second = (r["applied, then wrapped: drop, False"] for r in results)
    gradients = [k for k in first if k[0].isdigit()]
    assert len(gradients) == 2 * len(list(fresh().parameters()))
    assert all(torch.equal(first[k], second[k]) for k in gradients)
    alone = steps(fresh(), 0, False)
    assert not torch.equal(alone["0 fc.weight"], first["0 module.fc.weight"])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_buckets_are_handed_over_in_the_middle_of_the_backward_as_in_eager(
    wrapping: str, mode: str, results: list[dict[str, Any]]
) -> None:
    for found in results:
        eager, ours = found[f"order: eager, {wrapping}"], found[f"order: {mode}, {wrapping}"]
        assert [event for event in ours if event != "recompute"] == eager
        after = ours[next(k for k, event in enumerate(ours) if k > ours.index("step 2") and "bucket" in event) :]
        assert "stem.weight" in after, "there is nothing to overlap"
        assert ("recompute" in after) == (mode != "keep"), "what is made again is made between buckets"


def test_both_processes_trace_the_same_structure(results: list[dict[str, Any]]) -> None:
    assert results[0]["structure"] == results[1]["structure"]


def test_the_example_is_launched_by_torchrun_and_trains_as_without_a_plan(tmp_path: Path) -> None:
    with examples_importable():
        from resnet50 import resnet50  # type: ignore[import-not-found, unused-ignore]
    plan = plan_for(capture(resnet50().train(), (torch.randn(2, 3, 32, 32),)), "random")
    assert_an_example_trains_by_torchrun_as_without_a_plan(
        "train_ddp.py", "--batch", "2", "--size", "32", plan=plan, folder=tmp_path
    )
