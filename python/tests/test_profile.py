"""A profile is a graph document: complete, right about memory, measured once, and there whole or not at all."""

from __future__ import annotations

import json
import mmap
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from monet_torch import __main__ as command_line
from monet_torch import estimate, graph, profile, whole
from monet_torch._private import cpu_allocations
from monet_torch.capture import capture
from monet_torch.measure import allocator_peak
from monet_torch.optimizer import OPTIMIZERS as OPTIMIZER_NAMES
from monet_torch.optimizer import state_bytes, step_bytes
from monet_torch.step import capture_step
from monet_torch.target import Target, load
from monet_torch.verify import StepRunner

SMALL = Path(__file__).parent / "files" / "small.py"
SCHEMA = json.loads((Path(__file__).parents[2] / "src" / "core" / "graph.schema.json").read_text())
CONV = ["Conv", "--input", "float32[2,3,8,8]", "--loss", "loss", "--target", "int64[2]<5"]
TEXT = ["Text", "--input", "ids=int64[2,6]<31", "--input", "mask=float32[2,6,1]", "--loss", "loss",
        "--target", "int64[2,6]<31"]  # fmt: skip
Run = Callable[..., dict[str, Any]]
CPU = torch.device("cpu")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """The command line, in this process; times are not measured but for their own test."""
    path = list(sys.path)
    monkeypatch.setattr(profile, "_time", lambda timed: (timed.prepare(), timed.run(), (1000, 0.0))[-1])
    monkeypatch.setattr(profile, "_chill", lambda device: None)

    def profiled(arguments: list[str], *more: str) -> dict[str, Any]:
        model, *rest = arguments
        out = tmp_path / "out" / "graph.json"
        cache = [] if any(m.startswith("--cache") for m in more) else ["--no-cache"]
        device = [] if "--device" in more else ["--device", "cpu"]
        command = ["profile", f"{SMALL}:{model}", *rest, *more, *device, *cache, "--out", str(out)]
        assert command_line.main(command) == 0
        assert [p.name for p in out.parent.iterdir()] == ["graph.json"]
        document: dict[str, Any] = json.loads(out.read_text())
        return document

    yield profiled
    sys.path[:] = path


def faults(value: Any, schema: Any, where: str = "") -> list[str]:
    """What of draft-07 the schema uses."""
    if "$ref" in schema:
        return faults(value, SCHEMA["definitions"][schema["$ref"].rpartition("/")[2]], where)
    found = []
    types = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}
    kind = schema.get("type")
    if kind in ("integer", "number"):
        allowed = int if kind == "integer" else (int, float)
        if isinstance(value, bool) or not isinstance(value, allowed):
            return [f"{where}: {value!r} is no {kind}"]
        if not schema.get("minimum", value) <= value <= schema.get("maximum", value):
            found.append(f"{where}: {value} is out of range")
    elif kind is not None and not isinstance(value, types[kind]):
        return [f"{where}: {value!r} is no {kind}"]
    if value != schema.get("const", value) or value not in schema.get("enum", [value]):
        found.append(f"{where}: {value!r}")
    if isinstance(value, (str, list)) and len(value) < max(schema.get("minLength", 0), schema.get("minItems", 0)):
        found.append(f"{where}: too short")
    for part in schema.get("allOf", []):
        found += faults(value, part, where)
    if "anyOf" in schema and all(faults(value, part, where) for part in schema["anyOf"]):
        found.append(f"{where}: {value!r} is none of the alternatives")
    if isinstance(value, dict):
        found += [f"{where}: no {k}" for k in schema.get("required", []) if k not in value]
        for k, x in value.items():
            part = schema.get("properties", {}).get(k, schema.get("additionalProperties"))
            found += faults(x, part, f"{where}.{k}") if part else []
    if isinstance(value, list) and "items" in schema:
        for k, x in enumerate(value):
            found += faults(x, schema["items"], f"{where}[{k}]")
    return found


def assert_sound(g: dict[str, Any]) -> None:
    """The schema, and what docs/format.md says besides."""
    assert faults(g, SCHEMA) == []
    values, operators = g["values"], g["operators"]
    assert [v["id"] for v in values] == list(range(len(values)))
    assert [o["id"] for o in operators] == list(range(len(operators)))
    for v in values:
        root = values[v["storage"]]
        assert root["storage"] == root["id"] <= v["id"]
        assert (v["bytes"] == 0) == (v["storage"] != v["id"]) or v["shape"].count(0)
        assert (v["producer"] is None) == (v["kind"] != "activation")
        if v["producer"] is not None:
            assert v["id"] in operators[v["producer"]]["outputs"]
    for o in operators:
        assert all(values[v]["producer"] is None or values[v]["producer"] < o["id"] for v in o["inputs"])
        assert o["implementations"][0]["name"] == "eager"
        assert len({i["name"] for i in o["implementations"]}) == len(o["implementations"])
        fresh = sum(values[v]["bytes"] for v in o["outputs"])
        for i in o["implementations"]:
            assert i["saves"] == sorted(set(i["saves"]))
            assert all(values[s]["storage"] == s and values[s]["kind"] == "activation" for s in i["saves"])
            assert i["forward"]["peak"] >= fresh + i["internal_bytes"]
            if i["backward"] is not None:
                made = 0
                for row in i["backward"]["gradients"]:
                    assert row["input"] < len(o["inputs"])
                    assert row["alias"] is None or (row["alias"] < len(o["outputs"]) and row["bytes"] == 0)
                    made += row["bytes"]
                assert i["backward"]["peak"] >= made or o["in_place"]
    assert g["hash"] != g["structure"]


def eager_of(g: dict[str, Any], op: str, module: str | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    o = next(o for o in g["operators"] if o["op"].startswith(f"aten.{op}.") and module in (None, o["module"]))
    return o, o["implementations"][0]


# ---- the document ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [CONV, TEXT, [*CONV, "--autocast", "bf16"], [*CONV, "--autocast", "fp16"]])
def test_the_document_is_what_the_format_says(arguments: list[str], run: Run) -> None:
    g = run(arguments)
    assert_sound(g)
    assert g["made_from"]["model"] == f"small.py:{arguments[0]}"
    assert g["made_from"]["inputs"] == [x for k, x in enumerate(arguments) if arguments[k - 1] == "--input"]
    assert g["device"]["type"] == "cpu"
    assert not g["device"]["estimated"]
    assert g["values"][g["outputs"][-1]]["shape"] == []
    lines = SMALL.read_text().splitlines()
    for o in g["operators"]:
        if o["part"] == "model":
            assert o["source"]["file"] == "small.py"
            assert lines[o["source"]["line"] - 1].startswith("        ")
    module = "relu" if arguments[0] == "Conv" else "norm"
    called = next(o for o in g["operators"] if o["module"] == module)
    assert f"self.{module}(" in lines[called["source"]["line"] - 1]


def test_what_is_saved_for_backward_is_observed(run: Run) -> None:
    g = run(CONV)
    values = g["values"]

    def saves_of(op: str, module: str | None = None) -> tuple[list[str], int]:
        o, i = eager_of(g, op, module)
        at = {values[v]["storage"]: f"input {k}" for k, v in enumerate(o["inputs"])}
        at |= {v: f"output {k}" for k, v in enumerate(o["outputs"])}
        return [at[s] for s in i["saves"]], i["internal_bytes"]

    assert saves_of("conv2d", "conv1") == ([], 0), "the model's input and a weight are there anyway"
    assert saves_of("conv2d", "conv2") == (["input 0"], 0)
    assert saves_of("batch_norm") == (["input 0"], 2 * 4 * 4), "mean and deviation of 4 channels"
    assert saves_of("relu", "relu") == (["output 0"], 0)
    assert saves_of("add") == ([], 0)
    assert saves_of("dropout") == ([], 2 * 4 * 4), "the scaled mask"
    assert saves_of("linear") == (["input 0"], 0)
    assert saves_of("flatten") == ([], 0)
    assert saves_of("cross_entropy_loss") == ([], 2 * 5 * 4 + 4), "log-softmax and the sum of weights"
    assert eager_of(g, "add_")[1]["backward"] is None, "a counter"
    g = run(TEXT)
    values = g["values"]
    assert saves_of("layer_norm") == (["input 0"], 2 * 12 * 4)
    assert saves_of("embedding") == ([], 0)
    assert saves_of("cross_entropy_loss") == ([], 12 * 31 * 4 + 4)


@pytest.mark.parametrize("arguments", [CONV, TEXT])
def test_what_all_operators_save_is_what_one_eager_forward_keeps(arguments: list[str], run: Run) -> None:
    g = run(arguments)
    kept = {s for o in g["operators"] for s in o["implementations"][0]["saves"]}
    expected = sum(g["values"][s]["bytes"] for s in kept)
    expected += sum(o["implementations"][0]["internal_bytes"] for o in g["operators"])

    inputs = [x for k, x in enumerate(arguments) if arguments[k - 1] == "--input"]
    targets = [x for k, x in enumerate(arguments) if arguments[k - 1] == "--target"]
    made = load(f"{SMALL}:{arguments[0]}", inputs, targets, None, "loss")
    constants = {
        t.untyped_storage()._cdata
        for t in [*made.model.parameters(), *made.model.buffers(), *made.args, *made.kwargs.values(), *made.targets]
    }
    saved: dict[int, int] = {}
    held: list[Tensor] = []

    def pack(t: Tensor) -> Tensor:
        held.append(t)
        saved[t.untyped_storage()._cdata] = t.untyped_storage().nbytes()
        return t

    with saved_tensors_hooks(pack, lambda t: t):
        assert made.loss is not None
        made.loss(made.model(*made.args, **made.kwargs), *made.targets)
    assert sum(size for address, size in saved.items() if address not in constants) == expected


def test_gradients_are_described_as_they_come(run: Run) -> None:
    g = run(CONV)
    add = eager_of(g, "add")[1]["backward"]["gradients"]
    assert [(r["input"], r["alias"], r["bytes"]) for r in add] == [(0, 0, 0), (1, 0, 0)]
    flatten = eager_of(g, "flatten")[1]["backward"]["gradients"]
    assert [(r["alias"], r["view"]) for r in flatten] == [(0, True)]
    linear = eager_of(g, "linear")[1]["backward"]["gradients"]
    assert [(r["input"], r["bytes"], r["alias"]) for r in linear] == [(0, 32, None), (1, 80, None), (2, 20, None)]
    first = eager_of(g, "conv2d", "conv1")[1]["backward"]["gradients"]
    assert [r["input"] for r in first] == [1, 2], "the input wants none"
    without_loss = run(CONV[:3])
    assert without_loss["made_from"]["loss"] is None
    assert not eager_of(without_loss, "sum")[1]["backward"]["gradients"][0]["dense"], "a sum's gradient is expanded"


def test_alternatives_save_less_and_recompute_as_eager(run: Run) -> None:
    g = run(CONV)
    for op in ("relu", "dropout"):
        o, eager = eager_of(g, op)
        mask = o["implementations"][1]
        assert mask["name"] == "mask"
        assert mask["saves"] == []
        assert mask["internal_bytes"] == -(-sum(g["values"][v]["bytes"] for v in o["outputs"]) // 32)
        assert mask["recompute"] == eager["recompute"]
    assert any(o["in_place"] for o in g["operators"])
    forwards = [
        (o["in_place"] or i.get("in_place", False), i["forward"]) for o in g["operators"] for i in o["implementations"]
    ]
    assert all(("out_of_place" in forward) == in_place for in_place, forward in forwards)
    assert all(forward.get("out_of_place", forward["time"]) == forward["time"] for _, forward in forwards), (
        "scaled alike"
    )
    tied, _ = eager_of(run(TEXT), "linear")
    assert [i["name"] for i in tied["implementations"]] == ["eager", "own-gradient", "onednn"]


def test_autocast_casts_weights_and_keeps_parameters(run: Run) -> None:
    g = run(CONV, "--autocast", "bf16")
    assert g["made_from"]["autocast"] == "bf16"
    assert {v["dtype"] for v in g["values"] if v["kind"] == "parameter"} == {"float32"}
    o, _ = eager_of(g, "conv2d", "conv2")
    assert [g["values"][v]["dtype"] for v in (*o["inputs"], *o["outputs"])] == ["bfloat16"] * 3
    assert g["structure"] != run(CONV)["structure"]


def test_keyword_inputs_and_integers_with_a_range(run: Run) -> None:
    g = run(TEXT)
    assert [tuple(v["shape"]) for v in g["values"] if v["kind"] == "input"] == [(2, 6), (2, 6, 1), (2, 6)]
    assert g["fixed"]["inputs"] == 12 * 8 + 12 * 4 + 12 * 8
    assert [o["module"] for o in g["operators"] if o["part"] == "model"] == ["embed", "norm", "", "head"]
    assert run(["Text", "--input", "int64[2,6]<31"])["operators"][-1]["op"] == "aten.sum.default"


# ---- fixed bytes -----------------------------------------------------------------------------------------------------

OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "adam": lambda p: torch.optim.Adam(p, lr=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.1),
    "adafactor": lambda p: torch.optim.Adafactor(p, lr=0.1),
}


@pytest.mark.parametrize("name", ["none", *OPTIMIZERS])
def test_an_optimizers_states_are_what_torch_makes(name: str, run: Run) -> None:
    model = load(f"{SMALL}:Conv", ["float32[2,3,8,8]"], [], None, None).model
    states = 0
    if name != "none":
        optimizer = OPTIMIZERS[name](model.parameters())
        model(torch.randn(2, 3, 8, 8)).sum().backward()
        optimizer.step()
        rows = [t for s in optimizer.state.values() for k, t in s.items() if isinstance(t, Tensor) and k != "step"]
        states = sum(t.untyped_storage().nbytes() for t in rows)
    assert run(CONV, "--optimizer", name)["fixed"]["optimizer"] == states
    assert set(OPTIMIZER_NAMES) == {"none", "adam8bit", *OPTIMIZERS}


@pytest.mark.parametrize("name", ["momentum", "adamw", "adafactor"])
def test_states_have_the_parameters_type_and_shape(name: str) -> None:
    shapes = [(7,), (5, 3), (4, 3, 3, 2), (1,), ()]
    parameters = [nn.Parameter(torch.ones(s, dtype=d)) for s in shapes for d in (torch.float32, torch.bfloat16)]
    optimizer = OPTIMIZERS[name](parameters)
    for p in parameters:
        p.grad = torch.ones_like(p)
    optimizer.step()
    rows = [t for s in optimizer.state.values() for k, t in s.items() if isinstance(t, Tensor) and k != "step"]
    assert state_bytes(name, parameters) == sum(t.numel() * t.element_size() for t in rows)


@pytest.mark.parametrize("foreach", [True, False])
@pytest.mark.parametrize("name", ["sgd", "momentum", "adam", "adamw", "adafactor"])
def test_what_a_step_takes_besides_is_what_torch_takes(name: str, foreach: bool) -> None:
    parameters = [nn.Parameter(torch.randn(s)) for s in ((256, 128), (64, 512), (1000,), (32, 16, 3, 3))]
    for p in parameters:
        p.grad = torch.randn_like(p)
    optimizer = OPTIMIZERS[name](parameters)
    if name in ("sgd", "momentum"):
        optimizer.param_groups[0]["weight_decay"] = 1e-4
    if name != "adafactor":  # its default is a loop on every device
        optimizer.param_groups[0]["foreach"] = foreach
    optimizer.step()
    level = peak = 0
    mine: set[int] = set()
    for _, address, size in cpu_allocations(optimizer.step):
        if size > 0:
            mine.add(address)
        elif address not in mine:
            continue
        level += size
        peak = max(peak, level)
    assert step_bytes(name, parameters, foreach) == pytest.approx(peak, abs=4096)


def test_8_bit_adam_is_what_bitsandbytes_makes() -> None:
    bitsandbytes = pytest.importorskip("bitsandbytes")
    parameters = [nn.Parameter(torch.ones(n)) for n in (10, 4095, 4096, 5000, 70_000)]
    optimizer = bitsandbytes.optim.AdamW8bit(parameters, lr=0.1)
    optimizer.fill_qmap()
    for p in parameters:
        p.grad = torch.ones_like(p)
        optimizer.init_state(optimizer.param_groups[0], p, 0, 0)
    rows = [
        t for s in optimizer.state.values() for k, t in s.items() if isinstance(t, Tensor) and not k.startswith("qmap")
    ]
    assert state_bytes("adam8bit", parameters) == sum(t.numel() * t.element_size() for t in rows)


def test_gradients_are_there_from_the_start_or_fresh(run: Run) -> None:
    parameters = 4 * (4 * 3 * 9 + 4 + 4 * 4 * 9 + 4 + 4 + 4 * 5 + 5)
    accumulate, fresh = run(CONV), run(CONV, "--gradients", "fresh")
    assert accumulate["fixed"] == {
        "parameters": parameters, "buffers": 4 * (4 + 4) + 8, "inputs": 2 * 3 * 64 * 4 + 16, "gradients": parameters,
        "optimizer": 0,
    }  # fmt: skip
    assert fresh["fixed"] == accumulate["fixed"] | {"gradients": 0}
    assert (accumulate["gradients"], fresh["gradients"]) == ("accumulate", "fresh")
    assert fresh["structure"] == accumulate["structure"]
    assert fresh["hash"] != accumulate["hash"]


def test_tied_and_frozen_weights_count_once_and_not_at_all() -> None:
    tied = load(f"{SMALL}:Text", ["int64[2,6]<31"], [], None, None).model
    assert graph.fixed_bytes(tied, (), "accumulate", "adam") == {
        "parameters": 4 * (31 * 8 + 16), "buffers": 0, "inputs": 0, "gradients": 4 * (31 * 8 + 16),
        "optimizer": 8 * (31 * 8 + 16),
    }  # fmt: skip
    frozen = nn.Sequential(nn.Linear(3, 3).requires_grad_(False), nn.Linear(3, 2))
    fixed = graph.fixed_bytes(frozen, torch.zeros(4), "accumulate", "momentum")
    assert fixed == {"parameters": 80, "buffers": 0, "inputs": 16, "gradients": 32, "optimizer": 32}


# ---- measured once ---------------------------------------------------------------------------------------------------


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    measured: list[str] = []
    real = profile.measure_on_device

    def spy(captured: Any, o: Any, incoming: Any, **more: Any) -> Any:
        measured.append(o.name)
        return real(captured, o, incoming, **more)

    monkeypatch.setattr(profile, "measure_on_device", spy)
    return measured


def test_a_second_run_measures_nothing_and_gives_the_same_graph(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = counted(monkeypatch)
    first = run(CONV, f"--cache={tmp_path / 'cache'}")
    assert 0 < len(measured) <= 2 * len(first["operators"]), "at this batch size and at a second one"
    measured.clear()
    assert run(CONV, f"--cache={tmp_path / 'cache'}") == first
    assert measured == []
    (tmp_path / "cache").rename(tmp_path / "elsewhere")
    assert run(CONV, f"--cache={tmp_path / 'cache'}")["structure"] == first["structure"]
    assert measured, "another folder knows nothing"


def test_a_cache_filled_by_a_busy_machine_is_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 4))
    captured, loss = capture_step(model, (torch.randn(2, 8),), {}, (), None, None)
    total = len(captured.operators)
    real, slowness, measured = profile.measure_on_device, 1.0, 0

    def measure(*arguments: Any) -> Any:
        nonlocal measured
        measured += 1
        rows = real(*arguments)
        for row in rows:
            row.forward.time = int(10_000_000 * slowness)
        return rows

    def heard() -> tuple[int, int]:
        nonlocal measured
        measured = 0
        rows = profile.profile(captured, loss, profile.Cache(tmp_path, []), None, measure)
        return measured, rows[0][0].forward.time

    slowness = 2.0
    assert heard() == (total, 20_000_000)
    slowness = 1.8
    assert heard() == (3, 20_000_000), "near enough: the same graph again"
    slowness = 1.0
    assert heard() == (3 + total, 10_000_000), "all of it was too slow"
    slowness = 3.0
    assert heard() == (3, 10_000_000), "busy now, and not then"


def test_operators_of_one_signature_are_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = counted(monkeypatch)
    model = nn.Sequential(*(nn.Sequential(nn.Linear(8, 8), nn.Tanh()) for _ in range(6)))
    captured, loss = capture_step(model, (torch.randn(2, 8),), {}, (), None, None)
    rows = profile.profile(captured, loss, profile.Cache(None, []))
    assert len(captured.operators) == 13
    # The first linear wants no gradient for its input; the last tanh gets an expanded gradient.
    assert sorted(measured) == sorted(["aten.linear.default"] * 2 + ["aten.tanh.default"] * 2 + ["aten.sum.default"])
    assert rows[2] is rows[4]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"x": ', "3"])
def test_a_cut_off_cache_is_measured_again(text: str, run: Run, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = run(CONV, f"--cache={cache}")
    files = sorted(cache.iterdir())
    for file in files:
        file.write_text(text)
    assert run(CONV, f"--cache={cache}")["structure"] == first["structure"]
    assert sorted(cache.iterdir()) == files
    assert all(json.loads(file.read_text()) for file in files)


def test_progress_is_lines_of_json_that_count_up(run: Run, tmp_path: Path) -> None:
    g = run(CONV, "--progress", str(tmp_path / "progress.jsonl"))
    rows = [json.loads(line) for line in (tmp_path / "progress.jsonl").read_text().splitlines()]
    assert rows[0] == {"stage": "trace", "done": 0, "total": 1, "operator": ""}
    profiled = [r for r in rows if r["stage"] == "profile"]
    assert [r["done"] for r in profiled] == sorted(r["done"] for r in profiled)
    assert {r["total"] for r in profiled} == {len(g["operators"])}
    assert profiled[-1]["done"] == profiled[-1]["total"]
    assert "aten.conv2d.default" in {r["operator"] for r in profiled}


def test_an_operator_in_place_is_timed_where_it_has_to_leave_its_input_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def leaves_its_input(timed: Any) -> tuple[int, float]:
        timed.prepare()
        before = {v: t.detach().clone() for v, t in timed.tensors.items()} if hasattr(timed, "tensors") else {}
        timed.run()
        return 1000 + all(torch.equal(t, timed.tensors[v]) for v, t in before.items()), 0.0

    monkeypatch.setattr(profile, "_time", leaves_its_input)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(inplace=True))
    captured = capture(model, (torch.randn(2, 3, 8, 8),))
    relu = captured.operators[1]
    y = captured.values[relu.outputs[0]]
    for each in profile.measure_on_device(captured, relu, [(y.shape, y.stride)]):
        assert (each.forward.time, each.forward.out_of_place) == (1000, 1001), each.name


def test_times_are_measured_with_their_spread() -> None:
    captured, loss = capture_step(nn.Linear(64, 64), (torch.randn(32, 64),), {}, (), None, None)
    ways = profile.profile(captured, loss, profile.Cache(None, []))[0]
    assert [way.name for way in ways] == ["eager", "onednn"]
    for linear in ways:
        assert linear.backward is not None
        for measured in (linear.forward, linear.recompute, linear.backward):
            assert 100 < measured.time < 10**9
            assert measured.spread >= 0


# ---- cancelled -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["trace", "profile"])
def test_a_cancelled_run_leaves_no_file(
    stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def say(_: Any, now: str, done: int, total: int, operator: str = "") -> None:
        if now == stage and done > 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(command_line._progress, "say", say)
    command = ["profile", f"{SMALL}:Conv", *CONV[1:], "--no-cache", "--out", str(tmp_path / "graph.json")]
    assert command_line.main(command) == 130
    assert capsys.readouterr().err == "error: cancelled\n"
    assert list(tmp_path.iterdir()) == []


def test_a_run_cancelled_while_it_writes_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def replace(*_: Any) -> None:
        raise KeyboardInterrupt

    (tmp_path / "graph.json").write_text("old")
    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        profile.write_whole(tmp_path / "graph.json", "new")
    assert [p.name for p in tmp_path.iterdir()] == ["graph.json"]
    assert (tmp_path / "graph.json").read_text() == "old"


# ---- estimates -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [CONV, TEXT, [*CONV, "--autocast", "bf16"]])
def test_a_card_that_is_not_here_is_estimated_and_labelled(
    arguments: list[str], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = counted(monkeypatch)
    g = run(arguments, "--device", "A100")
    assert measured == []
    assert_sound(g)
    assert g["device"] == {
        "type": "cuda", "name": "A100", "total_bytes": 40 << 30, "threads": 1, "estimated": True,
    }  # fmt: skip
    here = run(arguments, "--device", "cpu")
    assert [o["op"] for o in g["operators"]] == [o["op"] for o in here["operators"]]
    assert g["fixed"] == here["fixed"]
    for o, real in zip(g["operators"], here["operators"], strict=True):
        cpu_alone = ("channels-last-forward", "onednn")
        also = [i for i in real["implementations"] if i["name"] not in cpu_alone]
        on_a_card = {"weight-first": "weight-first-transposed"}
        assert [i["name"] for i in o["implementations"]] == [on_a_card.get(i["name"], i["name"]) for i in also]
        for i, j in zip(o["implementations"], also, strict=True):
            assert i["saves"] == j["saves"], o["op"]
            # Cards keep a byte per element of dropout; fake tensors take statistics to be of the input's type.
            if o["op"] not in ("aten.dropout.default", "aten.batch_norm.default"):
                assert i["internal_bytes"] == j["internal_bytes"], o["op"]
            assert (i["backward"] is None) == (j["backward"] is None)
            if i["backward"] is not None:
                assert [(r["input"], r["bytes"], r["alias"]) for r in i["backward"]["gradients"]] == [
                    (r["input"], r["bytes"], r["alias"]) for r in j["backward"]["gradients"]
                ], o["op"]
    assert sum(o["implementations"][0]["forward"]["time"] for o in g["operators"]) > 0


def test_a_faster_card_takes_less_time() -> None:
    captured, loss = capture_step(nn.Linear(4096, 4096), (torch.randn(512, 4096),), {}, (), None, None)
    times = []
    for name in ("P100", "a100", "NVIDIA H100"):
        card = estimate.find(name)
        rows = profile.profile(captured, loss, profile.Cache(None, []), None, estimate.measure_for(card))
        times.append(rows[0][0].forward.time)
        flops = 2 * 512 * 4096 * 4096
        assert times[-1] >= flops / (card.fp32 * 1e12) * 1e9
    assert times[0] > times[1] > times[2]


def test_an_unknown_device_lists_the_known_ones(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    command = ["profile", f"{SMALL}:Conv", *CONV[1:], "--device", "A1000", "--out", str(tmp_path / "graph.json")]
    assert command_line.main(command) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --device A1000: ")
    assert all(card.name in error for card in estimate.CARDS)
    assert list(tmp_path.iterdir()) == []


def test_an_estimate_of_an_operator_with_several_outputs(tmp_path: Path) -> None:
    file = tmp_path / "attention.py"
    file.write_text(
        "from torch import nn\n"
        "class Net(nn.Linear):\n"
        "    def forward(self, x):\n"
        "        q, k, v = super().forward(x).view(4, 16, 3, 2, 4).permute(2, 0, 3, 1, 4)\n"
        "        return (q * k + v).relu()\n"
    )
    out = tmp_path / "g.json"
    options = ["--kwargs", '{"in_features": 24, "out_features": 24}', "--device", "A100", "--out", str(out)]
    assert command_line.main(["profile", f"{file}:Net", "--input", "float32[4,16,24]", *options]) == 0
    assert json.loads(out.read_text())["device"]["estimated"]


@pytest.mark.parametrize(
    ("model", "spec", "sentence", "code"),
    [
        ("Linear", "float32[100000,100000,1000]", "memory ran out while profile ran ", "M216"),
        ("Wide", "float32[2,3]", "{file}:4: memory ran out while profile ran ", "M216"),
        ("Square", "float32[4000000]", "{file}:8: aten.mean.default alone does not fit the device; ", "M215"),
    ],
)
def test_out_of_memory_is_one_sentence_that_says_what_to_do(
    model: str, spec: str, sentence: str, code: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "large.py"
    file.write_text(
        "from torch import nn\n"
        "class Linear(nn.Identity): pass\n"
        "def Wide():\n"
        "    return nn.Linear(10**7, 10**7)\n"
        "class Square(nn.PReLU):\n"
        "    def forward(self, x):\n"
        "        x = self.weight * x\n"
        "        return (x.unsqueeze(0) + x.unsqueeze(1)).mean()\n"
    )
    out = tmp_path / "out" / "graph.json"
    command = ["profile", f"{file}:{model}", "--input", spec, "--device", "cpu", "--no-cache", "--out", str(out)]
    assert command_line.main(command) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {sentence.format(file=file)}")
    assert "smaller batch" in error
    assert error.endswith(f" [{code}]\n")
    assert error.count("\n") == 1
    assert not out.exists()


def test_types_that_do_not_match_are_told_with_the_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "net.py"
    file.write_text(
        "from torch import nn\nclass Net(nn.Linear):\n    def forward(self, x):\n        return super().forward(x)\n"
    )
    made = ["--kwargs", '{"in_features": 4, "out_features": 4}', "--input", "int64[2,4]"]
    assert command_line.main(["profile", f"{file}:Net", *made, "--no-cache", "--out", str(tmp_path / "g.json")]) == 2
    assert re.fullmatch(r"error: .*net\.py:4: RuntimeError: .* \[M214\]\n", capsys.readouterr().err)


# ---- the whole step --------------------------------------------------------------------------------------------------


def eagers(g: dict[str, Any]) -> list[dict[str, Any]]:
    first = [o["implementations"][0] for o in g["operators"]]
    return [r for e in first for r in (e["forward"], e["backward"]) if r]


def test_times_sum_to_eagers_step_as_it_was_measured_whole(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    g = run(CONV)
    step = g["step"]
    assert step["operators"] == 1000 * len(eagers(g)), "each took 1000 ns by the clock of these tests"
    assert step["whole"] > 1000
    times = [r["time"] for r in eagers(g)]
    assert set(times) == {round(1000 * step["whole"] / step["operators"])}
    assert abs(sum(times) - step["whole"]) <= len(times)
    monkeypatch.setattr(whole, "room", lambda device, total_bytes: whole.at_most(g) - 1)
    g = run(CONV)
    assert "step" not in g, "it might not fit"
    assert {r["time"] for r in eagers(g)} == {1000}


def test_a_step_takes_no_more_memory_than_it_is_allowed_for(run: Run) -> None:
    for arguments, inputs in ((CONV[:3], CONV[2:3]), (TEXT[:5], [TEXT[2], TEXT[4]])):
        g = run(arguments)
        step = StepRunner(load(f"{SMALL}:{arguments[0]}", inputs, [], None, None), g["gradients"], None, CPU)
        step.reset()
        assert sum(g["fixed"].values()) + allocator_peak(step, CPU).peak_bytes <= whole.at_most(g)


def test_a_step_that_does_not_fit_leaves_the_operators_times(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def stops(self: StepRunner) -> None:
        raise torch.OutOfMemoryError("in backward")

    monkeypatch.setattr(StepRunner, "timed", stops)
    g = run(CONV)
    assert "step" not in g
    assert {r["time"] for r in eagers(g)} == {1000}


class OfItsOwn(nn.Module):
    """Counts its forwards in an attribute and in a buffer, and has its own ways with its state."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(3, 3)
        self.register_buffer("seen", torch.zeros(()), persistent=False)
        self.steps = 0

    def get_extra_state(self) -> Any:
        return {"steps": self.steps}

    def set_extra_state(self, state: Any) -> None:
        self.steps = state["steps"]

    def forward(self, x: Tensor) -> Tensor:
        self.steps += 1
        self.seen += 1
        y: Tensor = self.line(x)
        return y


class NotLoaded(OfItsOwn):
    def load_state_dict(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("load it by its own command")


def made_of(model: nn.Module) -> Target:
    return Target(model, (torch.randn(2, 3),), {}, (), None, SMALL, "made", "")


@pytest.mark.parametrize("kind", [OfItsOwn, NotLoaded])
def test_a_step_is_measured_of_any_model_that_trains_and_leaves_it_as_it_was(kind: type[OfItsOwn]) -> None:
    model = kind()
    took = whole._measure(made_of(model), "fresh", None, CPU, lambda done, total: None)
    assert took is not None
    assert took > 0
    assert model.steps == 0
    assert model.seen == 0
    assert all(p.grad is None for p in model.parameters())


def test_a_step_is_run_from_the_same_state_whatever_is_in_a_state_dict() -> None:
    step = StepRunner(made_of(OfItsOwn()), "fresh", None, CPU)
    step.results(1)
    assert step.model.steps == 1
    step.results(1)
    assert step.model.steps == 1


def test_a_container_has_no_more_memory_than_it_may_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_machine = graph.describe_device(CPU)["total_bytes"]
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(graph, "LIMITS", (limit, tmp_path / "missing"))
    for text, total in (("1048576\n", 1 << 20), (f"{2**63 - 4096}\n", of_machine), ("max\n", of_machine)):
        limit.write_text(text)
        assert graph.describe_device(CPU)["total_bytes"] == total


def test_runs_for_which_the_system_cleared_pages_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    page = os.sysconf("SC_PAGE_SIZE")
    runs = 0

    class Timed:
        device, samples = torch.device("cpu"), (3, 3)

        def prepare(self) -> None: ...

        def run(self) -> Any:
            nonlocal runs
            runs += 1
            if runs <= 3:  # one of them is the warm-up
                fresh = mmap.mmap(-1, 4096 * page)
                fresh[::page] = b"x" * 4096
            return None

    before = profile._page_faults()
    mmap.mmap(-1, 64 * page)[::page] = b"x" * 64
    if profile._page_faults() - before < 64:
        pytest.skip("this system does not count page faults")
    timed = Timed()
    with_pages = time.perf_counter_ns()
    timed.run()
    with_pages = time.perf_counter_ns() - with_pages
    taken, _ = profile._time(timed)  # type: ignore[arg-type]
    assert runs == 1 + 1 + 1 + 3
    assert taken < with_pages / 4
