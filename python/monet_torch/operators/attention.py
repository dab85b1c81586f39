"""Attention by another backend than the one that PyTorch picks by itself.

On the CPU that is the composite form (`math`) for the fused one (`flash`), in 16 bits: it keeps the probabilities, in
32 bits, but where the processor has no matrix instructions for such numbers the fused backward takes several times as
long. (Twelve heads of 64 over [8, 128] in bfloat16 on one core: 14 + 207 ms fused, 17 + 19 ms composite. In 32 bits
the fused form was never the slower one, and no other is offered.) On CUDA it is each of the four, wherever PyTorch
says at run time that the backend takes these tensors, and eager's own choice elsewhere; no card was at hand for it.

Approximate: the same sums in other orders, of probabilities that are rounded elsewhere. Each backend draws its own
random numbers, so attention with dropout keeps to eager's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.backends import cuda
from torch.nn.attention import SDPBackend, sdpa_kernel

from .._private import ATTENTION_FUSES_FEWER_KEYS, pytree
from ..captured import Captured, Operator, Ref, Value
from . import Implementation, register
from .once import once

_ATTENTION = torch.ops.aten.scaled_dot_product_attention.default
_BACKENDS: dict[str, tuple[Any, Callable[[Any], bool] | None]] = {
    "math": (SDPBackend.MATH, None),
    "flash": (SDPBackend.FLASH_ATTENTION, cuda.can_use_flash_attention),
    "efficient": (SDPBackend.EFFICIENT_ATTENTION, cuda.can_use_efficient_attention),
    "cudnn": (SDPBackend.CUDNN_ATTENTION, cuda.can_use_cudnn_attention),
}  # each with who says whether it can serve; the composite form always can


class _GradientByRows(torch.autograd.Function):
    """The identity on (batch, heads, rows, size); its gradient lies in memory as (batch, rows, heads, size).

    So do those of the fused backends, on which what comes before was measured.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return grads[0].transpose(1, 2).contiguous().transpose(1, 2)


def _like(shape: tuple[int, ...], stride: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of a new tensor that lies in memory as one of that geometry does, without its gaps."""
    return tuple(torch.empty_like(torch.empty_strided(shape, stride, device="meta")).stride())


def _serves(
    name: str, result: Value, query: Value, key: Value, value: Value, mask: Value | None = None, dropout: float = 0.0,
    *_: Any, **__: Any,
) -> bool:  # fmt: skip
    half, on_cuda = query.dtype in (torch.float16, torch.bfloat16), query.device.type == "cuda"
    if len(query.shape) != 4 or query.storage_bytes == 0 or dropout or (mask is not None and mask.requires_grad):
        return False
    if name == "math":  # probabilities of more than 8 times the query (in 16 bits: 16 times) only cost memory
        other = on_cuda or (half and (ATTENTION_FUSES_FEWER_KEYS or key.shape[1] == query.shape[1]))  # than eager's own
        served = other and key.shape[2] <= 8 * query.shape[3]
    else:
        served = on_cuda and (half or name == "efficient")
    return served and result.shape == query.shape and result.stride == _like(query.shape, query.stride)


def _applies(name: str) -> Callable[[Captured, Operator], bool]:
    def applies(captured: Captured, operator: Operator) -> bool:
        args, kwargs = pytree.tree_map_only(Ref, lambda r: captured.values[r.id], (operator.args, operator.kwargs))
        return _serves(name, captured.values[operator.outputs[0]], *args, **kwargs)

    return applies


def _build(name: str) -> Callable[[Operator, bool], Any]:
    backend, serves = _BACKENDS[name]

    def attend(
        query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, dropout: float = 0.0,
        causal: bool = False, *, scale: float | None = None, enable_gqa: bool = False,
    ) -> Tensor:  # fmt: skip
        # A smaller batch or a shorter sequence may be nothing for this backend.
        y: Tensor
        if serves is not None and not serves(cuda.SDPAParams(query, key, value, mask, dropout, causal, enable_gqa)):
            y = _ATTENTION(query, key, value, mask, dropout, causal, scale=scale, enable_gqa=enable_gqa)
            return y
        leaves: list[Tensor] = [_GradientByRows.apply(t) for t in (query, key, value)]  # type: ignore[no-untyped-call]
        with sdpa_kernel(backend):
            y = _ATTENTION(*leaves, mask, dropout, causal, scale=scale, enable_gqa=enable_gqa)
        wanted = torch.empty_like(query)
        return y if y.stride() == wanted.stride() else wanted.copy_(y)

    return lambda operator, in_place: attend


for _name in _BACKENDS:
    register(str(_ATTENTION), Implementation(_name, "approximate", _applies(_name), _build(_name), own_output=True))
