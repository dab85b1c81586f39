"""Retention intervals (Bartan et al., "Moccasin: efficient tensor rematerialization for neural networks") by CP-SAT."""

from __future__ import annotations

from dataclasses import dataclass

from ortools.sat.python import cp_model
from problem import Problem, Wish

RECOMPUTES = 2
"""The paper's C - 1: how often an operator may run again."""

Event = cp_model.LinearExprT
Active = cp_model.IntVar | bool


@dataclass(frozen=True)
class Instance:
    """A run of an operator. Its tensors are held from `start` up to, but not at, the event `stop`."""

    active: Active
    start: Event
    stop: dict[int, cp_model.IntVar]


def solve(problem: Problem, budget: int, limit: float, threads: int) -> tuple[str, list[Wish]]:
    """
    Events: n of forward, then n + 2 per backward step, of recomputes in ascending id, the backward and handing on.
    Every run is a point of this line, every tensor an interval from it on, and memory a cumulative resource. What takes
    over the memory of its input needs it up to its own event alone.
    """
    if problem.fixed >= budget:
        return "infeasible", []
    model = Model(problem)
    model.cp.minimize(
        sum(
            operator.recompute.time * instance.active
            for operator, instances in zip(problem.operators, model.instances, strict=True)
            for instance in instances[1:]
        )
    )
    model.cp.add_cumulative(model.intervals, model.demands, budget - problem.fixed)
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = limit
    solver.parameters.num_workers = threads
    status = solver.solve(model.cp)
    if status == cp_model.MODEL_INVALID:
        raise ValueError(model.cp.validate())
    known = {cp_model.OPTIMAL: "optimal", cp_model.INFEASIBLE: "infeasible"}
    found = status in (cp_model.OPTIMAL, cp_model.FEASIBLE)
    return known.get(status, "not finished"), model.wishes(solver) if found else []


class Model:
    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.cp = cp_model.CpModel()
        self.horizon = problem.n + problem.n * (problem.n + 2)
        self.intervals: list[cp_model.IntervalVar] = []
        self.demands: list[int] = []
        self.instances: list[list[Instance]] = []
        for j in range(problem.n):
            self.instances.append([self.first(j), *self.again(j)])
        for k, _, operator in problem.steps():
            if operator.backward is not None:
                self.backward(k)

    def stage(self, k: int) -> int:
        """The event at which backward step k begins."""
        return self.problem.n + k * (self.problem.n + 2)

    def demand(self, start: Event, length: int, size: int, active: Active = True) -> None:
        self.intervals.append(self.cp.new_optional_fixed_size_interval_var(start, length, active, ""))
        self.demands.append(size)

    def hold(self, t: int, start: Event, active: Active, least: Event) -> cp_model.IntVar:
        """Internals of a run are part of its peak and stay from the next event on."""
        tensor = self.problem.tensors[t]
        stop, length = self.cp.new_int_var(0, self.horizon, ""), self.cp.new_int_var(0, self.horizon, "")
        begin = start + 1 if tensor.internals else start
        self.cp.add(stop >= (self.horizon if tensor.always else least))
        if tensor.bytes > 0:
            self.intervals.append(self.cp.new_optional_interval_var(begin, length, stop, active, ""))
            self.demands.append(tensor.bytes)
        return stop

    def first(self, j: int) -> Instance:
        """The forward run."""
        operators, tensors = self.problem.operators, self.problem.tensors
        stop = {}
        for t in (*operators[j].makes, operators[j].internals):
            last = tensors[t].last_use
            stop[t] = self.hold(t, j, True, last if operators[last].takes_forward == t else last + 1)
        self.demand(j, 1, operators[j].forward.peak - self.problem.made(j))
        return Instance(True, j, stop)

    def again(self, j: int) -> list[Instance]:
        """The recomputes, in order; the second only with the first."""
        problem, cp = self.problem, self.cp
        operator = problem.operators[j]
        found: list[Instance] = []
        for _ in range(0 if operator.pinned else RECOMPUTES):
            active = cp.new_bool_var("")
            step = cp.new_int_var(0, problem.n - 1 - j, "")
            start = problem.n + (problem.n + 2) * step + j
            if found:
                cp.add_implication(active, found[-1].active)
                cp.add(start > found[-1].start).only_enforce_if(active)
            elif operator.random:
                self.demand(0, self.horizon, problem.rng, active)
            for t in operator.reads:
                self.cover(t, start, active, taken=t == operator.takes)
            stop = {t: self.hold(t, start, active, start + 1) for t in (*operator.makes, operator.internals)}
            self.demand(start, 1, operator.recompute.peak - problem.made(j), active)
            found.append(Instance(active, start, stop))
        return found

    def cover(self, t: int, event: Event, active: Active, taken: bool = False) -> None:
        """One run's interval of the tensor reaches the event."""
        if self.problem.tensors[t].always:
            return
        covers = []
        for instance in self.instances[self.problem.tensors[t].producer]:
            by = self.cp.new_bool_var("")
            covers.append(by)
            self.cp.add_implication(by, instance.active)
            self.cp.add(instance.start + 1 <= event).only_enforce_if(by)
            self.cp.add(instance.stop[t] >= (event if taken else event + 1)).only_enforce_if(by)
        self.cp.add_at_least_one(covers).only_enforce_if(active)

    def backward(self, k: int) -> None:
        """Gradients are as they are; what the step unpacks must be there."""
        problem, begin = self.problem, self.stage(k)
        operator = problem.operators[problem.n - 1 - k]
        assert operator.backward is not None
        self.demand(begin, problem.n + 1, problem.before[k])
        self.demand(begin + problem.n, 1, operator.backward.peak)
        self.demand(begin + problem.n + 1, 1, problem.handing[k])
        for t in operator.needs:
            self.cover(t, begin + problem.n, True)

    def wishes(self, solver: cp_model.CpSolver) -> list[Wish]:
        n = self.problem.n

        def clock(event: int) -> int:
            return event if event < n else n + (event - n) // (n + 2)

        return [
            (t, clock(solver.value(instance.start)), clock(solver.value(stop) - 1))
            for instances in self.instances
            for instance in instances
            if solver.value(instance.active)
            for t, stop in instance.stop.items()
            if solver.value(stop) > n
        ]
