"""Errors that a person can act on: one sentence saying what is wrong, where, and what to do next."""

from __future__ import annotations

from typing import Any


class MonetError(Exception):
    """A clear sentence for the person, and the `code` by which docs/errors.md says its cause and its remedy.

    `at` is where the mistake is in a file of theirs, as `net.py:12`, or empty. `exit_code` is what the command line
    ends with.
    """

    exit_code = 2

    def __init__(self, code: str, sentence: str, at: str = "") -> None:
        super().__init__(code, sentence, at)
        self.code, self.sentence, self.at = code, sentence, at

    @property
    def message(self) -> str:
        """The sentence with its place."""
        return f"{self.at}: {self.sentence}" if self.at else self.sentence

    def __str__(self) -> str:
        return f"{self.message} [{self.code}]"

    def to_json(self) -> dict[str, Any]:
        """For a program that reads it."""
        file, _, line = self.at.rpartition(":")
        return {"code": self.code, "message": self.message, **({"file": file, "line": int(line)} if file else {})}


class EnvironmentProblem(MonetError):
    """Something is missing or too old on this machine."""

    exit_code = 4


class CaptureError(MonetError):
    """The model's forward could not be captured as a graph.

    `module` is the path of the innermost module in which it failed; None where no module of the model is to blame, or
    none that would be better off untraced.
    """

    def __init__(self, code: str, sentence: str, at: str = "", module: str | None = None) -> None:
        super().__init__(code, sentence, at)
        self.module = module


class PlanMismatch(MonetError):
    """A plan was made for another model, or for another version of this one."""


class BackwardRefused(MonetError, RuntimeError):
    """A backward asks for what its plan can't give; a RuntimeError, as whatever else PyTorch's backward raises."""


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
