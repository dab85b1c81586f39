"""Is a predicted peak the measured one, to the byte? Plans of a whole frontier, each run for a step.

Started by `npm run bench -- --points 10`. Predictions are held to the allocator, which sees all that kernels take, and
to live tensors alone, which are the same in every run. What autograd starts a backward with, the gradient of the loss
itself, is of no operator: it may be there at the peak, or not.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from cases import ROOT, Case
from monet_torch.bench import Failed, progress
from monet_torch.units import human


def report(case: Case, graph: Path, frontier: Path, points: int, threads: int) -> tuple[str, bool]:
    """A table of `points` plans of the frontier, evenly spread over its peaks, and whether all were predicted."""
    columns = "peak predicted | off | live tensors predicted | off | gradients | overhead predicted | "
    rows = [f"| {columns}other implementations, offloaded |"]
    rows.append("|---|---|---|---|---|---|---|")
    exact = True
    for k, plan in enumerate(_spread(json.loads(frontier.read_text())["plans"], points)):
        progress(f"{case.name}: plan {k + 1} of {points}")
        seen = _verified(case, graph, plan, threads)
        predicted = plan["predicted"]
        own = seen["loss_gradient"]
        peak, live = (
            seen["planned_peak"] - predicted["peak"],
            seen["planned_tracker_peak"] - predicted["structure_peak"],
        )
        exact &= peak in (0, own) and seen["equal"]
        away = sum("offload" in each for each in plan["retain"])
        rows.append(
            f"| {human(predicted['peak'])} | {_off(peak, own)} "
            f"| {human(predicted['structure_peak'])} | {_off(live, own)} | "
            f"{'equal' if seen['equal'] else 'DIFFER'} | {predicted['time'] / predicted['eager_time'] - 1:+.1%} | "
            f"{len(plan['implementations'])}, {away} |"
        )
    return f"{case.target}  {'  '.join(case.inputs)}\n" + "\n".join(rows), exact


def _spread(plans: list[dict[str, Any]], points: int) -> list[dict[str, Any]]:
    """Of plans ascending by peak, those next to evenly spaced peaks; fewer where one is next to several."""
    peaks = [plan["predicted"]["peak"] for plan in plans]
    wanted = [peaks[0] + (peaks[-1] - peaks[0]) * k / max(1, points - 1) for k in range(points)]
    nearest = [min(range(len(peaks)), key=lambda k: abs(peaks[k] - peak)) for peak in wanted]
    return [plans[k] for k in dict.fromkeys(nearest)]


def _verified(case: Case, graph: Path, plan: dict[str, Any], threads: int) -> dict[str, Any]:
    file = graph.with_name("point.plan.json")
    file.write_text(json.dumps(plan))
    command = [sys.executable, "-m", "monet_torch", "verify", str(ROOT / case.target), str(file)]
    command += ["--graph", str(graph), "--pairs", "0", "--threads", str(threads), "--json"]
    ran = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT / "python")}, stdout=subprocess.PIPE)
    if ran.returncode not in (0, 1):  # 1: something is not as it should be, and the report says what
        raise Failed(f"verify of {case.target} did not run (exit code {ran.returncode})")
    seen: dict[str, Any] = json.loads(ran.stdout)
    return seen


def _off(difference: int, own: int) -> str:
    return "0" if difference in (0, own) else f"{difference:+,} bytes"
