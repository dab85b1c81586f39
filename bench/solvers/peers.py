"""
The peers that live in Python. Reads a graph from a file, then one request a line from standard input:
{"peer", "target"}; answers each with a line {"plans", "seconds", "status"}.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import checkmate
import knapsack
import moccasin
import rotor
from problem import Problem, Wish


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("graph", type=Path)
    parser.add_argument("--limit", type=float, required=True)
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args()
    problem = Problem.read(options.graph)
    sweeping = {"knapsack": knapsack.plans, "rotor": rotor.plans}
    aiming = {"checkmate": checkmate.solve, "moccasin": moccasin.solve}

    def answer(peer: str, target: int) -> tuple[str, list[list[Wish]]]:
        if peer in sweeping:
            return "done", list(sweeping[peer](problem))
        status, plan = aiming[peer](problem, target, options.limit, options.threads)
        return status, [plan] if plan or status == "optimal" else []

    # Solvers that print, from C++ too, must not disturb the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for line in sys.stdin:
        request: dict[str, Any] = json.loads(line)
        start = time.perf_counter()
        status, plans = answer(**request)
        reply = {"plans": plans, "seconds": time.perf_counter() - start, "status": status}
        print(json.dumps(reply), file=answers, flush=True)


if __name__ == "__main__":
    main()
