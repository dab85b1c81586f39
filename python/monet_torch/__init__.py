"""Train within a memory budget: run a rematerialization plan inside an ordinary PyTorch training loop."""

from .errors import CaptureError, EnvironmentProblem, MonetError, PlanMismatch
from .planned import apply, remove, status

__all__ = ["CaptureError", "EnvironmentProblem", "MonetError", "PlanMismatch", "apply", "remove", "status"]
__version__ = "0.1.0"
