"""A linear layer whose shared weight gets a gradient that others can be summed into, and one by oneDNN.

Eager's gradient of the weight is a view (a transpose twice). Autograd sums two gradients of one parameter in place
only if the first is no view, so tied embeddings hold three of them at once; as the same memory without a base it is
two. The bits are the same: in place or not, the sum adds the same numbers.

In 32 bits eager's products on a CPU are MKL's, which on a processor that isn't Intel's takes twice as long as oneDNN.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .._private import HAS_PRODUCT_BY_ONEDNN, product_by_onednn
from ..captured import Captured, Operator, Value
from ..geometry import is_contiguous, is_dense
from . import Implementation, implementation, register
from .once import once


class _Own(torch.autograd.Function):
    """The identity; its gradient is the same memory, as a tensor that is nobody's view."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor) -> Tensor:
        return weight.view_as(weight)

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (grad,) = grads
        # By way of a storage object of Python's, the memory would have one owner more than autograd allows.
        return torch.empty(0, dtype=grad.dtype, device=grad.device).set_(grad)  # type: ignore[call-overload]


def _applies(captured: Captured, operator: Operator) -> bool:
    weight = operator.inputs[1]
    users = sum(o.inputs.count(weight) for o in captured.operators)
    value = captured.values[weight]
    return value.kind == "parameter" and value.requires_grad and users > 1


def _build(operator: Operator, in_place: bool) -> Any:
    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Any:
        return torch.nn.functional.linear(x, _Own.apply(weight), bias)  # type: ignore[no-untyped-call]

    return run


register("aten.linear.default", Implementation("own-gradient", "bitwise", _applies, _build))


class _ByOneDNN(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return product_by_onednn(x, weight, bias)

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        grad = grads[0] if is_dense(grads[0].shape, grads[0].stride()) else grads[0].contiguous()
        rows = grad.flatten(0, -2)
        return (
            product_by_onednn(grad, weight.t(), None) if of_x else None,
            product_by_onednn(rows.t(), x.flatten(0, -2).t(), None) if of_weight else None,
            rows.sum(0) if of_bias else None,
        )


def _on_cpu(x: Value, weight: Value, bias: Value | None = None) -> bool:
    every = [v for v in (x, weight, bias) if v is not None]
    return (
        HAS_PRODUCT_BY_ONEDNN and len(x.shape) > 1 and 0 not in (*x.shape, *weight.shape)
        and all(v.device.type == "cpu" and v.dtype is torch.float32 and is_contiguous(v.shape, v.stride) for v in every)
    )  # fmt: skip


@implementation(  # Inductor takes this for its own operator, with a weight that doesn't change
    "aten.linear.default", name="onednn", exactness="same-kernel", applies=_on_cpu, own_output=True, compiles=False
)
def _linear_by_onednn(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Any:
    return _ByOneDNN.apply(x, weight, bias)  # type: ignore[no-untyped-call]
