"""Verify says that nothing changed where nothing did, and finds it where something did."""

from __future__ import annotations

import copy
import gc
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from monet_torch import __main__ as command_line
from monet_torch import frame, operators, planned, profile, verify
from monet_torch.errors import PlanMismatch
from monet_torch.target import load

SMALL = Path(__file__).parent / "files" / "small.py"
CONV = ["Conv", "--input", "float32[2,3,8,8]", "--loss", "loss", "--target", "int64[2]<5"]
TEXT = ["Text", "--input", "ids=int64[2,6]<31", "--input", "mask=float32[2,6,1]"]
Document = dict[str, Any]


def profiled(arguments: list[str], out: Path, *more: str) -> Document:
    patch = pytest.MonkeyPatch()
    patch.setattr(profile, "_time", lambda timed: (timed.prepare(), timed.run(), (1000, 0.0))[-1])
    patch.setattr(profile, "_chill", lambda device: None)
    try:
        model, *rest = arguments
        file = [] if ":" in model else [f"{SMALL}:{model}"]
        command = ["profile", *(file or [model]), *rest, *more, "--no-cache", "--out", str(out)]
        assert command_line.main(command) == 0
    finally:
        patch.undo()
    document: Document = json.loads(out.read_text())
    return document


@pytest.fixture(scope="module", autouse=True)
def _little_to_collect() -> Iterator[None]:
    """Each measurement of memory has the collector walk all objects first; what is there already can't go."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., tuple[Path, Document]]]:
    """Graphs by their command line, profiled once."""
    path = list(sys.path)
    known: dict[tuple[str, ...], tuple[Path, Document]] = {}
    folder = tmp_path_factory.mktemp("graphs")

    def get(arguments: list[str], *more: str) -> tuple[Path, Document]:
        key = (*arguments, *more)
        if key not in known:
            out = folder / f"graph{len(known)}.json"
            known[key] = (out, profiled(arguments, out, *more))
        return known[key]

    yield get
    sys.path[:] = path


def plan_of(graph: Document, keep: Callable[[int], bool] = lambda o: True, **more: Any) -> Document:
    """Hold what the operators' backward needs from forward to its last use, for producers that `keep` names."""
    n = len(graph["operators"])
    last: dict[int, int] = {}
    retain: list[Document] = []
    for o in graph["operators"]:
        first = o["implementations"][0]
        if first["backward"] is None:
            continue
        for s in first["saves"]:
            last[s] = max(last.get(s, 0), 2 * n - 1 - o["id"])
        if first["internal_bytes"] and (keep(o["id"]) or o["pinned"]):
            retain.append({"internals": o["id"], "intervals": [[o["id"], 2 * n - 1 - o["id"]]]})
    for s, end in sorted(last.items()):
        producer = graph["values"][s]["producer"]
        if keep(producer) or graph["operators"][producer]["pinned"]:
            retain.append({"value": s, "intervals": [[producer, end]]})
    everything = keep(0) and keep(n - 1)
    total = sum(graph["fixed"].values()) + 1000
    return {
        "format": "monet-plan", "version": 1, "budget": None, "implementations": {}, "retain": retain,
        "rng": [] if everything else [o["id"] for o in graph["operators"] if o["random"]],
        "graph": {"hash": graph["hash"], "structure": graph["structure"], "model": graph["made_from"]["model"],
                  "operators": n},
        "predicted": {"peak": total, "structure_peak": total, "time": 1000, "eager_peak": total,
                      "eager_structure_peak": total, "eager_time": 1000},
        "bound": None,
    } | more  # fmt: skip


def verified(
    graphs: Any, arguments: list[str], plan: Document, tmp_path: Path, capsys: Any, *more: str
) -> tuple[int, Document]:
    path, _ = graphs(arguments)
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    command = ["verify", f"{SMALL}:{arguments[0]}", str(tmp_path / "plan.json"), "--graph", str(path), "--json"]
    code = command_line.main([*command, "--pairs", "0", *more])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("arguments", [CONV, TEXT])
def test_eagers_own_plan_changes_nothing_to_the_bit_and_to_the_byte(
    arguments: list[str], graphs: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, graph = graphs(arguments)
    code, report = verified(graphs, arguments, plan_of(graph), tmp_path, capsys)
    assert code == 0
    assert report["differences"] == report["eager_differs_from_itself"] == []
    assert report["planned_peak"] == report["eager_peak"]
    assert report["text"].endswith("equal to eager's, bit for bit"), "the same as a table for people"
    assert report["planned_tracker_peak"] == report["eager_tracker_peak"]
    assert report["eager_forwards"] == {}
    assert report["planned_forwards"] == 3, "gradients, allocator, tracker"
    model = load(f"{SMALL}:{arguments[0]}", ["float32[1]"], [], None, None).model
    tensors = [*model.named_parameters(), *model.named_buffers()]
    assert report["compared"] == 1 + len(tensors)


@pytest.mark.parametrize("arguments", [CONV, TEXT])
def test_a_plan_that_keeps_nothing_changes_nothing_and_takes_less(
    arguments: list[str], graphs: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, graph = graphs(arguments)
    code, report = verified(graphs, arguments, plan_of(graph, lambda o: False), tmp_path, capsys)
    assert code == 0
    assert report["equal"]
    assert report["planned_tracker_peak"] <= report["eager_tracker_peak"] + 2 * graph["rng_state_bytes"]


def test_autocast_and_fresh_gradients_are_those_of_the_graph(
    graphs: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*CONV, "--autocast", "bf16", "--gradients", "fresh"]
    _, graph = graphs(arguments)
    code, report = verified(graphs, arguments, plan_of(graph), tmp_path, capsys)
    assert code == 0
    assert report["planned_peak"] == report["eager_peak"]
    assert report["fixed"] == sum(graph["fixed"].values())
    assert graph["fixed"]["gradients"] == 0


def test_what_moves_by_itself_is_equal_as_far_as_eager_is_to_itself(
    graphs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As on a card, whose kernels add in whatever order their threads come."""
    real = verify.StepRunner.results
    moves = iter([0, 3, 1, 2, 0, 3, 2])
    seen: list[bool] = []

    def moving(self: Any, seed: int) -> dict[str, Tensor]:
        seen.append(torch.are_deterministic_algorithms_enabled())
        found = real(self, seed)
        found["gradient of conv1.weight"] += next(moves) * 1e-6
        return found

    monkeypatch.setattr(verify.StepRunner, "results", moving)
    path, graph = graphs(CONV)
    code, report = verified(graphs, CONV, plan_of(graph), tmp_path, capsys)
    assert (code, report["differences"], report["deterministic"]) == (0, [], True)
    assert [d["what"] for d in report["eager_differs_from_itself"]] == ["gradient of conv1.weight"]
    assert [d["what"] for d in report["within_eagers_own"]] == ["gradient of conv1.weight"]
    assert "the other 1 differ no more than eager does from itself" in report["text"]
    assert seen == [False, False, True, True, True, True, True]
    assert not torch.are_deterministic_algorithms_enabled()

    # Further away than eager ever was is a difference, and so is anything that stands still in eager.
    moves = iter([0, 3, 1, 2, 0, 3, 90])
    command = ["verify", f"{SMALL}:Conv", str(tmp_path / "plan.json"), "--graph", str(path), "--pairs", "0"]
    assert command_line.main(command) == 1
    assert "DIFFERS: gradient of conv1.weight" in capsys.readouterr().out


def test_as_many_threads_run_as_were_profiled_with(tmp_path: Path) -> None:
    path, plan = tmp_path / "graph.json", tmp_path / "plan.json"
    graph = profiled([*CONV, "--threads", "2"], path)
    plan.write_text(json.dumps(plan_of(graph)))
    command = ["verify", f"{SMALL}:Conv", str(plan), "--graph", str(path), "--pairs", "0"]
    try:
        for asked, runs in (((), 2), (("--threads", "1"), 1)):
            torch.set_num_threads(1)
            assert command_line.main([*command, *asked]) == 0
            assert torch.get_num_threads() == runs
    finally:
        torch.set_num_threads(1)


def test_the_table_says_where_the_machine_was_another_and_what_a_tracker_sees_besides() -> None:
    predicted = dict.fromkeys(("eager_peak", "peak", "structure_peak", "eager_structure_peak"), 1000)
    report = verify.Report(
        "net", "a CPU", 0, None, predicted={**predicted, "eager_time": 10**9, "time": 10**9}, eager_peak=1000,
        planned_peak=1000, planned_tracker_peak=1000, eager_seconds=1.0, planned_seconds=1.1, pairs=5,
    )  # fmt: skip
    plain = verify.table(report)
    assert "+10.0%" in plain
    assert "busy" not in plain
    assert "casts" not in plain
    assert "eager's step is faster now" in verify.table(replace(report, eager_seconds=0.5))
    assert "eager's step is slower now" in verify.table(replace(report, eager_seconds=1.3))
    assert "these include what operators make of several others" in verify.table(
        replace(report, planned_tracker_peak=1300)
    )


def test_the_table_is_for_people(graphs: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, graph = graphs(CONV)
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps(plan_of(graph, budget=10**9)))
    assert command_line.main(["verify", f"{SMALL}:Conv", str(plan), "--graph", str(path), "--pairs", "2"]) == 0
    text = capsys.readouterr().out
    assert "loss, gradients and buffers: all " in text
    assert "equal to eager's, bit for bit" in text
    assert "kept" in text
    assert "median of 2 interleaved pairs" in text


def test_the_step_is_as_it_was_afterwards(graphs: Any) -> None:
    _, graph = graphs(CONV)
    target = load(f"{SMALL}:Conv", ["float32[2,3,8,8]"], ["int64[2]<5"], None, "loss")
    before = copy.deepcopy(target.model.state_dict())
    original = type(target.model)
    for broken in (False, True):
        plan = plan_of(graph)
        if broken:
            plan["graph"] = plan["graph"] | {"structure": "another"}
        try:
            verify.verify(target, plan, graph, autocast=None, device=torch.device("cpu"), pairs=0)
        except PlanMismatch:
            assert broken
        assert type(target.model) is original
        assert target.model not in planned._runtimes
        after = target.model.state_dict()
        assert all(torch.equal(after[k], v) for k, v in before.items())
        assert all(p.grad is not None and not p.grad.any() for p in target.model.parameters())


# ---- what is wrong is found ------------------------------------------------------------------------------------------


def test_a_recompute_that_gives_something_else_is_found(
    graphs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = frame.Frame._run_again

    def wrong(self: Any, o: Any, *rest: Any) -> list[Tensor]:
        return [t + 1e-3 if o.name.startswith("aten.conv2d") else t for t in real(self, o, *rest)]

    monkeypatch.setattr(frame.Frame, "_run_again", wrong)
    _, graph = graphs(CONV)
    code, report = verified(graphs, CONV, plan_of(graph, lambda o: False), tmp_path, capsys)
    assert code == 1
    assert not report["equal"]
    assert report["eager_differs_from_itself"] == []
    found = {d["what"]: d["largest"] for d in report["differences"]}
    assert found["gradient of conv2.weight"] > 0
    assert "loss" not in found, "the forward was right"
    assert list(found.values()) == sorted(found.values(), reverse=True)


def test_an_implementation_that_gives_something_else_is_found(
    graphs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, graph = graphs(CONV)
    relu = next(o for o in graph["operators"] if o["module"] == "relu")
    plan = plan_of(graph, implementations={str(relu["id"]): "mask"})
    code, report = verified(graphs, CONV, plan, tmp_path, capsys)
    assert (code, report["differences"]) == (0, [])

    (right,) = operators._registry["aten.relu.default"]
    wrong = replace(right, build=lambda o, in_place: torch.nn.functional.leaky_relu)
    monkeypatch.setitem(operators._registry, "aten.relu.default", [wrong])
    plan_file = tmp_path / "plan.json"
    command = ["verify", f"{SMALL}:Conv", str(plan_file), "--graph", str(path), "--pairs", "0"]
    assert command_line.main(command) == 1
    text = capsys.readouterr().out
    assert "DIFFERS: gradient of conv1.weight, by at most " in text
    assert "equal to eager's" not in text


def test_what_need_not_be_eagers_to_the_bit_is_named_beside_how_far_it_is(
    graphs: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, graph = graphs(CONV)
    norm = next(o for o in graph["operators"] if o["op"] == "aten.batch_norm.default")
    plan = plan_of(graph, implementations={str(norm["id"]): "output"})
    code, report = verified(graphs, CONV, plan, tmp_path, capsys)
    assert code == 1
    assert report["inexact"] == ["output of aten.batch_norm.default"]
    assert all(d["share"] < 1e-4 for d in report["differences"])
    assert report["text"].endswith("as --exactness allowed: output of aten.batch_norm.default)")
    assert " of its largest element)" in report["text"]


def test_statistics_that_are_updated_twice_are_found(
    graphs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(frame, "HIDDEN_STATE", {})
    _, graph = graphs(CONV)
    code, report = verified(graphs, CONV, plan_of(graph, lambda o: False), tmp_path, capsys)
    assert code == 1
    assert "buffer norm.running_mean" in {d["what"] for d in report["differences"]}


def test_a_forward_that_ran_without_its_plan_is_no_success(
    graphs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, graph = graphs(CONV)
    monkeypatch.setattr(planned, "hooked", lambda modules: "a submodule (Linear) has hooks")
    with pytest.warns(UserWarning, match="without its plan"):
        code, report = verified(graphs, CONV, plan_of(graph), tmp_path, capsys)
    assert code == 1
    assert report["eager_forwards"] == {"a submodule (Linear) has hooks": 3}


def test_a_budget_is_kept_to_the_byte_or_exceeded(
    graphs: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, graph = graphs(CONV)
    code, report = verified(graphs, CONV, plan_of(graph, budget=1), tmp_path, capsys)
    assert (code, report["within_budget"], report["equal"]) == (1, False, True)
    assert report["loss_gradient"] == 4  # the backward's own beginning, which no plan can hold back
    least = report["planned_peak"] - report["loss_gradient"]
    for spare, code in ((0, 0), (-1, 1)):
        plan = tmp_path / "plan.json"
        plan.write_text(json.dumps(plan_of(graph, budget=least + spare)))
        command = ["verify", f"{SMALL}:Conv", str(plan), "--graph", str(path), "--pairs", "0"]
        assert command_line.main(command) == code
        assert ("EXCEEDED" in capsys.readouterr().out) == (code == 1)


# ---- what does not belong together -----------------------------------------------------------------------------------


def refused(graphs: Any, plan: Any, tmp_path: Path, capsys: Any, arguments: list[str] = CONV) -> str:
    path, _ = graphs(arguments)
    (tmp_path / "plan.json").write_text(plan if isinstance(plan, str) else json.dumps(plan))
    command = ["verify", f"{SMALL}:{arguments[0]}", str(tmp_path / "plan.json"), "--graph", str(path), "--pairs", "0"]
    assert command_line.main(command) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    return str(captured.err)


def test_a_plan_of_another_graph_is_refused(graphs: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, other = graphs(TEXT)
    assert refused(graphs, plan_of(other), tmp_path, capsys).endswith("plan again from this graph [M318]\n")
    _, graph = graphs(CONV)
    plan = plan_of(graph)
    plan["graph"] = plan["graph"] | {"structure": other["structure"]}
    assert "other operators" in refused(graphs, plan, tmp_path, capsys)
    plan = plan_of(graph, implementations={"0": "by-hand"})
    message = refused(graphs, plan, tmp_path, capsys)
    assert "aten.conv2d.default of conv1 as 'by-hand'" in message
    assert message.endswith(" [M308]\n")


def test_a_plan_without_the_random_state_it_needs_is_refused(
    graphs: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, graph = graphs(CONV)
    message = refused(graphs, plan_of(graph, lambda o: False, rng=[]), tmp_path, capsys)
    assert "the planned step stopped: MONeT: aten.dropout.default of drop draws random numbers" in message
    assert message.endswith(" [M315] [M317]\n")


def test_a_file_that_is_cut_short_is_refused(graphs: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, graph = graphs(CONV)
    text = json.dumps(plan_of(graph), indent=1)
    assert "is the file cut off?" in refused(graphs, text[: len(text) // 2], tmp_path, capsys)
    for name in ("graph", "budget", "predicted"):
        plan = plan_of(graph)
        del plan[name]
        assert f"not a complete monet-plan file, it has no {name}" in refused(graphs, plan, tmp_path, capsys)
    plan = plan_of(graph)
    del plan["retain"]
    assert "not a complete plan (KeyError: 'retain')" in refused(graphs, plan, tmp_path, capsys)


def test_an_estimate_is_not_verified(graphs: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [*CONV, "--device", "A100"]
    _, graph = graphs(arguments)
    message = refused(graphs, plan_of(graph), tmp_path, capsys, arguments)
    assert "is an estimate for A100; profile on a real device first [M319]" in message


# ---- comparing -------------------------------------------------------------------------------------------------------


def test_comparing_is_to_the_bit_and_nan_is_nan() -> None:
    a = {"x": torch.tensor([1.0, float("nan")]), "y": torch.zeros(2), "z": torch.ones(1, dtype=torch.int64)}
    assert verify.compare(a, {k: v.clone() for k, v in a.items()}) == []
    rows = verify.compare(a, {"x": torch.tensor([1.0, 2.0]), "y": torch.tensor([0.0, 2.0**-40])})
    assert [(d.what, d.largest) for d in rows] == [
        ("x", float("inf")), ("z (only in one)", float("inf")), ("y", 2.0**-40),
    ]  # fmt: skip
    rows = verify.compare({"x": torch.zeros(2)}, {"x": torch.zeros(2, dtype=torch.float64)})
    assert [d.what for d in rows] == ["x (other shape or type)"]


@pytest.mark.parametrize(
    ("a", "b"),
    [(float("nan"), 0.0), (float("inf"), torch.finfo(torch.float32).max), (0.0, -0.0), (float("inf"), float("-inf"))],
)
def test_what_is_not_the_same_bits_differs(a: float, b: float) -> None:
    assert verify.compare({"x": torch.tensor([a, 1.0])}, {"x": torch.tensor([b, 1.0])}) != []


def test_what_the_users_file_prints_is_not_part_of_the_answer(tmp_path: Path) -> None:
    import json
    import subprocess
    import sys

    file = tmp_path / "net.py"
    file.write_text("import torch\nprint('loading')\nclass Net(torch.nn.Linear):\n    pass\n")
    done = subprocess.run(
        [sys.executable, "-m", "monet_torch", "profile", f"{file}:Net", "--input", "float32[2,3]", "--kwargs",
         '{"in_features": 3, "out_features": 2}', "--out", str(tmp_path / "g.json"), "--no-cache", "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout)["operators"] == 2
    assert "loading" in done.stderr
    assert (tmp_path / "g.json").stat().st_mode & 0o044
