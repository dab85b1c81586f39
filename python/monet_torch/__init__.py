"""Train within a memory budget: run a rematerialization plan inside an ordinary PyTorch training loop."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import CaptureError, EnvironmentProblem, MonetError, PlanMismatch

if TYPE_CHECKING:
    from .operators import implementation
    from .planned import apply, explain_out_of_memory, remove, status

_WITH_TORCH = {
    "apply": "planned", "explain_out_of_memory": "planned", "implementation": "operators", "remove": "planned",
    "status": "planned",
}  # fmt: skip
__all__ = [
    "CaptureError", "EnvironmentProblem", "MonetError", "PlanMismatch", "apply", "explain_out_of_memory",
    "implementation", "remove", "status",
]  # fmt: skip
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`apply` and the like come with torch; where that is missing, the command line still has to say so."""
    if name not in _WITH_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_WITH_TORCH[name]}", __name__), name)
