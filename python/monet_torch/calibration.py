"""How far a card that is here stays below its data sheet, for estimates of cards that are not.

Three operators are measured: a matrix product in fp32 and in 16 bits, and an elementwise operator on a GiB. The shares
of the peak that they reach, and what a tiny operator takes, hold for every card of the table from then on.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import nn

from . import estimate
from .errors import MonetError
from .profile import cache_folder, measure_on_device, write_whole
from .step import capture_step

_OTHERS = {"ti", "super", "laptop", "max", "pcie", "nvl"}  # of the same name, and slower or faster than the table's


def file() -> Path:
    return cache_folder() / "calibration.json"


def calibrated(card: estimate.Card) -> estimate.Card:
    """The card with the shares that were measured on this machine, or as it is where none were."""
    try:
        row = json.loads(file().read_text(encoding="utf-8"))
        return replace(
            card, compute=float(row["compute"]), memory=float(row["memory"]), launch_ns=int(row["launch_ns"]),
            calibrated_on=str(row["device"]),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError):
        return card


def card_of(name: str, total_bytes: int) -> estimate.Card:
    """The card of the table that a driver calls `name`. Raises MonetError where there is none."""
    words = re.split(r"[\s_-]+", name.lower())
    words = [*words, *map("".join, pairwise(words))]  # RTX 3090
    known = [
        c for c in estimate.CARDS
        if c.name.partition("-")[0].lower() in words and abs((c.gib << 30) - total_bytes) < 0.15 * (c.gib << 30)
    ]  # fmt: skip
    if not known or _OTHERS.intersection(words):
        raise MonetError(
            "M404", f"the table of cards has no {name}, so there is nothing to compare it with (monet devices)"
        )
    return min(known, key=lambda c: abs((c.gib << 30) - total_bytes))


def calibrate(device: torch.device) -> dict[str, Any]:
    """Measure the card at hand (seconds, and some GiB of its memory), and keep what was found in the cache folder."""
    properties = torch.cuda.get_device_properties(device)
    card = card_of(properties.name, properties.total_memory)
    row = shares(card, device)
    document = {"device": properties.name, "card": card.name, **row}
    file().parent.mkdir(parents=True, exist_ok=True)
    write_whole(file(), json.dumps(document))
    return document


def shares(card: estimate.Card, device: torch.device, size: int = 8192) -> dict[str, Any]:
    """What the card on `device` reaches of what the table says of `card`. `size`: rows and columns of the matrices."""

    def seconds(module: nn.Module, *shape: int, dtype: torch.dtype = torch.float32) -> float:
        module = module.to(device, dtype)
        x = torch.empty(shape, dtype=dtype, device=device, requires_grad=True)
        captured, _ = capture_step(module, (x,), {}, (), None, None)
        return max(1, measure_on_device(captured, captured.operators[0], [None])[0].forward.time) * 1e-9

    product = nn.Linear(size, size, bias=False)
    single = 2 * size**3 / seconds(product, size, size) / (card.fp32 * 1e12)
    half = 2 * size**3 / seconds(product, size, size, dtype=torch.float16) / (card.half * 1e12)
    moved = 2 * 4 * 4 * size**2
    memory = moved / seconds(nn.Tanh(), 4 * size, size) / (card.bandwidth * 1e9)
    launch = seconds(nn.Tanh(), 16)
    return {
        "compute": round(mean((single, half)), 3), "memory": round(memory, 3), "launch_ns": int(launch * 1e9),
        "of_fp32": round(single, 3), "of_half": round(half, 3),
    }  # fmt: skip
