"""A model that can't be captured whole: `find FILE:ENTRY` lists its parts, `check FILE:ENTRY PART=PLAN …` runs it by
their plans, and compares gradients and the peak of its whole step with eager's. Both print JSON."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

import torch

import monet_torch
from monet_torch import parts
from monet_torch.measure import allocator_peak
from monet_torch.profile import keep_freed_memory
from monet_torch.target import load
from monet_torch.verify import StepRunner, compare

CPU = torch.device("cpu")


def find(entry: str) -> dict[str, Any]:
    found, total = parts.find(load(entry, [], [], None, None), CPU, None)
    return {"parts": [asdict(part) for part in found], "kept": total}


def check(entry: str, plans: list[str]) -> dict[str, Any]:
    step = StepRunner(load(entry, [], [], None, None), "accumulate", None, CPU)

    def peak() -> int:
        step.reset()
        return allocator_peak(step, CPU).peak_bytes

    eager = step.results(1)
    itself = compare(eager, step.results(1))
    result: dict[str, Any] = {"eager": peak()}
    planned = []
    for name, _, plan in (p.partition("=") for p in plans):
        for path, module in step.model.named_modules():
            if path and parts.matches(path, name):
                monet_torch.apply(module, plan)
                planned.append(module)
    step.results(1)  # the first shows what autograd saves
    differences = compare(eager, step.results(1))
    states = [monet_torch.status(module) for module in planned]
    return {
        **result,
        "planned": peak(),
        "differences": [d.what for d in differences],
        "eager_differs_from_itself": [d.what for d in itself],
        "compared": len(eager),
        "not_planned": sorted({reason for state in states for reason in state["eager"]}),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    keep_freed_memory()
    command, entry, *plans = sys.argv[1:]
    print(json.dumps(find(entry) if command == "find" else check(entry, plans)))
