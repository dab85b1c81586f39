"""Errors that a person can act on: one sentence saying what is wrong, where, and what to do next."""

from __future__ import annotations


class MonetError(Exception):
    """A clear sentence for the person; `exit_code` is what the command line ends with."""

    exit_code = 2


class EnvironmentProblem(MonetError):
    """Something is missing or too old on this machine."""

    exit_code = 4


class CaptureError(MonetError):
    """The model's forward could not be captured as a graph.

    `module` is the path of the innermost module in which it failed; None where no module of the model is to blame, or
    none that would be better off untraced.
    """

    def __init__(self, message: str, module: str | None = None) -> None:
        super().__init__(message)
        self.module = module


class PlanMismatch(MonetError):
    """A plan was made for another model, or for another version of this one."""


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether this error, or one that it was raised from, says that memory ran out, on any device."""
    while error is not None:
        text = str(error)
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            return True
        if isinstance(error, RuntimeError) and ("can't allocate memory" in text or "out of memory" in text):
            return True
        error = error.__cause__ or error.__context__
    return False
