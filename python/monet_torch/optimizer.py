"""Bytes that an optimizer keeps for a model's parameters from step to step.

Gradients have their parameter's type, and so have the states of torch.optim. Under autocast the parameters themselves
are the master weights; the casts of them are operators of the graph. Step counters lie on the CPU and are not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import Tensor


def _bytes(p: Tensor) -> int:
    return p.numel() * p.element_size()


def _adafactor(p: Tensor) -> int:
    """Of a matrix one factor per row and one per column, over the last two dimensions; of a vector all."""
    if p.dim() < 2:
        return _bytes(p)
    return _bytes(p) // max(1, p.shape[-1]) + _bytes(p) // max(1, p.shape[-2])


def _adam8bit(p: Tensor) -> int:
    """bitsandbytes: two bytes per element and two scales in fp32 per 256; below 4096 elements two numbers in fp32."""
    n = p.numel()
    return 8 * n if n < 4096 else 2 * n + 8 * -(-n // 256)


_STATES: dict[str, Callable[[Tensor], int]] = {
    "none": lambda p: 0,
    "sgd": lambda p: 0,
    "momentum": _bytes,
    "adam": lambda p: 2 * _bytes(p),
    "adamw": lambda p: 2 * _bytes(p),
    "adafactor": _adafactor,
    "adam8bit": _adam8bit,
}
OPTIMIZERS = tuple(_STATES)


def step_bytes(optimizer: str, parameters: Iterable[Tensor], foreach: bool) -> int:
    """The most bytes that a step takes besides parameters, gradients and states, when activations are gone.

    With `foreach`, PyTorch's default on CUDA, Adam makes the denominators of all parameters at once; else two tensors
    of a parameter while one of that before is still there. SGD adds weight decay, as is usual with it, to a copy of all
    gradients, or of one. Adafactor's default is a loop, with at most two. adam8bit writes in place.
    """
    sizes = [_bytes(p) for p in parameters]
    largest = max(sizes, default=0)
    if optimizer in ("adam", "adamw"):
        return sum(sizes) if foreach else max((2 * b + a for a, b in zip([0, *sizes], sizes, strict=False)), default=0)
    if optimizer in ("sgd", "momentum"):
        return sum(sizes) if foreach else largest
    return 2 * largest if optimizer == "adafactor" else 0


def state_bytes(optimizer: str, parameters: Iterable[Tensor]) -> int:
    """Bytes on the parameters' device. torch.optim's own optimizers without amsgrad; adam8bit is bitsandbytes'."""
    return sum(_STATES[optimizer](p) for p in parameters)
