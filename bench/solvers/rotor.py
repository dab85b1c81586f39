"""Optimal persistent checkpointing of a chain (Beaumont et al., "Optimal checkpointing for heterogeneous chains")."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from problem import Problem, Wish

SLOTS = 400


@dataclass(frozen=True)
class Block:
    """Operators first … last. Everything before meets everything behind in one tensor, its output."""

    first: int
    last: int
    output: int | None
    needs: set[int]
    """What its backward needs of what it makes; with its output that is `full`."""
    full: list[int]
    time: int
    bytes_full: int
    bytes_output: int
    peak_none: int
    """Of running it and keeping nothing but its output, of running it and keeping all, and of its backward."""
    peak_full: int
    peak_backward: int


def plans(problem: Problem) -> Iterator[list[Wish]]:
    """
    Let C(s, t, m) be the least time to run blocks s … t forward and backward in m slots, the input of s at hand:
      C(s, t, m) = min  C(s+1, t, m - full_s) + time_s                                          keep all of s
                        min_{s<r≤t}  Σ_{s≤k<r} time_k + C(r, t, m - output_{r-1}) + C(s, r-1, m)   keep the input of r
    wherever the moments in between fit. Every m gives a plan.
    """
    chain = blocks(problem)
    slot = (problem.eager_peak - problem.fixed) / (SLOTS - 1)
    choice = solve(problem, chain, slot)
    seen: set[tuple[Wish, ...]] = set()
    for m in range(SLOTS):
        if choice[0][len(chain) - 1][m] < 0:
            continue
        wishes = tuple(follow(problem, chain, choice, slot, m))
        if wishes not in seen:
            yield list(wishes)
        seen.add(wishes)


def slots(size: int, slot: float) -> int:
    return int(np.ceil(size / slot))


def solve(problem: Problem, chain: list[Block], slot: float) -> list[list[NDArray[np.int32]]]:
    """Per s, t and m: s keeps all (s), the input of r is kept (r), or nothing fits (-1)."""
    length = len(chain)
    cost = [[np.full(SLOTS, np.inf) for _ in chain] for _ in chain]
    choice = [[np.full(SLOTS, -1, dtype=np.int32) for _ in chain] for _ in chain]
    memory = np.arange(SLOTS)
    elapsed = np.cumsum([0, *(block.time for block in chain)])

    def within(s: int, t: int, m: int) -> NDArray[np.float64]:
        """C(s, t, · - m)."""
        shifted = np.full(SLOTS, np.inf)
        if m < SLOTS:
            shifted[m:] = cost[s][t][: SLOTS - m]
        return shifted

    for width in range(length):
        for s in range(length - width):
            t = s + width
            # A recompute runs beside the gradients that are there when the backward of t starts.
            beside = problem.before[problem.n - 1 - chain[t].last]
            start, best = chain[s], cost[s][t]
            rest = np.zeros(SLOTS) if width == 0 else within(s + 1, t, slots(start.bytes_full, slot))
            least = slots(max(start.peak_full + beside, start.peak_backward), slot)
            best[:] = np.where(memory >= least, rest + start.time, np.inf)
            choice[s][t][np.isfinite(best)] = s
            least = 0
            for r in range(s + 1, t + 1):
                before = chain[r - 2].bytes_output if r - 2 >= s else 0
                least = max(least, slots(before + chain[r - 1].peak_none + beside, slot))
                time = elapsed[r] - elapsed[s] + within(r, t, slots(chain[r - 1].bytes_output, slot)) + cost[s][r - 1]
                better = (memory >= least) & (time < best)
                best[better] = time[better]
                choice[s][t][better] = r
    return choice


def follow(
    problem: Problem, chain: list[Block], choice: list[list[NDArray[np.int32]]], slot: float, m: int
) -> Iterator[Wish]:
    """The wishes of the plan for m slots. A part that runs again runs as the backward of its last block starts."""
    n = problem.n

    def until(s: int) -> int:
        return 2 * n - 1 - chain[s].first

    parts = [(0, len(chain) - 1, m, 0)]
    while parts:
        s, t, m, clock = parts.pop()
        r = int(choice[s][t][m])
        if r == s:
            for tensor in chain[s].full:
                yield tensor, clock, until(s if tensor in chain[s].needs else s + 1)
            if s < t:
                parts.append((s + 1, t, m - slots(chain[s].bytes_full, slot), clock))
            continue
        output = chain[r - 1].output
        assert output is not None
        yield output, clock, until(r)
        parts.append((r, t, m - slots(chain[r - 1].bytes_output, slot), clock))
        parts.append((s, r - 1, m, 2 * n - 1 - chain[r - 1].last))


def blocks(problem: Problem) -> list[Block]:
    """The places where one tensor alone crosses, less those that it crosses without having been made since the last."""
    chain: list[Block] = []
    first = 0
    for _, last in problem.blocks:
        crossing = [t for t, x in enumerate(problem.tensors) if x.producer <= last < x.last_use and not x.internals]
        if last < problem.n - 1 and not (crossing and problem.tensors[crossing[0]].producer >= first):
            continue
        chain.append(block(problem, first, last, crossing[0] if crossing else None))
        first = last + 1
    return chain


def block(problem: Problem, first: int, last: int, output: int | None) -> Block:
    tensors, operators = problem.tensors, problem.operators
    inside = range(first, last + 1)
    needs = {t for i in inside for t in operators[i].needs if first <= tensors[t].producer and not tensors[t].always}
    full = sorted(needs | ({output} if output is not None else set()))
    size = {t: tensors[t].bytes for t in range(len(tensors))}

    def forward(kept: set[int]) -> int:
        live = peak = 0
        for i in inside:
            operator = operators[i]
            over = operator.takes_forward
            taken = operator.taken_bytes if over >= 0 and over not in kept and tensors[over].producer >= first else 0
            peak = max(peak, live + operator.recompute.peak - taken)
            live += problem.made(i) + (size[operator.internals] if operator.internals in kept else 0)
            live -= sum(size[t] for t in {*operator.reads, *operator.makes} if dies(t, i) and t not in kept)
        return peak

    def dies(t: int, i: int) -> bool:
        return tensors[t].last_use == i and tensors[t].producer >= first and not tensors[t].always

    peak = 0
    for i in inside:
        k, backward = problem.n - 1 - i, operators[i].backward
        if backward is None:
            continue
        wanted = {t for o in operators[first : i + 1] for t in o.needs} & needs
        later = {t for o in operators[first:i] for t in o.needs} & needs
        peak = max(peak, sum(size[t] for t in wanted) + problem.before[k] + backward.peak)
        peak = max(peak, sum(size[t] for t in later) + problem.handing[k])
    return Block(
        first=first,
        last=last,
        output=output,
        needs=needs,
        full=full,
        time=sum(operators[i].recompute.time for i in inside),
        bytes_full=sum(size[t] for t in full),
        bytes_output=0 if output is None else size[output],
        peak_none=forward(set() if output is None else {output}),
        peak_full=forward(set(full)),
        peak_backward=peak,
    )
