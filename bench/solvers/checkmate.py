"""Checkmate's program (Jain et al., "Breaking the memory wall with optimal tensor rematerialization") by HiGHS."""

from __future__ import annotations

from dataclasses import dataclass, field

import highspy
import numpy as np
from problem import Operator, Problem, Wish

MIB = 2**20
Terms = dict[int, float]


def solve(problem: Problem, budget: int, limit: float, threads: int) -> tuple[str, list[Wish]]:
    """
    One stage per backward step k. Columns, in {0, 1}:
      R_kj  operator j runs again in stage k       S_kt  tensor t is held as stage k starts (S_0: kept from forward)
    Cost: Σ R_kj · recompute_j. With p(t) the producer of t and i the operator of stage k,
      S_{k+1,t} ≤ S_kt + R_{k,p(t)},
      1 ≤ S_kt + R_{k,p(t)} for what i needs,   R_kj ≤ S_kt + R_{k,p(t)} for what j reads,
      R_kj ≤ Σ R_km over readers m of what j makes, unless i needs it: nothing runs for nothing.
    Memory has a row per run of a stage. A tensor that is made in the stage is there from its producer to its last
    reader, or to the end where i needs it or it is held on; Q_ktm says that it is there up to reader m:
      Q_ktm ≥ Q_ktm' for the next reader m',   Q_ktm ≥ R_{k,p(t)} + R_km - 1 - S_kt,
      Q_kt,end ≥ R_{k,p(t)} - S_kt where i needs t,   Q_kt,end ≥ S_{k+1,t} - S_kt.
    T_kj, where j may take over the memory of what it reads, lowers its peak.
    """
    if problem.fixed >= budget:
        return "infeasible", []
    program = Program()
    stages = Stages(problem, program)
    stages.needs()
    room = (budget - problem.fixed) / MIB
    stages.forward(room)
    for k, i, operator in problem.steps():
        if operator.backward is not None:
            stages.memory(k, i, room)
    status, values = program.run(limit, threads)
    return status, [] if values is None else stages.wishes(values)


class Stages:
    def __init__(self, problem: Problem, program: Program) -> None:
        self.problem, self.program = problem, program
        self.runs: list[dict[int, int]] = []
        self.held: list[dict[int, int]] = []
        for _, i, operator in problem.steps():
            again = problem.ancestors[i] if operator.backward is not None else []
            self.runs.append(
                {
                    j: program.column(problem.operators[j].recompute.time / 1e6)
                    for j in again
                    if not problem.operators[j].pinned
                }
            )
            wanted = (t for t, first in enumerate(problem.first_use) if first <= i and not problem.tensors[t].always)
            self.held.append({t: program.column() for t in wanted})
        self.held.append({})
        random = [j for j, operator in enumerate(problem.operators) if operator.random]
        self.restored = {j: program.column(integer=False) for j in random}

    def available(self, k: int, t: int) -> Terms:
        """S_kt + R_{k,p(t)}."""
        columns = (self.held[k].get(t), self.runs[k].get(self.problem.tensors[t].producer))
        return {column: 1.0 for column in columns if column is not None}

    def needs(self) -> None:
        tensors, operators = self.problem.tensors, self.problem.operators
        row = self.program.row
        for k, _, operator in self.problem.steps():
            for t, later in self.held[k + 1].items():
                row(self.available(k, t) | {later: -1.0}, 0)
            for t in operator.needs:
                if not tensors[t].always:
                    row(self.available(k, t), 1)
            runs = self.runs[k]
            for j, column in runs.items():
                for t in operators[j].reads:
                    if not tensors[t].always:
                        row(self.available(k, t) | {column: -1.0}, 0)
                made = {*operators[j].makes, operators[j].internals}
                if not made & set(operator.needs):
                    readers = {runs[m]: 1.0 for m in runs if made & set(operators[m].reads)}
                    row(readers | {column: -1.0}, 0)
                if operators[j].random:
                    row({self.restored[j]: 1.0, column: -1.0}, 0)

    def limit(self, terms: Terms, room: float) -> None:
        """terms + the random states that are kept ≤ room."""
        states = {column: -self.problem.rng / MIB for column in self.restored.values()}
        self.program.row({column: -factor for column, factor in terms.items()} | states, -room)

    def forward(self, room: float) -> None:
        tensors = self.problem.tensors
        kept = self.held[0]
        for i, operator in enumerate(self.problem.operators):
            terms: Terms = {}
            constant = operator.forward.peak / MIB
            for t, tensor in enumerate(tensors):
                if tensor.producer >= i:
                    continue
                if tensor.always or (not tensor.internals and tensor.last_use >= i):
                    constant += tensor.bytes / MIB
                elif t in kept:
                    terms[kept[t]] = tensor.bytes / MIB
            if operator.takes_forward >= 0:
                constant -= operator.taken_bytes / MIB
                if operator.takes_forward in kept:
                    terms[kept[operator.takes_forward]] = operator.taken_bytes / MIB
            self.limit(terms, room - constant)

    def memory(self, k: int, i: int, room: float) -> None:
        problem, program = self.problem, self.program
        operators, tensors = problem.operators, problem.tensors
        operator, runs, held, later = operators[i], self.runs[k], self.held[k], self.held[k + 1]
        assert operator.backward is not None
        size = [tensor.bytes / MIB for tensor in tensors]
        always = sum(size[t] for t, tensor in enumerate(tensors) if tensor.always)
        base = {column: size[t] for t, column in held.items() if size[t] > 0}
        room -= always

        # Per tensor that may be made here: its readers, ascending, and the column of each; the last is the end.
        there: dict[int, tuple[list[int], list[int]]] = {}
        for t, tensor in enumerate(tensors):
            if tensor.producer not in runs or tensor.always or size[t] == 0:
                continue
            made, stays = runs[tensor.producer], held.get(t)
            less = {} if stays is None else {stays: 1.0}
            readers = [m for m in runs if t in operators[m].reads]
            columns = [program.column(integer=False) for _ in range(len(readers) + 1)]
            for m, column, after in zip(readers, columns, columns[1:], strict=False):
                program.row({column: 1.0, after: -1.0}, 0)
                program.row({column: 1.0, made: -1.0, runs[m]: -1.0} | less, -1)
            if t in operator.needs:
                program.row({columns[-1]: 1.0, made: -1.0} | less, 0)
            if t in later:
                program.row({columns[-1]: 1.0, later[t]: -1.0} | less, 0)
            there[t] = (readers, columns)

        for j, column in runs.items():
            terms = base | {column: operators[j].recompute.peak / MIB}
            for t, (readers, columns) in there.items():
                if tensors[t].producer < j:
                    at = next((place for place, reader in enumerate(readers) if reader >= j), len(readers))
                    terms[columns[at]] = size[t]
            taken = self.takes_over(k, j, operator)
            if taken is not None:
                terms[taken] = -operators[j].taken_bytes / MIB
            self.limit(terms, room - problem.before[k] / MIB)
        terms = base | {columns[-1]: size[t] for t, (_, columns) in there.items()}
        self.limit(terms, room - (problem.before[k] + operator.backward.peak) / MIB)
        self.limit({column: size[t] for t, column in later.items()}, room - problem.handing[k] / MIB)

    def takes_over(self, k: int, j: int, operator: Operator) -> int | None:
        """T_kj: its input was made in this stage, is wanted by nobody after, and its internals are not wanted."""
        operators, runs, held, later = self.problem.operators, self.runs[k], self.held[k], self.held[k + 1]
        over, internals = operators[j].takes, operators[j].internals
        if over < 0 or over in operator.needs or self.problem.tensors[over].producer not in runs:
            return None
        row = self.program.row
        taken = self.program.column(integer=False)
        row({runs[j]: 1.0, taken: -1.0}, 0)
        row({runs[self.problem.tensors[over].producer]: 1.0, taken: -1.0}, 0)
        for no in (held.get(over), later.get(over), *(runs[m] for m in runs if m > j and over in operators[m].reads)):
            if no is not None:
                row({no: -1.0, taken: -1.0}, -1)
        if internals in operator.needs:
            row({held[internals]: 1.0, taken: -1.0}, 0)
        elif internals in later:
            row({later[internals]: -1.0, held[internals]: 1.0, taken: -1.0}, -1)
        return taken

    def wishes(self, values: list[float]) -> list[Wish]:
        found: list[Wish] = []
        n = self.problem.n
        for t in range(len(self.problem.tensors)):
            holds = [t in stage and values[stage[t]] > 0.5 for stage in self.held]
            start = 0 if holds[0] else -1
            for k in range(n):
                if start >= 0 and not holds[k + 1]:
                    found.append((t, start, n + k))
                    start = -1
                elif start < 0 and holds[k + 1]:
                    start = n + k
        return found


@dataclass
class Program:
    """min cost · x, rows · x ≥ lower, 0 ≤ x ≤ 1, some x integer."""

    cost: list[float] = field(default_factory=list)
    kinds: list[highspy.HighsVarType] = field(default_factory=list)
    lower: list[float] = field(default_factory=list)
    start: list[int] = field(default_factory=lambda: [0])
    index: list[int] = field(default_factory=list)
    value: list[float] = field(default_factory=list)

    def column(self, cost: float = 0, integer: bool = True) -> int:
        self.cost.append(cost)
        self.kinds.append(highspy.HighsVarType.kInteger if integer else highspy.HighsVarType.kContinuous)
        return len(self.cost) - 1

    def row(self, terms: Terms, lower: float) -> None:
        self.index += terms.keys()
        self.value += terms.values()
        self.start.append(len(self.index))
        self.lower.append(lower)

    def run(self, limit: float, threads: int) -> tuple[str, list[float] | None]:
        lp = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = len(self.cost), len(self.lower)
        lp.col_cost_, lp.integrality_ = np.array(self.cost), self.kinds
        lp.col_lower_, lp.col_upper_ = np.zeros(lp.num_col_), np.ones(lp.num_col_)
        lp.row_lower_, lp.row_upper_ = np.array(self.lower), np.full(lp.num_row_, highspy.kHighsInf)
        lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        lp.a_matrix_.start_, lp.a_matrix_.index_ = np.array(self.start), np.array(self.index)
        lp.a_matrix_.value_ = np.array(self.value)
        highs = highspy.Highs()
        options = {
            "output_flag": False,
            "log_to_console": False,
            "time_limit": limit,
            "threads": threads,
            "mip_rel_gap": 0.0,
        }
        for option, value in options.items():
            highs.setOptionValue(option, value)
        highs.passModel(lp)
        highs.run()
        ended = highs.getModelStatus()
        known = {highspy.HighsModelStatus.kOptimal: "optimal", highspy.HighsModelStatus.kInfeasible: "infeasible"}
        found = highs.getInfo().primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
        return known.get(ended, "not finished"), list(highs.getSolution().col_value) if found else None
