"""A model that is larger than this machine, traced and planned from its shapes: seconds and peak resident memory.

python bench/large.py            # llama7b for an A100 with 80 GB; after npm run build
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
SPEC = "int64[1,4096]<32000"


def run(name: str, *command: str) -> None:
    start = time.monotonic()
    subprocess.run(command, cwd=PROJECT, check=True)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024  # of the largest child so far
    print(f"{name}: {time.monotonic() - start:.0f} s, at most {peak:.0f} MiB resident\n", flush=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        graph = f"{folder}/llama.graph.json"
        monet = ("node", "dist/cli.mjs")
        options = ("--input", SPEC, "--input", SPEC, "--device", "A100-80GB", "--optimizer", "adam8bit")
        python = ("--python", sys.executable, "--out", graph)
        run("traced and estimated", *monet, "profile", "examples/llama.py:llama7b", *options, *python)
        run("planned", *monet, "plan", graph, "--budget", "50%")
        run("largest batch", *monet, "plan", graph, "--max-batch", "--budget", "72GiB", "--overhead", "20%")


if __name__ == "__main__":
    main()
