"""From what a person types, `FILE:MODEL` and `float32[8,3,224,224]`, to a model and its inputs."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import inspect
import json
import re
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from ._private import FakeTensorMode
from .capture import user_frame
from .entry import Entry, read_entry
from .errors import MonetError


@dataclass(frozen=True)
class Spec:
    """A tensor to make: integers are drawn from [0, below), floats from a normal distribution."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    below: int

    def make(self, generator: torch.Generator) -> Tensor:
        """Raises MonetError where PyTorch has no such tensor."""
        try:
            return self._make(generator)
        except (RuntimeError, TypeError, NotImplementedError) as error:
            dtype = str(self.dtype).removeprefix("torch.")
            raise MonetError(
                "M115", f"PyTorch can't make random {dtype}{list(self.shape)} ({_short(error)})"
            ) from error

    def _make(self, generator: torch.Generator) -> Tensor:
        if self.dtype.is_floating_point:
            return torch.randn(self.shape, generator=generator).to(self.dtype)
        if self.dtype is torch.bool:
            return torch.rand(self.shape, generator=generator) < 0.5
        return torch.randint(0, self.below, self.shape, generator=generator, dtype=self.dtype)


_SPEC = re.compile(
    r"(?:(?P<name>\w+(?:\.\w+)*)=)?(?P<dtype>\w+)\[(?P<shape>(?:\s*\d+\s*,)*\s*\d*\s*)\](?:<(?P<below>\d+))?"
)


def parse_spec(text: str) -> Spec:
    """Read `float32[8,3,224,224]`, `ids=int64[2,256]<50257`. Raises MonetError on anything else."""
    match = _SPEC.fullmatch(text.strip())
    dtype = getattr(torch, match["dtype"], None) if match else None
    if match is None or not isinstance(dtype, torch.dtype):
        raise MonetError(
            "M114",
            f"--input {text!r} is not understood; write dtype[sizes], as float32[8,3,224,224], "
            "int64[2,256]<50257 (integers below 50257) or name=float32[8,16] for an argument by its name",
        )
    shape = tuple(int(d) for d in match["shape"].replace(" ", "").split(",") if d)
    return Spec(match["name"] or "", dtype, shape, int(match["below"] or 2))


@dataclass(frozen=True)
class Target:
    model: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    targets: tuple[Any, ...]
    loss: Callable[..., Tensor] | None
    file: Path
    name: str
    source_hash: str


def load(
    target: str, inputs: list[str], targets: list[str], kwargs: str | None, loss: str | None, seed: int = 0,
    *, shapes_alone: bool = False,
) -> Target:  # fmt: skip
    """Build the model of `FILE:MODEL` and random inputs for it, the same for the same seed.

    MODEL is a class (called with `kwargs`), a function that returns a model, a model, or an entry function, which
    returns a model with its inputs and its loss. With `shapes_alone` all tensors are fake and take no memory, so that a
    model may be larger than this machine. Raises MonetError with the place in the user's file when something there
    fails, as building from shapes alone does where it looks at values.
    """
    path, separator, name = target.rpartition(":")
    if not separator or not name:
        raise MonetError("M101", f"{target!r} names no model; write FILE:MODEL, as train.py:ResNet")
    file = Path(path)
    if not file.is_file():
        raise MonetError("M102", f"{path}: no such file; check the path before the colon")
    specs = [parse_spec(s) for s in inputs]
    if targets and loss is None:
        raise MonetError(
            "M118", "--target is what a loss function takes beside the output; name that function with --loss"
        )
    loss_specs = [parse_spec(s) for s in targets]
    settings = _settings(kwargs)
    with FakeTensorMode() if shapes_alone else contextlib.nullcontext():
        module = _import(file)
        torch.manual_seed(seed)
        found = _build(module, file, name, settings)
        if isinstance(found, nn.Module):
            if not specs:
                raise MonetError(
                    "M113", f"what does {name} take? give {_needed(found)}, as --input 'float32[8,3,224,224]'"
                )
            generator = torch.Generator().manual_seed(seed)
            made = [(s.name, s.make(generator)) for s in specs]
            entry = Entry(
                model=found,
                args=tuple(t for n, t in made if not n),
                kwargs=_nested({n: t for n, t in made if n}),
                loss=None if loss is None else _loss(module, file, loss),
                targets=tuple(s.make(generator) for s in loss_specs),
            )
        elif specs or loss is not None:
            raise MonetError(
                "M112", f"{file}: {name} returns its inputs and its loss itself; leave out --input, --loss and --target"
            )
        else:
            entry = found
    return Target(
        model=entry.model.train(), args=entry.args, kwargs=entry.kwargs, targets=entry.targets, loss=entry.loss,
        file=file, name=name, source_hash=hashlib.sha256(file.read_bytes()).hexdigest(),
    )  # fmt: skip


def _nested(named: dict[str, Tensor]) -> dict[str, Any]:
    """`batch.ids` is the entry `ids` of the dict that the argument `batch` takes."""
    found: dict[str, Any] = {}
    for name, tensor in named.items():
        *path, last = name.split(".")
        place = found
        for part in path:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise MonetError("M116", f"--input {name}=…: {part} is a tensor already and can't be a dict too")
        place[last] = tensor
    return found


def _needed(model: nn.Module) -> str:
    """The arguments without which the forward can't be called, in words."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    try:
        parameters = inspect.signature(model.forward).parameters.values()
    except ValueError:  # TorchScript's forward has none
        return "its input"
    names = [p.name for p in parameters if p.default is p.empty and p.kind in kinds]
    if len(names) < 2:
        return f"its input {names[0]}" if names else "its input"
    return f"each of its inputs {', '.join(names[:-1])} and {names[-1]}"


def _settings(kwargs: str | None) -> dict[str, Any]:
    if not kwargs:
        return {}
    try:
        settings = json.loads(kwargs)
    except json.JSONDecodeError as error:
        raise MonetError("M117", f"--kwargs is not valid JSON ({error}); write it as '{{\"depth\": 4}}'") from error
    if not isinstance(settings, dict):
        raise MonetError("M117", "--kwargs must be a JSON object of constructor arguments, as '{\"depth\": 4}'")
    return settings


def _import(file: Path) -> ModuleType:
    folder = str(file.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    name = file.stem if file.stem.isidentifier() and file.stem not in sys.modules else f"monet_target_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file.resolve())
    if spec is None or spec.loader is None:
        raise MonetError("M103", f"{file}: not a Python file; name a .py file before the colon")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise MonetError("M104", f"{error.msg}; mend the file first", f"{error.filename}:{error.lineno}") from error
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise MonetError("M105", f"importing the file failed ({_short(error)})", _place(error, file)) from error
    return module


def _build(module: ModuleType, file: Path, name: str, settings: dict[str, Any]) -> nn.Module | Entry:
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
        if found is None:
            models = [
                k for k, x in vars(module).items()
                if isinstance(x, nn.Module) or (isinstance(x, type) and issubclass(x, nn.Module)
                                                and x.__module__ == module.__name__)
            ]  # fmt: skip
            known = f"it has {', '.join(models)}" if models else "it defines no nn.Module"
            raise MonetError(
                "M106",
                f"{file}: there is no {name!r} in it; {known}; a model that a function builds, as main() does, is "
                "named by an entry function: def monet_entry(): return model, inputs, loss_fn",
            )
    if isinstance(found, nn.Module):
        return found
    if not callable(found):
        raise MonetError(
            "M107", f"{file}: {name} is a {type(found).__name__}, not a model, a model class or a function"
        )
    try:
        inspect.signature(found).bind(**settings)
    except TypeError as error:
        raise MonetError(
            "M108",
            f"{file}: {name} can't be built this way ({error}); give its arguments, as --kwargs '{{\"width\": 64}}'",
        ) from error
    except ValueError:
        pass
    try:
        model = found(**settings)
    except Exception as error:
        raise MonetError("M109", f"building {name} failed ({_short(error)})", _place(error, file)) from error
    if isinstance(model, tuple):
        return read_entry(model, f"{file}: {name}")
    if not isinstance(model, nn.Module):
        raise MonetError(
            "M110", f"{file}: {name} returned a {type(model).__name__}, not an nn.Module or model, inputs, loss_fn"
        )
    return model


def _loss(module: ModuleType, file: Path, name: str) -> Callable[..., Tensor]:
    """What the file calls by this name, as `mean_loss` or `F.cross_entropy`; a class is built without arguments."""
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if isinstance(found, type):
        try:
            found = found()
        except Exception as error:
            raise MonetError(
                "M119", f"{file}: the loss {name} can't be built without arguments ({_short(error)})"
            ) from error
    if not callable(found):
        raise MonetError(
            "M120",
            f"{file}: the loss {name!r} is no function or class that the file knows; name one that it defines or "
            "imports, as my_loss, or F.cross_entropy after 'import torch.nn.functional as F'",
        )
    return found  # type: ignore[no-any-return]


def _place(error: BaseException, file: Path) -> str:
    where = user_frame(error)
    if where:
        return where
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else str(file)


def _short(error: BaseException) -> str:
    text = str(error).strip().split("\n")[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
