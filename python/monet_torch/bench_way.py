"""One way of saving memory beside eager PyTorch, both in this process and in turns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from . import planned
from ._private import set_activation_memory_budget
from .autocast import Autocast
from .errors import MonetError
from .measure import Measured, allocator_peak, interleaved, tracker_peak
from .target import Target
from .verify import StepRunner, compare

HALVINGS = 4  # of what is not known of torch.compile's memory budget: to a sixteenth


class _OffloadingRunner(StepRunner):
    """Everything saved for backward, the loss's too, waits in host memory."""

    def forward(self) -> tuple[Any, Tensor]:
        with torch.autograd.graph.save_on_cpu(pin_memory=self.device.type == "cuda"):
            return super().forward()


def blocks(model: nn.Module, name: str) -> list[nn.Module]:
    """The modules of the class that is called `name`. Raises MonetError where there are none."""
    found = [m for m in model.modules() if type(m).__name__ == name]
    if not found:
        known = sorted({type(m).__name__ for m in model.modules()})
        raise MonetError("M331", f"--block {name}: no module of the model is of that class; it has {', '.join(known)}")
    return found


def measured(
    load: Callable[[], Target], way: str, *, plan: str | None, block: str | None, at_most: int | None, gradients: str,
    autocast: Autocast, device: torch.device, pairs: int, warmup: int = 2,
) -> dict[str, Any]:  # fmt: skip
    """Peaks in bytes above what was there, seconds per step beside eager's, and how far the results are from eager's.

    `load` is called twice, for eager and for `way` ("eager", "plan" or one of bench.PEERS); both get the same weights
    and inputs. `gradients` are there before the step ("accumulate") or not ("fresh"). torch.compile gets the largest
    memory budget with which aot_eager's peak is `at_most` bytes: `memory_budget`, which is 0 where none is, and not
    `within`.
    Raises MonetError for a plan or a block that isn't the model's, and whatever `way` itself raises.
    """
    reference, target = load(), load()
    target.model.load_state_dict(reference.model.state_dict())
    target = replace(target, args=reference.args, kwargs=reference.kwargs, targets=reference.targets)
    eager = StepRunner(reference, gradients, autocast, device)
    runner = _OffloadingRunner if way == "save-on-cpu" else StepRunner
    step = runner(target, gradients, autocast, device)
    result: dict[str, Any] = {}
    if plan:
        step.run_by(plan)
    elif way == "checkpoint":
        for module in blocks(step.model, block or ""):
            module.forward = partial(checkpoint, module.forward, use_reentrant=False)
    elif way.startswith("compile-"):
        result["memory_budget"], result["within"] = _compile_within(step, way.removeprefix("compile-"), at_most or 0)

    expected, found = eager.results(1), step.results(1)
    result["gradients"] = _difference(found, expected, "gradient of ")
    result["buffers"] = _difference(found, expected, "buffer ")
    del expected, found

    step.timed()
    result["allocator"] = _in_brief(_peak(step))
    result["tracker"] = None
    if not way.startswith("compile-"):  # A dispatch mode makes torch.compile step aside: it would see eager.
        step.clear_gradients()
        result["tracker"] = _in_brief(tracker_peak(step))
    if plan:
        result["status"] = planned.status(step.model)

    timings = interleaved({"this": step.timed, "eager": eager.timed}, pairs=pairs, warmup=warmup, device=device)
    result["time"] = asdict(timings["this"])
    result["eager_time"] = asdict(timings["eager"])
    result["ratio"] = asdict(timings["this"].ratio_to(timings["eager"]))
    return result


def _peak(step: StepRunner) -> Measured:
    step.clear_gradients()
    return allocator_peak(step, step.device)


def _compile_within(step: StepRunner, backend: str, most: int) -> tuple[float, bool]:
    """Compile the model with the largest memory budget whose step peaks at `most` bytes, and say whether there is one.

    The budget is a share of what torch.compile would keep by itself: the more, the higher a step's peak. It is looked
    for by halving, each time compiled and measured, and by aot_eager, since Inductor takes minutes to compile for a
    CPU. It is 0 where nothing fits.
    """

    def compiled(budget: float, by: str) -> None:
        torch.compiler.reset()
        set_activation_memory_budget(budget)
        step.model.compile(backend=by)
        step.timed()

    def fits(budget: float) -> bool:
        compiled(budget, "aot_eager")
        return _peak(step).peak_bytes <= most

    found, within = 1.0, fits(1.0)
    if not within:
        found, within = 0.0, fits(0.0)
        for halving in range(1, HALVINGS + 1):
            higher = found + 0.5**halving
            if within and fits(higher):
                found = higher
    compiled(found, backend)
    return found, within


def _difference(ours: Mapping[str, Tensor], eager: Mapping[str, Tensor], kind: str) -> dict[str, Any]:
    """`equal` is to the bit; otherwise the norm of the difference over all tensors of a kind as a share of eager's.

    Tensor by tensor a share says little: many gradients and running means are zero but for rounding.
    """
    ours, eager = ({k: t for k, t in tensors.items() if k.startswith(kind)} for tensors in (ours, eager))
    names = [d.what for d in compare(dict(ours), dict(eager))]
    if not names:
        return {"equal": True, "share": 0.0, "where": None}
    share = float("inf")
    total = sum(t.double().square().sum().item() for t in eager.values())
    if total and eager.keys() >= set(names):  # else one has what the other hasn't, or in another shape
        squares = sum((ours[n].double() - eager[n].double()).square().sum().item() for n in names)
        share = (squares / total) ** 0.5
    return {"equal": False, "share": share, "where": names[0].removeprefix(kind)}


def _in_brief(measured: Measured) -> dict[str, int]:
    return {"peak": measured.peak_bytes, "end": measured.end_bytes}
