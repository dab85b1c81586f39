"""One model trained in each way of saving memory, as a table: every way in a process of its own, in turns with eager.

`python -m monet_torch bench` measures plans that are there already; bench/run.py also makes them. torch.compile comes
last, since what it may keep is as much as makes its measured peak that of the plans.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from .errors import MonetError
from .graph import describe_device

EAGER = "eager, a second time"
PEERS = {
    "checkpoint": "checkpoint per block",
    "save-on-cpu": "save_on_cpu",
    "compile-inductor": "torch.compile, inductor",
    "compile-aot_eager": "torch.compile, aot_eager",
}
"""Ways that need no plan, and what their rows are called."""
HALF = 0.5  # of eager's peak: what torch.compile is to stay within where no plan says


class Failed(Exception):
    """A program that didn't do its part, with its last words."""


@dataclass
class Row:
    """One way: what `bench_way.measured` returned, and of a plan its document and the bytes that it can't move."""

    name: str
    plan: dict[str, Any] | None = None
    fixed: int = 0
    measured: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def peak(self) -> int | None:
        return self.measured["allocator"]["peak"] if self.measured else None


def measure_all(model: Sequence[str], plans: Sequence[Row], pairs: int, *, checkpointed: bool) -> list[Row]:
    """Eager, the plans (rows named by their files), and what PyTorch has. Raises MonetError if eager does not run.

    `model` are the arguments of `bench` that say which model, on which inputs and device.
    """
    rows = [Row(EAGER)]
    measure(rows[0], model, "eager", pairs)
    if rows[0].measured is None:
        raise MonetError("M332", f"there is nothing to compare with: {rows[0].notes[0]}")
    for row in plans:
        measure(row, model, "plan", pairs, "--plan", row.name)
    return [*rows, *plans, *measure_peers(model, [*rows, *plans], pairs, checkpointed=checkpointed)]


def measure_peers(model: Sequence[str], before: Sequence[Row], pairs: int, *, checkpointed: bool) -> list[Row]:
    """What PyTorch has, with torch.compile at the least peak of the plans in `before`, the first of which is eager."""
    peaks = [row.peak for row in before if row.plan and row.peak is not None]
    most = min(peaks, default=int((before[0].peak or 0) * HALF))
    rows = []
    for way, name in PEERS.items():
        if way == "checkpoint" and not checkpointed:
            continue
        rows.append(Row(name))
        if not way.startswith("compile-"):
            measure(rows[-1], model, way, pairs)
            continue
        measure(rows[-1], model, way, pairs, "--at-most", str(most))
        found = rows[-1].measured
        if found:
            why = "the largest sixteenth with which" if found["within"] else "since with none"
            budget = f"{name}: activation_memory_budget {found['memory_budget']:g}"
            rows[-1].notes.append(f"{budget}, {why} aot_eager stays within {_mebibytes(most)}")
    return rows


def measure(row: Row, model: Sequence[str], way: str, pairs: int, *more: str) -> None:
    """Measure `way` in a process of its own and put it in `row`, or a note that says why it did not run."""
    progress(row.name)
    with tempfile.TemporaryDirectory(prefix="monet-bench-") as folder:
        out = Path(folder) / "measured.json"
        command = [sys.executable, "-m", "monet_torch", "bench", *model, "--way", way, *more]
        try:
            call([*command, "--pairs", str(pairs), "--json", str(out)])
        except Failed as error:
            row.notes.append(f"{row.name} did not run: {error}")
            return
        row.measured = json.loads(out.read_text(encoding="utf-8"))
    for reason, count in (row.measured or {}).get("status", {}).get("eager", {}).items():
        row.notes.append(f"{row.name}: {count} forwards ran as in eager PyTorch: {reason}")


def call(command: Sequence[str], **environment: str) -> None:
    """Run a program that sees this package, in silence. Raises Failed with what it said last."""
    paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        command,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )
    if done.returncode != 0:
        lines = [line.strip() for line in done.stdout.splitlines() if line.strip()] or ["it said nothing"]
        said = next((line for line in reversed(lines) if "error" in line.lower()), lines[-1])
        raise Failed(f"{said.removeprefix('error: ')} (exit code {done.returncode})")


def progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K▸ {text}", end="", file=sys.stderr, flush=True)
    else:
        print(f"▸ {text}", file=sys.stderr, flush=True)


def report(title: str, rows: Sequence[Row], gradients: str = "accumulate", *more: str) -> str:
    """The table of `rows`, the first of which is eager, with what is to be said of them."""
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    header = ["", "peak above fixed", "of eager", "predicted", "tracker", "predicted"]
    header += ["step", "overhead (95%)", "predicted", "gradients", "buffers"]
    lines = [header, *(_cells(row, rows[0].peak) for row in rows)]
    when = "are there before the step" if gradients == "accumulate" else "appear during the step"
    parts = [f"{title}  (gradients {when})", _table(lines), *more]
    if any(row.name == PEERS["checkpoint"] and _buffers_differ(row) for row in rows):
        parts.append("checkpoint: batch norm's running statistics are updated a second time as it recomputes")
    if any(row.measured and row.measured["tracker"] is None for row in rows):
        parts.append("torch.compile: no tracker, since it does not compile under a dispatch mode")
    parts += [note for row in rows for note in row.notes]
    return "\n".join(parts)


def _buffers_differ(row: Row) -> bool:
    return row.measured is not None and not row.measured["buffers"]["equal"]


def _cells(row: Row, eager: int | None) -> list[str]:
    measured = row.measured
    if measured is None:
        return [row.name, "did not run", *[""] * 9]
    predicted = row.plan["predicted"] if row.plan else None
    peak, time, ratio, tracker = measured["allocator"]["peak"], measured["time"], measured["ratio"], measured["tracker"]
    half = (time["high"] - time["low"]) / 2
    return [
        row.name,
        _mebibytes(peak),
        f"{peak / eager:.1%}" if eager else "",
        _against(predicted["peak"] - row.fixed, peak) if predicted else "",
        _mebibytes(tracker["peak"]) if tracker else "—",
        _against(predicted["structure_peak"] - row.fixed, tracker["peak"]) if predicted and tracker else "",
        f"{time['median'] * 1000:.0f} ± {half * 1000:.0f} ms",
        f"{ratio['median'] - 1:+.1%} ({ratio['low'] - 1:+.1%} … {ratio['high'] - 1:+.1%})",
        f"{predicted['time'] / predicted['eager_time'] - 1:+.1%}" if predicted else "",
        _sameness(measured["gradients"]),
        _sameness(measured["buffers"]),
    ]


def _against(predicted: int, measured: int) -> str:
    return f"{_mebibytes(predicted)} ({measured / predicted - 1:+.2%})"


def _sameness(difference: dict[str, Any]) -> str:
    return "bitwise equal" if difference["equal"] else f"differ by {difference['share']:.0e}"


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:.1f} MiB"


def _table(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([text[0], rule, *text[1:]])


def machine(threads: int, device: torch.device) -> str:
    """The device's name, then what else the numbers hang on."""
    card = f"{describe_device(device)['name']}, CUDA {torch.version.cuda}; " if device.type == "cuda" else ""
    load = f"; load {os.getloadavg()[0]:.1f} at the start" if hasattr(os, "getloadavg") else ""
    return (
        f"{card}{describe_device(torch.device('cpu'))['name']}, {os.cpu_count()} cores, {threads} threads; "
        f"{platform.system()}; Python {platform.python_version()}, torch {torch.__version__}{load}"
    )
