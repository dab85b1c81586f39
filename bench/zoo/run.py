"""What of other people's architectures can be planned: `npm run zoo`, which sets up what this needs.

Every entry function of the files beside this one is profiled, planned and verified, each in processes of its own, as
`monet optimize --verify` does it. Results are kept beside the virtual environment, so that `--only` mends one row;
the table goes to docs/coverage.md.
"""

from __future__ import annotations

import argparse
import ast
import datetime
import importlib.metadata
import json
import os
import platform
import re
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
CLI = ROOT / "dist" / "cli.mjs"
FILES = {  # file -> the packages that its models come from
    "hugging_face.py": ["transformers"],
    "plain_torch.py": ["torch"],
    "others.py": ["diffusers", "torch_geometric"],
    "vision.py": ["torchvision", "timm"],
}
OVERHEAD = 0.10
ABOVE = 0.01  # of what is predicted, above `fixed`: a planned peak may be that far above it
LEAST_PART = 0.08  # of what a model keeps
MEMORY = 16 << 30  # bytes of address space that one process may take


class Failed(Exception):
    """A step that ended otherwise than well, with its last words."""


@dataclass
class Row:
    """What became of one architecture. Bytes are peaks above `fixed` (parameters, gradients, inputs)."""

    name: str
    captured: str = ""  # "whole", or the names of its parts
    operators: int = 0
    fixed: int = 0
    eager: int = 0
    planned: int = 0
    overhead: float = 0.0
    equal: bool = False
    off: dict[str, float] = field(default_factory=dict)  # measured against predicted peak: eager, planned
    why: str = ""  # it isn't captured whole
    problem: str = ""
    seconds: float = 0.0
    tried: str = ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these alone, as bert or vision.py:resnet18")
    parser.add_argument("--missing", action="store_true", help="only what has no result yet")
    parser.add_argument("--limit", type=int, default=600, metavar="SECONDS", help="for each process (default 600)")
    parser.add_argument("--work", type=Path, required=True, metavar="FOLDER", help="for graphs, plans and results")
    parser.add_argument("--table", type=Path, metavar="FILE", help="write the table of all results there")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    kept = options.work / "results.json"
    rows: dict[str, Row] = {k: Row(**r) for k, r in json.loads(kept.read_text()).items()} if kept.exists() else {}

    entries = [f"{file}:{name}" for file in FILES if not _absent(file) for name in entries_of(HERE / file)]
    chosen = [e for e in entries if not options.only or e in options.only or e.partition(":")[2] in options.only]
    if options.missing:
        chosen = [e for e in chosen if e not in rows]
    for k, entry in enumerate(chosen):
        rows[entry] = row = attempt(entry, options.work, options.limit)
        kept.write_text(json.dumps({name: asdict(r) for name, r in rows.items()}, indent=1))
        print(f"[{k + 1}/{len(chosen)}] {entry}: {_in_words(row)} ({row.seconds:.0f} s)", flush=True)
    if options.table:
        options.table.write_text(table([rows.get(e, Row(e)) for e in entries]))
    bad = [r for r in rows.values() if _wrong(r) or _above(r)]
    for row in bad:
        print(f"{row.name}: {row.problem or 'its planned peak is above the predicted one'}")
    sys.exit(1 if bad else 0)


def entries_of(file: Path) -> list[str]:
    """Names of the entry functions of a file, in order, without importing it."""
    body = ast.parse(file.read_text()).body
    return [
        n.name for n in body
        if isinstance(n, ast.FunctionDef) and not n.name.startswith("_") and not n.args.args
    ]  # fmt: skip


def _absent(file: str) -> list[str]:
    return [p for p in FILES[file] if version_of(p) is None]


def version_of(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def attempt(entry: str, work: Path, limit: int) -> Row:
    row = Row(entry, tried=datetime.date.today().isoformat())
    begun = time.monotonic()
    try:
        _attempt(row, work, limit)
    except Failed as failure:
        row.problem = str(failure)
    row.seconds = time.monotonic() - begun
    return row


def _attempt(row: Row, work: Path, limit: int) -> None:
    target, stem = f"{HERE / row.name}", row.name.replace(".py:", ".")
    try:
        graph = _profiled(target, work / stem, limit)
    except Failed as failure:
        row.why = str(failure)
        _in_parts(row, target, work, limit)
        return
    opaque = {re.sub(r"(?<=\.)\d+(?=\.|$)", "*", o["module"]): o["opaque"] for o in graph["operators"] if "opaque" in o}
    row.captured = f"but for {', '.join(f'`{module}`' for module in sorted(opaque))}" if opaque else "whole"
    row.why = "; ".join(sorted(set(opaque.values())))
    row.operators, row.fixed = len(graph["operators"]), sum(graph["fixed"].values())
    report = _planned(target, work / stem, limit)
    predicted = report["predicted"]
    row.eager, row.planned = report["eager_peak"] - row.fixed, report["planned_peak"] - row.fixed
    row.overhead, row.equal, row.off = _overhead(predicted), report["equal"], _off(report, row.fixed)
    if report["eager_forwards"]:  # hooks, or attributes that change: seen when it runs
        row.why, row.off = f"not planned: {'; '.join(report['eager_forwards'])}", {}
        _in_parts(row, target, work, limit)
    elif report["differences"]:
        row.problem = _differing([d["what"] for d in report["differences"]], report["compared"])


def _in_parts(row: Row, target: str, work: Path, limit: int) -> None:
    """The parts that a model which can't be captured has, those that keep most, each planned by itself."""
    script = [sys.executable, "-W", "ignore", str(HERE / "in_parts.py")]
    found = json.loads(_run([*script, "find", target], limit))
    parts = [p for p in found["parts"] if p["kept"] >= LEAST_PART * found["kept"]]
    if not parts:
        raise Failed(row.why)
    plans = []
    for part in parts:
        stem = work / f"{row.name.replace('.py:', '.')}.{part['name'].replace('*', '_')}"
        graph = _profiled(target, stem, limit, part["name"])
        row.operators += len(graph["operators"]) * len(part["paths"])
        report = _planned(target, stem, limit)
        row.overhead = max(row.overhead, _overhead(report["predicted"]))
        off = _off(report, sum(graph["fixed"].values()))
        row.off = {k: max(off[k], row.off.get(k, 0.0), key=abs) for k in off}
        plans.append(f"{part['name']}={stem}.plan.json")
    checked = json.loads(_run([*script, "check", target, *plans], limit))
    row.eager, row.planned = checked["eager"], checked["planned"]
    row.captured = ", ".join(f"`{p['name']}`" for p in parts)
    row.equal = not checked["differences"] and not checked["not_planned"]
    if checked["differences"]:
        row.problem = _differing(checked["differences"], checked["compared"])
    elif checked["not_planned"]:
        row.problem = f"not planned: {'; '.join(checked['not_planned'])}"


def _profiled(target: str, stem: Path, limit: int, part: str | None = None) -> dict[str, Any]:
    graph = f"{stem}.graph.json"
    _helper(["profile", target, "--out", graph, *(["--part", part] if part else [])], limit)
    document: dict[str, Any] = json.loads(Path(graph).read_text())
    return document


def _planned(target: str, stem: Path, limit: int) -> dict[str, Any]:
    """What verify reports of the plan that takes the least memory at an overhead that is acceptable."""
    graph, frontier, plan = (Path(f"{stem}.{kind}.json") for kind in ("graph", "frontier", "plan"))
    _run(["node", str(CLI), "plan", str(graph), "--frontier", "--out", str(frontier)], limit)
    plans = [p for p in json.loads(frontier.read_text())["plans"] if _overhead(p["predicted"]) <= OVERHEAD]
    plan.write_text(json.dumps(min(plans, key=lambda p: p["predicted"]["peak"])))
    arguments = ["verify", target, str(plan), "--graph", str(graph), "--pairs", "0", "--json"]
    report: dict[str, Any] = json.loads(_helper(arguments, limit, may_differ=True))
    return report


def _off(report: dict[str, Any], fixed: int) -> dict[str, float]:
    predicted = report["predicted"]
    return {
        "eager": (report["eager_peak"] - fixed) / (predicted["eager_peak"] - fixed) - 1,
        "planned": (report["planned_peak"] - fixed) / (predicted["peak"] - fixed) - 1,
    }


def _differing(names: list[str], compared: int) -> str:
    return f"{len(names)} of {compared} differ from eager's: {', '.join(names[:3])}"


def _overhead(predicted: dict[str, int]) -> float:
    return predicted["time"] / predicted["eager_time"] - 1


def _helper(arguments: list[str], limit: int, may_differ: bool = False) -> str:
    return _run([sys.executable, "-W", "ignore", "-m", "monet_torch", *arguments], limit, may_differ)


def _run(command: list[str], limit: int, may_differ: bool = False) -> str:
    def bounded() -> None:
        if command[0] != "node":  # which reserves address space by the gigabyte, and uses little
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))

    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT / "python"), "PYTHONSAFEPATH": "1"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=limit, env=environment, preexec_fn=bounded, check=False
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"{_what(command)} took longer than {limit} s") from None
    if done.returncode == 0 or (may_differ and done.returncode == 1 and done.stdout):
        return done.stdout
    words = done.stderr.strip()
    last = words.rpartition("error: ")[2] if "error: " in words else (words.splitlines() or ["nothing said"])[-1]
    raise Failed(f"{_what(command)}: {last.splitlines()[0]}")


def _what(command: list[str]) -> str:
    return next(word for word in command if word in ("profile", "plan", "verify", "find", "check"))


def _wrong(row: Row) -> bool:
    """A wrong gradient, as opposed to a model that is not planned."""
    return "differ from eager's" in row.problem


def _above(row: Row) -> bool:
    """More memory than the plan promised. (Less is no defect: a kernel may take less than it did by itself.)"""
    return row.off.get("planned", 0.0) > ABOVE


def _in_words(row: Row) -> str:
    if row.problem:
        return row.problem
    off = max(abs(x) for x in row.off.values())
    return f"{row.captured}, {row.planned / row.eager:.0%} of eager's at {row.overhead:+.1%}, peaks off by {off:.2%}"


def table(all_rows: list[Row]) -> str:
    """docs/coverage.md."""
    rows = [r for r in all_rows if r.tried]
    untried = [_title(r) for r in all_rows if not r.tried]
    packages = sorted({p for packages in FILES.values() for p in packages})
    versions = ", ".join(f"{p} {version_of(p)}" for p in packages if version_of(p))
    absent = [f"- {file}: not tried, {' and '.join(_absent(file))} not installed" for file in FILES if _absent(file)]
    planned = [r for r in rows if r.equal]
    whole = sum(r.captured == "whole" for r in planned)
    around = sum(r.captured.startswith("but for ") for r in planned)
    lines = [
        "# What of other people's models can be planned",
        "",
        f"Made by `npm run zoo` on {max(r.tried for r in rows)} ({platform.machine()}, CPU; Python "
        f"{platform.python_version()}; {versions}).",
        "",
        f"{len(rows)} architectures, unedited, with random weights in small configurations: {whole} are planned whole, "
        f"{around} but for opaque blocks, {len(planned) - whole - around} in named parts (`--part`), "
        f"{len(rows) - len(planned)} not; "
        f"{sum(map(_wrong, rows)) or 'none'} with a gradient that differs from eager's, "
        f"{sum(map(_above, rows)) or 'none'} with a planned peak more than {ABOVE:.0%} above the predicted one.",
        "",
        "- *Gradients*: loss, every gradient and every buffer of a step by the plan, against eager's, bit for bit.",
        "- *Memory*: the measured peak of that step, as a share of eager's, both above parameters, gradients and "
        f"inputs; the plan is the one that takes the least at up to {OVERHEAD:.0%} overhead (predicted).",
        "- But for opaque blocks: modules that can't be traced run and are kept as in eager; all figures have them.",
        "- In parts: the rest runs as eager does; gradients and memory are those of the whole step, the overhead and "
        "*off* those of the part with the most. Where a part uses an input twice, the first gradient for it waits for "
        "the second, which no prediction counts (`update_block` of raft: 96 KiB).",
        "- *Off*: how far measured peaks (of eager's step, of the planned one) are from the predicted ones. Eager's "
        "own may be higher, where a local variable of Python holds a tensor longer than anything needs it, and lower, "
        "where the model has checkpoints of its own. Both may be lower where one operator is several for autograd "
        "(`gru_cell`, opaque blocks): it gives back what it saved piece by piece, and a plan counts it until its end.",
        "",
        "| architecture | captured | operators | gradients | memory | overhead | eager's peak | off |",
        "|---|---|--:|---|--:|--:|--:|--:|",
    ]
    lines += [_line(r) for r in rows]
    reasons = [f"- {_title(r)}: {_reason(r.why)}" for r in rows if r.why]
    if reasons:
        lines += ["", "Not captured whole, and why:", "", *reasons]
    if untried:
        lines += ["", f"Not tried in this run: {', '.join(untried)}."]
    return "\n".join([*lines, *(["", *absent] if absent else []), ""])


def _title(row: Row) -> str:
    file, _, name = row.name.partition(".py:")
    return f"{name.replace('_', ' ')} ({file.replace('_', ' ')})"


def _reason(why: str) -> str:
    """Without folders of this machine, what PyTorch says of it, and the parts, which the table has."""
    text = why.partition("; parts of it can be planned")[0].removeprefix("profile: ")
    text = re.sub(r"(?<=as torch.where does) \(.*", "", text)
    return re.sub(r"/\S*/(site-packages|zoo)/", "", text)


def _line(row: Row) -> str:
    name = _title(row)
    if not row.equal:
        return f"| {name} | no: {_reason(row.problem)} | | | | | | |"
    off = ", ".join(f"{x:+.2%}" for x in row.off.values())
    return (
        f"| {name} | {row.captured} | {row.operators} | equal | {row.planned / row.eager:.0%} | {row.overhead:+.1%} "
        f"| {row.eager / 2**20:.1f} MiB | {off} |"
    )


if __name__ == "__main__":
    main()
