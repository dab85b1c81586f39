"""Four models, each trained in every way we know of saving memory, as one table per model.

Every way is measured in a process of its own, in turns with eager PyTorch. Started by `npm run bench`,
which sets up what it needs; `npm run bench -- --help` lists the options.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

import points
from cases import CASES, ROOT, Case
from monet_torch.bench import EAGER, Failed, Row, call, machine, measure, measure_peers, progress, report

PLANNED = {
    "monet, keep everything": ("--budget", "eager"),
    "monet, 50%, recompute only": ("--budget", "50%", "--recompute-only"),
    "monet, 50%, + implementations": ("--budget", "50%", "--no-offload"),
    "monet, 50%, + offload": ("--budget", "50%"),
}
"""What `monet plan` is asked for: how much memory, and what it may choose of."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="CASE")
    parser.add_argument("--only", choices=("peers", "monet"), help="leave the other half out (eager is always in)")
    parser.add_argument("--pairs", type=int, default=30, help="for eager and for the plan that keeps everything")
    parser.add_argument("--other-pairs", type=int, default=10, help="for everything else")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--sizes", help="other sizes for every input, such as 1,3,64,64, to try the bench")
    parser.add_argument(
        "--points",
        type=int,
        metavar="N",
        help="instead, hold the peaks of N plans of each frontier to what is measured",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="all numbers, sample by sample")
    options = parser.parse_args()

    where = machine(options.threads, torch.device(options.device))
    print(where)
    everything: dict[str, Any] = {"machine": where, "cases": {}}
    failed = False
    for name in options.cases:
        case = CASES[name].with_sizes(options.sizes) if options.sizes else CASES[name]
        with tempfile.TemporaryDirectory(prefix="monet-bench-") as folder:
            if options.points:
                table, exact = hold_to_points(case, Path(folder), options)
                print(f"\n{table}", flush=True)
                failed |= not exact
                continue
            rows, preparation = measure_case(case, Path(folder), options)
        took = "; ".join(f"{what} {seconds:.1f} s" for what, seconds in preparation.items())
        print(
            "\n" + report("  ".join([case.target, *case.inputs]), rows, "accumulate", *filter(None, [took])), flush=True
        )
        everything["cases"][name] = {
            "preparation": preparation,
            "rows": [vars(row) for row in rows],
        }
        failed |= any(row.measured is None for row in rows)
        if options.json:
            options.json.write_text(json.dumps(everything, indent=1))
    sys.exit(1 if failed else 0)


def hold_to_points(case: Case, folder: Path, options: argparse.Namespace) -> tuple[str, bool]:
    graph, frontier = profile(case, options, folder, {}), folder / "frontier.json"
    progress(f"{case.name}: planning a frontier")
    monet("plan", str(graph), "--frontier", "--out", str(frontier))
    return points.report(case, graph, frontier, options.points, options.threads)


def measure_case(case: Case, folder: Path, options: argparse.Namespace) -> tuple[list[Row], dict[str, float]]:
    preparation: dict[str, float] = {}
    model = [*case.arguments, "--block", case.block, "--device", options.device, "--threads", str(options.threads)]
    rows = [Row(EAGER)]
    measure(rows[0], model, "eager", options.pairs)
    if options.only != "peers":
        rows += measure_plans(case, folder, options, preparation)
    if options.only != "monet":
        rows += measure_peers(model, rows, options.other_pairs, checkpointed=True)
    return rows, preparation


def measure_plans(case: Case, folder: Path, options: argparse.Namespace, preparation: dict[str, float]) -> list[Row]:
    try:
        graph = profile(case, options, folder, preparation)
    except Failed as error:
        return [Row("monet", notes=[f"monet: profile did not run: {error}"])]
    fixed = sum(json.loads(graph.read_text())["fixed"].values())
    model = [str(ROOT / case.target), "--graph", str(graph), "--threads", str(options.threads)]
    rows = []
    for name, asked in PLANNED.items():
        row = Row(name, fixed=fixed)
        rows.append(row)
        try:
            plan = folder / "plan.json"
            progress(f"{case.name}: planning for {name}")
            took = monet("plan", str(graph), *asked, "--out", str(plan))
            preparation[f"solve for {name.removeprefix('monet, ')}"] = took
            row.plan = json.loads(plan.read_text())
            pairs = options.pairs if "eager" in asked else options.other_pairs
            measure(row, model, "plan", pairs, "--plan", str(plan))
        except Failed as error:
            row.notes.append(f"{name} did not run: {error}")
    return rows


def profile(case: Case, options: argparse.Namespace, folder: Path, preparation: dict[str, float]) -> Path:
    """The training graph, made twice: with an empty cache, and with what the first time left in it."""
    graph = folder / "graph.json"
    arguments = ["profile", *case.arguments, "--device", options.device, "--out", str(graph)]
    arguments += ["--offload", "--threads", str(options.threads), "--cache", str(folder / "cache")]
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


if __name__ == "__main__":
    main()
