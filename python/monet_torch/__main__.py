"""`python -m monet_torch profile|verify|export`: the helper that the editor and the `monet` command line run.

`bench` sets plans beside other ways of saving memory, and needs nothing but Python.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import platform
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TextIO

from .errors import CaptureError, EnvironmentProblem, MonetError, PlanMismatch, is_out_of_memory

if TYPE_CHECKING:
    import torch

    from .autocast import Autocast
    from .captured import Captured
    from .target import Target

_OUT_OF_MEMORY = "M216"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        super().error(f"{message} [M127]")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m monet_torch", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    profile = commands.add_parser("profile", help="trace a model and measure its operators")
    profile.add_argument("target", metavar="FILE:MODEL")
    _model_options(profile)
    profile.add_argument("--optimizer", default="none", metavar="NAME")
    profile.add_argument("--part", metavar="NAME", help="only this submodule, or the first of several alike: layers.*")
    profile.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or the name of a card to estimate")
    profile.add_argument(
        "--gradients",
        choices=["accumulate", "fresh"],
        default="accumulate",
        help="parameter gradients are there when the step starts, or appear during backward",
    )
    profile.add_argument("--offload", action="store_true", help="measure copies to host memory, so that plans offload")
    profile.add_argument("--cache", metavar="DIR")
    profile.add_argument("--no-cache", action="store_true")
    profile.add_argument("--out", metavar="FILE", required=True)
    _common(profile)

    calibrate = commands.add_parser("calibrate", help="compare the card that is here with its data sheet")
    calibrate.add_argument("--device", default="cuda")
    _common(calibrate)

    verify = commands.add_parser("verify", help="run a real step, eager and planned, and compare")
    verify.add_argument("target", metavar="FILE:MODEL")
    verify.add_argument("plan", metavar="PLAN")
    verify.add_argument("--graph", metavar="FILE", required=True)
    verify.add_argument("--pairs", type=_count, default=5, help="interleaved timed pairs of steps (0: none)")
    verify.add_argument("--trace", metavar="FILE", help="what the runtime does in a planned step, as lines of JSON")
    _common(verify)

    export = commands.add_parser("export", help="write a plan as checkpoint policies in plain PyTorch")
    export.add_argument("target", metavar="FILE:MODEL")
    export.add_argument("plan", metavar="PLAN")
    export.add_argument("--graph", metavar="FILE", required=True)
    export.add_argument("--out", metavar="FILE", required=True)
    _common(export)

    bench = commands.add_parser(
        "bench",
        help="measure plans beside eager, checkpointing, offloading and torch.compile",
        description="Measure ways to save memory, each in turns with eager PyTorch. Plans are measured, not made: "
        "what `python -m monet_torch profile` writes is solved by `monet plan`, on any machine with Node.",
    )
    bench.add_argument("target", metavar="FILE:MODEL")
    _model_options(bench)
    bench.add_argument("--graph", metavar="FILE", help="what the plans were made from; says inputs, loss and autocast")
    bench.add_argument("--plan", action="extend", nargs="+", default=[], metavar="FILE", help="made by monet plan")
    bench.add_argument("--block", metavar="CLASS", help="of the modules to wrap in torch.utils.checkpoint")
    bench.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    bench.add_argument("--pairs", type=_positive, default=10, help="interleaved timed pairs of steps, of each way")
    bench.add_argument("--threads", type=_positive)
    bench.add_argument("--json", metavar="FILE", help="all numbers, sample by sample")
    bench.add_argument("--way", help=argparse.SUPPRESS)  # measure this one alone, here: what each row's process does
    bench.add_argument("--at-most", type=_positive, help=argparse.SUPPRESS)  # bytes, for torch.compile
    bench.set_defaults(progress=None, tied=False)
    return parser


def _model_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--input", action="append", default=[], metavar="SPEC")
    parser.add_argument("--target", dest="loss_targets", action="append", default=[], metavar="SPEC")
    parser.add_argument("--kwargs", metavar="JSON")
    parser.add_argument("--loss", metavar="NAME")
    parser.add_argument("--autocast", choices=["bf16", "fp16"])


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 up")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 up")
    return int(text)


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threads", type=_positive)
    parser.add_argument("--progress", metavar="FILE", help="lines of JSON; - for standard output")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--tied", action="store_true", help="end when standard input does: its other end has died")


def main(argv: list[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    _end_on_sigterm()
    if options.tied:
        _end_with_standard_input()
    try:
        with _clear_words(options):  # also where progress can't be written
            code, text = _run(options)
    except MonetError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("error: cancelled", file=sys.stderr)
        return 130
    if text:
        print(text)
    return code


def _run(options: argparse.Namespace) -> tuple[int, str]:
    # What the user's file prints is not part of the answer.
    with (
        _progress(options.progress) as say,
        _clear_words(options),
        contextlib.redirect_stdout(sys.stderr),
    ):
        _require_torch()
        import torch

        from .profile import keep_freed_memory

        keep_freed_memory()
        if options.threads:
            torch.set_num_threads(options.threads)
        with _users_errors():
            return _COMMANDS[options.command](options, say)


@contextlib.contextmanager
def _users_errors() -> Iterator[None]:
    """Say as a MonetError, with its line, what the person's code raises where it runs, as in a backward or a loss."""
    from .capture import explained, user_frame

    try:
        yield
    except MonetError:
        raise
    except Exception as error:
        if is_out_of_memory(error) or not user_frame(error):
            raise
        logging.getLogger("monet_torch").debug("raised here", exc_info=True)
        raise explained(error) from error


@contextlib.contextmanager
def _clear_words(options: argparse.Namespace) -> Iterator[None]:
    """Say as a MonetError that memory ran out, and that a file can't be written."""
    try:
        yield
    except MonetError as error:
        if error.code == _OUT_OF_MEMORY or not is_out_of_memory(error.__cause__):
            raise
        raise _out_of_memory(options, error.at) from error
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise _out_of_memory(options) from error
    except OSError as error:  # of a file that is ours to write: what the user's code raises comes as a MonetError
        raise MonetError(
            "M128", f"{error.filename2 or error.filename}: {error.strerror or error}; check that path"
        ) from error


def _out_of_memory(options: argparse.Namespace, at: str = "") -> MonetError:
    device = getattr(options, "device", "auto")
    return MonetError(
        _OUT_OF_MEMORY,
        f"memory ran out while {options.command} ran {getattr(options, 'target', 'its operators')} "
        f"({'the device that was found' if device == 'auto' else device}); use a smaller batch, or profile for a card "
        "by its name, as --device A100, which estimates and needs little memory",
        at,
    )


def _require_torch() -> None:
    try:
        import torch
    except ImportError as error:
        raise EnvironmentProblem(
            "M401",
            f"PyTorch can't be imported by {sys.executable} ({error}); install it there, as `pip install torch`, or "
            "name another Python with --python or MONET_PYTHON",
        ) from error
    version = tuple(int(p) for p in torch.__version__.split("+")[0].split(".")[:2])
    if version < (2, 6):
        raise EnvironmentProblem("M402", f"PyTorch {torch.__version__} is too old for MONeT; install 2.6 or later")


def _end_on_sigterm() -> None:
    """Let a terminated run leave as a cancelled one does: nothing half-written stays behind."""
    import signal
    import threading

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def _end_with_standard_input() -> None:
    """Leave as a cancelled run does once whoever holds the other end is gone, however that ended."""
    import _thread
    import threading
    import time

    pipe = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)  # what a model reads is not from us
    os.close(nothing)

    def wait() -> None:
        while os.read(pipe, 4096):
            pass
        _thread.interrupt_main()
        time.sleep(_GRACE)
        if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
            os.killpg(os.getpid(), 9)  # and what it has started
        os._exit(130)

    threading.Thread(target=wait, daemon=True).start()


class _progress:
    """Writes lines of JSON to a file or to standard output: how far it is, and at last the error that ended it."""

    def __init__(self, path: str | None) -> None:
        self.path = path
        self.file: TextIO | None = None

    def __enter__(self) -> Callable[..., None]:
        if self.path == "-":
            self.file = sys.stdout
        elif self.path:
            self.file = open(self.path, "w", encoding="utf-8")
        return self.say

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, MonetError):
            self._write({"error": error.to_json()})
        if self.file is not None and self.file is not sys.stdout:
            self.file.close()

    def say(self, stage: str, done: int, total: int, operator: str = "") -> None:
        self._write({"stage": stage, "done": done, "total": total, "operator": operator})

    def _write(self, row: dict[str, Any]) -> None:
        if self.file is not None:
            self.file.write(json.dumps(row) + "\n")
            self.file.flush()


def _autocast(name: str | None, device: str) -> Any:
    import torch

    return None if name is None else (device, {"bf16": torch.bfloat16, "fp16": torch.float16}[name])


def _device(name: str) -> Any:
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        return torch.device("cpu")
    if name == "cuda" or name.startswith("cuda:"):
        if not torch.cuda.is_available():
            raise MonetError(
                "M123",
                f"--device {name}: this PyTorch sees no CUDA device; use --device cpu, or the name of a card to "
                "estimate (python -m monet_torch profile --device A100 …)",
            )
        return torch.device(name)
    from . import calibration, estimate

    return calibration.calibrated(estimate.find(name))


def _profile(options: argparse.Namespace, say: Callable[..., None]) -> tuple[int, str]:
    import torch

    from . import batch, cover, estimate, graph, links, parts, profile, step, target, whole
    from ._private import pytree
    from .operators import bits
    from .optimizer import OPTIMIZERS

    if options.optimizer not in OPTIMIZERS:
        raise MonetError("M121", f"--optimizer {options.optimizer} is not known; it is one of {', '.join(OPTIMIZERS)}")

    place = _device(options.device)
    estimated = isinstance(place, estimate.Card)
    if options.offload and estimated:
        raise MonetError(
            "M124",
            f"--offload measures copies to host memory, and {options.device} is only estimated; leave one of them out",
        )
    load = partial(target.load, options.target, options.input, options.loss_targets, options.kwargs, options.loss)
    try:
        made = load(shapes_alone=estimated)
    except MonetError:
        if not estimated:
            raise
        made = load()  # a model that looks at values while it is built; or a mistake, which is told again
    device = torch.device("cpu") if estimated else place
    autocast = _autocast(options.autocast, device.type)
    if options.part:
        made = parts.only(made, options.part, device, autocast)
    moved = pytree.tree_map_only(torch.Tensor, lambda t: t.to(device), (made.args, made.kwargs, made.targets))
    model = made.model if estimated else made.model.to(device)
    description = estimate.describe(place) if estimated else graph.describe_device(device)
    environment = [
        description["name"], str(description["threads"]), torch.__version__, platform.machine(), "measure-8",
        *(["triton"] if bits.kernels(device) else []),
    ]  # fmt: skip
    folder = None if options.no_cache or estimated else Path(options.cache) if options.cache else profile.cache_folder()

    opaque: dict[str, str] = {}  # modules that run as one operator, and why

    def captured_with(inputs: Any, opaque: Sequence[str]) -> tuple[Captured, int]:
        args, kwargs, targets = inputs
        return step.capture_step(model, args, kwargs, targets, made.loss, autocast, opaque)

    def graph_of(inputs: Any, say: Callable[..., None], samples: profile.Samples) -> dict[str, Any]:
        say("trace", 0, 1)
        captured, loss = captured_with(inputs, sorted(opaque))
        say("trace", 1, 1)
        cache = profile.Cache(folder, [*environment, *([] if samples == profile.SAMPLES else [str(samples)])])
        measure = estimate.measure_for(place) if estimated else partial(profile.measure_on_device, samples=samples)
        return graph.document(
            captured, profile.profile(captured, loss, cache, say, measure), model=model, inputs=inputs, loss=loss,
            gradients=options.gradients, optimizer=options.optimizer, device=description,
            folder=made.file.resolve().parent, opaque=opaque,
            made_from={
                "model": f"{made.file.name}:{made.name}", "sources": {made.file.name: made.source_hash},
                "inputs": options.input, "loss": options.loss, "autocast": options.autocast,
                "torch": torch.__version__, "python": platform.python_version(),
                "options": {"targets": options.loss_targets, "kwargs": options.kwargs, "optimizer": options.optimizer,
                            "gradients": options.gradients, "device": options.device, "part": options.part,
                            **({"offload": True} if options.offload else {})},
            },
        )  # fmt: skip

    try:
        try:
            document = graph_of(moved, say, profile.SAMPLES)
        except CaptureError as error:
            if estimated:  # a block is seen where it runs
                raise
            opaque |= cover.cover(made, partial(captured_with, moved), error, device, autocast)
            document = graph_of(moved, say, profile.SAMPLES)
    except CaptureError as error:
        advice = parts.advice(made, device, autocast, options.part or "")
        raise CaptureError(error.code, f"{error.sentence}{_given(options, error)}{advice}", error.at) from error

    alone, took = whole.of_operators(document), None
    if not estimated:
        cache = profile.Cache(folder, environment)
        try:
            took = whole.measured(document, made, autocast, device, cache, partial(say, "eager step"))
        except CaptureError as error:
            raise CaptureError(error.code, f"{error.sentence}{_given(options, error)}", error.at) from error
        if took is not None:
            document["step"] = {"whole": took, "operators": alone}

    def again(inputs: Any) -> dict[str, Any]:
        found = graph_of(inputs, lambda _, *more: say("batch", *more), profile.FEW_SAMPLES)
        return whole.scaled(found, took, alone)

    document = whole.scaled(document, took, alone)

    document["batch"] = batch.growth(document, moved, again)
    if options.offload:
        document["transfer"] = links.measured(device, profile.Cache(folder, environment))
    document = graph.hashed(document)
    out = Path(options.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    profile.write_whole(out, json.dumps(document, separators=(",", ":")))
    if not options.json or options.progress == "-":
        return 0, ""
    return 0, json.dumps({"graph": str(out), "hash": document["hash"], "operators": len(document["operators"])})


_OF_INPUTS = (RuntimeError, TypeError, ValueError, IndexError, AssertionError)


def _given(options: argparse.Namespace, error: CaptureError) -> str:
    """What the person may change where their forward or loss raised: most often a shape doesn't fit."""
    if error.code != "M201" or type(error.__cause__) not in _OF_INPUTS:
        return ""
    named = [("input", options.input), ("target", options.loss_targets)]
    given = [f"--{option} '{spec}'" for option, specs in named for spec in specs]
    return f" (given {' '.join(given)})" if given else ""


def _as_profiled(graph: dict[str, Any], file: str, threads: int | None) -> tuple[torch.device, Autocast]:
    """The device and autocast that a training graph is of. Raises MonetError where that device isn't here.

    On a CPU it runs with as many threads as then, unless others are asked for: each has a workspace of its own.
    """
    import torch

    from .errors import MonetError

    if graph["device"]["estimated"]:
        raise MonetError("M319", f"{file} is an estimate for {graph['device']['name']}; profile on a real device first")
    device = _device(graph["made_from"]["options"]["device"])
    if device.type != graph["device"]["type"]:
        name = graph["device"]["name"]
        raise MonetError("M336", f"{file} was profiled on {name}, which isn't here; profile on this machine")
    if device.type == "cpu":
        torch.set_num_threads(threads or graph["device"]["threads"])
    return device, _autocast(graph["made_from"]["autocast"], device.type)


def _load_profiled(name: str, graph: dict[str, Any], device: torch.device, autocast: Autocast) -> Target:
    """The model that `name` says, its inputs and its loss, as the training graph was made from them."""
    from . import batch, parts, target

    source = graph["made_from"]
    extra = source["options"]
    made = target.load(name, source["inputs"], extra["targets"], extra["kwargs"], source["loss"])
    if extra.get("part"):  # which gets its inputs from the rest of the model
        return parts.only(made, extra["part"], device, autocast)
    size = graph.get("batch", {}).get("size")
    inputs = made.args, made.kwargs, made.targets
    if size is not None and size != batch.size_of(inputs):  # an entry function makes its own
        args, kwargs, targets = batch.resized(inputs, size)
        made = replace(made, args=args, kwargs=kwargs, targets=targets)
    return made


class _Asked(NamedTuple):
    """What a graph, a plan for it and FILE:MODEL name together."""

    made: Target
    plan: dict[str, Any]
    graph: dict[str, Any]
    autocast: Autocast
    device: torch.device


def _asked(options: argparse.Namespace) -> _Asked:

    graph = _read(options.graph, "monet-graph", _OF_GRAPH)
    plan = _read(options.plan, "monet-plan", _OF_PLAN)
    if graph["hash"] != plan["graph"]["hash"]:
        raise PlanMismatch("M318", f"{options.plan} was not made from {options.graph}; plan again from this graph")
    device, autocast = _as_profiled(graph, options.graph, options.threads)
    made = _load_profiled(options.target, graph, device, autocast)
    return _Asked(made, plan, graph, autocast, device)


def _verify(options: argparse.Namespace, say: Callable[..., None]) -> tuple[int, str]:
    from . import verify

    made, plan, graph, autocast, device = _asked(options)
    report = verify.verify(
        made, plan, graph, autocast=autocast, device=device, pairs=options.pairs,
        progress=say, trace=Path(options.trace) if options.trace else None,
    )  # fmt: skip
    report.changed_since_profiled = graph["made_from"]["sources"].get(made.file.name) != made.source_hash
    table = verify.table(report)
    text = json.dumps({**report.to_json(), "text": table}) if options.json else table
    return (0 if report.ok else 1), text


def _export(options: argparse.Namespace, say: Callable[..., None]) -> tuple[int, str]:
    from . import export, profile, verify

    out = Path(options.out)
    export.refuse_to_overwrite(out, _read(options.graph, "monet-graph", _OF_GRAPH))
    made, plan, graph, autocast, device = _asked(options)
    say("export", 0, 1)
    found = export.export(verify.StepRunner(made, graph["gradients"], autocast, device), plan, graph)
    out.parent.mkdir(parents=True, exist_ok=True)
    profile.write_whole(out, found.text)
    table = export.table(found, str(out))
    return 0, json.dumps({**found.to_json(), "file": str(out), "text": table}) if options.json else table


def _calibrate(options: argparse.Namespace, say: Callable[..., None]) -> tuple[int, str]:
    from . import calibration

    place = _device(options.device)
    if getattr(place, "type", None) != "cuda":
        raise EnvironmentProblem(
            "M403", f"--device {options.device} is no CUDA card that is here, so it can't be measured"
        )
    return 0, json.dumps({**calibration.calibrate(place), "file": str(calibration.file())})


def _bench(options: argparse.Namespace, say: Callable[..., None]) -> tuple[int, str]:
    import torch

    from . import bench, bench_way, target
    from .errors import MonetError, PlanMismatch
    from .profile import write_whole

    if options.plan and not options.graph:
        raise MonetError("M334", "--plan goes with --graph, the training graph that the plans were made from; name it")
    graph = _read(options.graph, "monet-graph", _OF_GRAPH) if options.graph else None
    device = _device(options.device)
    if not isinstance(device, torch.device):
        raise MonetError(
            "M333", f"--device {options.device} is an estimate, and bench measures; use --device cuda or cpu"
        )
    if graph is None:
        autocast = _autocast(options.autocast, device.type)
        load = partial(target.load, options.target, options.input, options.loss_targets, options.kwargs, options.loss)
    elif options.input or options.loss_targets or options.kwargs or options.loss or options.autocast:
        raise MonetError("M335", f"{options.graph} says inputs, loss and autocast; leave out the options that do")
    else:
        asked = device.type
        device, autocast = _as_profiled(graph, options.graph, options.threads)
        if options.device != "auto" and device.type != asked:
            raise MonetError(
                "M336", f"{options.graph} was profiled on {device.type}, not {asked}; profile with --device {asked}"
            )
        load = partial(_load_profiled, options.target, graph, device, autocast)
    if options.way:
        warnings.filterwarnings("ignore", module="torch")
        result = bench_way.measured(
            load, options.way, plan=next(iter(options.plan), None), block=options.block, at_most=options.at_most,
            gradients=graph["gradients"] if graph else "accumulate", autocast=autocast, device=device,
            pairs=options.pairs,
        )  # fmt: skip
        write_whole(Path(options.json), json.dumps(result))
        return 0, ""

    where = bench.machine(torch.get_num_threads(), device)
    plans = {path: _read(path, "monet-plan", _OF_PLAN) for path in options.plan}
    for path, plan in plans.items():
        if graph and plan["graph"]["hash"] != graph["hash"]:
            raise PlanMismatch("M318", f"{path} was not made from {options.graph}; plan again from this graph")
    model = load().model  # what is wrong with the arguments is told once, before anything is measured
    if options.block:
        bench_way.blocks(model, options.block)
    del model

    arguments = [options.target, "--threads", str(torch.get_num_threads())]
    arguments += ["--graph", options.graph] if graph else ["--device", str(device)]
    for name, specs in (("--input", options.input), ("--target", options.loss_targets)):
        arguments += [word for spec in specs for word in (name, spec)]
    for name in ("kwargs", "loss", "autocast", "block"):
        if getattr(options, name):
            arguments += [f"--{name}", getattr(options, name)]
    fixed = sum(graph["fixed"].values()) if graph else 0
    rows = [bench.Row(path, plan, fixed) for path, plan in plans.items()]
    rows = bench.measure_all(arguments, rows, options.pairs, checkpointed=bool(options.block))
    if options.json:
        text = json.dumps({"machine": where, "rows": [vars(row) for row in rows]}, indent=1)
        write_whole(Path(options.json), text)
    gradients = graph["gradients"] if graph else "accumulate"
    inputs = graph["made_from"]["inputs"] if graph else options.input
    table = bench.report("  ".join([options.target, *inputs]), rows, gradients)
    return int(any(row.measured is None for row in rows)), f"{where}\n\n{table}"


_GRACE = 2  # seconds in which an operator that runs may end

_COMMANDS = {"profile": _profile, "verify": _verify, "export": _export, "calibrate": _calibrate, "bench": _bench}

# What verify and export read, as paths: a file without one of these is cut short, or of another program.
_OF_GRAPH = [
    "hash", "fixed", "gradients", "device.type", "device.name", "device.threads", "device.estimated", "made_from.model",
    "made_from.inputs", "made_from.loss", "made_from.autocast", "made_from.sources", "made_from.options.targets",
    "made_from.options.kwargs", "made_from.options.device",
]  # fmt: skip
_OF_PLAN = [
    "graph.hash", "budget", "predicted.peak", "predicted.structure_peak", "predicted.time", "predicted.eager_peak",
    "predicted.eager_time",
]  # fmt: skip


def _read(path: str, kind: str, required: list[str]) -> Any:
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise MonetError("M301", f"{path}: {error.strerror or error}; check the path, or make it again") from error
    except json.JSONDecodeError as error:
        raise MonetError(
            "M302", f"not valid JSON ({error.msg}), is the file cut off? make it again", f"{path}:{error.lineno}"
        ) from error
    if not isinstance(document, dict) or document.get("format") != kind:
        raise MonetError("M303", f"{path}: not a {kind} file; name one that monet made")
    for name in required:
        found: Any = document
        for part in name.split("."):
            if not isinstance(found, dict) or part not in found:
                raise MonetError("M305", f"{path}: not a complete {kind} file, it has no {name}; make it again")
            found = found[part]
    return document


if __name__ == "__main__":
    sys.exit(main())
