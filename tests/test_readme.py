"""Every command of the README composes, and every file it names exists."""

import re
import shlex

import pytest

from mirage_pl.engine.reports.command import build_parser
from tests.conftest import REPO, compose

README = (REPO / "README.md").read_text()
COMMANDS = sorted(set(re.findall(r"python -m (?:mirage_pl\.[a-z]+|launch(?! status)) [^`#\n|…]+=[^`#\n|]+", README)))
REPORTS = sorted(set(re.findall(r"python -m mirage_pl\.report [^`#\n|]+", README)))
"""Of no Hydra command."""
WRITTEN = {name: text for text, name in re.findall(r"```yaml\n(# conf/([\w/]+\.yaml):.*?)```", README, re.DOTALL)}
"""Config files that the README has the user write, by their place below `conf`."""


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """The override that finds the user's own config files."""
    folder = tmp_path_factory.mktemp("conf")
    for name, text in WRITTEN.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return f"hydra.searchpath=[file://{folder}]"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_composes(command, written):
    _, _, module, *overrides = shlex.split(command)
    config = "plan" if overrides[0] == "plan" else module.removeprefix("mirage_pl.")
    plain = [item for item in overrides if item not in ("-m", "plan")]
    first = [item if re.search(r"[[{]", item) else item.split(",")[0] for item in plain]
    assert compose(config, *first, written)


@pytest.mark.parametrize("command", REPORTS)
def test_a_report_is_understood(command):
    assert build_parser().parse_args(shlex.split(command)[3:]).runs


def test_there_are_commands_to_check():
    assert len(COMMANDS) > 10


@pytest.mark.parametrize("path", sorted(set(re.findall(r"(?:docs|conf|assets|mirage_pl)/[\w./]*\w", README))))
def test_a_named_file_exists(path):
    assert (REPO / path).exists() or path.removeprefix("conf/") in WRITTEN


def test_make_targets_exist():
    targets = set(re.findall(r"^([a-z-]+):", (REPO / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)`|^make ([a-z-]+)", README, re.MULTILINE)) <= {
        pair for target in targets for pair in ((target, ""), ("", target))
    }
