"""Every command of the README composes, and every file it names exists."""

import re
import shlex

import pytest

from mirage_pl.report import parser
from tests.conftest import REPO, compose

README = (REPO / "README.md").read_text()
COMMANDS = sorted(set(re.findall(r"python -m mirage_pl\.[a-z]+ [^`#\n|]+", README)))
REPORTS = [command for command in COMMANDS if "mirage_pl.report" in command]
"""Of no Hydra command."""


@pytest.mark.parametrize("command", [command for command in COMMANDS if command not in REPORTS])
def test_a_command_composes(command):
    _, _, module, *overrides = shlex.split(command)
    plain = [item for item in overrides if item != "-m" and not item.startswith("hydra/")]
    first = [item if "[" in item else item.split(",")[0] for item in plain]
    assert compose(module.removeprefix("mirage_pl."), *first)


@pytest.mark.parametrize("command", REPORTS)
def test_a_report_is_understood(command):
    assert parser().parse_args(shlex.split(command)[3:]).runs


def test_there_are_commands_to_check():
    assert len(COMMANDS) > 10


@pytest.mark.parametrize("path", sorted(set(re.findall(r"(?:docs|conf|assets|mirage_pl)/[\w./]*\w", README))))
def test_a_named_file_exists(path):
    assert (REPO / path).exists()


def test_make_targets_exist():
    targets = set(re.findall(r"^([a-z-]+):", (REPO / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)`|^make ([a-z-]+)", README, re.MULTILINE)) <= {
        pair for target in targets for pair in ((target, ""), ("", target))
    }
