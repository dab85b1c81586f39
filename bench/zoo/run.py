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
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

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
        options.table.write_text(table([rows[e] for e in entries if e in rows]))
    sys.exit(1 if any(_wrong(r) for r in rows.values()) else 0)


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
    stem = row.name.replace(".py:", ".")
    target, graph, plan = f"{HERE / row.name}", work / f"{stem}.graph.json", work / f"{stem}.plan.json"
    _helper(["profile", target, "--out", str(graph)], limit)
    document = json.loads(graph.read_text())
    row.captured, row.operators, row.fixed = "whole", len(document["operators"]), sum(document["fixed"].values())
    frontier = work / f"{stem}.frontier.json"
    _run(["node", str(CLI), "plan", str(graph), "--frontier", "--out", str(frontier)], limit)
    plans = [p for p in json.loads(frontier.read_text())["plans"] if _overhead(p["predicted"]) <= OVERHEAD]
    plan.write_text(json.dumps(min(plans, key=lambda p: p["predicted"]["peak"])))
    report = json.loads(
        _helper(["verify", target, str(plan), "--graph", str(graph), "--pairs", "0", "--json"], limit, may_differ=True)
    )
    predicted = report["predicted"]
    row.eager, row.planned = report["eager_peak"] - row.fixed, report["planned_peak"] - row.fixed
    row.overhead = _overhead(predicted)
    row.equal = report["equal"]
    row.off = {
        "eager": row.eager / (predicted["eager_peak"] - row.fixed) - 1,
        "planned": row.planned / (predicted["peak"] - row.fixed) - 1,
    }
    if report["differences"]:
        names = ", ".join(d["what"] for d in report["differences"][:3])
        row.problem = f"{len(report['differences'])} of {report['compared']} differ from eager's: {names}"
    elif report["eager_forwards"]:
        row.problem = f"not planned: {'; '.join(report['eager_forwards'])}"


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
    return next(word for word in command if word in ("profile", "plan", "verify"))


def _wrong(row: Row) -> bool:
    """A wrong gradient, as opposed to a model that is not planned."""
    return "differ from eager's" in row.problem


def _in_words(row: Row) -> str:
    if row.problem:
        return row.problem
    off = max(abs(x) for x in row.off.values())
    return f"{row.captured}, {row.planned / row.eager:.0%} of eager's at {row.overhead:+.1%}, peaks off by {off:.2%}"


def table(rows: list[Row]) -> str:
    """docs/coverage.md."""
    packages = sorted({p for packages in FILES.values() for p in packages})
    versions = ", ".join(f"{p} {version_of(p)}" for p in packages if version_of(p))
    absent = [f"- {file}: not tried, {' and '.join(_absent(file))} not installed" for file in FILES if _absent(file)]
    planned = [r for r in rows if r.equal]
    whole = sum(r.captured == "whole" for r in planned)
    lines = [
        "# What of other people's models can be planned",
        "",
        f"Made by `npm run zoo` on {max(r.tried for r in rows)} ({platform.machine()}, CPU; Python "
        f"{platform.python_version()}; {versions}).",
        "",
        f"{len(rows)} architectures, unedited, with random weights in small configurations: {whole} are planned whole, "
        f"{len(planned) - whole} in named parts, {len(rows) - len(planned)} not; "
        f"{sum(map(_wrong, rows)) or 'none'} with a gradient that differs from eager's.",
        "",
        "- *Gradients*: loss, every gradient and every buffer of a step by the plan, against eager's, bit for bit.",
        "- *Memory*: the measured peak of that step, as a share of eager's, both above parameters, gradients and "
        f"inputs; the plan is the one that takes the least at up to {OVERHEAD:.0%} overhead (predicted).",
        "- *Off*: how far measured peaks (of eager's step, of the planned one) are from the predicted ones.",
        "",
        "| architecture | captured | operators | gradients | memory | overhead | eager's peak | off |",
        "|---|---|--:|---|--:|--:|--:|--:|",
    ]
    lines += [_line(r) for r in rows]
    return "\n".join([*lines, *(["", *absent] if absent else []), ""])


def _line(row: Row) -> str:
    name = row.name.replace(".py:", ": ").replace("_", " ")
    if not row.equal:
        return f"| {name} | {row.problem or 'no'} | | | | | | |"
    off = ", ".join(f"{x:+.2%}" for x in row.off.values())
    return (
        f"| {name} | {row.captured} | {row.operators} | equal | {row.planned / row.eager:.0%} | {row.overhead:+.1%} "
        f"| {row.eager / 2**20:.1f} MiB | {off} |"
    )


if __name__ == "__main__":
    main()
