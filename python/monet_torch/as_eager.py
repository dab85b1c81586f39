"""Code that asks whether it is being compiled or exported is told no while it is traced: eager tells it no, too.

Else a model takes other branches in the trace than in training (transformers builds attention masks, and repeats keys,
for an export alone), and its plan is one of another model. Where the eager branch looks at values, it can't be traced;
the function that asked is then told yes, as whoever wrote it meant it for that.
"""

from __future__ import annotations

from collections.abc import Callable
from types import CodeType, FrameType, TracebackType
from typing import TypeVar

from ._private import asked_whether_traced
from .flatten import is_users

Place = tuple[CodeType, int]  # a line of a function
Result = TypeVar("Result")
_HELPERS = 4  # calls between a function that wants to know and the question (transformers has two)


def trace_as_eager(trace: Callable[[], Result], runs_as_eager: Callable[[], bool] = lambda: False) -> Result:
    """Run `trace`, again where a function has to be told that it is traced. Raises what `trace` raises at last.

    Whatever runs while `runs_as_eager()` is not traced, whoever else is told so.
    """
    told: set[Place] = set()
    while True:
        asked: list[Place] = []

        def answer(frame: FrameType | None, asked: list[Place] = asked) -> bool | None:
            """None: PyTorch itself asks."""
            if frame is None or not is_users(frame.f_code.co_filename):
                return None
            if runs_as_eager():
                return False
            around = _around(frame)
            asked += around
            return any(place in told for place in around)

        try:
            with asked_whether_traced(answer):
                return trace()
        except Exception as error:
            reason = _last_question(asked, told, error.__traceback__)
            if reason is None:
                raise
            told.add(reason)


def _around(frame: FrameType) -> list[Place]:
    """The innermost last."""
    found: list[Place] = []
    at: FrameType | None = frame
    while at is not None and len(found) < _HELPERS and is_users(at.f_code.co_filename):
        found.append((at.f_code, at.f_lineno))
        at = at.f_back
    return found[::-1]


def _last_question(asked: list[Place], told: set[Place], traceback: TracebackType | None) -> Place | None:
    """Where the innermost function that asked, of those that the error came through, asked last and was told no."""
    passed: list[CodeType] = []
    while traceback is not None:
        passed.append(traceback.tb_frame.f_code)
        traceback = traceback.tb_next
    untold = [place for place in reversed(asked) if place not in told]
    return next((place for code in reversed(passed) for place in untold if place[0] is code), None)
