"""One way of running one model, in a process of its own: `worker.py CASE WAY OUT [options]`.

Writes to OUT, as JSON, its peaks, its step time in turns with eager PyTorch, and how its gradients and
buffers differ from eager's.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cases import CASES, Case
from monet_torch.measure import Measured, allocator_peak, interleaved, tracker_peak
from monet_torch.profile import keep_freed_memory

Run = Callable[..., Tensor]


def as_eager(model: nn.Module, case: Case, block: type[nn.Module]) -> Run:
    return model


def as_checkpointed(model: nn.Module, case: Case, block: type[nn.Module]) -> Run:
    for module in model.modules():
        if isinstance(module, block):
            module.forward = partial(checkpoint, module.forward, use_reentrant=False)
    return model


def as_compiled(budget: float, backend: str) -> Callable[[nn.Module, Case, type[nn.Module]], Run]:
    def way(model: nn.Module, case: Case, block: type[nn.Module]) -> Run:
        import torch._functorch.config

        torch._functorch.config.activation_memory_budget = budget
        compiled: Run = torch.compile(model, backend=backend)
        return compiled

    return way


def as_planned(plan: str) -> Callable[[nn.Module, Case, type[nn.Module]], Run]:
    def way(model: nn.Module, case: Case, block: type[nn.Module]) -> Run:
        import monet_torch

        monet_torch.apply(model, plan)
        return model

    return way


def stepper(model: nn.Module, run: Run, inputs: list[Tensor]) -> tuple[Callable[[], None], Callable[[], None]]:
    """The step, and what makes gradients zero and present before it, as `monet profile` assumes by default."""

    def clear() -> None:
        model.zero_grad(set_to_none=False)
        for parameter in model.parameters():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)

    def step() -> None:
        output = run(*inputs)  # held until the step ends, as a training loop does
        loss = output.sum() if output.dim() else output
        loss.backward()  # type: ignore[no-untyped-call]

    return step, clear


def difference(ours: Mapping[str, Tensor], eager: Mapping[str, Tensor]) -> dict[str, Any]:
    """`equal` is to the bit; otherwise the norm of the difference over all tensors as a share of eager's.

    Tensor by tensor a share says little: many gradients and running means are zero but for rounding.
    """
    squares = worst = 0.0
    where = None
    for name, expected in eager.items():
        if torch.equal(ours[name], expected):
            continue
        square = (ours[name].double() - expected.double()).square().sum().item()
        squares += square
        if where is None or not square <= worst:
            worst, where = square, name
    total = sum(expected.double().square().sum().item() for expected in eager.values())
    share = (squares / total) ** 0.5 if where else 0.0
    return {"equal": where is None, "share": share, "where": where}


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def buffers(model: nn.Module) -> dict[str, Tensor]:
    return {name: b for name, b in model.named_buffers()}


def in_brief(measured: Measured) -> dict[str, int]:
    return {"peak": measured.peak_bytes, "end": measured.end_bytes}


def as_offloaded(model: nn.Module, case: Case, block: type[nn.Module]) -> Run:
    def run(*inputs: Tensor) -> Tensor:
        with torch.autograd.graph.save_on_cpu(pin_memory=inputs[0].is_cuda):
            output: Tensor = model(*inputs)
        return output

    return run


def measure(
    case: Case, way: str, plan: str | None, pairs: int, warmup: int, threads: int, device: torch.device
) -> dict[str, Any]:
    torch.set_num_threads(threads)
    keep_freed_memory()
    ways: dict[str, Callable[[nn.Module, Case, type[nn.Module]], Run]] = {
        "eager": as_eager,
        "checkpoint": as_checkpointed,
        "save-on-cpu": as_offloaded,
        "compile-inductor": as_compiled(0.5, "inductor"),
        "compile-aot_eager": as_compiled(0.5, "aot_eager"),
    }
    change = as_planned(plan) if plan else ways[way]
    inputs = [x.to(device) for x in case.make_inputs()]
    eager_model, _ = case.build()
    model, block = case.build()
    eager_model, model = eager_model.to(device), model.to(device)
    run = change(model, case, block)
    eager_step, eager_clear = stepper(eager_model, eager_model, inputs)
    step, clear = stepper(model, run, inputs)

    for one_step, one_clear in ((eager_step, eager_clear), (step, clear)):
        one_clear()
        torch.manual_seed(2)
        one_step()
    result: dict[str, Any] = {
        "gradients": difference(gradients(model), gradients(eager_model)),
        "buffers": difference(buffers(model), buffers(eager_model)),
    }

    step()
    clear()
    result["allocator"] = in_brief(allocator_peak(step, device))
    if way.startswith("compile"):
        result["tracker"] = None  # A dispatch mode makes torch.compile step aside: it would see eager.
    else:
        clear()
        result["tracker"] = in_brief(tracker_peak(step))

    if plan:
        import monet_torch

        result["status"] = monet_torch.status(model)
    clear()
    timings = interleaved({"this": step, "eager": eager_step}, pairs=pairs, warmup=warmup, device=device)
    this, eager = timings["this"], timings["eager"]
    result["time"] = asdict(this)
    result["eager_time"] = asdict(eager)
    result["ratio"] = asdict(this.ratio_to(eager))
    return result


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("case")
    parser.add_argument("way")
    parser.add_argument("out")
    parser.add_argument("--plan")
    parser.add_argument("--sizes")
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", module="torch")
    case = CASES[options.case]
    if options.sizes:
        case = case.with_sizes(options.sizes)
    device = torch.device(options.device)
    result = measure(case, options.way, options.plan, options.pairs, options.warmup, options.threads, device)
    Path(options.out).write_text(json.dumps(result))


if __name__ == "__main__":
    main()
