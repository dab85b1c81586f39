"""A helper that is tied to who started it leaves nothing running behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import monet_torch


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_a_tied_helper_ends_with_who_started_it_and_so_does_what_it_started(tmp_path: Path) -> None:
    """Its standard input ends when the other end's process does, however that comes; a model reads nothing from it."""
    (tmp_path / "slow.py").write_text(
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "open('part', 'w').write(f'{os.getpid()} {child.pid} {len(sys.stdin.read())}')\n"
        "os.rename('part', 'pids')\n"
        "while True:\n"
        "    try:\n"
        "        time.sleep(600)\n"
        "    except KeyboardInterrupt:\n"
        "        pass\n"
    )
    command = [sys.executable, "-m", "monet_torch", "profile", "slow.py:Net", "--out", "graph.json", "--tied"]
    environment = {**os.environ, "PYTHONPATH": str(Path(monet_torch.__file__).parents[1])}
    helper = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    pids = tmp_path / "pids"
    assert _within(60, pids.exists)
    own, child, read = (int(word) for word in pids.read_text().split())
    assert (own, read) == (helper.pid, 0)
    assert helper.stdin is not None
    helper.stdin.close()
    assert helper.wait(60) == -9
    assert _within(10, lambda: not _alive(child))
    assert {p.name for p in tmp_path.iterdir()} <= {"slow.py", "pids", "__pycache__"}


def _within(seconds: float, done: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while not done() and time.monotonic() < end:
        time.sleep(0.02)
    return done()


def _alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    try:
        return "\nState:\tZ" not in status.read_text()
    except OSError:
        return False
