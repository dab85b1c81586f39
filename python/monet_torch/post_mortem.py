"""What to say when memory runs out under a plan all the same."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from .errors import is_out_of_memory
from .plan import Plan
from .units import human

if TYPE_CHECKING:
    from .runtime import Program

PLACES = "_monet_places"
"""The name by which the straight-line code of a forward has its `Places` among its globals."""
_MOST = 5  # tensors that are named


@dataclass
class Places:
    """Which operator of a program each line of its forward's code runs.

    The code is the program's, which is to go with its last user, and not when Python looks for cycles.
    """

    program: weakref.ref[Program]
    lines: dict[int, int] = field(default_factory=dict)


def _where(error: BaseException) -> tuple[Program, int] | None:
    """The program whose forward an error came through, and the clock of the operator that raised it."""
    trace = error.__traceback__
    while trace is not None:
        places = trace.tb_frame.f_globals.get(PLACES)
        if isinstance(places, Places) and trace.tb_lineno in places.lines:
            program = places.program()
            return None if program is None else (program, places.lines[trace.tb_lineno])
        trace = trace.tb_next
    return None


def _live(program: Program, clock: int) -> str:
    """What was live then, the largest first, by what made it."""
    operators, values = program.captured.operators, program.captured.values
    backward = clock >= len(operators)
    now = operators[program.clock - clock if backward else clock]

    def named(operator: int) -> str:
        o = operators[operator]
        return f"{o.name} of {o.module or 'the model'}{f' ({o.source})' if o.source else ''}"

    live = program.live_at(clock)
    most = sorted(live, key=lambda v: (-live[v], v))[:_MOST]
    said = f"It was in the {'backward' if backward else 'forward'} of {named(now.id)}"
    if not live:
        return f"{said}, where the plan keeps no activation."
    largest = "; ".join(f"{human(live[v])} from {named(values[v].producer or 0)}" for v in most)
    which = "" if len(live) <= _MOST else f", the largest {_MOST} of {len(live)}"
    return f"{said}, where the plan holds {human(sum(live.values()))} of activations{which}: {largest}."


def peak_so_far(device: torch.device) -> int | None:
    """The most bytes of tensors on the device at once, since the process began or since they were last reset.

    None on the CPU, where PyTorch doesn't count them.
    """
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def explain(
    plan: Plan, device: torch.device, eager: Mapping[str, int], larger: int, at: tuple[Program, int] | None = None
) -> str:
    """What the plan promised, what was live, what is known of the run, and what to try next.

    `eager`: forwards without the plan, by reason; `larger`: how many by the plan were larger than the planned one;
    `at`: in which program it was, and at which clock of it.
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
    if at is not None:
        said.append(_live(*at))
    if larger:
        said.append(f"{larger} forwards were larger than the one that the plan was made for.")
    said += [f"{count} forwards ran without it: {reason}." for reason, count in eager.items()]
    if predicted is not None:
        budget = min(0.9 * predicted, predicted**2 / max(peak or 0, 1))  # as much less as was too much
        said.append(f"Next, try `monet plan GRAPH --budget {human(budget).replace(' ', '')}`, and smaller from there.")
    return " ".join(said)


def note(
    error: BaseException, plan: Plan, device: torch.device, eager: Mapping[str, int], larger: int,
    at: tuple[Program, int] | None = None,
) -> None:  # fmt: skip
    """Let an error that says that memory ran out say the rest too (from Python 3.11 on).

    Where it was in a forward is read from the error itself.
    """
    if is_out_of_memory(error) and hasattr(error, "add_note"):
        error.add_note(explain(plan, device, eager, larger, at or _where(error)))
