"""Which modules an evaluation may name as its family's words: console and report ask the same function."""

import sys

import pytest

from mirage_pl.engine.words import WORDS, PlainWords, load_words


def test_a_familys_words_come_from_this_package():
    assert load_words("mirage_pl.mirage.report").__name__ == "mirage_pl.mirage.report"


@pytest.mark.parametrize(
    "path", [None, 3, "", "mirage_pl", "json", "mirage_plus.report", "mirage_pl.none", "../report"]
)
def test_whatever_else_is_named_gives_plain_words(path):
    assert load_words(path) is PlainWords


def test_another_package_is_imported_only_if_the_command_names_it(tmp_path, monkeypatch):
    names = "".join(f"{name} = None\n" for name in WORDS)
    (tmp_path / "somebodys_words.py").write_text(names)
    (tmp_path / "somebodys_half.py").write_text(names.partition("\n")[2])
    monkeypatch.syspath_prepend(str(tmp_path))
    assert load_words("somebodys_words") is load_words("somebodys_words", trusted="another") is PlainWords
    assert "somebodys_words" not in sys.modules
    assert load_words("somebodys_words", trusted="somebodys_words").__name__ == "somebodys_words"
    assert load_words("somebodys_half", trusted="somebodys_half") is PlainWords, "a name is missing"
