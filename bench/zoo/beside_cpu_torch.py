"""Lets torchvision be imported beside a torch without CUDA.

The torchvision of PyPI is built for CUDA. Beside a CPU torch its operators don't load, and its import then stops at
those that it describes itself. Declared here they have no kernel: a model that would run one still fails.
"""

from __future__ import annotations

import contextlib
import sys

import torch

_declared: list[torch.library.Library] = []  # an operator goes with its library

with contextlib.suppress(ImportError):
    try:
        import torchvision
    except RuntimeError:
        for name in [n for n in sys.modules if n.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _declared.append(library)
        import torchvision  # noqa: F401
