"""Who may import whom, what the engine may speak of, and how long a file or a function may be."""

import ast
import re
import subprocess
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
    "integrations": {"mirage_pl", "data_modules"},
}
FILES = sorted(file for package in MAY_IMPORT for file in (REPO / package).rglob("*.py"))
FAMILIES = {folder.name for folder in (REPO / "mirage_pl").iterdir() if (folder / "__init__.py").is_file()} - {"engine"}


WORDS = re.compile("latent|helper|maze|vsp|qwen", re.IGNORECASE)


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def arrows(folder):
    """Room -> rooms of the same folder that it imports; a room is a file or a folder."""
    rooms = {entry.stem for entry in folder.iterdir() if entry.suffix == ".py" or (entry / "__init__.py").is_file()}
    rooms -= {"__init__", "__main__"}
    prefix = ".".join(folder.relative_to(REPO).parts) + "."
    imports = {room: set() for room in rooms}
    for file in folder.rglob("*.py"):
        if (room := file.relative_to(folder).parts[0].removesuffix(".py")) in rooms:
            names = [name for name in imported(ast.parse(file.read_text())) if name.startswith(prefix)]
            imports[room] |= {name.removeprefix(prefix).split(".")[0] for name in names} & rooms - {room}
    return imports


def floors(imports):
    """Take rooms that import none that is left, floor by floor: how many floors there are, and who is in a circle."""
    left, number = dict(imports), 0
    while ground := [room for room, others in left.items() if not others & left.keys()]:
        left = {room: others for room, others in left.items() if room not in ground}
        number += 1
    while roof := [room for room in left if not any(room in others for others in left.values())]:
        left = {room: others for room, others in left.items() if room not in roof}
    return number, set(left)


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


def test_what_all_families_share_speaks_of_none():
    shared = [*(REPO / "mirage_pl" / "engine").rglob("*.py"), *(REPO / "callbacks").glob("*.py")]
    for file in [*shared, *(REPO / "conf").glob("train.yaml"), *(REPO / "conf" / "callbacks").glob("*.yaml")]:
        lines = [line for line in file.read_text().splitlines() if WORDS.search(line)]
        assert not lines, f"{file.relative_to(REPO)} has words of one family: {lines}"


def test_a_verb_the_engine_and_a_family_are_all_there_is():
    imports = arrows(REPO / "mirage_pl")
    number, circle = floors(imports)
    assert (len(imports) <= 12, number <= 3, sum(map(len, imports.values())) <= 15, circle) == (True, True, True, set())
    for verb in imports.keys() - FAMILIES - {"engine"}:
        source = (REPO / "mirage_pl" / f"{verb}.py").read_text()
        assert len(source.splitlines()) <= 40, f"{verb}.py: a verb is its config and the function that it calls"


@pytest.mark.parametrize(
    "folder", [*MAY_IMPORT, "mirage_pl/engine", *(f"mirage_pl/{name}" for name in sorted(FAMILIES))]
)
def test_no_rooms_import_each_other_in_a_circle(folder):
    assert floors(arrows(REPO / folder))[1] == set()


def test_a_circle_is_seen_and_who_is_above_or_below_it_is_in_none():
    assert floors({"a": {"b"}, "b": {"c"}, "c": set()}) == (3, set())
    assert floors({"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()})[1] == {"b", "c"}


def test_generic_package_names_are_ours():
    assert Path(launch.__file__).is_relative_to(REPO)


def test_no_file_holds_the_marks_of_a_merge():
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=REPO, capture_output=True, check=True).stdout.split(b"\0")
    marks = tuple(mark * 7 + b" " for mark in (b"<", b">"))
    for file in (REPO / name.decode() for name in tracked if name):
        assert not any(line.startswith(marks) for line in file.read_bytes().split(b"\n")), file
