"""The generators that Python code draws random numbers from, besides those of PyTorch: Python's own and NumPy's.

No operator draws from them, so every planned forward would go on with what was drawn while it was traced.
"""

from __future__ import annotations

import contextlib
import copy
import pickle
import random
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from torch import nn


def state() -> tuple[Any, ...]:
    """Something that another draw makes unequal."""
    numpy = sys.modules.get("numpy")
    return (random.getstate(), None if numpy is None else _numpys(numpy.random))


def state_of(generator: Any) -> Any:
    """The same of one that a model has for itself; None of what is no generator of these."""
    if isinstance(generator, random.Random):
        return generator.getstate()
    if type(generator).__module__.startswith("numpy.random"):
        if hasattr(generator, "bit_generator"):
            return pickle.dumps(generator.bit_generator.state)
        if hasattr(generator, "get_state"):
            return _numpys(generator)
    return None


def _numpys(generator: Any) -> bytes:
    """In a form that any bit generator has (`set_bit_generator`), and not printed, which takes milliseconds a step."""
    return pickle.dumps(generator.get_state(legacy=False))


@contextlib.contextmanager
def as_they_were(modules: Iterable[nn.Module] = ()) -> Iterator[None]:
    """What is drawn meanwhile is drawn again afterwards, also from generators that are attributes of `modules`."""
    python, numpy = random.getstate(), sys.modules.get("numpy")
    others = numpy.random.get_state(legacy=False) if numpy is not None else None
    own = [(x, copy.deepcopy(x)) for m in modules for x in vars(m).values() if state_of(x) is not None]
    try:
        yield
    finally:
        random.setstate(python)
        if numpy is not None:
            numpy.random.set_state(others)
        for x, before in own:
            if isinstance(x, random.Random):
                x.setstate(before.getstate())
            elif hasattr(x, "bit_generator"):
                x.bit_generator.state = before.bit_generator.state
            else:
                x.set_state(before.get_state(legacy=False))
