"""Run a plan: the forward operator by operator under ordinary autograd, with saved tensors stored by the plan.

Autograd's own engine runs the backward, over the handles that `frame` gives it instead of tensors. So a wrong plan
costs time or memory and never changes a gradient, on one condition: nothing that a backward or a recompute reads was
changed in place meanwhile. Autograd does not check that for hooked tensors, so `frame` does.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, cast

from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from . import operators, post_mortem
from ._private import base_of
from .captured import Captured, Operator, Ref
from .frame import INTERNAL, Frame, Lifeline, unpack
from .offload import Host
from .plan import Plan

Trace = Callable[[str, int, int], None]
"""For who watches: called with (event, clock, operator) as a "forward", "offload", "fetch", "recompute" or
"backward" starts. Of a transfer, it is the operator that made what goes or comes back.

A backward starts with the first tensor that it unpacks, or once all of them have been made again; one that saved
nothing tells nothing.
"""


class Program:
    """A captured graph with a plan laid over it, compiled to straight-line Python.

    `host` is where it offloads to: one for all programs of a model, so that sizes share what is pinned.
    """

    def __init__(self, captured: Captured, plan: Plan, host: Host | None = None) -> None:
        plan.check(captured)
        self.captured, self.plan = captured, plan
        n, count = plan.operators, len(captured.operators)
        self.clock = 2 * n - 1  # b(i) = clock - i
        self.trace: Trace | None = None
        self.has_blocks = any(o.block is not None for o in captured.operators)
        self.geometry_checked = False
        values, ops = captured.values, captured.operators
        self.root = [v.storage for v in values]
        self.constant = [values[r].is_constant for r in self.root]
        self.geometry = [(v.shape, v.stride, v.offset) for v in values]
        self.builders: list[Callable[[Operator, bool], Any]] = [
            operators.named(captured, o, plan.implementation(o.id)) for o in ops
        ]
        # Where in what an operator saves there is something of the node that its backward begins with.
        self.first_node = [-1 if operators.is_in_two(o, plan.implementation(o.id)) else 0 for o in ops]
        self.stand_ins = {
            o.id: instead
            for o in ops
            if (instead := operators.stand_in(captured, o, plan.implementation(o.id))) is not None
        }
        self.in_place = [operators.runs_in_place(captured, o, plan.implementation(o.id)) for o in ops]
        self.own_output = [operators.has_own_output(captured, o, plan.implementation(o.id)) for o in ops]

        # Until which clock a storage or an operator's internals are held from forward; -1: dropped after forward.
        self.hold = [-1] * len(values)
        self.hold_internals = [-1] * count
        # What is retained from a recompute at some backward clock: clock -> {storage or operator: to}.
        self.retain: dict[int, dict[int, int]] = {}
        self.retain_internals: dict[int, dict[int, int]] = {}
        for v, intervals in plan.values.items():
            if v >= len(values):
                continue  # of the loss, which is not captured here
            root = self.root[v]  # another value where other strides made a view of what was a copy
            if self.constant[root]:
                continue
            for start, end in intervals:
                if start < n:
                    self.hold[root] = max(self.hold[root], end)
                else:
                    retained = self.retain.setdefault(start, {})
                    retained[root] = max(retained.get(root, end), end)
        for o_id, intervals in plan.internals.items():
            if o_id >= count:
                continue
            for start, end in intervals:
                if start < n:
                    self.hold_internals[o_id] = end
                else:
                    self.retain_internals.setdefault(start, {})[o_id] = end
        away = {self.root[v]: clocks for v, clocks in plan.offload.items() if v < len(values)}
        self.input_roots = [sorted({self.root[v] for v in o.inputs if not self.constant[v]}) for o in ops]
        self._hold_for_backward_alone()
        self.ends: list[list[int]] = [[] for _ in ops]  # storages held from forward to this operator's backward
        for v, end in enumerate(self.hold):
            if end >= 0 and self.clock - end < count:
                self.ends[self.clock - end].append(v)
        model_outputs = {self.root[v] for v in captured.model_outputs if not self.constant[v]}
        for v in model_outputs:  # the user holds them, so they are there
            self.hold[v] = 2 * n
        self.model_outputs = sorted(model_outputs)

        # What is in host memory alone for a while: after which operator of the forward it goes, and before whose
        # backward it comes back; what was made last comes back first.
        self.host = host or Host()
        # (What is written later is no copy of what it will be: all that write or read such a storage are pinned.)
        makers = {v: ops[values[v].producer or 0] for v in away}
        self.away = {v for v in away if 0 <= self.hold[v] < 2 * n and not makers[v].pinned}
        self.absences = away
        self.leaving: dict[int, list[int]] = {}
        self.returning: dict[int, list[int]] = {}
        for v in sorted(self.away, reverse=True):
            self.leaving.setdefault(away[v][0], []).append(v)
            self.returning.setdefault(self.clock - away[v][1], []).append(v)

        # After which operator what stands in for the outputs of others is there.
        self.awaited: dict[int, list[int]] = {}
        for o_id, instead in self.stand_ins.items():
            self.awaited.setdefault(values[instead.value].producer or 0, []).append(o_id)

        self.output_roots = [[v for v in o.outputs if self.root[v] == v] for o in ops]
        self.last_use = [-1] * len(values)
        for o in ops:
            for v in o.inputs:
                self.last_use[self.root[v]] = max(self.last_use[self.root[v]], o.id)
        self.takes_over = [self._takes_over(o, model_outputs) for o in ops]
        self.calls = [build(o, over) for o, build, over in zip(ops, self.builders, self.takes_over, strict=True)]
        # Position in (inputs + outputs) of each output storage that is held from forward.
        self.cells_to_make = [
            [(len(o.inputs) + k, v) for k, v in enumerate(o.outputs) if self.root[v] == v and self.hold[v] >= 0]
            for o in ops
        ]
        # Until a forward has shown what autograd saves, all of it passes through the frame.
        self.tracked = [True] * len(values)
        self.hooked = [True] * count
        self.every = self._compile(watched=True)
        self.run: Callable[[Frame, tuple[Tensor, ...]], list[Any]] | None = None

    def _hold_for_backward_alone(self) -> None:
        """Hold nothing that no backward will read: parts of the model may have been frozen since it was planned."""
        values = self.captured.values
        last_need: dict[int, int] = {}
        for o in self.captured.operators:  # clocks descend
            if not o.grad or not any(values[v].requires_grad for v in o.outputs):
                continue
            clock = self.clock - o.id
            waiting = [self.root[v] for v in (*o.inputs, *o.outputs)]
            while waiting:
                root = waiting.pop()
                producer = values[root].producer
                if producer is None or last_need.get(root, -1) >= clock:
                    continue
                last_need[root] = clock
                if self.hold[root] < clock:  # it is made again
                    waiting += self.input_roots[producer]
        self.hold = [end if v in last_need else -1 for v, end in enumerate(self.hold)]

    def _takes_over(self, o: Operator, model_outputs: set[int]) -> bool:
        """docs/format.md, Forward, step 1: may the output overwrite the input?"""
        if not self.in_place[o.id]:
            return False
        v = o.inputs[0]
        return (
            self.root[v] == v and not self.constant[v] and self.hold[v] < 0 and v not in model_outputs
            and self.last_use[v] <= o.id and o.inputs.count(v) == 1
        )  # fmt: skip

    def _specialise(self, frame: Frame) -> None:
        """Leave to autograd what it holds as the plan does: a frame in between costs time, and nothing else.

        `frame` has seen what each operator saves. A storage has to pass through the frame where a backward finds it
        dropped, and where a recompute reads it; an operator, where it saves such a storage or its internals go.
        """
        ops = self.captured.operators
        saved = [set(frame.saved[o.id]) for o in ops]
        dropped = [INTERNAL in saved[o.id] and self.hold_internals[o.id] < self.clock - o.id for o in ops]
        # The last clock at which an operator may run again; -1: none. What it reads is needed there.
        again = [self.clock - o.id if gone else -1 for o, gone in zip(ops, dropped, strict=True)]
        producers = [self.captured.values[root].producer for root in self.root]
        self.tracked = [False] * len(self.hold)

        def needed(root: int, clock: int) -> None:
            producer = producers[root]
            if producer is not None and self.hold[root] < clock:
                self.tracked[root] = True
                again[producer] = max(again[producer], clock)

        for o in ops:
            # What is saved in one step may not be in the next: some functions look at their weights.
            if operators.looks(self.captured, o, self.plan.implementation(o.id)):
                saved[o.id].update(self.input_roots[o.id], self.output_roots[o.id])
            if o.id in self.stand_ins:
                saved[o.id].add(self.stand_ins[o.id].value)
            for root in saved[o.id]:
                if root >= 0:
                    needed(root, self.clock - o.id)
        for o in reversed(ops):  # what an operator reads was made before it
            if again[o.id] >= 0:
                for root in self.input_roots[o.id]:
                    self.tracked[root] = True
                    needed(root, again[o.id])
        for root in (*self.away, *(instead.value for instead in self.stand_ins.values())):
            self.tracked[root] = True
        if max(again, default=-1) >= 0:
            # What can't be made again stays within reach: where a part of the graph dies early, more is made again.
            once = {o.id for o in ops if o.pinned or (o.random and o.id not in self.plan.rng)}
            self.tracked = [tracked or p in once for tracked, p in zip(self.tracked, producers, strict=True)]
        self.ends = [[root for root in ends if self.tracked[root]] for ends in self.ends]
        self.cells_to_make = [[(k, v) for k, v in cells if self.tracked[v]] for cells in self.cells_to_make]
        self.hooked = [
            dropped[o.id]
            or bool(self.ends[o.id])
            or o.id in self.returning
            or o.id in self.stand_ins
            or any(root >= 0 and self.tracked[root] for root in saved[o.id])
            for o in ops
        ]
        self.run = self._compile()

    def recompute_call(self, o: Operator, in_place: bool, internals: bool) -> Callable[..., Any]:
        """Only who wants its internals has to run another implementation, but for one whose output is its own."""
        eager = operators.in_place_form(o) if in_place else o.target
        if internals or self.own_output[o.id] or eager is None:
            call: Callable[..., Any] = self.builders[o.id](o, in_place)
            return call
        return eager

    def live_at(self, clock: int) -> dict[int, int]:
        """Bytes of each storage that forward made and the plan has on the device at a clock, outputs too."""
        forward = clock < len(self.captured.operators)
        until = list(self.hold)
        for start, retained in self.retain.items():
            if start < clock:
                for v, end in retained.items():
                    until[v] = max(until[v], end)
        if forward:
            until = [max(pair) for pair in zip(until, self.last_use, strict=True)]
        absent = {v for v in self.away if self.absences[v][0] < clock < self.absences[v][1]}
        return {
            v.id: v.storage_bytes
            for v in self.captured.values
            if v.producer is not None and v.producer < clock <= until[v.id] and self.root[v.id] == v.id
            and v.id not in absent
        }  # fmt: skip

    def _compile(self, watched: bool = False) -> Callable[[Frame, tuple[Tensor, ...]], list[Any]]:
        """One line of Python per operator; a value's name is unbound at its last use.

        Hooks are in place for those operators alone whose saved tensors pass through the frame. `watched` has each
        operator tell that it starts.
        """
        captured = self.captured
        names: dict[str, Any] = {}
        last: dict[int, int] = {}
        for o in captured.operators:
            for v in (*o.inputs, *o.outputs):
                last[v] = o.id
        returned = set(captured.model_outputs)
        names["hooks"], names["unpack"] = saved_tensors_hooks, unpack
        lines = ["def run(F, constants):", "    end = F.end"]
        lines += [f"    v{v.id} = constants[{k}]" for k, v in enumerate(captured.own_constants)]

        def render(arg: Any) -> str:
            if isinstance(arg, Ref):
                return f"v{arg.id}"
            if isinstance(arg, (list, tuple)):
                inner = ", ".join(render(a) for a in arg)
                return f"[{inner}]" if isinstance(arg, list) else f"({inner}{',' if len(arg) == 1 else ''})"
            if arg is None or isinstance(arg, (bool, int, str)):
                return repr(arg)
            name = f"k{len(names)}"
            names[name] = arg
            return name

        names[post_mortem.PLACES] = places = post_mortem.Places(weakref.ref(self))
        within = False
        for o in captured.operators:
            if self.hooked[o.id] and not within:
                lines.append("    with hooks(F.pack, unpack):")
            within = self.hooked[o.id]
            names[f"f{o.id}"] = self.calls[o.id]
            args = [render(a) for a in o.args] + [f"{k}={render(a)}" for k, a in o.kwargs.items()]
            call = f"f{o.id}({', '.join(args)})"
            indent = "        " if within else "    "
            if watched:
                lines.append(f"{indent}F.starts({o.id})")
            if o.id in self.plan.rng:
                lines.append(f"{indent}F.save_rng({o.id})")
            if not o.grad or o.autocast is not None:
                names[f"g{o.id}"] = o
                call = f"F.in_state(g{o.id}, f{o.id}, ({', '.join(args[: len(o.args)])}{',' if o.args else ''}), " + (
                    "{" + ", ".join(f"{k!r}: {render(a)}" for k, a in o.kwargs.items()) + "})"
                )
            places.lines[len(lines) + 1] = o.id
            if o.outputs:
                lines.append(f"{indent}{_pattern(o.layout)} = {call}")
            else:
                lines.append(f"{indent}{call}")
            if within or self.cells_to_make[o.id]:
                tensors = ", ".join(f"v{v}" for v in (*o.inputs, *o.outputs))
                lines.append(f"{indent}end({o.id}, ({tensors}{',' if tensors else ''}))")
            dead = sorted(
                v for v in {*o.inputs, *o.outputs}
                if last[v] == o.id and v not in returned and captured.values[v].kind == "activation"
            )  # fmt: skip
            if dead:
                lines.append(indent + " = ".join(f"v{v}" for v in dead) + " = None")
            if o.id in self.leaving:
                lines.append(f"{indent}F.leave({o.id})")
        outputs = ", ".join(render(x) for x in captured.outputs)
        lines.append(f"    return [{outputs}]")
        exec(compile("\n".join(lines), "<monet plan>", "exec"), names)
        run: Callable[[Frame, tuple[Tensor, ...]], list[Any]] = names["run"]
        return run

    def __call__(self, constants: tuple[Tensor, ...]) -> list[Any]:
        frame = Frame(self, constants)
        # Who watches wants to see every operator.
        run = self.run if self.trace is None and self.run is not None else self.every
        try:
            outputs = run(frame, constants)
        finally:
            frame.forward_is_over()
        self.geometry_checked = True
        if self.run is None:
            self._specialise(frame)
        if self.has_blocks:
            return outputs  # a block may leave other ends of the graph with its user
        lifeline = Lifeline(frame)
        # A write into an output that is a view gives it another grad_fn; its base's lives on in the graph.
        bases = [base_of(x) for x in outputs if isinstance(x, Tensor)]
        for output in (*outputs, *bases):
            if isinstance(output, Tensor) and output.grad_fn is not None:
                cast(dict[Any, Any], output.grad_fn.metadata)["monet"] = lifeline  # a property, whatever its stub says
        return outputs


def _pattern(layout: Any) -> str:
    """An assignment target that unpacks an operator's result into its values."""
    if isinstance(layout, Ref):
        return f"v{layout.id}"
    if isinstance(layout, (list, tuple)):
        return "[" + ", ".join(_pattern(x) for x in layout) + "]"
    return "_"
