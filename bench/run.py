"""Four models, each trained in every way we know of saving memory, as one table per model.

Every way is measured in a process of its own, in turns with eager PyTorch. Started by `npm run bench`,
which sets up what it needs; `npm run bench -- --help` lists the options.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from cases import CASES, ROOT, Case

PLANNED = {
    "monet, keep everything": ("eager", "all"),
    "monet, 50%, recompute only": ("50%", "recompute"),
    "monet, 50%, + implementations": ("50%", "implementations"),
    "monet, 50%, + offload": ("50%", "all"),
}
"""What is planned for which budget, and what the solver may choose of: see `allowing`."""

PEERS = {
    "eager, a second time": "eager",
    "checkpoint per block": "checkpoint",
    "save_on_cpu": "save-on-cpu",
    "compile, memory budget 0.5, inductor": "compile-inductor",
    "compile, memory budget 0.5, aot_eager": "compile-aot_eager",
}


class Failed(Exception):
    """A program that didn't do its part, with its last words."""


@dataclass
class Row:
    name: str
    measured: dict[str, Any] | None = None
    plan: dict[str, Any] | None = None
    fixed: int = 0
    notes: list[str] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="CASE")
    parser.add_argument("--only", choices=("peers", "monet"), help="leave the other half out (eager is always in)")
    parser.add_argument("--pairs", type=int, default=30, help="for eager and for the plan that keeps everything")
    parser.add_argument("--other-pairs", type=int, default=10, help="for everything else")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--sizes", help="other sizes for every input, such as 1,3,64,64, to try the bench")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all numbers, sample by sample")
    options = parser.parse_args()

    where = machine(options.threads, options.device)
    print(where)
    everything: dict[str, Any] = {"machine": where, "cases": {}}
    failed = False
    for name in options.cases:
        case = CASES[name].with_sizes(options.sizes) if options.sizes else CASES[name]
        with tempfile.TemporaryDirectory(prefix="monet-bench-") as folder:
            rows, preparation = measure_case(case, Path(folder), options)
        print("\n" + report(case, rows, preparation), flush=True)
        everything["cases"][name] = {
            "preparation": preparation,
            "rows": [vars(row) for row in rows],
        }
        failed |= any(row.measured is None for row in rows)
        if options.json:
            options.json.write_text(json.dumps(everything, indent=1))
    sys.exit(1 if failed else 0)


def measure_case(case: Case, folder: Path, options: argparse.Namespace) -> tuple[list[Row], dict[str, float]]:
    rows: list[Row] = []
    preparation: dict[str, float] = {}

    def measure(row: Row, way: str, pairs: int, plan: Path | None = None) -> None:
        out = folder / "measured.json"
        command = [sys.executable, str(ROOT / "bench" / "worker.py"), case.name, way, str(out)]
        command += ["--pairs", str(pairs), "--threads", str(options.threads), "--device", options.device]
        if options.sizes:
            command += ["--sizes", options.sizes]
        if plan:
            command += ["--plan", str(plan)]
        progress(f"{case.name}: {row.name}")
        call(command)
        row.measured = json.loads(out.read_text())

    for name, way in PEERS.items():
        if options.only == "monet" and way != "eager":
            continue
        row = Row(name)
        rows.append(row)
        try:
            measure(row, way, options.pairs if way == "eager" else options.other_pairs)
        except Failed as error:
            row.notes.append(f"{name} did not run: {error}")

    if options.only == "peers":
        return rows, preparation
    try:
        graph = profile(case, options, folder, preparation)
    except Failed as error:
        rows.append(Row("monet", notes=[f"monet: profile did not run: {error}"]))
        return rows, preparation
    document = json.loads(graph.read_text())
    for name, (budget, choices) in PLANNED.items():
        row = Row(name, fixed=sum(document["fixed"].values()))
        rows.append(row)
        try:
            plan = folder / "plan.json"
            progress(f"{case.name}: planning for {name}")
            graph.write_text(json.dumps(allowing(document, choices)))
            took = monet("plan", str(graph), "--budget", budget, "--out", str(plan))
            preparation[f"solve for {name.removeprefix('monet, ')}"] = took
            row.plan = json.loads(plan.read_text())
            measure(row, "monet", options.pairs if budget == "eager" else options.other_pairs, plan)
            for reason, count in (row.measured or {})["status"]["eager"].items():
                row.notes.append(f"{name}: {count} forwards ran as in eager PyTorch: {reason}")
        except Failed as error:
            row.notes.append(f"{name} did not run: {error}")
    return rows, preparation


def allowing(document: dict[str, Any], choices: str) -> dict[str, Any]:
    """The training graph with what the solver may choose of: recomputing alone, implementations too, or offload too."""
    graph = dict(document)
    if choices != "all":
        graph.pop("transfer", None)
    if choices == "recompute":
        graph["operators"] = [o | {"implementations": o["implementations"][:1]} for o in graph["operators"]]
    return graph


def profile(case: Case, options: argparse.Namespace, folder: Path, preparation: dict[str, float]) -> Path:
    """The training graph, made twice: with an empty cache, and with what the first time left in it."""
    graph = folder / "graph.json"
    arguments = ["profile", case.target, "--device", options.device, "--out", str(graph)]
    arguments += ["--offload", "--threads", str(options.threads), "--cache", str(folder / "cache")]
    for spec in case.inputs:
        arguments += ["--input", spec]
    for which in ("profile, cold", "profile, cached"):
        progress(f"{case.name}: {which}")
        start = time.perf_counter()
        call([sys.executable, "-m", "monet_torch", *arguments])
        preparation[which] = time.perf_counter() - start
    return graph


def monet(*arguments: str) -> float:
    """Run the command line; seconds that it took."""
    node = shutil.which("node")
    if node is None:
        raise Failed("Node is not installed")
    start = time.perf_counter()
    call([node, str(ROOT / "dist" / "cli.mjs"), *arguments], MONET_PYTHON=sys.executable)
    return time.perf_counter() - start


def call(command: Sequence[str], **environment: str) -> None:
    paths = [str(ROOT / "python"), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )
    if done.returncode != 0:
        lines = [line.strip() for line in done.stdout.splitlines() if line.strip()] or ["it said nothing"]
        said = next((line for line in reversed(lines) if "error" in line.lower()), lines[-1])
        raise Failed(f"{said} (exit code {done.returncode})")


def progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K▸ {text}", end="", file=sys.stderr, flush=True)
    else:
        print(f"▸ {text}", file=sys.stderr, flush=True)


def report(case: Case, rows: Sequence[Row], preparation: dict[str, float]) -> str:
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    eager = next((row.measured for row in rows if row.measured), None)
    header = ["", "peak above fixed", "of eager", "predicted", "tracker", "predicted"]
    header += ["step", "overhead (95%)", "predicted", "gradients", "buffers"]
    lines = [header, *(cells(row, eager) for row in rows)]
    parts = [f"{case.target}  {'  '.join(case.inputs)}  (gradients are there before the step)", table(lines)]
    if preparation:
        parts.append("; ".join(f"{what} {took:.1f} s" for what, took in preparation.items()))
    if any(row.name.startswith("checkpoint") and _buffers_differ(row) for row in rows):
        parts.append("checkpoint: batch norm's running statistics are updated a second time as it recomputes")
    if any(row.name.startswith("compile") and row.measured for row in rows):
        parts.append("compile: no tracker, since torch.compile does not compile under a dispatch mode")
    parts += [note for row in rows for note in row.notes]
    return "\n".join(parts)


def _buffers_differ(row: Row) -> bool:
    return row.measured is not None and not row.measured["buffers"]["equal"]


def cells(row: Row, eager: dict[str, Any] | None) -> list[str]:
    measured = row.measured
    if measured is None or eager is None:
        return [row.name, "did not run", *[""] * 9]
    predicted = row.plan["predicted"] if row.plan else None
    time_, ratio, tracker = measured["time"], measured["ratio"], measured["tracker"]
    half = (time_["high"] - time_["low"]) / 2
    return [
        row.name,
        mebibytes(measured["allocator"]["peak"]),
        f"{measured['allocator']['peak'] / eager['allocator']['peak']:.1%}",
        against(predicted["peak"] - row.fixed, measured["allocator"]["peak"]) if predicted else "",
        mebibytes(tracker["peak"]) if tracker else "—",
        against(predicted["structure_peak"] - row.fixed, tracker["peak"]) if predicted and tracker else "",
        f"{time_['median'] * 1000:.0f} ± {half * 1000:.0f} ms",
        f"{ratio['median'] - 1:+.1%} ({ratio['low'] - 1:+.1%} … {ratio['high'] - 1:+.1%})",
        f"{predicted['time'] / predicted['eager_time'] - 1:+.1%}" if predicted else "",
        sameness(measured["gradients"]),
        sameness(measured["buffers"]),
    ]


def against(predicted: int, measured: int) -> str:
    return f"{mebibytes(predicted)} ({measured / predicted - 1:+.2%})"


def sameness(difference: dict[str, Any]) -> str:
    return "bitwise equal" if difference["equal"] else f"differ by {difference['share']:.0e}"


def mebibytes(count: int) -> str:
    return f"{count / 2**20:.1f} MiB"


def table(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([text[0], rule, *text[1:]])


def machine(threads: int, device: str) -> str:
    processor = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    card = "" if device == "cpu" else f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}; "
    return (
        f"{card}{processor}, {os.cpu_count()} cores, {threads} threads; {platform.system()}; "
        f"Python {platform.python_version()}, torch {torch.__version__}; "
        f"load {os.getloadavg()[0]:.1f} at the start"
    )


if __name__ == "__main__":
    main()
