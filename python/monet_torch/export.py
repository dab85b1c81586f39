"""A plan as a file of plain PyTorch: checkpointed regions of the model, with a policy for what they keep."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from . import exported
from ._private import TorchDispatchMode
from .capture import capture
from .errors import MonetError
from .measure import allocator_peak
from .plan import Plan, load_plan
from .regions import Observed, Regions, choose
from .units import human
from .verify import StepRunner, compare, deterministic_algorithms

FIRST_LINE = '"""Checkpoints of '  # by which a file of ours is known
WRITTEN = ", written by `monet export`"


@dataclass
class Exported:
    """`text` is the file; peaks are bytes of the whole device, measured, but for the plan's."""

    text: str
    model: str
    regions: list[str]
    kept: int  # results
    eager_peak: int
    plan_peak: int
    peak: int
    compared: int
    lost: list[str]

    def to_json(self) -> dict[str, Any]:
        return {name: x for name, x in asdict(self).items() if name != "text"}


def export(step: StepRunner, plan_document: dict[str, Any], graph: dict[str, Any]) -> Exported:
    """Write `plan_document` as checkpoint policies for the model of `step`, and run a step by them.

    Raises MonetError where nothing of the plan can be said that way, or gradients come out otherwise.
    """
    plan = load_plan(plan_document)
    target = step.target
    captured = capture(step.model, step.args, step.kwargs, autocast=step.autocast, opaque=plan.opaque)
    plan.check(captured)
    step.reset()
    regions = choose(step.model, captured, graph, plan, observed(step.model, step.forward))
    if not regions.chosen:
        raise MonetError(
            "M325",
            "nothing that this plan drops lies within a module that can be checkpointed as a whole; plan for a smaller "
            "budget, or run the plan as it is, with monet_torch.apply",
        )
    text = source_of(regions, plan, graph)

    eager = step.results(1)
    comparing = deterministic_algorithms if compare(eager, step.results(1)) else nullcontext
    with comparing():
        eager = step.results(1)
    step.reset()
    fixed = sum(graph["fixed"].values())
    eager_peak = fixed + allocator_peak(step, step.device).peak_bytes
    module_of(text).apply(step.model)
    with comparing():
        mine = step.results(1)
    differences = compare(eager, mine)
    if differences:
        raise MonetError(
            "M326",
            f"{target.name} computed again by modules gives another result than eager ({differences[0].what} differs "
            f"by {differences[0].largest:g}): does a forward change something? run the plan with monet_torch.apply, "
            "which runs no module twice",
        )
    step.reset()
    return Exported(
        text=text, model=graph["made_from"]["model"], regions=[r.module for r in regions.chosen],
        kept=sum(len(runs) for r in regions.chosen for runs in r.keep.values()), eager_peak=eager_peak,
        plan_peak=plan_document["predicted"]["peak"], peak=fixed + allocator_peak(step, step.device).peak_bytes,
        compared=len(mine), lost=lost(plan),
    )  # fmt: skip


def subject(graph: dict[str, Any]) -> str:
    """What a file written for `graph` is of, as its first line has it."""
    part = graph["made_from"]["options"].get("part")
    return str(graph["made_from"]["model"]) + (f", part {part}" if part else "")


def refuse_to_overwrite(out: Path, graph: dict[str, Any]) -> None:
    """Raise MonetError where `out` is there and holds anything but an earlier export for the same model and part.

    Names of files are no proof: `my-net.py` and `my_net.py` are imported by one, and so are parts `a.b` and `a__b`.
    """
    if not out.exists():
        return
    first, _, _ = out.read_text(encoding="utf-8", errors="replace").partition("\n")
    of, found, _ = first.removeprefix(FIRST_LINE).partition(WRITTEN)
    if not first.startswith(FIRST_LINE) or not found:
        raise MonetError(
            "M324", f"{out} is there and was not written by export; move it away, or name another file with --out"
        )
    if of != subject(graph):
        raise MonetError(
            "M324", f"{out} is there and holds the export of {of}; move it away, or name another file with --out"
        )


def lost(plan: Plan) -> list[str]:
    """What the plan says and a policy can't."""
    found = []
    if plan.implementations:
        found.append(f"other implementations ({len(plan.implementations)} chosen)")
    if plan.offload:
        found.append(f"host memory ({len(plan.offload)} sent there)")
    again = [i for intervals in (*plan.values.values(), *plan.internals.values()) for i in intervals]
    if any(start >= plan.operators for start, _ in again):
        found.append("what it keeps of a recompute for a later one")
    return found


def source_of(regions: Regions, plan: Plan, graph: dict[str, Any]) -> str:
    """The file's text: `exported.py` with its tables filled. The same for the same plan."""
    source = Path(exported.__file__).read_text(encoding="utf-8")
    budget = "no budget" if plan.budget is None else f"a budget of {human(plan.budget)}"
    head = (
        f"{FIRST_LINE}{subject(graph)}{WRITTEN} from a plan for {budget}.\n\n"
        f"Needs PyTorch alone. The plan: {plan.graph_hash}.\n"
    )
    tables = {
        "KEEP: dict[str, dict[str, list[int]]] = {}": {r.module: r.keep for r in regions.chosen},
        "COUNTS: dict[str, list[str]] = {}": {r.module: list(r.counts) for r in regions.chosen if r.counts},
        "OUT_OF_PLACE: list[str] = []": regions.out_of_place,
    }
    for line, table in tables.items():
        assert line in source
        source = source.replace(line, f"{line[: line.index('=')]}= {_written(table)}")
    return source.replace('"""HEAD"""', f'{head}"""')


def _written(table: Any) -> str:
    """Python's own notation is JSON's, for names and whole numbers; one row for each region."""
    if isinstance(table, dict) and table:
        rows = "".join(f"    {json.dumps(name)}: {json.dumps(row)},\n" for name, row in table.items())
        return f"{{\n{rows}}}"
    return json.dumps(table)


def module_of(text: str) -> ModuleType:
    """What importing a file of this text would give."""
    module = ModuleType("monet_export")
    exec(compile(text, "<monet export>", "exec"), module.__dict__)
    return module


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.running: list[Counter[str]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for counter in self.running:
            counter[str(func)] += 1
        return func(*args, **(kwargs or {}))


def observed(model: nn.Module, forward: Callable[[], object]) -> Observed:
    """Run `forward` and count what each forward of each submodule calls."""
    found: dict[str, list[Counter[str]]] = {}
    counter = _Counter()
    with _watching(model, counter, found), counter:
        forward()
    return found


@contextmanager
def _watching(model: nn.Module, counter: _Counter, found: dict[str, list[Counter[str]]]) -> Iterator[None]:
    def enters(name: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            counter.running.append(Counter())
            found.setdefault(name, []).append(counter.running[-1])

        return hook

    def leaves(*_: object) -> None:
        counter.running.pop()

    handles = []
    for name, module in model.named_modules():
        if name:
            handles += [module.register_forward_pre_hook(enters(name)), module.register_forward_hook(leaves)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def table(e: Exported, file: str) -> str:
    """The report as a person reads it."""
    some = ", ".join(e.regions[:3]) + (f" and {len(e.regions) - 3} more" if len(e.regions) > 3 else "")
    lines = [
        f"Checkpoints of {e.model} as plain PyTorch: {file}",
        f"  {some} run again in backward; {e.kept} results within them are kept",
        f"  peak of a training step: {human(e.peak)} measured; eager {human(e.eager_peak)}, and the "
        f"plan itself {human(e.plan_peak)}, as predicted",
        f"  loss, gradients and buffers: all {e.compared} equal to eager's, bit for bit",
    ]
    if e.lost:
        lines.append(f"  left out of the plan: {'; '.join(e.lost)}")
    return "\n".join(lines)
