"""Two lanes: ``pytest -n 2 --dist loadgroup``. What is expensive is built once, in one lane or for both.

Tests of a file stay in one lane, for they share what the file builds. All that compare runs of several processes
stay in one, begun first: they share those runs.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

TOGETHER = {"tests/engine/strategies": "ranks"}
"""Folders whose tests share expensive session fixtures."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test its lane's mark, the longest first."""
    for item in items:
        if not item.get_closest_marker("xdist_group"):
            folder, _, _ = item.nodeid.rpartition("/")
            item.add_marker(pytest.mark.xdist_group(TOGETHER.get(folder, item.nodeid.partition("::")[0])))
    items.sort(key=lambda item: lane(item) not in TOGETHER.values())


def lane(item: pytest.Item) -> str:
    """The group that a test runs in."""
    mark = item.get_closest_marker("xdist_group")
    return str(mark.args[0]) if mark else ""


def build_once(factory: pytest.TempPathFactory, name: str, build: Callable[[Path], object]) -> Path:
    """A folder that one lane builds and the others use.

    Args:
        factory: pytest's.
        name: of the folder.
        build: fills the folder.
    """
    root = factory.getbasetemp()
    folder = (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / name
    with FileLock(f"{folder}.lock"):
        if not (done := Path(f"{folder}.done")).exists():
            folder.mkdir()
            build(folder)
            done.touch()
    return folder
