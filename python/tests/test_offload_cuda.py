"""Offload on a real card: the same bits, less memory, copies beside the step. Skipped without one.

python -m pytest python/tests/test_offload_cuda.py
"""

from __future__ import annotations

import pytest
import torch
from models import plan_for
from test_offload import nothing_lent
from torch import Tensor, nn

import monet_torch
from monet_torch import links
from monet_torch.capture import capture
from monet_torch.captured import Captured
from monet_torch.measure import allocator_peak

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: nothing is copied beside a step")
DEVICE = torch.device("cuda")


def tower() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    layers = [m for _ in range(12) for m in (nn.Linear(2048, 2048), nn.Tanh())]
    return nn.Sequential(*layers).to(DEVICE), torch.randn(8192, 2048, device=DEVICE)


def away(captured: Captured, ahead: int) -> dict[str, object]:
    """Everything kept and away after its last use in forward; it is sent for so many operators before it is needed."""
    plan = plan_for(captured, "keep")
    n = len(captured.operators)
    for row in plan["retain"]:
        v = row.get("value")
        if v is not None:
            last = max(
                o.id for o in captured.operators if v in {captured.values[u].storage for u in o.inputs + o.outputs}
            )
            row["offload"] = [min(n - 1, last + ahead), max(n, 2 * n - 1 - last - ahead)]
    return plan


@pytest.mark.parametrize("ahead", [0, 2, 6])
def test_gradients_are_the_same_bits_and_the_peak_is_lower(ahead: int) -> None:
    model, x = tower()
    model(x).sum().backward()
    expected = [p.grad.clone() for p in model.parameters() if p.grad is not None]

    def once() -> None:
        model.zero_grad(set_to_none=False)
        model(x).sum().backward()

    eager = allocator_peak(once, DEVICE).peak_bytes
    monet_torch.apply(model, away(capture(model, (x,)), ahead))
    for _ in range(5):  # buffers are used again while copies of the step before may still run
        once()
        for p, g in zip(model.parameters(), expected, strict=True):
            assert p.grad is not None
            assert torch.equal(p.grad, g)
    planned = allocator_peak(once, DEVICE).peak_bytes
    assert nothing_lent(model)
    assert eager - planned >= 4 * x.nbytes


def test_a_backward_that_stops_leaves_no_copy_behind() -> None:
    model, x = tower()
    monet_torch.apply(model, away(capture(model, (x,)), 2))

    class Stop(Exception):
        pass

    def stop(_: Tensor) -> None:
        raise Stop

    for layer in (22, 12, 4):
        handle = model.get_parameter(f"{layer}.weight").register_hook(stop)
        loss = model(x).sum()
        with pytest.raises(Stop):
            loss.backward()
        handle.remove()
        del loss
        assert nothing_lent(model)
    model.zero_grad()
    model(x).sum().backward()
    got = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    monet_torch.remove(model)
    model.zero_grad()
    model(x).sum().backward()
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), got, strict=True) if p.grad is not None)


def test_links_are_those_of_a_bus() -> None:
    transfer = links.measure(DEVICE)
    assert transfer["overlaps"]
    for way in ("to_host", "from_host"):
        assert 1e9 < transfer[way]["bytes_per_second"] < 1e12
        assert transfer[way]["latency"] < 1e6
