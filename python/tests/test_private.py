"""What PyTorch doesn't promise is used in one file, so that a new release is one file's work."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import monet_torch

PACKAGE = Path(monet_torch.__file__).parent


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def elsewhere(name: str) -> bool:
    """Not from Python's own library, which is no part of this."""
    return name.partition(".")[0] not in sys.stdlib_module_names


def own_names(trees: list[ast.Module]) -> set[str]:
    """Private names that the package defines: functions, classes, variables, attributes and slots."""
    names: set[str] = set()
    for node in (n for tree in trees for n in ast.walk(tree)):
        match node:
            case ast.FunctionDef() | ast.ClassDef():
                names.add(node.name)
            case ast.Name(ctx=ast.Store()):
                names.add(node.id)
            case ast.Attribute(ctx=ast.Store(), value=ast.Name(id="self" | "cls")):
                names.add(node.attr)
            case ast.Assign(targets=[ast.Name(id="__slots__")], value=ast.Tuple(elts=slots)):
                names.update(s.value for s in slots if isinstance(s, ast.Constant))
    return {n for n in names if private(n)}


def uses_of_private(tree: ast.Module, own: set[str]) -> Iterator[str]:
    """What a module takes from elsewhere by a name that begins with `_`; an ATen operator's name may."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (n.name for n in names if elsewhere(n.name) and any(map(private, n.name.split("."))))
            case ast.ImportFrom(level=0, module=str(module), names=names) if elsewhere(module):
                yield from (
                    f"{module}.{n.name}" for n in names if any(map(private, [*module.split("."), n.name]))
                )  # fmt: skip
            case (
                ast.Attribute(attr=name, value=of)
                | ast.Call(
                    func=ast.Name(id="getattr" | "setattr" | "hasattr"), args=[of, ast.Constant(value=str(name)), *_]
                )
            ) if private(name) and name not in own:
                text = ast.unparse(of)
                if elsewhere(text) and not text.endswith("aten"):
                    yield f"{text}.{name}"


def trees() -> dict[str, ast.Module]:
    files = sorted(PACKAGE.rglob("*.py"))
    return {str(f.relative_to(PACKAGE)): ast.parse(f.read_text()) for f in files if f.name != "_private.py"}


def test_private_parts_of_pytorch_are_used_in_one_file_alone() -> None:
    own = own_names(list(trees().values()))
    found = [f"{file}: {use}" for file, tree in trees().items() for use in uses_of_private(tree, own)]
    assert found == []


@pytest.mark.parametrize(
    ("line", "use"),
    [
        ("import torch._dynamo", "torch._dynamo"),
        ("from torch._C import x", "torch._C.x"),
        ("from torch.nn.modules.utils import _pair", "torch.nn.modules.utils._pair"),
        ("t.untyped_storage()._cdata", "t.untyped_storage()._cdata"),
        ("torch._C._is_tracing()", "torch._C._is_tracing"),
        ("getattr(t, '_base', None)", "t._base"),
    ],
)
def test_each_way_to_reach_a_private_part_is_seen(line: str, use: str) -> None:
    assert use in set(uses_of_private(ast.parse(line), set()))
