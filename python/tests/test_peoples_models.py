"""What other people's models do that ours did not: a fixed part of the zoo (bench/zoo), and what it brought up."""

from __future__ import annotations

from collections import OrderedDict, UserDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import plain_torch
import pytest
import torch
from models import assert_equal, exports_spectral_norm, plan_for, planned_model, step
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import monet_torch
from monet_torch import profile
from monet_torch.capture import capture
from monet_torch.entry import read_entry
from monet_torch.errors import CaptureError
from monet_torch.step import capture_step, loss_of

X = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """Two linear layers and whatever `body` does with them."""

    def __init__(self, body: Callable[[Net, Any], Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = body
        self.f, self.g = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Any) -> Any:
        return self.body(self, x)


def steps_by_a_plan_are_eagers(body: Callable[[Net, Any], Any], x: Any = X) -> None:
    for mode in ("keep", "drop", "random"):
        eager, model, args = planned_model(lambda: (Net(body), (x,)), mode)
        for _ in range(2):
            assert_equal(step(model, args), step(eager, args))
        status = monet_torch.status(model)
        assert (status["planned"], status["eager"]) == (2, {})


# ---- in place, but nothing is written --------------------------------------------------------------------------------


def shaped_in_place(net: Net, x: Tensor) -> Tensor:
    h = net.f(x)
    h.unsqueeze_(1)
    k = net.g(h).squeeze_(1).transpose_(0, 1)
    return k.sin() + h.sum((0, 1))[:, None].exp()


def with_a_literal(net: Net, x: Tensor) -> Tensor:
    return (net.f(x) * torch.tensor([1.5, 2.5, -1.0, 1.0])).sin()


@pytest.mark.parametrize("body", [shaped_in_place, with_a_literal])
def test_a_tensor_that_is_shaped_or_detached_in_place_is_a_view(body: Callable[[Net, Tensor], Tensor]) -> None:
    captured = capture(Net(body), (X,))
    for o in captured.operators:
        assert not o.pinned
        assert not o.target._schema.is_mutable
        if o.in_place is not None:
            assert captured.values[o.outputs[0]].storage == o.outputs[0]
    steps_by_a_plan_are_eagers(body)


# ---- code that asks whether it is traced -----------------------------------------------------------------------------


def is_traced() -> bool:
    """As transformers.utils.is_torchdynamo_exporting: a helper of a library between the model and PyTorch."""
    exporting = getattr(torch.compiler, "is_exporting", None)  # since 2.7
    return torch.compiler.is_compiling() or (exporting is not None and exporting())


def other_when_traced(net: Net, x: Tensor) -> Tensor:
    y = net.f(x)
    return y.sin() if not is_traced() else y.cos()


def test_a_model_that_asks_whether_it_is_traced_runs_what_eager_runs() -> None:
    captured = capture(Net(other_when_traced), (X,))
    assert [o.name for o in captured.operators] == ["aten.linear.default", "aten.sin.default"]
    assert not is_traced()
    steps_by_a_plan_are_eagers(other_when_traced)


def looks_unless_traced(net: Net, x: Tensor) -> Tensor:
    if not is_traced() and x.isnan().any():
        raise ValueError("not a number")
    return other_when_traced(net, x)


def test_a_function_that_looks_at_values_unless_traced_is_told_that_it_is_and_no_other() -> None:
    captured = capture(Net(looks_unless_traced), (X,))
    assert [o.name for o in captured.operators] == ["aten.linear.default", "aten.sin.default"]
    steps_by_a_plan_are_eagers(looks_unless_traced)


def looks_anyhow(net: Net, x: Tensor) -> Tensor:
    return net.f(x) if is_traced() or x.mean() > 0 or is_traced() else net.g(x)


def looks_and_never_asks(net: Net, x: Tensor) -> Tensor:
    return net.f(x) if other_when_traced(net, x).mean() > 0 else net.g(x)


def test_a_function_that_looks_at_values_and_does_not_ask_is_refused() -> None:
    with pytest.raises(CaptureError, match=r"test_peoples_models\.py:\d+: what runs here depends on values"):
        capture(Net(looks_and_never_asks), (X,))
    assert len(capture(Net(looks_anyhow), (X,)).operators) == 1


def test_a_packed_sequence_is_refused_where_the_values_decide() -> None:
    model, args, loss, targets = plain_torch.packed_lstm()
    with pytest.raises(
        CaptureError, match=r"plain_torch.py:\d+: what runs here depends on values of tensors.*\[M202\]"
    ):
        capture_step(model, args, {}, targets, loss, None)


# ---- dataclasses, dict-like and other objects ------------------------------------------------------------------------


@dataclass
class Batch:
    x: Tensor
    mask: Tensor | None = None
    note: str = "train"


class Encoding(UserDict[str, Any]):
    """As transformers.BatchEncoding."""


class Layer:
    def __init__(self, keys: Tensor) -> None:
        self.keys, self.dtype, self.used = keys, keys.dtype, True


class Cache:
    """As transformers.DynamicCache: tensors and settings in objects within a list."""

    def __init__(self, *keys: Tensor) -> None:
        self.layers, self.kind, self.offloading = [Layer(k) for k in keys], Layer, False


@dataclass
class Output:
    loss: Tensor
    cache: Cache
    hidden: tuple[Tensor, ...] = ()


def from_dataclass(net: Net, batch: Batch) -> Tensor:
    return net.f(batch.x).sin()


def from_encoding(net: Net, batch: Encoding) -> Tensor:
    return net.f(batch["x"]).sin()


@pytest.mark.parametrize(("body", "batch"), [(from_dataclass, Batch(X)), (from_encoding, Encoding(x=X))])
def test_inputs_in_a_dataclass_or_a_dict_like_object(body: Callable[[Net, Any], Tensor], batch: Any) -> None:
    steps_by_a_plan_are_eagers(body, batch)


class Wave(dict[str, Any]):
    kind = "square"

    def __init__(self, kind: str, **parts: Any) -> None:
        super().__init__(parts)
        self.kind, self.factor = kind, torch.full((4,), 2.0)


class WaveEncoding(UserDict[str, Any]):
    kind = "square"


@dataclass
class Doubled:
    x: Tensor

    def __post_init__(self) -> None:
        self.x = self.x * 2
        self.kind = "sin"


@dataclass(frozen=True, slots=True)
class Slots:
    x: Tensor
    kind: str = "square"


def wave(net: Net, batch: Any) -> Tensor:
    h = net.f(batch.x if hasattr(batch, "x") else batch["x"]) * getattr(batch, "factor", 1)
    return h.sin() if batch.kind == "sin" else h.square()


def encoded() -> WaveEncoding:
    batch = WaveEncoding(x=X)
    batch.kind = "sin"
    return batch


@pytest.mark.parametrize(
    "batch", [Wave("sin", x=X), encoded(), Doubled(X), Slots(X, "sin")], ids=lambda b: type(b).__name__
)
def test_what_else_such_an_object_holds_goes_with_it(batch: Any) -> None:
    steps_by_a_plan_are_eagers(wave, batch)


def test_another_setting_in_an_input_is_another_trace() -> None:
    eager, model, _ = planned_model(lambda: (Net(wave), (Wave("sin", x=X),)), "drop")
    for kind in ("sin", "square", "sin"):
        args = (Wave(kind, x=X),)
        assert_equal(step(model, args), step(eager, args))


def doubled(net: Net, x: Tensor) -> Doubled:
    return Doubled(net.f(x).sin())


def test_an_output_is_made_once() -> None:
    eager, model = Net(doubled), Net(doubled)
    monet_torch.apply(model, plan_for(capture(model, (X,)), "drop"))
    results = []
    for net in (model, eager):
        output = net(X)
        assert output.kind == "sin"
        output.x.sum().backward()
        results.append({k: p.grad for k, p in net.named_parameters() if p.grad is not None})
    assert_equal(*results)
    assert monet_torch.status(model)["planned"] == 1


def to_objects(net: Net, x: Tensor) -> Output:
    h = net.f(x)
    y = net.g(h.sin())
    return Output(y.square().mean(), Cache(h, y), (h,))


def test_a_model_returns_objects_that_hold_tensors() -> None:
    model, eager = Net(to_objects), Net(to_objects)
    captured, _ = capture_step(model, (X,), {}, (), lambda output: output.loss, None)
    assert len([v for v in captured.model_outputs if captured.values[v].kind == "activation"]) == 3
    monet_torch.apply(model, plan_for(capture(model, (X,)), "drop"))
    output, expected = model(X), eager(X)
    assert type(output) is Output
    assert type(output.cache) is Cache
    assert [layer.keys.tolist() for layer in output.cache.layers] == [k.keys.tolist() for k in expected.cache.layers]
    assert output.cache.layers[0].dtype is torch.float32
    assert output.cache.layers[0].keys is output.hidden[0]
    (output.loss + output.cache.layers[1].keys.sum()).backward()
    (expected.loss + expected.cache.layers[1].keys.sum()).backward()
    assert_equal({k: p.grad for k, p in model.named_parameters()}, {k: p.grad for k, p in eager.named_parameters()})  # type: ignore[misc]
    assert monet_torch.status(model)["planned"] == 1


class Sample(OrderedDict[str, Any]):
    """As an output of diffusers: known to trees, its parts without names."""


pytree.register_pytree_node(
    Sample, lambda x: (list(x.values()), list(x)), lambda parts, keys: Sample(zip(keys, parts, strict=True))
)


def to_sample(net: Net, batch: Sample) -> Sample:
    return Sample(y=net.g(net.f(batch["x"]).sin()))


def test_a_container_that_was_registered_without_names_goes_in_and_out_and_into_the_loss() -> None:
    def loss(output: Sample) -> Tensor:
        return output["y"].square().mean()

    model, eager = Net(to_sample), Net(to_sample)
    batch = Sample(x=X)
    graph, _ = capture_step(model, (batch,), {}, (), loss, None)
    planned_loss = monet_torch.apply(model, plan_for(graph, "drop"), loss=loss)
    planned_loss(model(batch)).backward()
    loss(eager(batch)).backward()
    assert_equal({k: p.grad for k, p in model.named_parameters()}, {k: p.grad for k, p in eager.named_parameters()})  # type: ignore[misc]
    assert monet_torch.status(model)["eager"] == {}


def fills_its_input(net: Net, batch: dict[str, Tensor]) -> Tensor:
    batch["hidden"] = net.f(batch["x"])
    return batch["hidden"].sin()


def test_a_forward_that_puts_something_into_what_it_was_given_is_refused() -> None:
    with pytest.raises(
        CaptureError, match=r"puts something else into a list, dict or object that it was given.*\[M207\]"
    ):
        capture(Net(fills_its_input), ({"x": X},))


# ---- operators that don't take whatever comes ------------------------------------------------------------------------


class Bags(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(50, 8)

    def forward(self, ids: Tensor, offsets: Tensor) -> Tensor:
        return self.bag(ids, offsets).sigmoid().mean(1)


def test_an_operator_is_measured_on_values_that_it_takes() -> None:
    args = torch.randint(0, 50, (12,)), torch.tensor([0, 5, 9])
    loss = torch.nn.functional.binary_cross_entropy
    captured, scalar = capture_step(Bags(), args, {}, (torch.rand(3),), loss, None)
    measured = profile.profile(captured, scalar, profile.Cache(None, []))
    assert {o.name for o in captured.operators} >= {
        "aten.embedding_bag.padding_idx",
        "aten.binary_cross_entropy.default",
    }
    assert all(each[0].backward is not None for each in measured)


# ---- hooks -----------------------------------------------------------------------------------------------------------


def puts_hooks(net: Net, x: Tensor) -> Tensor:
    """As transformers does where a model wants its own hidden states."""
    if not net.f._forward_hooks:
        net.f.register_forward_hook(lambda module, args, output: None)
    return net.g(net.f(x))


def test_a_step_whose_forward_puts_hooks_on_submodules_is_refused_before_it_is_measured() -> None:
    with pytest.raises(CaptureError, match=r"a submodule \(Linear\) has hooks, and a planned forward .* \[M208\]"):
        capture_step(Net(puts_hooks), (X,), {}, (), None, None)


# ---- small ones of many kinds, as the zoo has them -------------------------------------------------------------------


FIXED = [
    plain_torch.transformer_encoder,
    plain_torch.lstm_tagger,
    plain_torch.temporal_convolutions,
    plain_torch.variational_autoencoder,
    plain_torch.recommender,
    pytest.param(plain_torch.attention_with_weights, marks=exports_spectral_norm),
    "llama",
    "bert",
    "t5",
]


@pytest.mark.parametrize("make", FIXED, ids=lambda make: make if isinstance(make, str) else make.__name__)
def test_an_architecture_of_the_zoo_by_a_plan_has_eagers_gradients(make: Any) -> None:
    if isinstance(make, str):
        pytest.importorskip("transformers", reason="npm run zoo has an environment with it")
        import hugging_face

        make = getattr(hugging_face, make)
    torch.manual_seed(0)
    entry = read_entry(make(), make.__name__)
    model = entry.model.train()
    captured, _ = capture_step(model, entry.args, entry.kwargs, entry.targets, entry.loss, None)

    def gradients() -> dict[str, Tensor]:
        torch.manual_seed(1)
        model.zero_grad()
        loss = loss_of(model(*entry.args, **entry.kwargs), entry.targets, entry.loss)
        loss.backward()
        return {"loss": loss.detach(), **{k: p.grad.clone() for k, p in model.named_parameters() if p.grad is not None}}

    state = {k: v.clone() for k, v in model.state_dict().items()}
    expected = gradients()
    monet_torch.apply(model, plan_for(captured, "drop"))
    for _ in range(2):  # the first shows what autograd saves, and later ones leave more to it
        model.load_state_dict(state)
        assert_equal(gradients(), expected)
    assert monet_torch.status(model)["eager"] == {}
