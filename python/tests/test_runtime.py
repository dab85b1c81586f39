"""A plan changes memory and time, and nothing else: each promise of the runtime, with real autograd."""

from __future__ import annotations

import copy
import inspect
import io
import json
import logging
import pickle
import traceback
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import models
import pytest
import torch
from models import BACKWARDS, Make, assert_equal, assert_the_same_after, both, plan_for, planned_model, step, total
from torch import Tensor, nn

import monet_torch
from monet_torch import planned
from monet_torch.capture import capture
from monet_torch.errors import PlanMismatch
from monet_torch.measure import tracker_peak
from monet_torch.units import human

MAKERS: list[Make] = [models.convnet, models.decoder]
MODES = [("keep", 0), ("drop", 0), *(("random", seed) for seed in range(6))]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(("mode", "seed"), MODES)
def test_gradients_buffers_and_loss_are_bitwise_equal_under_any_plan(make: Make, mode: str, seed: int) -> None:
    eager, model, args = planned_model(make, mode, seed)
    for turn in range(2):  # running statistics move on
        assert_equal(step(eager, args, turn), step(model, args, turn))
    assert monet_torch.status(model) == {"planned": 2, "larger": 0, "eager": {}, "peak": None}


@pytest.mark.parametrize("make", MAKERS)
def test_bf16_autocast_gives_the_same_bits(make: Make) -> None:
    eager, model, args = both(make)
    cast = ("cpu", torch.bfloat16)
    for mode in ("keep", "drop"):
        monet_torch.apply(model, plan_for(capture(model, args, autocast=cast), mode))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert_equal(step(eager, args), step(model, args))
        assert monet_torch.status(model)["planned"] == 1
        monet_torch.remove(model)


def test_what_autograd_holds_as_the_plan_does_is_left_to_it(cells: weakref.WeakSet[Any]) -> None:
    """A plan that keeps everything runs without a hook; one that drops has fewer hooks than operators."""
    for mode, most in (("keep", 0), ("random", 1)):
        _, model, args = planned_model(models.convnet, mode)
        (program,) = planned._runtimes[model].by_fingerprint.values()
        assert sum(program.hooked) <= most * (len(program.hooked) - 1)
        output = model(*args)
        assert (len(cells) > 0) == (mode == "random")
        del output


def test_gradients_accumulate_over_steps() -> None:
    eager, model, args = planned_model(models.convnet, "random")
    for m in (eager, model):
        torch.manual_seed(5)
        for _ in range(3):
            m(*args).sum().backward()
    assert_equal({k: p.grad for k, p in eager.named_parameters()}, {k: p.grad for k, p in model.named_parameters()})


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("way", BACKWARDS)
@pytest.mark.parametrize("mode", ["keep", "drop", "random"])
def test_gradients_are_the_same_however_backward_is_run(make: Make, way: Callable[..., None], mode: str) -> None:
    assert_the_same_after(way, *planned_model(make, mode, 3))


@pytest.mark.parametrize("mode", ["keep", "drop", "random"])
def test_nothing_stays_in_memory_after_a_step(mode: str, cells: weakref.WeakSet[Any]) -> None:
    _, model, args = planned_model(models.convnet, mode)
    step(model, args)
    assert len(cells) == 0


def test_a_backward_that_never_comes_leaves_nothing(cells: weakref.WeakSet[Any]) -> None:
    _, model, args = planned_model(models.convnet, "random")
    output = model(*args)
    assert len(cells) > 0
    del output
    assert len(cells) == 0


def test_an_exception_in_forward_or_backward_leaves_nothing(cells: weakref.WeakSet[Any]) -> None:
    _, model, args = planned_model(models.convnet, "random")
    model(*args).sum().backward()

    class Stop(Exception):
        pass

    def stop(_: Tensor) -> None:
        raise Stop

    for turn in range(3):
        handle = model.conv1.weight.register_hook(stop)
        loss = model(*args).sum()
        with pytest.raises(Stop):
            loss.backward()
        handle.remove()
        del loss
        assert len(cells) == 0, f"turn {turn}"
    with pytest.raises(RuntimeError):
        model(args[0][:, :2])
    assert len(cells) == 0
    assert_equal(step(copy.deepcopy(model), args), step(model, args))


@pytest.mark.parametrize("mode", ["keep", "drop"])
@pytest.mark.parametrize("what", ["parameter", "input"])
def test_a_tensor_changed_in_place_before_backward_is_refused_as_eager_refuses_it(mode: str, what: str) -> None:
    eager, model, args = planned_model(models.convnet, mode)
    for m in (eager, model):
        x = args[0].clone()
        loss = m(x).sum()
        with torch.no_grad():
            (m.conv1.weight if what == "parameter" else x).add_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()


def test_an_output_changed_in_place_is_refused_where_eager_refuses_it() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return torch.sigmoid(self.fc(x))

    model, args = Net(), (torch.randn(2, 4),)
    for mode in ("keep", "drop"):
        monet_torch.apply(model, plan_for(capture(model, args), mode))
        output = model(*args)
        output.data  # noqa: B018  (reading is no change)
        with torch.no_grad():
            output.mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            output.sum().backward()
        monet_torch.remove(model)


def test_gradients_of_gradients_are_refused_with_what_to_do() -> None:
    _, model, args = planned_model(models.convnet, "random")
    with pytest.raises(RuntimeError, match=r"create_graph.*remove.*\[M316\]"):
        model(*args).sum().backward(create_graph=True)


def test_anomaly_mode_works() -> None:
    eager, model, args = planned_model(models.convnet, "drop")
    with torch.autograd.detect_anomaly(check_nan=True):
        assert_equal(step(eager, args), step(model, args))


@pytest.mark.parametrize("mode", ["keep", "drop", "random"])
def test_smaller_and_larger_batches_run_by_the_same_plan(mode: str) -> None:
    eager, model, _ = planned_model(models.convnet, mode)
    for batch in (4, 2, 6, 4):
        x = (torch.randn(batch, 3, 16, 16),)
        assert_equal(step(eager, x), step(model, x))
    status = monet_torch.status(model)
    assert (status["planned"], status["larger"]) == (4, 1)


@pytest.mark.parametrize("mode", ["keep", "drop", "random"])
def test_smaller_inputs_take_less_memory_than_planned_ones(mode: str) -> None:
    _, model, args = planned_model(models.convnet, mode)
    planned_peak = tracker_peak(lambda: step(model, args)).peak_bytes
    for shape in ((3, 3, 16, 16), (1, 3, 16, 16), (4, 3, 12, 12), (4, 3, 15, 9)):
        x = (torch.randn(*shape),)
        step(model, x)  # traces
        assert tracker_peak(lambda x=x: step(model, x)).peak_bytes < planned_peak  # type: ignore[misc]
    assert monet_torch.status(model)["larger"] == 0


@pytest.mark.parametrize("says", [True, False], ids=["a plan with its size", "an older plan"])
def test_what_is_larger_than_planned_is_planned_with_one_warning(says: bool) -> None:
    model, args = models.convnet()
    plan = plan_for(capture(model, args), "drop")
    if not says:
        del plan["graph"]["activation_bytes"]
    monet_torch.apply(model, plan)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for batch, side in ((4, 16), (2, 16), (5, 16), (2, 18), (4, 18), (5, 16)):
            step(model, (torch.randn(batch, 3, side, side),))
    ours = [w for w in caught if "MONeT" in str(w.message)]
    assert len(ours) == int(says)
    assert all(
        "profile and plan with the largest inputs" in str(w.message) and w.filename == models.__file__ for w in ours
    )
    status = monet_torch.status(model)
    assert (status["planned"], status["larger"], status["eager"]) == (6, 3 if says else None, {})
    assert ("3 forwards were larger" in monet_torch.explain_out_of_memory(model)) == says


def test_what_is_larger_by_a_copy_alone_says_by_how_much_and_why() -> None:
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(
                nn.Linear(12, 64), *(nn.Sequential(nn.Linear(64, 64), nn.Tanh()) for _ in range(40))
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.body(x.reshape(x.shape[0], 12))

    model = Flat()
    plan = plan_for(capture(model, (torch.randn(64, 3, 4),)), "drop")
    monet_torch.apply(model, plan)
    made = plan["graph"]["activation_bytes"]
    with pytest.warns(UserWarning, match="MONeT") as caught:
        model(torch.randn(64, 6, 4)[:, ::2]).sum().backward()
    (said,) = (str(w.message) for w in caught)
    assert human(made) == human(made + 64 * 12 * 4)
    assert f"makes {human(made)} of activations, 3.0 KiB more than the plan was made for (an input is not" in said
    model = Flat()
    monet_torch.apply(model, plan)
    with pytest.warns(UserWarning, match=r"more than the plan was made for: it runs by the plan"):
        model(torch.randn(80, 6, 4)[:, ::2])  # a copy does not explain sixteen samples more


def test_of_a_plan_that_does_not_fit_the_users_line_and_the_sentence_stay_and_the_log_has_the_rest(caplog: Any) -> None:
    model, args = models.convnet()
    monet_torch.apply(model, plan_for(capture(*models.decoder()), "drop"))
    caplog.set_level(logging.DEBUG, "monet_torch")
    with pytest.raises(PlanMismatch, match=r"\[M306\]") as raised:
        model(*args)
    files = [Path(frame.filename) for frame in traceback.extract_tb(raised.value.__traceback__)]
    assert files[0] == Path(__file__)
    assert {file.name for file in files if file.parent.name == "monet_torch"} == {"planned.py"}
    assert "in check" not in "".join(traceback.format_exception(raised.value))
    assert "in check" in caplog.text


def test_a_users_forward_around_a_plan_that_does_not_fit_stays_in_sight() -> None:
    class Around(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, _ = models.convnet()

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x) if self.training else x

    model = Around()
    monet_torch.apply(model.inner, plan_for(capture(*models.decoder()), "drop"))
    with pytest.raises(PlanMismatch, match=r"\[M306\]") as raised:
        model(*models.convnet()[1])
    frames = traceback.extract_tb(raised.value.__traceback__)
    assert [f.name for f in frames if f.filename == __file__][1:] == ["forward"]


def test_eval_and_no_grad_run_the_models_own_forward() -> None:
    eager, model, args = planned_model(models.convnet, "drop")
    step(eager, args), step(model, args)
    with torch.no_grad():
        torch.manual_seed(2)
        want = eager(*args)
        torch.manual_seed(2)
        assert torch.equal(want, model(*args))
    eager.eval(), model.eval()
    assert torch.equal(eager(*args), model(*args))
    with torch.inference_mode():
        assert torch.equal(eager(*args), model(*args))
    assert monet_torch.status(model)["planned"] == 1
    eager.train(), model.train()
    assert_equal(step(eager, args), step(model, args))


def test_a_frozen_part_in_eval_mode_is_seen() -> None:
    eager, model, args = planned_model(models.convnet, "drop")
    step(eager, args), step(model, args)
    for m in (eager, model):
        m.drop.p = 0.6  # a schedule
    assert_equal(step(eager, args), step(model, args))
    for m in (eager, model):
        m.conv1.weight.requires_grad_(False)
        m.stem.requires_grad_(False)
    assert_equal(step(eager, args), step(model, args))


def test_a_counter_in_the_module_leads_to_the_same_program() -> None:
    class Counting(models.ConvNet):
        def __init__(self) -> None:
            super().__init__()
            self.calls = 0

    model, args = Counting(), (torch.randn(4, 3, 16, 16),)
    monet_torch.apply(model, plan_for(capture(model, args), "keep"))
    for _ in range(5):
        model.calls += 1
        step(model, args)
    programs = planned._runtimes[model].programs.values()
    assert len(programs) == 5
    assert len({id(p) for p in programs}) == 1, "one program, however often it was traced"


def test_it_stays_the_same_module(tmp_path: Any) -> None:
    eager, model, args = planned_model(models.convnet, "drop")
    step(model, args)
    assert isinstance(model, models.ConvNet)
    assert type(model).__name__ == "ConvNet"
    assert list(model.state_dict()) == list(eager.state_dict())
    assert [k for k, _ in model.named_modules()] == [k for k, _ in eager.named_modules()]
    assert "forward" not in vars(model)
    assert inspect.signature(model.forward) == inspect.signature(eager.forward)  # transformers' Trainer asks for it
    again = pickle.loads(pickle.dumps(model))
    assert type(again) is models.ConvNet
    assert type(copy.deepcopy(model)) is models.ConvNet
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    assert type(torch.load(buffer, weights_only=False)) is models.ConvNet
    monet_torch.remove(model)
    assert type(model) is models.ConvNet
    monet_torch.remove(model)  # twice is no error
    assert_equal(step(copy.deepcopy(model), args), step(model, args))


def test_hooks_on_the_model_fire_and_hooks_inside_run_eager() -> None:
    eager, model, args = planned_model(models.convnet, "drop")
    seen = []
    model.register_forward_hook(lambda m, i, o: seen.append("forward"))
    model.register_full_backward_hook(lambda m, i, o: seen.append("backward"))
    assert_equal(step(eager, args), step(model, args))
    assert seen == ["forward", "backward"]
    inner = model.fc.register_forward_hook(lambda m, i, o: seen.append("inner"))
    with pytest.warns(UserWarning, match="Linear.*hooks"):
        assert_equal(step(eager, args), step(model, args))
    assert "inner" in seen
    assert monet_torch.status(model)["eager"] == {"a submodule (Linear) has hooks": 1}
    inner.remove()
    step(model, args)
    assert monet_torch.status(model)["planned"] == 2


class Strided(nn.Module):
    """Its `reshape`s are views of contiguous inputs and copies of others."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        h = torch.tanh(self.first(x.reshape(-1, 8)) * y.flatten(0, 1).exp())
        return (self.second(h).view(*x.shape).transpose(0, 1).reshape(-1) * h.reshape(-1)).sum()


CONTIGUOUS = (torch.randn(3, 4, 8), torch.randn(3, 4, 8))
STRIDED = (torch.randn(4, 3, 8).transpose(0, 1), torch.randn(3, 4, 9)[..., :8])


@pytest.mark.parametrize("mode", ["keep", "drop", "random"])
@pytest.mark.parametrize("profiled", [CONTIGUOUS, STRIDED], ids=["contiguous", "strided"])
def test_a_plan_holds_for_inputs_of_any_strides(profiled: tuple[Tensor, ...], mode: str) -> None:
    model = Strided()
    plan = plan_for(capture(model, profiled), mode)
    for args in (CONTIGUOUS, STRIDED):
        eager, planned_one = copy.deepcopy(model), copy.deepcopy(model)
        monet_torch.apply(planned_one, plan)
        assert_equal(step(eager, args), step(planned_one, args))
        more = int(profiled is CONTIGUOUS and args is STRIDED)  # a copy where a view was planned
        assert monet_torch.status(planned_one) == {"planned": 1, "larger": more, "eager": {}, "peak": None}


@pytest.mark.filterwarnings("ignore:MONeT")
def test_inputs_that_change_the_operators_run_eager_and_a_changed_model_is_refused() -> None:
    class Contiguous(Strided):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return super().forward(x.contiguous(), y.contiguous())  # no operator where it has nothing to do

    eager, model = (copy.deepcopy(Contiguous()) for _ in range(2))
    model.load_state_dict(eager.state_dict())
    monet_torch.apply(model, plan_for(capture(model, CONTIGUOUS), "drop"))
    for other in (STRIDED, (CONTIGUOUS[0], CONTIGUOUS[0])):
        assert_equal(step(eager, other), step(model, other))
    (reason,) = monet_torch.status(model)["eager"].items()
    assert "contiguous" in reason[0]
    assert reason[1] == 2
    assert_equal(step(eager, CONTIGUOUS), step(model, CONTIGUOUS))
    assert monet_torch.status(model)["planned"] == 1
    changed = Contiguous()
    monet_torch.apply(changed, plan_for(capture(changed, CONTIGUOUS), "drop"))
    changed.second = nn.Sequential(changed.second)  # type: ignore[assignment]
    with pytest.raises(PlanMismatch, match="other operators"):
        step(changed, STRIDED)


def test_keyword_arguments_and_structured_outputs() -> None:
    eager, model, args = planned_model(models.decoder, "drop")
    for m in (eager, model):
        torch.manual_seed(0)
        m.zero_grad()
        total(m(ids=args[0], scale=0.5)).backward()
    assert torch.equal(eager.mix.weight.grad, model.mix.weight.grad)
    assert monet_torch.status(model) == {"planned": 1, "larger": 0, "eager": {}, "peak": None}


def test_a_long_chain_recomputes_without_recursion() -> None:
    model, args = models.Chain(1500), (torch.randn(3),)
    eager = copy.deepcopy(model)
    captured = capture(model, args)
    plan = plan_for(captured, "drop")
    # Hold one value in the middle, to the end: everything else is made again from it or from the input, once.
    n = len(captured.operators)
    middle = captured.operators[n // 2].outputs[0]
    last_need = captured.operators[n // 2 + 1]
    first = captured.operators[0]
    plan["retain"] = [
        {"value": middle, "intervals": [[n // 2, 2 * n - 1 - last_need.id]]},
        *(
            {"value": o.outputs[0], "intervals": [[2 * n - 1 - (n - 1), 2 * n - 1 - o.id]]}
            for o in captured.operators[n // 2 + 1 : n - 1]
        ),
        *(
            {"value": o.outputs[0], "intervals": [[2 * n - 1 - (n // 2), 2 * n - 1 - o.id]]}
            for o in captured.operators[first.id : n // 2 - 1]
        ),
    ]
    monet_torch.apply(model, plan)
    events: list[Any] = []
    planned._runtimes[model].trace = lambda *e: events.append(e)
    assert_equal(step(eager, args), step(model, args))
    recomputes = [e for e in events if e[0] == "recompute"]
    assert len(recomputes) <= n, "retained values must not be made twice"


def test_dropping_takes_less() -> None:
    eager, model, args = planned_model(models.convnet, "drop")
    step(eager, args), step(model, args)
    held = []
    for m in (eager, model):
        m.zero_grad()

        outputs: list[Tensor] = []

        def run(m: nn.Module = m, outputs: list[Tensor] = outputs) -> None:
            outputs.append(m(*args))

        held.append(tracker_peak(run).end_bytes)
    assert held[1] < 0.25 * held[0]


def test_a_plan_for_another_model_is_refused() -> None:
    model, args = models.convnet()
    other, other_args = models.decoder()
    monet_torch.apply(model, plan_for(capture(other, other_args), "keep"))
    with pytest.raises(monet_torch.PlanMismatch, match=r"profile and plan it again \[M306\]"):
        model(*args)


def test_applying_twice_is_refused() -> None:
    _, model, args = planned_model(models.convnet, "keep")
    with pytest.raises(monet_torch.MonetError, match=r"remove.*\[M309\]"):
        monet_torch.apply(model, plan_for(capture(model, args), "keep"))


def test_a_model_without_a_plan_has_no_status() -> None:
    with pytest.raises(monet_torch.MonetError, match=r"this model has no plan; .* \[M311\]"):
        monet_torch.status(models.convnet()[0])


def test_a_relative_plan_is_found_beside_the_script_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, args = models.convnet()
    script = tmp_path / "train" / "script.py"
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "a.plan.json").write_text(json.dumps(plan_for(capture(model, args), "keep")))
    monkeypatch.chdir(tmp_path)
    code = compile("monet_torch.apply(model, 'a.plan.json')", str(script), "exec")
    exec(code, {"__file__": str(script), "model": model, "monet_torch": monet_torch})
    assert monet_torch.status(model)["planned"] == 0
    other, _ = models.convnet()
    with pytest.raises(monet_torch.MonetError, match=r"a\.plan\.json: No such file"):
        monet_torch.apply(other, "a.plan.json")


def test_a_bad_plan_file_is_one_clear_sentence(tmp_path: Any) -> None:
    model, _ = models.convnet()
    for text, message in [("{", r"cut off.*\[M302\]"), ("{}", r"not a plan.*\[M303\]"),
                          ('{"format":"monet-plan","version":9}', r"version 9.*\[M304\]"),
                          ('{"format":"monet-plan","version":1}', r"not a complete plan.*\[M305\]")]:  # fmt: skip
        path = tmp_path / "plan.json"
        path.write_text(text)
        with pytest.raises(monet_torch.MonetError, match=message):
            monet_torch.apply(model, path)
    with pytest.raises(monet_torch.MonetError, match=r"No such file.*\[M301\]"):
        monet_torch.apply(model, tmp_path / "none.json")
    assert type(model) is models.ConvNet


def test_alternating_training_and_validation_with_an_optimizer() -> None:
    eager, model, args = planned_model(models.convnet, "random")
    optimizers = [torch.optim.AdamW(m.parameters(), lr=1e-2) for m in (eager, model)]
    for epoch in range(4):
        for m, optimizer in zip((eager, model), optimizers, strict=True):
            m.train()
            torch.manual_seed(epoch)
            optimizer.zero_grad()
            m(*args).sum().backward()
            torch.nn.utils.clip_grad_norm_(m.parameters(), 1.0)
            optimizer.step()
            m.eval()
            with torch.no_grad():
                m(*args)
    assert_equal(dict(eager.state_dict()), dict(model.state_dict()))


def test_a_loss_outside_the_model_runs_by_the_plan() -> None:
    from monet_torch.step import capture_step

    def loss(output: Tensor, target: Tensor) -> Tensor:
        return nn.functional.cross_entropy(nn.functional.gelu(output * 2), target)

    eager, model, args = both(models.convnet)
    target = torch.randint(0, 5, (4,))
    captured, _ = capture_step(model, args, {}, (target,), loss, None)
    assert capture(model, args).structure() == captured.structure()
    for mode in ("keep", "drop", "random"):
        planned_loss = monet_torch.apply(model, plan_for(captured, mode), loss=loss)
        events: list[Any] = []
        planned._runtimes[model].trace = lambda *e, events=events: events.append(e)
        for m, f in ((eager, loss), (model, planned_loss)):
            torch.manual_seed(3)
            m.zero_grad()
            f(m(*args), target).backward()
        assert_equal({k: p.grad for k, p in eager.named_parameters()}, {k: p.grad for k, p in model.named_parameters()})
        n = len(captured.operators)
        assert sum(e[0] == "forward" for e in events) == n
        monet_torch.remove(model)


def test_a_loss_other_than_the_profiled_one_runs_as_eager_does_and_says_so() -> None:
    from monet_torch.step import capture_step

    model, args = models.convnet()
    target = torch.randint(0, 5, (4,))
    captured, _ = capture_step(model, args, {}, (target,), nn.functional.cross_entropy, None)

    def other(output: Tensor, target: Tensor) -> Tensor:
        return nn.functional.cross_entropy(output * 2, target)

    planned_loss = monet_torch.apply(model, plan_for(captured, "keep"), loss=other)
    with pytest.warns(UserWarning, match=r"made with a loss of 1 operators, and this one has 2; .*\[M307\]"):
        planned_loss(model(*args), target).backward()


def test_a_plan_that_would_make_again_what_must_run_once_is_refused_in_backward() -> None:
    class Net(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            y = super().forward(x)
            first = y[0]
            y.mul_(2)
            return (y * first).sin().sin()

    model, args = Net(4, 4), (torch.randn(3, 4),)
    monet_torch.apply(model, plan_for(capture(model, args), "keep") | {"retain": []})
    with pytest.raises(RuntimeError, match=r"would have to run twice, .* \[M314\]"):
        step(model, args)


@torch.library.custom_op("monet_test::turned", mutates_args=())
def turned(x: Tensor) -> Tensor:
    return x.t().contiguous().t().clone(memory_format=torch.preserve_format)


turned.register_fake(lambda x: x.new_empty(x.shape))  # says contiguous, and is not
turned.register_autograd(lambda ctx, g: g)


def test_a_kernel_that_lies_about_its_strides_is_found_out() -> None:
    class Net(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return turned(super().forward(x)).reshape(-1).sin()

    model, args = Net(4, 4), (torch.randn(3, 4),)
    monet_torch.apply(model, plan_for(capture(model, args), "keep"))
    with pytest.raises(PlanMismatch, match=r"aten.reshape.default of the model copied where .* \[M312\]"):
        model(*args)


def test_what_is_retained_after_a_recompute_is_not_made_again() -> None:
    eager, model, args = both(models.convnet)
    captured = capture(model, args)
    plan = plan_for(captured, "drop")
    n = len(captured.operators)
    conv2 = next(o for o in captured.operators if o.module == "conv2")
    bn2 = next(o for o in captured.operators if o.module == "bn2" and "batch_norm" in o.name)
    needed = conv2.inputs[0]  # recomputed for bn2's backward (through conv2), needed again by conv2's
    plan["retain"].append({"value": needed, "intervals": [[2 * n - 1 - bn2.id, 2 * n - 1 - conv2.id]]})
    monet_torch.apply(model, plan)
    events: list[Any] = []
    planned._runtimes[model].trace = lambda *e: events.append(e)
    assert_equal(step(eager, args), step(model, args))
    clock = 2 * n - 1 - conv2.id
    assert not [e for e in events if e[0] == "recompute" and e[1] == clock]
