"""Eager's whole step beside its operators one by one.

What an operator takes alone is not quite what it takes in a step: caches, the clock and what else the machine does are
others. So times are scaled by one factor, that between eager's step and the sum of its operators. Where a step would
not fit, which is what a plan is for, they stay as they are.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from .autocast import Autocast
from .capture import explained
from .errors import is_out_of_memory
from .graph import hashed
from .opaque import as_it_was
from .profile import Cache, quartile
from .step import synchronize
from .target import Target
from .verify import StepRunner

_AT_MOST_NS = 8_000_000_000
_FEWEST, _MOST = 2, 9


def room(device: torch.device, total_bytes: int) -> int:
    """Bytes that a step may take on a device of `total_bytes`: what is free of a card, half of a machine's memory."""
    return int(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else total_bytes // 2


def at_most(graph: dict[str, Any]) -> int:
    """More bytes than eager's step can take: whatever is made stays, and with it the largest workspace."""
    eager = [o["implementations"][0] for o in graph["operators"]]
    runs = [run for e in eager for run in (e["forward"], e["backward"]) if run]
    return (
        2 * sum(map(int, graph["fixed"].values()))  # buffers are copied, to be as they were, and gradients made
        + sum(int(v["bytes"]) for v in graph["values"] if v["kind"] == "activation")
        + sum(int(e["internal_bytes"]) for e in eager)
        + max((int(run["peak"]) for run in runs), default=0)
    )


def of_operators(graph: dict[str, Any]) -> int:
    """Nanoseconds of eager's operators, forward and backward."""
    eager = [o["implementations"][0] for o in graph["operators"]]
    return sum(run["time"] for e in eager for run in (e["forward"], e["backward"]) if run)


def measured(
    graph: dict[str, Any], target: Target, autocast: Autocast, device: torch.device, cache: Cache,
    say: Callable[[int, int], None],
) -> int | None:  # fmt: skip
    """Nanoseconds of eager's step, of which `graph` has the operators as they were measured.

    None where it might not fit the device, or doesn't. What the cache has counts. Raises CaptureError where the step
    raises, as for a target beyond the classes: the trace has shapes alone, and operators were measured on numbers of
    our own.
    """
    if at_most(graph) > room(device, graph["device"]["total_bytes"]):
        return None
    key = f"step of {hashed(graph)['hash']}"
    if key not in cache.rows:
        took = _measure(target, graph["gradients"], autocast, device, say)
        if took is None:
            return None
        cache.rows[key] = took
        cache.changed = True
        cache.save()
    return int(cache.rows[key])


def _measure(
    target: Target, gradients: str, autocast: Autocast, device: torch.device, say: Callable[[int, int], None]
) -> int | None:
    """As an operator's time, the lower quartile of some, after one that doesn't count.

    Attributes and buffers are then what they were.
    """
    step = StepRunner(target, gradients, autocast, device)
    times: list[int] = []
    try:
        # Not by its `reset`: a model that can't load its own state dict can be profiled all the same.
        with as_it_was(step.model):
            step.clear_gradients()
            while len(times) <= _FEWEST or (len(times) <= _MOST and sum(times) < _AT_MOST_NS):
                say(len(times), _MOST + 1)
                synchronize(device)
                start = time.perf_counter_ns()
                step.timed()
                synchronize(device)
                times.append(time.perf_counter_ns() - start)
    except Exception as error:
        if is_out_of_memory(error):
            return None
        raise explained(error) from error
    finally:
        step.model.zero_grad(set_to_none=True)
    return quartile(times[1:])


def scaled(graph: dict[str, Any], whole: int | None, alone: int) -> dict[str, Any]:
    """`graph` with all times multiplied by `whole / alone`."""
    if whole is not None and alone > 0:
        for o in graph["operators"]:
            for each in o["implementations"]:
                for run in (each["forward"], each["recompute"], each["backward"]):
                    for key in ("time", "out_of_place"):
                        if run and key in run:
                            run[key] = round(run[key] * whole / alone)
    return graph
