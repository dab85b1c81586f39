"""Prove on a real step that a plan changes memory and time, and nothing else."""

from __future__ import annotations

import copy
import itertools
import json
import math
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import planned
from ._private import pytree
from .autocast import Autocast, in_autocast
from .errors import PlanMismatch
from .measure import allocator_peak, interleaved, tracker_peak, windows
from .step import loss_of
from .target import Target
from .units import human


@dataclass
class Difference:
    what: str
    largest: float
    share: float = float("inf")  # of the largest finite element


@dataclass
class Report:
    """Bytes are peaks of the whole device (`fixed` included); times are seconds per step.

    Where eager itself differs from run to run (kernels that add in whatever order their threads come), both were
    compared with PyTorch's deterministic algorithms: `deterministic`. What then still moves by itself is equal to
    eager as far as eager is to itself: `within_eagers_own`.
    """

    model: str
    device: str
    fixed: int
    budget: int | None
    compared: int = 0
    differences: list[Difference] = field(default_factory=list)
    eager_differs_from_itself: list[Difference] = field(default_factory=list)
    within_eagers_own: list[Difference] = field(default_factory=list)
    deterministic: bool = False
    predicted: dict[str, int] = field(default_factory=dict)
    eager_peak: int = 0
    eager_tracker_peak: int = 0
    planned_peak: int = 0
    planned_tracker_peak: int = 0
    loss_gradient: int = 0  # bytes of what backward starts with: autograd's own, of no operator, and in no plan
    eager_seconds: float = 0.0
    planned_seconds: float = 0.0
    overhead: float = 0.0
    overhead_low: float = 0.0
    overhead_high: float = 0.0
    pairs: int = 0
    planned_forwards: int = 0
    larger_forwards: int | None = 0
    eager_forwards: dict[str, int] = field(default_factory=dict)
    changed_since_profiled: bool = False
    inexact: list[str] = field(default_factory=list)  # implementations in the plan whose gradients aren't eager's bits

    @property
    def equal(self) -> bool:
        return not self.differences and not self.eager_forwards

    @property
    def within_budget(self) -> bool:
        return self.budget is None or self.planned_peak - self.loss_gradient <= self.budget

    @property
    def ok(self) -> bool:
        return self.equal and self.within_budget

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "equal": self.equal, "within_budget": self.within_budget, "ok": self.ok}


def seed_everything(seed: int) -> None:
    """Python's and NumPy's generators too: a model may drop layers or mask spans by them."""
    random.seed(seed)
    torch.manual_seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed)


class StepRunner:
    """The step that was profiled, on real tensors: the same seed, gradients fresh or accumulated."""

    def __init__(self, target: Target, gradients: str, autocast: Autocast, device: torch.device) -> None:
        self.target, self.autocast, self.device = target, autocast, device
        self.model = target.model.to(device)
        self.args, self.kwargs, self.targets = pytree.tree_map_only(
            Tensor, lambda t: t.to(device), (target.args, target.kwargs, target.targets)
        )
        self.loss = target.loss
        self.accumulate = gradients == "accumulate"
        self.state: dict[str, Any] | None = None  # as it was at the first reset

    def reset(self, seed: int = 0) -> None:
        if self.state is None:
            own = self.model.state_dict()
            self.state = {k: v.clone() if isinstance(v, Tensor) else copy.deepcopy(v) for k, v in own.items()}
        with torch.no_grad():
            self.model.load_state_dict(self.state)
        seed_everything(seed)
        self.clear_gradients()

    def clear_gradients(self) -> None:
        for p in self.model.parameters():
            if self.accumulate and p.requires_grad:
                if p.grad is None:
                    p.grad = torch.zeros_like(p)
                else:
                    p.grad.zero_()
            else:
                p.grad = None

    def run_by(self, plan: str | dict[str, Any]) -> None:
        """Apply a plan to the model, and to the loss where there is one."""
        if self.loss is None:
            planned.apply(self.model, plan)
        else:
            self.loss = planned.apply(self.model, plan, loss=self.loss)

    def forward(self) -> tuple[Any, Tensor]:
        """What the model returns, and the loss."""
        with in_autocast(self.autocast):
            output = self.model(*self.args, **self.kwargs)
            return output, loss_of(output, self.targets, self.loss)

    def __call__(self) -> Tensor:
        output, loss = self.forward()
        loss.backward()  # type: ignore[no-untyped-call]
        del output  # held until here, as in a training loop
        return loss

    def timed(self) -> None:
        """A step as it is timed: gradients that accumulate stay, since clearing them is the loop's, not the step's."""
        if not self.accumulate:
            self.clear_gradients()
        self()

    def results(self, seed: int) -> dict[str, Tensor]:
        """Loss, every gradient and every buffer of one step, copied."""
        self.reset(seed)
        found = {"loss": self().detach().clone()}
        for name, p in self.model.named_parameters():
            if p.grad is not None:
                found[f"gradient of {name}"] = p.grad.clone()
        for name, b in self.model.named_buffers():
            found[f"buffer {name}"] = b.clone()
        return found


def _inexact(plan: dict[str, Any], graph: dict[str, Any]) -> list[str]:
    """What in the plan is not declared bitwise, as `activated of aten.batch_norm.default`, each once."""
    return sorted(
        {
            f"{i['name']} of {o['op']}"
            for o in graph["operators"]
            for i in o["implementations"]
            if plan["implementations"].get(str(o["id"])) == i["name"] and i["exactness"] != "bitwise"
        }
    )


def compare(a: dict[str, Tensor], b: dict[str, Tensor]) -> list[Difference]:
    """What is not equal bit for bit (every NaN equals every other), with the largest absolute difference."""
    differences = [Difference(f"{k} (only in one)", float("inf")) for k in sorted(a.keys() ^ b.keys())]
    for name in a.keys() & b.keys():
        x, y = a[name], b[name]
        if x.shape != y.shape or x.dtype != y.dtype:
            differences.append(Difference(f"{name} (other shape or type)", float("inf")))
        elif not torch.equal(_bits(x), _bits(y)):
            x, y = (torch.view_as_real(t).double() if t.is_complex() else t.double() for t in (x, y))
            same = ((x == y) & (x.signbit() == y.signbit())) | (x.isnan() & y.isnan())
            if not same.all():
                largest = (x - y)[~same].abs().nan_to_num(nan=float("inf"), posinf=float("inf")).max().item()
                reach = torch.cat([t[t.isfinite()].abs().flatten() for t in (x, y)])
                share = largest / reach.max().item() if reach.any() else float("inf")
                differences.append(Difference(name, largest, share))
    return sorted(differences, key=lambda d: (-d.largest, d.what))


# Eager's own spread is known from a few runs only: four of them, and twice as far again is still eager's.
EAGER_AGAIN = 3
OWN_SPREAD = 2.0


@contextmanager
def deterministic_algorithms() -> Iterator[None]:
    """PyTorch's deterministic kernels wherever there are any; where there are none, the others, without a word."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before[0], warn_only=before[1])


def _bits(t: Tensor) -> Tensor:
    return t.contiguous().view(-1).view(torch.uint8)


def verify(
    target: Target, plan: dict[str, Any], graph: dict[str, Any], *, autocast: Autocast, device: torch.device,
    pairs: int, progress: Callable[[str, int, int], None] | None = None, trace: Path | None = None,
) -> Report:  # fmt: skip
    """Run eager and planned steps of `target` from the same state and compare them."""
    say = progress or (lambda stage, done, total: None)
    step = StepRunner(target, graph["gradients"], autocast, device)
    fixed = sum(graph["fixed"].values())
    report = Report(
        model=graph["made_from"]["model"], device=graph["device"]["name"], fixed=fixed, budget=plan["budget"],
        predicted=plan["predicted"], pairs=pairs, inexact=_inexact(plan, graph),
    )  # fmt: skip
    counter = itertools.count()
    total = 7

    def at(stage: str) -> None:
        say(stage, next(counter), total)

    at("eager step")
    eager = step.results(1)
    at("eager step again")
    report.eager_differs_from_itself = compare(eager, step.results(1))
    report.deterministic = bool(report.eager_differs_from_itself)
    comparing = deterministic_algorithms if report.deterministic else nullcontext
    moves: dict[str, float] = {}
    if report.deterministic:
        with comparing():
            eager = step.results(1)
            for _ in range(EAGER_AGAIN):
                for d in compare(eager, step.results(1)):
                    moves[d.what] = max(d.largest, moves.get(d.what, 0.0))
    at("eager memory")
    step.reset()
    report.eager_peak = fixed + allocator_peak(step, device).peak_bytes
    step.reset()
    report.eager_tracker_peak = fixed + tracker_peak(step).peak_bytes

    step.run_by(plan)
    try:
        at("planned step")
        try:
            with comparing():
                mine = step.results(1)
        except RuntimeError as error:  # the eager step went through, so it is the plan's
            raise PlanMismatch("M317", f"the planned step stopped: {str(error).splitlines()[0]}") from error
        report.compared = len(mine)
        report.loss_gradient = mine["loss"].nbytes
        for d in compare(eager, mine):
            as_eager = d.largest <= OWN_SPREAD * moves.get(d.what, -1.0)
            (report.within_eagers_own if as_eager else report.differences).append(d)
        at("planned memory")
        if plan["graph"].get("opaque"):  # a second step may be rehearsed and traced again, which is no step's memory
            step.results(1)
        step.reset()
        report.planned_peak = fixed + allocator_peak(step, device).peak_bytes
        step.reset()
        report.planned_tracker_peak = fixed + tracker_peak(step).peak_bytes
        if trace is not None:
            events = runtime_events(step, fixed, torch.ones_like(mine["loss"]))
            trace.write_text("".join(f"{json.dumps(event)}\n" for event in events), encoding="utf-8")

        del eager, mine

        def eager_step() -> None:
            with planned.paused(step.model):
                step.timed()

        at("timing")
        if pairs:
            step.reset()
            times = interleaved({"eager": eager_step, "planned": step.timed}, pairs=pairs, warmup=1, device=device)
            ratio = times["planned"].ratio_to(times["eager"])
            report.eager_seconds, report.planned_seconds = times["eager"].median, times["planned"].median
            report.overhead, report.overhead_low, report.overhead_high = (
                ratio.median - 1, ratio.low - 1, ratio.high - 1,
            )  # fmt: skip
        state = planned.status(step.model)
        report.planned_forwards, report.eager_forwards = state["planned"], state["eager"]
        report.larger_forwards = state["larger"]
    finally:
        planned.remove(step.model)
        step.loss = target.loss
        step.reset()
    return report


def runtime_events(step: StepRunner, fixed: int, gradient: Tensor) -> list[dict[str, Any]]:
    """What the runtime does in one planned step, and the live bytes of the device meanwhile.

    Each event lasts until the next: `before`, the most (`moment`) and `after`. The timeline of `simulate` must tell
    the same, but for an operator without saved tensors, which has no backward event, and the sum of the outputs that
    stands for a loss: what they do counts to the event before. `gradient`, of the loss, is made beforehand: no graph
    has it.
    """
    events: list[dict[str, Any]] = []
    runtime = planned._runtimes[step.model]

    def run(mark: Callable[[], None]) -> None:
        def told(kind: str, clock: int, operator: int) -> None:
            events.append({"kind": kind, "clock": clock, "operator": operator})
            mark()

        runtime.trace = told
        try:
            output, loss = step.forward()
            loss.backward(gradient)  # type: ignore[no-untyped-call]
        finally:
            runtime.trace = None
        mark()
        del output

    step.reset()
    *during, _ = windows(run, step.device)
    for event, window in zip(events, during, strict=True):
        event.update({name: fixed + n for name, n in asdict(window).items()})
    return events


_OTHER_PACE = 1.2  # times as long, from where on the machine was not the same

_CHANGED = (
    "  NOTE: the model's file has changed since it was profiled: predictions are of before, profile and plan it again"
)


def table(r: Report) -> str:
    """The report as a person reads it."""
    p, fixed = r.predicted, r.fixed

    def off(predicted: int, measured: int) -> str:
        return f"{(measured - fixed) / max(1, predicted - fixed) - 1:+.2%}"

    def row(*cells: str) -> str:
        return f"  {cells[0]:<34}{cells[1]:>13}{cells[2]:>13}{cells[3]:>10}"

    lines = [
        f"{r.model} on {r.device}",
        *([_CHANGED] if r.changed_since_profiled else []),
        row("peak of a training step", "predicted", "measured", "off"),
        row("eager", human(p["eager_peak"]), human(r.eager_peak), off(p["eager_peak"], r.eager_peak)),
        row("planned", human(p["peak"]), human(r.planned_peak), off(p["peak"], r.planned_peak)),
        row("planned, live tensors alone", human(p["structure_peak"]), human(r.planned_tracker_peak),
            off(p["structure_peak"], r.planned_tracker_peak)),
    ]  # fmt: skip
    if r.planned_tracker_peak - p["structure_peak"] > 0.01 * max(1, p["structure_peak"] - fixed):
        lines.append("  (these include what operators make of several others, as casts, which the peak above has too)")
    if r.budget is not None:
        lines.append(row("budget", human(r.budget), "kept" if r.within_budget else "EXCEEDED", ""))
        if not r.within_budget:
            lines.append(f"  (the measured peak is {human(r.planned_peak - r.budget)} more than the budget)")
    lines.append(f"  (of these, {human(fixed)} are parameters, buffers, inputs and the like: a plan can't move them)")
    if r.pairs:
        predicted = p["time"] / p["eager_time"] - 1

        def timed(name: str, nanoseconds: int, measured: float) -> str:
            foreseen = nanoseconds / 1e9
            return row(name, f"{foreseen:.3f} s", f"{measured:.3f} s", f"{measured / max(1e-9, foreseen) - 1:+.1%}")

        lines += [
            row("step time", "predicted", "measured", "off"),
            timed("eager", p["eager_time"], r.eager_seconds),
            timed("planned", p["time"], r.planned_seconds),
            row("overhead", f"{predicted:+.1%}", f"{r.overhead:+.1%}", ""),
            f"  (median of {r.pairs} interleaved pairs, 95% interval {r.overhead_low:+.1%} to {r.overhead_high:+.1%})",
        ]
        pace = r.eager_seconds / max(1e-9, p["eager_time"] / 1e9)
        if not 1 / _OTHER_PACE <= pace <= _OTHER_PACE:
            faster = "faster" if pace < 1 else "slower"
            lines.append(
                f"  (eager's step is {faster} now than when it was profiled: this machine was busy then or is now)"
            )
    if r.equal:
        exact = r.compared - len(r.within_eagers_own)
        some = f"all {exact}" if exact == r.compared else f"{exact} of {r.compared}"
        lines.append(f"  loss, gradients and buffers: {some} equal to eager's, bit for bit")
    if r.equal and r.within_eagers_own:
        others = len(r.within_eagers_own)
        lines.append(f"  the other {others} differ no more than eager does from itself from run to run")
    for d in r.differences[:8]:
        share = f" ({d.share:.1g} of its largest element)" if math.isfinite(d.share) else ""
        lines.append(f"  DIFFERS: {d.what}, by at most {d.largest:g}{share}")
    if len(r.differences) > 8:
        lines.append(f"  … and {len(r.differences) - 8} more of {r.compared}")
    if r.differences and r.inexact:
        lines.append(
            f"  (the plan runs what need not be eager's to the bit, as --exactness allowed: {', '.join(r.inexact)})"
        )
    if r.eager_differs_from_itself:
        places = len(r.eager_differs_from_itself)
        lines.append(
            f"  (eager differs from itself in {places} places from run to run, "
            "so both were compared with PyTorch's deterministic algorithms)"
        )
    for reason, count in r.eager_forwards.items():
        lines.append(f"  NOT PLANNED: {count} forwards ran as eager does: {reason}")
    return "\n".join(lines)
