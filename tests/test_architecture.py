"""Who may import whom, and how long a file or a function may be."""

import ast
from pathlib import Path

import pytest

import launch
from tests.conftest import REPO

MAY_IMPORT = {
    "data_modules": set(),
    "callbacks": set(),
    "mirage_pl": {"data_modules", "hydra_plugins"},
    "launch": {"mirage_pl", "hydra_plugins"},
    "hydra_plugins": set(),
    "benchmarks": {"mirage_pl", "data_modules"},
}
FILES = sorted(file for package in MAY_IMPORT for file in (REPO / package).rglob("*.py"))
FAMILIES = {folder.name for folder in (REPO / "mirage_pl").iterdir() if (folder / "__init__.py").is_file()} - {"engine"}


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(REPO)))
def test_imports_go_one_way_and_nothing_is_long(file):
    source = file.read_text()
    tree = ast.parse(source)
    parts = file.relative_to(REPO).parts
    modules = set(imported(tree))
    assert {name.split(".")[0] for name in modules} & MAY_IMPORT.keys() <= MAY_IMPORT[parts[0]] | {parts[0]}
    families = {
        name.split(".")[1] for name in modules if name.startswith("mirage_pl.") and name.split(".")[1] in FAMILIES
    }
    if parts[0] == "mirage_pl":
        assert families <= {parts[1]}, "the engine and other families know no family"
    assert len(source.splitlines()) <= 300
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 50, node.name


def test_generic_package_names_are_ours():
    assert Path(launch.__file__).is_relative_to(REPO)
