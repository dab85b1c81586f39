"""Which modules have to be opaque blocks, so that the rest of a model can be captured."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ._private import pytree
from .autocast import Autocast
from .errors import CaptureError
from .opaque import is_inside, rehearse
from .parts import general, record
from .target import Target

_MOST_TRIES = 60  # captures, of some tenths of a second each
_MOST_KEPT = 0.9  # of what training keeps; a plan that can't touch more than the rest is not worth much

Capture = Callable[[Sequence[str]], object]


def cover(
    made: Target, capture: Capture, failed: CaptureError, device: torch.device, autocast: Autocast
) -> dict[str, str]:
    """The smallest modules at which a capture fails, each with the reason, by path: with them opaque it succeeds.

    `capture` takes such paths; `failed` is what it raised without any. Modules of one class at places that differ by
    numbers alone (`layers.0.mlp`, `layers.1.mlp`) are taken together. Raises `failed` where the model would have to be
    opaque as a whole, or nearly.
    """
    modules = {path: module for path, module in made.model.named_modules() if path}
    reasons: dict[str, str] = {}
    error: CaptureError | None = failed
    for _ in range(_MOST_TRIES):
        if error is None:
            break
        path = error.module
        while path and is_inside(path, list(reasons)):  # it is opaque, and what it gives is no graph's to have
            path = path.rpartition(".")[0]
        if not path or path not in modules:
            raise failed
        within = [reason for known, reason in reasons.items() if is_inside(known, [path])]
        for alike, module in modules.items():
            if general(alike) == general(path) and type(module) is type(modules[path]):
                reasons[alike] = within[0] if within else error.message.partition("; ")[0]  # what to do is behind
        reasons = {p: r for p, r in reasons.items() if not is_inside(p, [q for q in reasons if q != p])}
        try:
            capture(sorted(reasons))
            error = _varies(made, sorted(reasons), device, autocast)
        except CaptureError as again:
            error = again
    total, calls = record(made, device, autocast, list(reasons))
    if error is not None or sum(call.kept for call in calls.values()) > _MOST_KEPT * total:
        raise failed
    return {path: reasons[path] for path in sorted(calls)}


def _varies(made: Target, opaque: Sequence[str], device: torch.device, autocast: Autocast) -> CaptureError | None:
    """Whether a block returns other shapes for inputs of other values: those here turned round, numbers negated."""
    args, kwargs = pytree.tree_map_only(Tensor, lambda t: t.to(device), (made.args, made.kwargs))
    others = pytree.tree_map_only(
        Tensor, lambda t: (-t if t.is_floating_point() else t).flip(-1) if t.dim() else t, (args, kwargs)
    )
    seen = rehearse(made.model, opaque, lambda: made.model(*args, **kwargs), autocast)
    try:
        again = rehearse(made.model, opaque, lambda: made.model(*others[0], **others[1]), autocast)
    except Exception:  # not every model takes these, and this is no more than a look ahead
        return None
    for path, calls in seen.calls.items():
        for a, b in zip(calls, again.calls[path], strict=False):
            if [str(x) for x in a.outputs] != [str(x) for x in b.outputs]:
                return CaptureError("M202", f"what {path} returns depends on values", module=path)
    return None
