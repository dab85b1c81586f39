"""What a person types, right and wrong: a wrong input is one sentence, an exit code, and nothing left behind."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from monet_torch import __main__ as command_line
from monet_torch.errors import MonetError
from monet_torch.target import load, parse_spec

PACKAGE = Path(__file__).parents[1]
MODEL = """\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.fc = nn.Linear(width, 3)

    def forward(self, x):
        return self.fc(x)


class Sized(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.fc = nn.Linear(width, 3)

    def forward(self, x):
        return self.fc(x)


class Broken(nn.Module):
    def __init__(self):
        raise ValueError("no such width")


class Branching(Net):
    def forward(self, x):
        if x.sum() > 0:
            return self.fc(x)
        return self.fc(-x)


class Space:
    Inner = Net


def make(width=4):
    return Net(width)


def nothing():
    return 3


net = Net(5)
number = 7


def mean_loss(output, target):
    return (output - target).square().mean()


def per_item(output, target):
    return (output - target).square().mean(1)


def not_a_tensor(output, target):
    return 3.0


class LossClass(nn.Module):
    def forward(self, output, target):
        return (output - target).square().mean()


class LossWithArguments(nn.Module):
    def __init__(self, weight):
        super().__init__()


class Frozen(Net):
    def forward(self, x):
        return super().forward(x).detach()


class RaisesBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, gradient):
        raise ValueError("no way back")


class Doubled(nn.Module):
    def forward(self, x):
        return RaisesBackward.apply(x)


class OneWay(Net):
    def __init__(self):
        super().__init__()
        self.doubled = Doubled()

    def forward(self, x):
        return self.fc(self.doubled(self.fc.weight * x[:1]))
"""
X = ["--input", "float32[2,4]"]
LOSS = ["net.py:Net", *X, "--loss", "mean_loss"]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with the model; modules and paths that a load brings along are forgotten afterwards."""
    path, threads = list(sys.path), torch.get_num_threads()
    sys.modules.pop("net", None)  # another test's
    (tmp_path / "net.py").write_text(MODEL)
    (tmp_path / "out").mkdir()
    yield tmp_path
    sys.path[:] = path
    torch.set_num_threads(threads)
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


# ---- specifications --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name", "dtype", "shape", "below"),
    [
        ("float32[8,3,224,224]", "", torch.float32, (8, 3, 224, 224), 2),
        ("int64[2,256]<50257", "", torch.int64, (2, 256), 50257),
        ("ids=int64[2, 256]<50257", "ids", torch.int64, (2, 256), 50257),
        ("  mask=bool[ 4 ]  ", "mask", torch.bool, (4,), 2),
        ("bfloat16[]", "", torch.bfloat16, (), 2),
        ("float64[3,]", "", torch.float64, (3,), 2),
        ("uint8[0,3]", "", torch.uint8, (0, 3), 2),
    ],
)
def test_a_specification_is_read(text: str, name: str, dtype: torch.dtype, shape: Any, below: int) -> None:
    spec = parse_spec(text)
    assert (spec.name, spec.dtype, spec.shape, spec.below) == (name, dtype, shape, below)
    made = spec.make(torch.Generator().manual_seed(0))
    assert (made.dtype, tuple(made.shape)) == (dtype, shape)


@pytest.mark.parametrize(
    "text",
    ["", "8,3", "float32", "float32[2", "float32(2)", "float33[2]", "float32[-1]", "float32[2 4]", "float32[2,,4]",
     "float32[,2]", "float32[a]", "nn[2]", "float32[2]<x", "float32[2]<", "a b=float32[2]", "float32[2.5]",
     "float32[2]\nfloat32[2]"],
)  # fmt: skip
def test_a_specification_that_is_none_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(MonetError, match=r"is not understood; write dtype\[sizes\], as float32\[8,3,224,224\]"):
        parse_spec(text)


def test_integers_stay_in_their_range_and_the_same_seed_gives_the_same_tensors(folder: Path) -> None:
    integers = parse_spec("int64[1000]<3").make(torch.Generator().manual_seed(0))
    assert integers.unique().tolist() == [0, 1, 2]
    specs = ["float32[2,4]", "scale=float32[1]", "mask=bool[4]"]
    a, b = (load(f"{folder / 'net.py'}:net", specs, ["int64[2]<9"], None, "mean_loss") for _ in range(2))
    assert [tuple(t.shape) for t in a.args] == [(2, 4)]
    assert list(a.kwargs) == ["scale", "mask"]
    for x, y in [*zip(a.args, b.args, strict=True), *zip(a.targets, b.targets, strict=True)]:
        assert torch.equal(x, y)
    other = load(f"{folder / 'net.py'}:net", specs, [], None, None, seed=1)
    assert not torch.equal(a.args[0], other.args[0])


@pytest.mark.parametrize("text", ["int64[2]<0", "int8[2]<1000", "complex64[2]", "float32[99999999,99999999,9]"])
def test_a_tensor_that_cannot_be_made_is_one_sentence(text: str) -> None:
    with pytest.raises(MonetError, match=r"PyTorch can't make random .*Error: ") as caught:
        parse_spec(text).make(torch.Generator())
    assert "\n" not in str(caught.value)


# ---- models ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kwargs", "width"),
    [("Net", None, 4), ("Net", '{"width": 6}', 6), ("Sized", '{"width": 6}', 6), ("make", '{"width": 3}', 3),
     ("net", None, 5), ("Space.Inner", None, 4), ("net", "", 5)],
)  # fmt: skip
def test_a_model_is_a_class_a_function_or_an_object(folder: Path, name: str, kwargs: str | None, width: int) -> None:
    made = load(f"{folder / 'net.py'}:{name}", ["float32[2,4]"], [], kwargs, None)
    assert made.model.fc.in_features == width  # type: ignore[union-attr]
    assert made.model.training
    assert made.file == folder / "net.py"


def test_weights_are_the_same_for_the_same_seed(folder: Path) -> None:
    a, b = (load(f"{folder / 'net.py'}:Net", ["float32[2,4]"], [], None, None).model for _ in range(2))
    assert torch.equal(a.fc.weight, b.fc.weight)  # type: ignore[union-attr,arg-type]


@pytest.mark.parametrize("loss", ["mean_loss", "LossClass"])
def test_a_loss_is_a_function_or_a_class(folder: Path, loss: str) -> None:
    made = load(f"{folder / 'net.py'}:Net", ["float32[2,4]"], ["float32[2,3]"], None, loss)
    assert made.loss is not None
    assert made.loss(made.model(*made.args), *made.targets).shape == ()


@pytest.mark.parametrize("loss", ["F.mse_loss", "torch.nn.functional.mse_loss", "nn.MSELoss", "Space.squares"])
def test_a_loss_may_be_named_through_what_the_file_has_imported(folder: Path, loss: str) -> None:
    text = f"import torch.nn.functional as F\n{MODEL}\nSpace.squares = staticmethod(mean_loss)\n"
    (folder / "dotted.py").write_text(text)
    made = load(f"{folder / 'dotted.py'}:Net", ["float32[2,4]"], ["float32[2,3]"], None, loss)
    assert made.loss is not None
    output = made.model(*made.args)
    assert torch.equal(made.loss(output, *made.targets), torch.nn.functional.mse_loss(output, *made.targets))


def test_a_file_may_import_its_neighbour_and_have_any_name(folder: Path) -> None:
    (folder / "my model-2.py").write_text("from net import Net\nassert __name__ != '__main__'\n")
    assert load(f"{folder / 'my model-2.py'}:Net", ["float32[2,4]"], [], None, None).model is not None
    (folder / "json.py").write_text(MODEL)  # the name of a module that is there already
    before = sys.modules["json"]
    load(f"{folder / 'json.py'}:Net", ["float32[2,4]"], [], None, None)
    assert sys.modules["json"] is before


# ---- bad input, by the command line ----------------------------------------------------------------------------------

BAD: dict[str, tuple[str, list[str], str]] = {
    "file not found": ("M102", ["none.py:Net", *X], "none.py: no such file; check the path"),
    "a folder": ("M102", ["out:Net", *X], "out: no such file"),
    "no model named": ("M101", ["net.py", *X], "names no model; write FILE:MODEL"),
    "no file of Python": ("M103", ["notes.txt:Net", *X], "notes.txt: not a Python file"),
    "no such model": ("M106", ["net.py:Nett", *X], "there is no 'Nett' in it; it has Net, Sized"),
    "no model in it": ("M106", ["empty.py:Net", *X], "there is no 'Net' in it; it defines no nn.Module"),
    "not a model": ("M107", ["net.py:number", *X], "number is a int, not a model"),
    "a function without a model": ("M110", ["net.py:nothing", *X], "nothing returned a int, not an nn.Module"),
    "class that needs arguments": ("M108", ["net.py:Sized", *X], "missing a required argument: 'width'"),
    "unknown argument": ("M108", ["net.py:Net", *X, "--kwargs", '{"depth": 4}'], "unexpected keyword argument 'depth'"),
    "building fails": ("M109", ["net.py:Broken", *X], "net.py:25: building Broken failed (ValueError: no such width)"),
    "no input": ("M113", ["net.py:Net"], "what does Net take? give its input x, as --input"),
    "input not understood": ("M114", ["net.py:Net", "--input", "2x4"], "--input '2x4' is not understood"),
    "input that can't be": ("M115", ["net.py:Net", "--input", "int64[2]<0"], "PyTorch can't make random int64[2]"),
    "wrong input shape": ("M201", ["net.py:Net", "--input", "float32[2,5]"], " (given --input 'float32[2,5]')"),
    "wrong target shape": ("M201", [*LOSS, "--target", "float32[2,7]"], "--target 'float32[2,7]')"),
    "too many inputs": ("M201", ["net.py:Net", *X, *X], "takes 2 positional arguments but 3 were given"),
    "unknown keyword": ("M201", ["net.py:Net", "--input", "y=float32[2,4]"], "unexpected keyword argument 'y'"),
    "control flow on data": ("M202", ["net.py:Branching", *X], "net.py:30: "),
    "syntax error": ("M104", ["syntax.py:Net", *X], "syntax.py:2: '(' was never closed; mend the file first"),
    "exception at import": ("M105", ["raises.py:Net", *X], "raises.py:3: importing the file failed (KeyError: 'gone')"),
    "exit at import": ("M105", ["exits.py:Net", *X], "exits.py:2: importing the file failed (SystemExit: 3)"),
    "missing import": ("M105", ["imports.py:Net", *X], "imports.py:1: importing the file failed (ModuleNotFoundError"),
    "kwargs not JSON": ("M117", ["net.py:Net", *X, "--kwargs", "{width: 4}"], "--kwargs is not valid JSON"),
    "kwargs not an object": ("M117", ["net.py:Net", *X, "--kwargs", "[4]"], "--kwargs must be a JSON object"),
    "unknown loss": ("M120", ["net.py:Net", *X, "--loss", "lost"], "the loss 'lost' is no function or class"),
    "loss of a module that is not imported": ("M120", ["net.py:Net", *X, "--loss", "F.mse_loss"], "defines or imports"),
    "loss with arguments": ("M119", ["net.py:Net", *X, "--loss", "LossWithArguments"], "without arguments"),
    "target without loss": ("M118", ["net.py:Net", *X, "--target", "float32[2,3]"], "name that function with --loss"),
    "loss without target": ("M201", ["net.py:Net", *X, "--loss", "mean_loss"], "missing 1 required positional"),
    "loss per item": ("M213", ["net.py:Net", *X, "--loss", "per_item", "--target", "float32[2,3]"], "one number"),
    "loss not a tensor": ("M213", ["net.py:Net", *X, "--loss", "not_a_tensor", "--target", "bool[2]"], "one number"),
    "unknown device": ("M122", ["net.py:Net", *X, "--device", "Z80"], "neither a device here nor one of P100, V100"),
    "unknown optimizer": ("M121", ["net.py:Net", *X, "--optimizer", "lion"], "it is one of none, sgd"),
    "offload of an estimate": ("M124", ["net.py:Net", *X, "--offload", "--device", "A100"], "A100 is only estimated"),
    "nothing trains": ("M212", ["net.py:Frozen", *X], "no output of the model requires a gradient"),
    "progress can't be written": ("M128", ["net.py:Net", *X, "--progress", "none/p.jsonl"], "none/p.jsonl: No such"),
}  # fmt: skip


def test_a_step_that_raises_on_real_numbers_alone_is_told_and_no_graph_is_made(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A target beyond the classes: shapes are right, and each operator is measured on numbers that it takes."""
    given = [*X, "--loss", "torch.nn.functional.cross_entropy", "--target", "int64[2]<90000"]
    out = folder / "graph.json"
    assert command_line.main(["profile", f"{folder / 'net.py'}:Net", *given, "--no-cache", "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert re.search(r"IndexError: Target \d+ is out of bounds.", said)
    assert "(given --input 'float32[2,4]' --target 'int64[2]<90000') [M201]" in said
    assert not out.exists()


def test_the_inputs_that_are_needed_are_named_where_the_forward_says_them(folder: Path) -> None:
    (folder / "two.py").write_text(
        "import torch\nclass Two(torch.nn.Module):\n    def forward(self, x, sigma, scale=1.0): return x * sigma\n"
        "traced = torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2))\n"
    )
    for name, said in (
        ("Two", "give each of its inputs x and sigma, as --input"),
        ("traced", "give its input, as --input"),
    ):
        with pytest.raises(MonetError, match=f"what does {name} take[?] {said}"):
            load(f"{folder / 'two.py'}:{name}", [], [], None, None)


def profile(folder: Path, arguments: list[str]) -> list[str]:
    (folder / "empty.py").write_text("import torch\n")
    (folder / "notes.txt").write_text("Net\n")
    (folder / "syntax.py").write_text("import torch\nNet = (\n")
    (folder / "raises.py").write_text("import torch\nsettings = {}\nsettings['gone']\n")
    (folder / "exits.py").write_text("import sys\nsys.exit(3)\n")
    (folder / "imports.py").write_text("import no_such_package_at_all\n")
    return ["profile", *arguments, "--out", "out/graph.json", "--cache", "out/cache"]


def assert_one_sentence(stderr: str, expected: str, code: str) -> None:
    assert stderr.startswith("error: ")
    assert stderr.count("\n") == 1
    assert stderr.endswith(f" [{code}]\n")
    assert "Traceback" not in stderr
    assert expected in stderr


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence_and_leaves_nothing(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, arguments, expected = BAD[name]
    monkeypatch.chdir(folder)
    assert command_line.main(profile(folder, arguments)) == 2
    captured = capsys.readouterr()
    assert_one_sentence(captured.err, expected, code)
    assert captured.out == ""
    assert list((folder / "out").iterdir()) == []


def test_what_their_code_raises_where_it_runs_is_one_sentence_at_its_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    assert command_line.main(profile(folder, ["net.py:OneWay", *X])) == 2
    assert_one_sentence(capsys.readouterr().err, "net.py:85: ValueError: no way back", "M201")


def by_process(folder: Path, arguments: list[str], *paths: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, [*paths, PACKAGE])), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "monet_torch", *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )


@pytest.mark.parametrize("name", ["wrong input shape", "syntax error"])
def test_bad_input_ends_the_process_with_its_code(name: str, folder: Path) -> None:
    code, arguments, expected = BAD[name]
    done = by_process(folder, profile(folder, arguments))
    assert done.returncode == 2
    assert_one_sentence(done.stderr, expected, code)
    assert done.stdout == ""
    assert list((folder / "out").iterdir()) == []


def test_what_reads_the_progress_is_told_of_the_error_with_its_code_and_place(folder: Path) -> None:
    done = by_process(folder, [*profile(folder, BAD["exception at import"][1]), "--progress", "-"])
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "error": {
            "code": "M105", "file": str(folder / "raises.py"), "line": 3,
            "message": f"{folder / 'raises.py'}:3: importing the file failed (KeyError: 'gone')",
        }
    }  # fmt: skip
    done = by_process(folder, [*profile(folder, BAD["no input"][1]), "--progress", "-"])
    assert json.loads(done.stdout.splitlines()[-1])["error"].keys() == {"code", "message"}


def test_missing_torch_is_one_sentence_with_the_interpreter_that_lacks_it(folder: Path) -> None:
    poison = folder / "poison"
    poison.mkdir()
    (poison / "torch.py").write_text("raise ImportError(\"No module named 'torch'\")\n")
    done = by_process(folder, profile(folder, ["net.py:Net", *X]), poison)
    assert done.returncode == 4
    assert_one_sentence(done.stderr, f"PyTorch can't be imported by {os.path.abspath(sys.executable)}", "M401")
    assert "pip install torch" in done.stderr
    assert list((folder / "out").iterdir()) == []


@pytest.mark.parametrize(("version", "code"), [("1.13.1+cu117", 4), ("2.5.1", 4), ("2.6.0a0+git1", 2), ("3.0", 2)])
def test_torch_before_2_6_is_too_old(
    version: str, code: int, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(torch, "__version__", version)
    assert command_line.main(profile(folder, ["none.py:Net", *X])) == code
    too_old = f"PyTorch {version} is too old for MONeT; install 2.6 or later", "M402"
    assert_one_sentence(capsys.readouterr().err, *(too_old if code == 4 else ("no such file", "M102")))


def test_a_result_that_cannot_be_written_leaves_no_temporary_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # what Python itself leaves is not meant
    arguments = ["profile", "net.py:Net", *X, "--device", "A100", "--out", "out"]
    before = sorted(p.name for p in folder.iterdir())
    assert command_line.main(arguments) == 2
    assert_one_sentence(capsys.readouterr().err, "out: Is a directory", "M128")
    assert sorted(p.name for p in folder.iterdir()) == before


@pytest.mark.parametrize("threads", ["0", "-1", "two"])
def test_a_number_of_threads_is_a_number(threads: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command_line.main(["profile", "net.py:Net", "--out", "graph.json", "--threads", threads])
    assert ended.value.code == 2
    assert f"{threads!r} is not a number from 1 up [M127]\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "expected", "code"),
    [("{", "graph.json:1: not valid JSON", "M302"), ("{}", "not a monet-graph file", "M303"),
     (None, "No such file", "M301"), ("[]", "not a monet-graph file", "M303"),
     (json.dumps({"format": "monet-plan"}), "not a monet-graph file", "M303"),
     (json.dumps({"format": "monet-graph"}), "it has no hash; make it again", "M305")],
)  # fmt: skip
def test_verify_says_what_is_wrong_with_a_file(
    text: str | None,
    expected: str,
    code: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    if text is not None:
        (folder / "graph.json").write_text(text)
    assert command_line.main(["verify", "net.py:Net", "plan.json", "--graph", "graph.json"]) == 2
    assert_one_sentence(capsys.readouterr().err, expected, code)


def test_a_dict_argument_is_named_by_its_entries(tmp_path: Path) -> None:
    (tmp_path / "batch.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Linear):\n"
        "    def forward(self, batch):\n"
        "        return super().forward(batch['x']) * batch['mask'].unsqueeze(-1)\n"
    )
    specs = ["batch.x=float32[2,3]", "batch.mask=float32[2]"]
    made = load(f"{tmp_path / 'batch.py'}:Net", specs, [], '{"in_features": 3, "out_features": 4}', None)
    assert list(made.kwargs) == ["batch"]
    assert made.model(**made.kwargs).shape == (2, 4)
    with pytest.raises(MonetError, match=r"is a tensor already.*\[M116\]"):
        load(
            f"{tmp_path / 'batch.py'}:Net",
            ["batch=float32[2,3]", "batch.x=float32[2]"],
            [],
            '{"in_features": 3, "out_features": 4}',
            None,
        )


# ---- from shapes alone -----------------------------------------------------------------------------------------------

LARGE = """
import torch
from torch import nn

class Wide(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(16_384, 16_384) for _ in range(4))
        self.register_buffer("scale", torch.ones(1 << 28))

    def forward(self, x):
        for layer in self.layers:
            x = torch.relu(layer(x))
        return x * self.scale[:1]

class Looks(nn.Module):
    def __init__(self):
        super().__init__()
        self.rates = [r.item() for r in torch.linspace(0, 0.5, 3)]
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return nn.functional.dropout(self.layer(x), self.rates[1])

class Wrong(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, depth)
"""

CHILD = """
import sys
from monet_torch.__main__ import main
code = main(sys.argv[1:])
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
sys.exit(code)
"""  # (ru_maxrss may be that of the process that started this one)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="what a process took at most is read from /proc")
def test_for_a_card_that_is_not_here_nothing_of_the_parameters_size_is_allocated(tmp_path: Path) -> None:
    (tmp_path / "large.py").write_text(LARGE)
    out = tmp_path / "graph.json"
    command = ["profile", f"{tmp_path / 'large.py'}:Wide", "--input", "float32[8,16384]", "--device", "A100"]
    env = {**os.environ, "PYTHONPATH": str(PACKAGE)}
    child = subprocess.run(
        [sys.executable, "-c", CHILD, *command, "--out", str(out)], env=env, capture_output=True, text=True, check=True
    )
    fixed = json.loads(out.read_text())["fixed"]
    assert fixed["parameters"] == 4 * 4 * (16_384 * 16_384 + 16_384)
    assert fixed["buffers"] == 4 << 28
    # Python and torch themselves take some 400 MiB; a single layer has 1 GiB.
    assert int(child.stdout.split()[-1]) < 900 << 10


@pytest.mark.parametrize(("model", "code"), [("Looks", 0), ("Wrong", 2)])
def test_a_model_that_looks_at_values_is_built_with_some(
    model: str, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "large.py").write_text(LARGE)
    out = tmp_path / "graph.json"
    command = ["profile", f"{tmp_path / 'large.py'}:{model}", "--input", "float32[8,4]", "--device", "A100"]
    assert command_line.main([*command, "--out", str(out)]) == code
    assert out.exists() == (code == 0)
    if code:
        assert re.search(r"large\.py:\d+: building Wrong failed \(NameError", capsys.readouterr().err)
