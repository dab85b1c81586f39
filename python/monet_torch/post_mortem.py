"""What to say when memory runs out under a plan all the same."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from .errors import is_out_of_memory
from .plan import Plan
from .units import human


def peak_so_far(device: torch.device) -> int | None:
    """The most bytes of tensors on the device at once, since the process began or since they were last reset.

    None on the CPU, where PyTorch doesn't count them.
    """
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def explain(plan: Plan, device: torch.device, eager: Mapping[str, int], larger: int) -> str:
    """What the plan promised, what is known of the run, and what to try next.

    `eager`: forwards without the plan, by reason; `larger`: how many by the plan were larger than the planned one.
    """
    peak, predicted = peak_so_far(device), plan.predicted.get("peak")
    said = ["MONeT: memory ran out in a model that runs by a plan."]
    if predicted is not None:
        said.append(
            f"The plan predicts a peak of {human(predicted)} for a step with the inputs that it was made for; larger "
            "ones take more, and so does what else is on the device."
        )
    if peak is not None:
        now = human(torch.cuda.memory_allocated(device))
        said.append(f"On {device}, tensors took {human(peak)} at most, and {now} when this was written.")
    if larger:
        said.append(f"{larger} forwards were larger than the one that the plan was made for.")
    said += [f"{count} forwards ran without it: {reason}." for reason, count in eager.items()]
    if predicted is not None:
        budget = min(0.9 * predicted, predicted**2 / max(peak or 0, 1))  # as much less as was too much
        said.append(f"Next, try `monet plan GRAPH --budget {human(budget).replace(' ', '')}`, and smaller from there.")
    return " ".join(said)


def note(error: BaseException, plan: Plan, device: torch.device, eager: Mapping[str, int], larger: int) -> None:
    """Let an error that says that memory ran out say the rest too (from Python 3.11 on)."""
    if is_out_of_memory(error) and hasattr(error, "add_note"):
        error.add_note(explain(plan, device, eager, larger))
