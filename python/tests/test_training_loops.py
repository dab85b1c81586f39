"""What people do around a model when they train it: each loop with a plan, beside the same loop without."""

from __future__ import annotations

import copy
import functools
import gc
import inspect
import io
import itertools
import re
import weakref
from collections.abc import Callable
from typing import Any

import models
import pytest
import torch
import torch.nn.functional as F
from models import assert_equal, both, exports_spectral_norm, plan_for, planned_model, step
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.autograd.graph import save_on_cpu
from torch.nn.utils import parametrizations, parametrize
from torch.utils import _pytree as pytree
from torch.utils.checkpoint import checkpoint

import monet_torch
from monet_torch.capture import capture
from monet_torch.measure import tracker_peak

MODES = ["keep", "drop", "random"]


class Net(nn.Module):
    """Two linear layers around whatever `between` is: no module and no attribute that a plan looks at."""

    def __init__(self, between: Callable[[Tensor], Tensor] = torch.tanh) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)
        self.drop = nn.Dropout(0.2)
        self.between = (between,)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.drop(torch.sigmoid(self.between[0](self.first(x)))))


def net() -> tuple[nn.Module, tuple[Tensor, ...]]:
    torch.manual_seed(0)
    return Net(), (torch.randn(4, 8),)


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {k: p.grad.clone() for k, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("mode", MODES)
def test_a_grad_scaler_skips_the_same_steps_and_makes_the_same_ones(mode: str) -> None:
    eager, model, args = both(models.convnet)
    monet_torch.apply(model, plan_for(capture(model, args, autocast=("cpu", torch.float16)), mode))
    results, scales = [], []
    for m in (eager, model):
        torch.manual_seed(0)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**17, growth_interval=2)
        optimizer = torch.optim.SGD(m.parameters(), lr=0.01)
        for _ in range(6):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.float16):
                loss = m(*args).square().mean()
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(m.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            scales.append(scaler.get_scale())
        results.append(dict(m.state_dict()))
    assert_equal(*results)
    assert scales[:6] == scales[6:]
    assert min(scales) < 2.0**17, "no step was skipped: the test tests nothing"
    assert any(b > a for a, b in itertools.pairwise(scales)), "no step was made"
    assert monet_torch.status(model)["planned"] == 6


@pytest.mark.parametrize("scaled", [False, True], ids=["", "scaled"])
@pytest.mark.parametrize("mode", MODES)
def test_micro_batches_of_which_the_last_is_smaller_are_summed_and_clipped_alike(mode: str, scaled: bool) -> None:
    eager, model, _ = planned_model(models.convnet, mode)
    results, norms = [], []
    for m in (eager, model):
        optimizer = torch.optim.AdamW(m.parameters(), lr=0.01)
        scaler = torch.amp.GradScaler("cpu", enabled=scaled)
        for turn in range(4):
            torch.manual_seed(turn)
            optimizer.zero_grad(set_to_none=turn % 2 == 0)
            for rows in (4, 4, 3):
                scaler.scale(m(torch.randn(rows, 3, 16, 16)).square().sum() / 11).backward()
            scaler.unscale_(optimizer)
            norms.append(float(torch.nn.utils.clip_grad_norm_(m.parameters(), 0.5)))
            torch.nn.utils.clip_grad_value_(m.parameters(), 0.05)
            scaler.step(optimizer)
            scaler.update()
        results.append(dict(m.state_dict()))
    assert_equal(*results)
    assert norms[:4] == norms[4:]
    assert min(norms) > 0.5, "nothing was clipped: the test tests less"
    assert monet_torch.status(model)["planned"] == 12


def jvp(model: nn.Module, x: Tensor) -> Tensor:
    return torch.func.jvp(model, (x,), (torch.ones_like(x),))[1]


def grad(model: nn.Module, x: Tensor) -> Tensor:
    parameters = {k: p.detach() for k, p in model.named_parameters()}
    return torch.func.grad(lambda p: torch.func.functional_call(model, p, (x,)).sum())(parameters)["first.weight"]


def dual(model: nn.Module, x: Tensor) -> Tensor:
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(model(forward_ad.make_dual(x, torch.ones_like(x)))).tangent
    assert tangent is not None
    return tangent


def per_sample(model: nn.Module, x: Tensor) -> Tensor:
    parameters = {k: p.detach() for k, p in model.named_parameters()}

    def loss(p: dict[str, Tensor], row: Tensor) -> Tensor:
        return torch.func.functional_call(model, p, (row.unsqueeze(0),)).square().sum()

    return torch.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, x)["first.weight"]


def ensemble(model: nn.Module, x: Tensor) -> Tensor:
    parameters, _ = torch.func.stack_module_state([model, model])
    return torch.vmap(lambda p: torch.func.functional_call(model, p, (x,)))(parameters)


def hessian(model: nn.Module, x: Tensor) -> Tensor:
    return torch.func.hessian(lambda x: model(x).square().sum())(x)


TRANSFORMS: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "grad": grad,
    "jvp": jvp,
    "vjp": lambda model, x: torch.func.vjp(model, x)[1](torch.ones(4, 8))[0],
    "vmap": lambda model, x: torch.vmap(model)(torch.stack([x, x])),
    "dual": dual,
    "vmap of grad": per_sample,
    "vmap over models": ensemble,
    "jacrev": lambda model, x: torch.func.jacrev(model)(x),
    "jacfwd": lambda model, x: torch.func.jacfwd(model)(x),
    "hessian": hessian,
}


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
@pytest.mark.parametrize("first", ["step", "transform"])
def test_a_func_transform_runs_without_the_plan_and_says_so(transform: Any, first: str) -> None:
    def make() -> tuple[nn.Module, tuple[Tensor, ...]]:
        model, args = net()
        model.drop.p = 0.0
        return model, args

    eager, model, args = both(make)
    monet_torch.apply(model, plan_for(capture(model, args), "drop"))
    if first == "step":
        assert_equal(step(eager, args), step(model, args))
    with pytest.warns(UserWarning, match=r"torch\.func") as warned:
        assert torch.equal(transform(eager, *args), transform(model, *args))
    (ours,) = (w for w in warned if "MONeT" in str(w.message))
    assert ours.filename == __file__, "the warning points at the user's line"
    assert_equal(step(eager, args), step(model, args))
    assert monet_torch.status(model)["planned"] == (2 if first == "step" else 1)


@pytest.mark.parametrize("first", ["step", "functional_call"])
def test_a_functional_call_uses_the_parameters_that_it_is_given(first: str) -> None:
    eager, model, args = both(net)
    monet_torch.apply(model, plan_for(capture(model, args), "drop"))
    if first == "step":
        assert_equal(step(eager, args), step(model, args))
    results = []
    for m in (eager, model):
        torch.manual_seed(2)
        given = {k: (2 * p.detach()).requires_grad_() for k, p in m.named_parameters()}
        if m is model and first != "step":
            with pytest.warns(UserWarning, match="functional_call"):
                output = torch.func.functional_call(m, given, args)
        else:
            output = torch.func.functional_call(m, given, args)
        output.sum().backward()
        results.append({k: t.grad for k, t in given.items()})
    assert_equal(*results)
    assert_equal(step(eager, args), step(model, args))
    assert monet_torch.status(model)["planned"] == (3 if first == "step" else 1)


def doubled(model: nn.Module) -> dict[str, Tensor]:
    return {k: (2 * p.detach()).requires_grad_() for k, p in model.named_parameters()}


GIVEN: dict[str, Callable[[nn.Module], dict[str, Tensor]]] = {
    "some of them": lambda model: {"second.weight": doubled(model)["second.weight"]},
    "parameters": lambda model: {k: nn.Parameter(t.detach()) for k, t in doubled(model).items()},
    "frozen ones": lambda model: {k: t if "first" in k else t.detach() for k, t in doubled(model).items()},
    "one for two": lambda model: dict.fromkeys(["first.weight", "second.weight"], doubled(model)["first.weight"]),
    "results of its own": lambda model: {k: 2 * p for k, p in model.named_parameters()},
}


@pytest.mark.filterwarnings("ignore:MONeT.*functional_call")
@pytest.mark.parametrize("given", GIVEN.values(), ids=GIVEN)
@pytest.mark.parametrize("first", ["step", "functional_call"])
def test_whatever_a_functional_call_is_given_its_gradients_are_eagers_and_so_are_the_models(
    first: str, given: Callable[[nn.Module], dict[str, Tensor]]
) -> None:
    eager, model, args = both(net)
    monet_torch.apply(model, plan_for(capture(model, args), "drop"))
    if first == "step":
        assert_equal(step(eager, args), step(model, args))
    for turn in range(2):
        results = []
        for m in (eager, model):
            torch.manual_seed(turn)
            m.zero_grad()
            tensors = given(m)
            torch.func.functional_call(m, tensors, args).sum().backward()
            leaves = {k: t.grad for k, t in tensors.items() if t.is_leaf and t.grad is not None}
            results.append(leaves | {f"own {k}": g for k, g in gradients(m).items()})
        assert_equal(*results)
        assert_equal(step(eager, args), step(model, args))
    assert monet_torch.status(model)["planned"] >= 2


@pytest.mark.parametrize(("name", "arguments"), [("jacobian", ()), ("vjp", (torch.ones(4, 8),))])
@pytest.mark.parametrize("mode", MODES)
def test_what_of_torch_autograd_goes_backward_once_or_again_is_eagers(mode: str, name: str, arguments: Any) -> None:
    eager, model, (x,) = planned_model(net, mode)
    results = []
    for m in (eager, model):
        torch.manual_seed(0)
        results.append(pytree.tree_leaves(getattr(torch.autograd.functional, name)(m, x, *arguments)))
    assert all(map(torch.equal, *results))
    assert monet_torch.status(model)["planned"] == 1


@pytest.mark.parametrize("name", ["hessian", "hvp"])
@pytest.mark.parametrize("mode", MODES)
def test_what_of_torch_autograd_goes_backward_twice_is_refused(name: str, mode: str) -> None:
    _, model, (x,) = planned_model(net, mode)
    arguments = () if name == "hessian" else (torch.ones_like(x),)
    with pytest.raises(RuntimeError, match=r"create_graph.*remove.*\[M316\]"):
        getattr(torch.autograd.functional, name)(lambda x: model(x).square().sum(), x, *arguments)


@pytest.mark.parametrize("mode", MODES)
def test_hooks_on_tensors_outside_of_the_forward_fire_as_in_eager(mode: str) -> None:
    eager, model, (x,) = planned_model(models.convnet, mode)
    results = []
    for m in (eager, model):
        torch.manual_seed(0)
        arrived: list[Tensor] = []
        m.conv1.weight.register_hook(lambda g: g * 2)
        m.fc.weight.register_post_accumulate_grad_hook(lambda p, arrived=arrived: arrived.append(p.grad.clone()))
        given = x.clone().requires_grad_()
        given.register_hook(lambda g: g * 3)
        output = m(given)
        output.retain_grad()
        output.register_hook(lambda g: g * 5)
        output.grad_fn.register_prehook(lambda g: (g[0] * 7,))
        output.sum().backward()
        results.append(gradients(m) | {"input": given.grad, "output": output.grad, "arrived": arrived[0]})
    assert_equal(*results)
    assert monet_torch.status(model)["planned"] == 1


class Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return -g


def hooked(x: Tensor) -> Tensor:
    if x.requires_grad:
        x.register_hook(lambda g: g * 3)
    return x


def inferred(x: Tensor) -> Tensor:
    with torch.inference_mode():
        scale = x.exp()
    return x * scale.clone()


def quartered(x: Tensor) -> Tensor:
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t / 4, lambda t: t):
        return x.sin()


UNTRACEABLE: list[Any] = [
    (hooked, r"register_hook on a tensor.*\[M204\]"),
    (inferred, r"torch.no_grad can \[M203\]"),
    (Reversed.apply, r"Reversed is a torch.autograd.Function.*\[M206\]"),
    (lambda x: checkpoint(torch.sin, x, use_reentrant=True), r"use_reentrant=False \[M205\]"),
    pytest.param(
        quartered, r"uses saved_tensors_hooks .* \[M211\]",
        marks=pytest.mark.skipif(torch.__version__ < (2, 8), reason="before 2.8 nobody can ask for these hooks"),
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("between", "reason"), UNTRACEABLE, ids=["hook", "inference", "function", "reentrant", "saved"]
)
def test_a_backward_that_a_trace_would_lose_is_eagers(between: Any, reason: str) -> None:
    eager, model = Net(between), Net(between)
    model.load_state_dict(eager.state_dict())
    args = (torch.randn(4, 8),)
    with pytest.raises(monet_torch.CaptureError, match=rf"{__file__}:\d+: .*{reason}"):
        capture(model, args)
    monet_torch.apply(model, plan_for(capture(Net(), args), "drop"))
    with pytest.warns(UserWarning, match=reason):
        assert_equal(step(eager, args), step(model, args))
    assert monet_torch.status(model)["planned"] == 0


@torch.library.custom_op("monet_tests::cube", mutates_args=())
def cube(x: Tensor) -> Tensor:
    return x**3


cube.register_fake(torch.empty_like)
cube.register_autograd(
    lambda ctx, g: 5 * g * ctx.saved_tensors[0] ** 2,  # no derivative of anything: this one and no other is called
    setup_context=lambda ctx, inputs, output: ctx.save_for_backward(inputs[0]),
)


@pytest.mark.parametrize("mode", MODES)
def test_an_operator_of_the_users_own_keeps_its_backward(mode: str) -> None:
    args = (torch.randn(4, 8),)
    eager, model = Net(cube), Net(cube)
    model.load_state_dict(eager.state_dict())
    monet_torch.apply(model, plan_for(capture(model, args), mode))
    assert_equal(step(eager, args), step(model, args))
    assert monet_torch.status(model)["planned"] == 1


@pytest.mark.parametrize("frozen", ["before planning", "after planning"])
def test_a_frozen_backbone_saves_nothing(frozen: str) -> None:
    def make() -> tuple[nn.Module, tuple[Tensor, ...]]:
        torch.manual_seed(0)
        blocks = [nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()) for _ in range(4)]
        return nn.Sequential(*blocks, nn.Flatten(), nn.Linear(4 * 64, 3)), (torch.randn(4, 4, 8, 8),)

    eager, model, args = both(make)
    plan = plan_for(capture(model, args), "keep")
    for m in (eager, model):
        m[:4].requires_grad_(False)
    if frozen == "before planning":
        plan = plan_for(capture(model, args), "keep")
    monet_torch.apply(model, plan)
    assert_equal(step(eager, args), step(model, args))
    held = []
    for m in (eager, model):
        m.zero_grad()
        outputs: list[Tensor] = []
        held.append(tracker_peak(lambda m=m, outputs=outputs: outputs.append(m(*args))).end_bytes)
    assert held[1] <= held[0]
    assert_equal(step(eager, args), step(model, args))


@pytest.mark.parametrize("mode", MODES)
def test_freezing_every_second_layer_after_planning(mode: str) -> None:
    eager, model, args = planned_model(models.convnet, mode, 4)
    for m in (eager, model):
        m.bn1.requires_grad_(False)
        m.conv2.requires_grad_(False)
        m.stem.requires_grad_(False)
    for turn in range(2):
        assert_equal(step(eager, args, turn), step(model, args, turn))
    assert monet_torch.status(model)["planned"] == 2


class LowRank(nn.Module):
    """A linear layer as LoRA wraps it: frozen, with two small ones beside it."""

    def __init__(self, base: nn.Linear, rank: int = 2) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Linear(base.in_features, rank, bias=False)
        self.up = nn.Linear(rank, base.out_features, bias=False)
        self.drop = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.up(self.down(self.drop(x))) * 2


@pytest.mark.parametrize("mode", MODES)
def test_low_rank_adapters_train(mode: str) -> None:
    def make() -> tuple[nn.Module, tuple[Tensor, ...]]:
        model, args = models.decoder()
        model.requires_grad_(False)
        model.qkv, model.mix = LowRank(model.qkv), LowRank(model.mix)
        return model, args

    eager, model, args = planned_model(make, mode)
    for turn in range(2):
        assert_equal(step(eager, args, turn), step(model, args, turn))
    assert {k.split(".")[1] for k in gradients(model)} == {"down", "up"}
    assert monet_torch.status(model)["planned"] == 2


PARAMETRIZATIONS = [
    parametrizations.weight_norm,
    pytest.param(parametrizations.spectral_norm, marks=exports_spectral_norm),
    parametrizations.orthogonal,
]


@pytest.mark.parametrize("parametrization", PARAMETRIZATIONS)
@pytest.mark.parametrize("mode", MODES)
def test_parametrized_weights_train(parametrization: Callable[[nn.Module], nn.Module], mode: str) -> None:
    def make() -> tuple[nn.Module, tuple[Tensor, ...]]:
        model, args = net()
        parametrization(model.first)
        return model, args

    eager, model, args = planned_model(make, mode)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.1) for m in (eager, model)]
    for turn in range(3):
        assert_equal(step(eager, args, turn), step(model, args, turn))
        for optimizer in optimizers:
            optimizer.step()
    with parametrize.cached():
        assert_equal(step(eager, args), step(model, args))
    assert monet_torch.status(model)["planned"] == 4


def test_tied_weights_stay_tied_through_an_optimizer() -> None:
    eager, model, args = planned_model(models.decoder, "drop")
    for m in (eager, model):
        optimizer = torch.optim.AdamW(m.parameters(), lr=0.1)
        for turn in range(3):
            step(m, args, turn)
            optimizer.step()
    assert model.head.weight is model.embed.weight
    assert_equal(dict(eager.state_dict()), dict(model.state_dict()))


@pytest.mark.parametrize("mode", MODES)
def test_optimizers_that_step_inside_of_the_backward_step_alike(mode: str) -> None:
    eager, model, args = planned_model(models.convnet, mode, 1)
    for m in (eager, model):
        for p in m.parameters():
            optimizer = torch.optim.SGD([p], lr=0.01)

            def stepped(p: Tensor, optimizer: torch.optim.Optimizer = optimizer) -> None:
                optimizer.step()
                optimizer.zero_grad()

            p.register_post_accumulate_grad_hook(stepped)
        for turn in range(3):
            torch.manual_seed(turn)
            m(*args).sum().backward()
    assert_equal(dict(eager.state_dict()), dict(model.state_dict()))
    assert monet_torch.status(model)["planned"] == 3


@pytest.mark.parametrize("mode", MODES)
def test_weights_that_are_untied_and_tied_again_are_seen(mode: str) -> None:
    eager, model, args = planned_model(models.decoder, mode)
    for m in (eager, model):
        m.load_state_dict({k: 1.5 * v for k, v in m.state_dict().items()}, assign=True)
        assert m.head.weight is not m.embed.weight
    with pytest.warns(UserWarning, match=r"MONeT.*\[M306\]"):
        assert_equal(step(eager, args), step(model, args))
    assert "head.weight" in gradients(model)
    for m in (eager, model):
        m.head.weight = m.embed.weight
    assert_equal(step(eager, args), step(model, args))
    assert monet_torch.status(model)["planned"] == 1


def test_a_resumed_run_equals_one_that_was_not_interrupted() -> None:
    def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
        for turn in steps:
            step(model, args, turn)
            optimizer.step()

    eager, model, args = planned_model(models.convnet, "drop")
    plan = plan_for(capture(eager, args), "drop")
    train(eager, torch.optim.AdamW(eager.parameters(), lr=0.01), range(6))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    train(model, optimizer, range(3))
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)

    saved = torch.load(file, weights_only=True)
    resumed = models.convnet()[0].train()
    for p in resumed.parameters():
        nn.init.zeros_(p)
    monet_torch.apply(resumed, plan)
    optimizer = torch.optim.AdamW(resumed.parameters(), lr=0.01)
    resumed.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    train(resumed, optimizer, range(3, 6))
    assert_equal(dict(eager.state_dict()), dict(resumed.state_dict()))
    assert monet_torch.status(resumed)["planned"] == 3


class Fragile:
    """An operator that fails at the call that `fails` counts down to: in a forward, or in a recompute."""

    fails = -1
    error: Callable[[], Exception] = lambda: RuntimeError("as asked")

    @classmethod
    def __call__(cls, x: Tensor) -> Tensor:
        cls.fails -= 1
        if cls.fails == 0:
            raise cls.error()
        return x.exp()


@torch.library.custom_op("monet_tests::fragile", mutates_args=())
def fragile(x: Tensor) -> Tensor:
    return Fragile()(x)


def fragile_backward(ctx: Any, g: Tensor) -> Tensor:
    return g * fragile(ctx.saved_tensors[0])


fragile.register_fake(torch.empty_like)
fragile.register_autograd(fragile_backward, setup_context=lambda ctx, inputs, output: ctx.save_for_backward(inputs[0]))


def chained(x: Tensor) -> Tensor:
    return fragile(torch.tanh(fragile(x)))


@pytest.mark.parametrize("mode", MODES)
def test_two_hundred_steps_that_fail_anywhere_leave_nothing(mode: str, cells: weakref.WeakSet[Any]) -> None:
    model, args = Net(chained), (torch.randn(4, 8),)
    monet_torch.apply(model, plan_for(capture(model, args), mode, 1))
    want = step(model, args)

    def tensors() -> int:
        return sum(issubclass(type(x), Tensor) for x in gc.get_objects())

    def stop(_: Tensor) -> None:
        if turn % 7 == 6:
            raise RuntimeError("stopped by a hook")

    model.second.weight.register_hook(stop)
    failed, before = 0, tensors()
    for turn in range(200):
        Fragile.fails = turn % 7  # 0 and 6: none
        model.zero_grad(set_to_none=False)
        try:
            model(*args).sum().backward()
        except RuntimeError:
            failed += 1
        assert len(cells) == 0, f"step {turn}"
    Fragile.fails = -1
    assert failed >= 100
    assert tensors() == before
    assert_equal(want, step(model, args))


OUT_OF_MEMORY = [("drop", 1, "forward"), ("drop", 3, "recompute"), ("keep", 3, "kernel of the backward")]


@pytest.mark.parametrize(("mode", "call", "where"), OUT_OF_MEMORY, ids=[where for _, _, where in OUT_OF_MEMORY])
def test_out_of_memory_says_what_was_predicted_and_what_to_try(
    mode: str, call: int, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, args = Net(chained), (torch.randn(4, 8),)
    plan = plan_for(capture(model, args), mode)
    plan["predicted"] = {"peak": 200 * 2**20}
    monet_torch.apply(model, plan)
    step(model, args)
    monkeypatch.setattr(Fragile, "error", lambda: torch.OutOfMemoryError("CUDA out of memory."))
    monkeypatch.setattr(Fragile, "fails", call)
    with pytest.raises(torch.OutOfMemoryError) as raised:
        model(*args).sum().backward()
    words = r"predicts a peak of 200.0 MiB.*monet plan GRAPH --budget 180.0MiB"
    notes = getattr(raised.value, "__notes__", [])
    if hasattr(raised.value, "add_note"):
        assert len(notes) == (where != "kernel of the backward")
        assert all(re.search(words, text) for text in notes)
        live = {
            "forward": r"forward of monet_tests.*:\d+\), where the plan holds 128 B .*: 128 B from aten.linear",
            "recompute": r"backward of aten.linear.default of second .*: 128 B from aten.linear.default of second",
        }  # fmt: skip
        assert all(re.search(live[where], text) for text in notes)
    assert re.search(words, monet_torch.explain_out_of_memory(model))
    with pytest.warns(UserWarning, match=r"torch\.func"):
        jvp(model, *args)
    assert "1 forwards ran without it: a torch.func transform" in monet_torch.explain_out_of_memory(model)


def test_another_error_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    model, args = Net(chained), (torch.randn(4, 8),)
    monet_torch.apply(model, plan_for(capture(model, args), "drop"))
    monkeypatch.setattr(Fragile, "fails", 1)
    with pytest.raises(RuntimeError, match="as asked") as raised:
        model(*args)
    assert not getattr(raised.value, "__notes__", [])


@pytest.mark.parametrize("mode", MODES)
def test_a_part_with_a_plan_called_twice_in_one_forward(mode: str) -> None:
    class Siamese(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part, self.head = Net(), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.part(torch.relu(self.part(x))) * self.part(-x))

    eager, model = (copy.deepcopy(m) for m in [Siamese()] * 2)
    args = (torch.randn(4, 8),)
    monet_torch.apply(model.part, plan_for(capture(model.part, args), mode))
    assert_equal(step(eager, args), step(model, args))
    assert monet_torch.status(model.part)["planned"] == 3


@pytest.mark.parametrize("mode", MODES)
def test_checkpoint_regions_inside_are_part_of_the_plan(mode: str) -> None:
    between = (lambda x: checkpoint(lambda y: torch.tanh(F.dropout(y, 0.4)).sin(), x, use_reentrant=False),)
    eager, model = Net(*between), Net(*between)
    model.load_state_dict(eager.state_dict())
    args = (torch.randn(4, 8),)
    captured = capture(model, args)
    assert {"aten.tanh.default", "aten.sin.default"} <= {o.name for o in captured.operators}
    monet_torch.apply(model, plan_for(captured, mode))
    assert_equal(step(eager, args), step(model, args))
    assert monet_torch.status(model)["planned"] == 1


def checkpointed(model: nn.Module, x: Tensor, reentrant: bool) -> Tensor:
    return checkpoint(model, x, use_reentrant=reentrant)


def on_cpu(model: nn.Module, x: Tensor) -> Tensor:
    with save_on_cpu():
        return model(x)


AROUND: list[Callable[[nn.Module, Tensor], Tensor]] = [
    functools.partial(checkpointed, reentrant=False), functools.partial(checkpointed, reentrant=True), on_cpu
]  # fmt: skip


@pytest.mark.parametrize("around", AROUND, ids=["checkpoint", "reentrant checkpoint", "save_on_cpu"])
@pytest.mark.parametrize("mode", MODES)
def test_what_saves_memory_around_a_model_with_a_plan_gives_the_same_gradients(mode: str, around: Any) -> None:
    eager, model, (x,) = planned_model(models.convnet, mode)
    for turn in range(2):
        results = []
        for m in (eager, model):
            torch.manual_seed(turn)
            m.zero_grad()
            given = x.clone().requires_grad_()
            around(m, given).sum().backward()
            results.append(gradients(m) | {"input": given.grad})
        assert_equal(*results)
    assert monet_torch.status(model)["eager"] == {}


@pytest.fixture
def dynamo() -> Any:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("how", ["torch.compile", "model.compile", "compiled first", "a compiled step"])
def test_a_compiled_model_runs_by_its_plan(how: str, dynamo: None) -> None:
    eager, model, args = both(net)
    plan = plan_for(capture(model, args), "drop")
    run: Callable[[Tensor], Tensor] = model
    if how == "compiled first":
        run = torch.compile(model, backend="aot_eager")
    monet_torch.apply(model, plan)
    if how == "torch.compile":
        run = torch.compile(model, backend="aot_eager")
    elif how == "model.compile":
        model.compile(backend="aot_eager")
    elif how == "a compiled step":
        run = torch.compile(lambda x: model(x), backend="aot_eager")
    results = []
    for m, f in ((eager, eager), (model, run)):
        torch.manual_seed(0)
        f(*args).sum().backward()
        results.append(gradients(m))
    assert_equal(*results)
    assert monet_torch.status(model)["planned"] == 1
    eager.eval(), model.eval()
    with torch.no_grad():
        assert torch.equal(eager(*args), run(*args))


def test_a_compiled_model_does_not_depend_on_other_models_plans(dynamo: None) -> None:
    eager, model, args = both(net)
    plan = plan_for(capture(model, args), "drop")
    monet_torch.apply(model, plan)
    compiled = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        compiled.append(graph)
        return graph.forward

    run = torch.compile(model, backend=backend)
    model.eval()
    with torch.no_grad():
        run(*args)
        first = len(compiled)
        monet_torch.apply(eager, plan)
        run(*args)
    assert first
    assert len(compiled) == first


def test_compiling_where_it_cannot_work_says_what_to_do(dynamo: None) -> None:
    _, model, args = planned_model(net, "drop")
    says_why = "reason" in inspect.signature(torch.compiler.disable).parameters  # since 2.7
    with pytest.raises(RuntimeError, match=r"leave fullgraph out.*\[M323\]" if says_why else "disable"):
        torch.compile(model, backend="eager", fullgraph=True)(*args)
    compiled = torch.compile(net()[0], backend="eager")
    with pytest.raises(monet_torch.MonetError, match=r"apply the plan to the model itself.*\[M310\]"):
        monet_torch.apply(compiled, plan_for(capture(net()[0], args), "drop"))
