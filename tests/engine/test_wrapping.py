"""Help in any console: no line is wider than it, no word is lost, and commands can still be copied."""

import os
import shlex
import subprocess
import sys

import pytest

from mirage_pl.engine.help import write_values
from mirage_pl.engine.place import CONF
from mirage_pl.engine.wrapping import wrap_help
from tests.conftest import REPO

VERBS = ("train", "evaluate", "infer", "data", "export", "launch", "plan")


def read_words(text):
    """The words of a help; marks of comments and of lines that go on aren't words."""
    return [word for word in text.split() if word not in ("#", "\\")]


@pytest.mark.parametrize("width", [40, 80, 100])
def test_every_config_file_fits_the_console_and_keeps_its_words(width):
    for file in CONF.rglob("*.yaml"):
        whole = write_values(file)
        wrapped = wrap_help(whole, width)
        assert read_words(wrapped) == read_words(whole), file
        too_wide = [line for line in wrapped.splitlines() if len(line) > width]
        assert [line for line in too_wide if len(read_words(line)) > 1] == [], file


def test_a_comment_stays_beside_its_key_and_goes_below_a_long_one():
    short = "  key: 1   # one two three four five six seven\n           # eight\n  next: 2  # nine"
    assert wrap_help(short, 46) == short
    assert wrap_help(short, 45).splitlines() == [
        "  key: 1   # one two three four five six",
        "           # seven eight",
        "  next: 2  # nine",
    ]
    long = "  a_rather_long_key: and_its_value  # one two three four"
    assert wrap_help(long, 40).splitlines() == [long[:34], "      # one two three four"]


def test_a_command_goes_on_as_a_shell_reads_it():
    line = "  python -m mirage_pl.data task=jsonl 'split={train: 0.8, val: 0.2}' sheet=sheet   what it does"
    *command, said = wrap_help(line, 40).splitlines()
    assert len(command) == 4
    assert said == "      what it does"
    assert shlex.split("\n".join(command).replace("\\\n", "")) == shlex.split(line)[:-3]


def test_what_fits_stays_as_it_is_written():
    text = "A paragraph.\n\n  key:   # why\n    deeper: [1]   # because\n"
    assert wrap_help(text, 80) == text.rstrip("\n")


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_a_verb_is_as_wide_as_the_console(verb):
    command = {"launch": ["launch"], "plan": ["launch", "plan"]}.get(verb, [f"mirage_pl.{verb}"])
    for width in (80, 120):
        done = subprocess.run(
            [sys.executable, "-m", *command, "--help"],
            capture_output=True,
            text=True,
            cwd=REPO,
            check=True,
            env={**os.environ, "COLUMNS": str(width)},
        )
        assert max(map(len, done.stdout.splitlines())) <= width
