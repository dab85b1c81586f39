import gc
import os
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.append(str(Path(__file__).parents[2] / "bench" / "zoo"))
torch.set_num_threads(1)
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read once, when Triton is imported


@pytest.fixture
def cells(monkeypatch: pytest.MonkeyPatch) -> Iterator["weakref.WeakSet[Any]"]:
    """Every cell (held tensor) that is alive, without help from the cycle collector."""
    from monet_torch import frame

    alive: weakref.WeakSet[Any] = weakref.WeakSet()

    class Watched(frame.Cell):
        __slots__ = ()

        def __init__(self, tensor: Tensor, remade: bool) -> None:
            super().__init__(tensor, remade)
            alive.add(self)

    monkeypatch.setattr(frame, "Cell", Watched)
    gc.disable()
    yield alive
    gc.enable()
