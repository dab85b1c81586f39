"""Train within a memory budget: run a rematerialization plan inside an ordinary PyTorch training loop."""

from typing import TYPE_CHECKING, Any

from .errors import CaptureError, EnvironmentProblem, MonetError, PlanMismatch

if TYPE_CHECKING:
    from .planned import apply, explain_out_of_memory, remove, status

_WITH_TORCH = ("apply", "explain_out_of_memory", "remove", "status")
__all__ = [
    "CaptureError", "EnvironmentProblem", "MonetError", "PlanMismatch", "apply", "explain_out_of_memory", "remove",
    "status",
]  # fmt: skip
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`apply` and the like come with torch; where that is missing, the command line still has to say so."""
    if name not in _WITH_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import planned

    return getattr(planned, name)
