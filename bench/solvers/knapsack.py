"""PyTorch's own choice of what to save: the knapsack solvers of its activation memory budget."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

from problem import Problem, Wish

SOLVERS = ("greedy_knapsack", "ilp_knapsack", "dp_knapsack", "dp_knapsack_sliding_hirschberg")
CAPACITIES = 50


def plans(problem: Problem) -> Iterator[list[Wish]]:
    """
    Items are what eager saves. An item weighs its share of all their bytes and is worth the time that it takes to
    recompute it with every other item at hand. What is not saved is recomputed once, when it is first needed.
    """
    module = importlib.import_module("torch._functorch._activation_checkpointing.knapsack")
    needed = {t for operator in problem.operators for t in operator.needs}
    items = [t for t in sorted(needed) if problem.tensors[t].bytes > 0 and not problem.tensors[t].always]
    total = sum(problem.tensors[t].bytes for t in items)
    memory = [problem.tensors[t].bytes / total for t in items]
    held = set(items)
    runtimes = [sum(problem.operators[j].recompute.time for j in problem.closure([t], held - {t})) / 1e6 for t in items]
    n = problem.n
    for name in SOLVERS:
        solver = getattr(module, name, None)
        if solver is None:
            continue
        for slot in range(CAPACITIES):
            _, saved, _ = solver(memory, runtimes, slot / CAPACITIES)
            kept = {items[k] for k in saved}
            yield [(t, 0 if t in kept else n, 2 * n) for t in range(len(problem.tensors))]
