"""Small models with the shapes of real ones, and plans for them that no solver made."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

import monet_torch
from monet_torch import __main__ as command_line
from monet_torch import planned
from monet_torch.capture import capture
from monet_torch.captured import Captured

Make = Callable[[], tuple[nn.Module, tuple[Tensor, ...]]]


class ConvNet(nn.Module):
    """Convolutions, batch norm, in-place relu, a skip that is added in place, pooling, dropout, a no_grad part."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.conv1 = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.relu6 = nn.ReLU6(inplace=True)
        self.drop = nn.Dropout(0.3)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.relu6(self.stem(x)))
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += x
        x = self.relu(y)
        with torch.no_grad():
            scale = x.mean() + 1
        x = torch.flatten(F.adaptive_avg_pool2d(x, 1), 1)
        return self.fc(self.drop(x)) * scale


class Decoder(nn.Module):
    """Tied embeddings, layer norm, attention with dropout on views of one projection, a shared layer, a loss inside."""

    def __init__(self, vocabulary: int = 31, width: int = 16, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.embed = nn.Embedding(vocabulary, width)
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids: Tensor, scale: float = 1.0) -> dict[str, Tensor]:
        x = self.embed(ids)
        for _ in range(2):
            b, t, c = x.shape
            q, k, v = (
                part.view(b, t, self.heads, c // self.heads).transpose(1, 2)
                for part in self.qkv(self.norm(x)).split(c, 2)
            )
            p = 0.1 if self.training else 0.0
            y = F.scaled_dot_product_attention(q, k, v, dropout_p=p, is_causal=True)
            x = x + F.gelu(self.mix(y.transpose(1, 2).contiguous().view(b, t, c))) * scale
        logits = self.head(x)
        loss = F.cross_entropy(logits.view(-1, logits.shape[-1]), ids.view(-1))
        return {"logits": logits, "loss": loss}


class Chain(nn.Module):
    """So many operators in a row that a recursive recompute would overflow the stack."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.depth = depth
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.depth):
            x = torch.sin(x * self.weight)
        return x


def convnet() -> tuple[nn.Module, tuple[Tensor, ...]]:
    torch.manual_seed(0)
    return ConvNet(), (torch.randn(4, 3, 16, 16),)


def decoder() -> tuple[nn.Module, tuple[Tensor, ...]]:
    torch.manual_seed(0)
    return Decoder(), (torch.randint(0, 31, (2, 8)),)


def plan_for(captured: Captured, mode: str, seed: int = 0, operators: int | None = None) -> dict[str, Any]:
    """A legal plan that holds everything ("keep"), nothing ("drop"), or what a coin says ("random").

    "offload" holds everything too, values in host memory between clocks that a coin says; "mixed" does all of it.
    """
    n = operators if operators is not None else len(captured.operators)
    coin = random.Random(seed)
    retain: list[dict[str, Any]] = []
    for v in captured.values:
        if v.kind == "activation" and v.storage == v.id and v.producer is not None:
            pinned = captured.operators[v.producer].pinned
            if pinned or mode in ("keep", "offload") or (mode in ("random", "mixed") and coin.random() < 0.5):
                retain.append({"value": v.id, "intervals": [[v.producer, 2 * n - 1 - v.producer]]})
                if not pinned and (mode == "offload" or (mode == "mixed" and coin.random() < 0.7)):
                    last = max([v.producer, *(o.id for o in captured.operators if v.id in roots(captured, o.inputs))])
                    end = len(captured.operators) - 1
                    retain[-1]["offload"] = [coin.randint(last, end), 2 * n - 1 - coin.randint(last, end)]
    for o in captured.operators:
        if o.pinned or mode in ("keep", "offload") or (mode in ("random", "mixed") and coin.random() < 0.6):
            retain.append({"internals": o.id, "intervals": [[o.id, 2 * n - 1 - o.id]]})
    rng = [o.id for o in captured.operators if o.random] if mode not in ("keep", "offload") else []
    return {
        "format": "monet-plan", "version": 1, "budget": None, "implementations": {}, "retain": retain, "rng": rng,
        "graph": {"hash": "", "structure": captured.structure(), "model": "test", "operators": n,
                  "activation_bytes": captured.activation_bytes,
                  "opaque": sorted({o.block.path for o in captured.operators if o.block is not None})}, "predicted": {},
    }  # fmt: skip


def planned_and_verified(
    target: str, captured: Captured, graph: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> dict[str, Any]:
    """`verify`'s report on a plan that holds nothing, for graph.json in this folder."""
    plan = plan_for(captured, "drop")
    plan["graph"]["hash"] = graph["hash"]
    numbers = ("peak", "structure_peak", "time", "eager_peak", "eager_structure_peak", "eager_time")
    Path("plan.json").write_text(json.dumps({**plan, "predicted": dict.fromkeys(numbers, 1 << 20)}))
    capsys.readouterr()
    arguments = ["verify", target, "plan.json", "--graph", "graph.json", "--pairs", "0", "--json"]
    assert command_line.main(arguments) == 0
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert report["equal"]
    assert report["planned_forwards"] > 0
    return report


def roots(captured: Captured, ids: tuple[int, ...]) -> set[int]:
    return {captured.values[v].storage for v in ids}


exports_spectral_norm = pytest.mark.skipif(
    torch.__version__ < (2, 7),
    reason="torch.export of 2.6 refuses spectral_norm itself (its power method fills `out=`)",
)


def both(make: Make) -> tuple[nn.Module, nn.Module, tuple[Tensor, ...]]:
    model, args = make()
    return model.train(), copy.deepcopy(model).train(), args


def planned_model(
    make: Make, mode: str, seed: int = 0, warm: bool = True
) -> tuple[nn.Module, nn.Module, tuple[Tensor, ...]]:
    """The same model twice, eager and planned. Warm: after a step, as later ones leave more to autograd."""
    eager, model, args = both(make)
    monet_torch.apply(model, plan_for(capture(model, args), mode, seed))
    for each in (eager, model) if warm else ():
        step(each, args)
        each.zero_grad()
    planned._runtimes[model].planned = 0
    return eager, model, args


def total(output: Any) -> Tensor:
    if isinstance(output, dict):
        return output["loss"] + output["logits"].sum()
    return output.sum()


def step(model: nn.Module, args: tuple[Any, ...], seed: int = 1) -> dict[str, Tensor]:
    """One step: loss, gradients and buffers, copied."""
    torch.manual_seed(seed)
    model.zero_grad()
    loss = total(model(*args))
    loss.backward()
    return {"loss": loss.detach().clone()} | gradients(model)


def two_forwards(model: nn.Module, args: tuple[Any, ...]) -> None:
    """Two forwards before one backward."""
    first, second = total(model(*args)), total(model(*args))
    (first * 2).backward()
    second.backward()


def twice(model: nn.Module, args: tuple[Any, ...]) -> None:
    """A retained graph is differentiated twice."""
    loss = total(model(*args))
    loss.backward(retain_graph=True)
    loss.backward()


def partly(model: nn.Module, args: tuple[Any, ...]) -> None:
    """Only one parameter's gradient, from somewhere in the middle: some operators' backward never runs."""
    parameters = list(model.parameters())
    middle = parameters[len(parameters) // 2]
    (middle.grad,) = torch.autograd.grad(total(model(*args)), [middle])


BACKWARDS = [two_forwards, twice, partly]


def assert_the_same_after(
    way: Callable[[nn.Module, tuple[Any, ...]], None], eager: nn.Module, model: nn.Module, args: tuple[Any, ...]
) -> None:
    """Both models' gradients and buffers are bitwise equal after this way of going backward."""
    for each in (eager, model):
        torch.manual_seed(5)
        way(each, args)
    assert any(p.grad is not None for p in eager.parameters())
    assert_equal(gradients(eager), gradients(model))


def gradients(model: nn.Module) -> dict[str, Tensor]:
    """Gradients that are there, and buffers, copied."""
    found = {f"grad {k}": p.grad.clone() for k, p in model.named_parameters() if p.grad is not None}
    return found | {f"buffer {k}": b.clone() for k, b in model.named_buffers()}


def assert_equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    unequal = [k for k in a if not torch.equal(a[k], b[k])]
    assert not unequal, f"not bitwise equal: {unequal}"


def skip_without_gloo() -> None:
    if not dist.is_available() or not dist.is_gloo_available():
        pytest.skip("this PyTorch has no gloo, by which the processes would meet")


def on_every_rank(worker: Callable[[int, str], None], world: int, folder: Path) -> list[dict[str, Any]]:
    """What `worker(rank, folder)` saved as `folder/RANK.pt`, each rank in a process of its own."""
    skip_without_gloo()
    torch.multiprocessing.spawn(worker, args=(str(folder),), nprocs=world)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(world)]


EXAMPLES = Path(__file__).parents[2] / "examples"


@contextlib.contextmanager
def examples_importable() -> Iterator[None]:
    sys.path.insert(0, str(EXAMPLES))
    yield
    sys.path.remove(str(EXAMPLES))


def assert_an_example_trains_by_torchrun_as_without_a_plan(
    script: str, *options: str, plan: dict[str, Any], folder: Path
) -> None:
    """Two steps on two processes say the same losses with the plan and without it."""
    skip_without_gloo()
    file = folder / "made.plan.json"
    file.write_text(json.dumps(plan))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    ours = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    said = []
    for more in ([], ["--plan", str(file)]):
        command = [*torchrun, str(EXAMPLES / script), "--steps", "2", *options, *more]
        done = subprocess.run(command, env=ours, capture_output=True, encoding="utf-8", check=False, timeout=300)
        assert done.returncode == 0, done.stderr
        assert "without its plan" not in done.stderr
        said.append(done.stdout)
    assert said[0].count("loss") == 2
    assert said[0] == said[1]
