"""Processes that load or draw end with the one they work for, however it ends."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import REPO

LOAD = """
from torch.utils.data import DataLoader
from data_modules.loading.loader import Loading

if __name__ == "__main__":
    loader = DataLoader(list(range(100)), **Loading(num_workers=2).workers())
    for _ in loader:
        input()
"""
DRAW = """
import sys
from data_modules.vsp.maker import Generator

if __name__ == "__main__":
    mazes = {"levels": [6], "per_level": {"train": 99_999, "val": 1, "test": 1}, "cell_px": 28, "hole_rate": 0.2}
    Generator(folder=sys.argv[1], prompt="<image>Plan.", seed=0, num_workers=2, **mazes).make()
"""


def children(number):
    """Processes that a process has started, and those that they have, of which a fork server has the workers."""
    started = Path(f"/proc/{number}/task/{number}/children")
    own = [int(child) for child in started.read_text().split()] if started.exists() else []
    return own + [below for child in own for below in children(child)]


def wait_for(reached):
    end = time.time() + 60
    while not reached():
        assert time.time() < end
        time.sleep(0.1)


@pytest.mark.parametrize("script", [LOAD, DRAW], ids=["loading", "drawing"])
def test_workers_end_with_a_process_that_is_killed(tmp_path, script):
    file = tmp_path / "script.py"
    file.write_text(script)
    line = [sys.executable, str(file), str(tmp_path / "mazes")]
    process = subprocess.Popen(line, env={"PYTHONPATH": str(REPO)}, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    wait_for(lambda: len(children(process.pid)) >= 4)  # the fork server, its tracker, and two workers
    started = children(process.pid)
    process.kill()
    process.wait()
    wait_for(lambda: not any(Path(f"/proc/{number}").exists() for number in started))
