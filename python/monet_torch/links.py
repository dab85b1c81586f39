"""How long copies between a device and host memory take, measured by the copies that a plan would make."""

from __future__ import annotations

import time
from typing import Any

import torch

from .offload import Host
from .profile import Cache
from .step import synchronize

_LARGE, _SMALL = 64 << 20, 64 << 10
_KEY = "links"


def measured(device: torch.device, cache: Cache) -> dict[str, Any]:
    """The graph file's `transfer`: bytes per second and nanoseconds of latency, each way. What the cache has counts."""
    if _KEY not in cache.rows:
        cache.rows[_KEY] = measure(device)
        cache.changed = True
        cache.save()
    found: dict[str, Any] = cache.rows[_KEY]
    return found


def measure(device: torch.device) -> dict[str, Any]:
    host = Host()
    return {
        "to_host": _link(host, device, back=False), "from_host": _link(host, device, back=True),
        "overlaps": device.type == "cuda",
    }  # fmt: skip


def _link(host: Host, device: torch.device, back: bool) -> dict[str, int]:
    """A line through the times of a small and a large copy."""
    small, large = (_nanoseconds(host, device, size, back) for size in (_SMALL, _LARGE))
    per_byte = max(large - small, 1) / (_LARGE - _SMALL)
    return {"bytes_per_second": max(1, round(1e9 / per_byte)), "latency": max(0, round(small - per_byte * _SMALL))}


def _nanoseconds(host: Host, device: torch.device, size: int, back: bool) -> float:
    memory = torch.ones(size, dtype=torch.uint8, device=device)
    buffer = host.take(size, device)
    there = buffer.bytes[:size]
    to, source = (memory, there) if back else (there, memory)
    times = []  # what else the machine does only ever adds to one
    for turn in range(8):
        synchronize(device)
        start = time.perf_counter_ns()
        host.copy(to, source, device, back, buffer)
        synchronize(device)
        if turn > 0:  # the first one touches pages and makes streams
            times.append(time.perf_counter_ns() - start)
    host.give(buffer)
    return min(times)
