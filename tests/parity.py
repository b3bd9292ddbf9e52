"""Numbers of the reference implementations: ``pytest --parity FOLDER`` compares with those of another folder.

A folder holds ``expected.json`` and ``rebuild.py`` (models and inputs behind it) for Mirage, and a folder of the same
two files for each other family. Tests in ``tests/<family>/`` are given ``expected`` and ``rebuild`` of that family; one
with the argument ``case``, too, runs for each of the file's ``cases``, one with ``fsq_case`` for each of its ``fsq``.
Where a file isn't there, they are skipped.
"""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

SHIPPED = Path(__file__).resolve().parents[2] / "shared" / "parity"


def folder_of(config: pytest.Config, module: Path) -> Path:
    """The folder of a test module's family."""
    root, family = Path(config.getoption("parity")), module.parent.name
    return root if family == "mirage" else root / family


def read(folder: Path) -> dict[str, Any]:
    """What is expected; nothing where the folder isn't there."""
    file = folder / "expected.json"
    expected: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    return expected


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a user point the tests at other cases."""
    parser.addoption("--parity", default=str(SHIPPED), metavar="FOLDER", help="cases of the reference implementations")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a folder that isn't there."""
    folder = Path(config.getoption("parity"))
    if folder != SHIPPED and not folder.is_dir():
        raise pytest.UsageError(f"--parity {folder} is no folder; give one with expected.json and rebuild.py")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that takes a ``case``, or a ``<kind>_case``, for each of them."""
    if "rebuild" not in metafunc.fixturenames:
        return
    for name in metafunc.fixturenames:
        if name == "case" or name.endswith("_case"):
            kind = name.removesuffix("case").rstrip("_") or "cases"
            cases = read(folder_of(metafunc.config, metafunc.definition.path)).get(kind, [])
            metafunc.parametrize(name, cases, ids=[name_of(number, case) for number, case in enumerate(cases)])


def name_of(number: int, case: dict[str, Any]) -> str:
    """A case's place in the file, and its plain numbers."""
    return "-".join([str(number), *(f"{key}={value}" for key, value in case.items() if isinstance(value, int))])


@pytest.fixture(scope="module")
def expected(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The family's ``expected.json``."""
    folder = folder_of(request.config, request.path)
    return read(folder) or pytest.skip(f"{folder} has no expected.json")


@pytest.fixture(scope="module")
def rebuild(request: pytest.FixtureRequest, expected: dict[str, Any]) -> Any:
    """The family's ``rebuild.py``, loaded."""
    spec = importlib.util.spec_from_file_location("rebuild", folder_of(request.config, request.path) / "rebuild.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
