"""Using a run: once, by a file, line by line. The session here counts letters."""

import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from mirage_pl.engine.seams import Piece
from mirage_pl.engine.serving.server import listen
from mirage_pl.engine.sessions import infer
from tests.conftest import compose


class Counter:
    """Counts letters, and remembers how many there were."""

    def __init__(self, trained=None, **_):
        self.count = 0

    def begin(self, prompt=None, image=()):
        self.count = 0
        if not prompt:
            raise ValueError("give prompt=")
        if image:
            assert all(Path(path).is_file() for path in image)
            yield Piece("picture", Image.new("RGB", (3, 2)), "seen.png")
        yield from self.step(prompt)

    def step(self, prompt=None):
        self.count += len(prompt)
        yield Piece("text", f"{len(prompt)} ")
        yield Piece("text", f"of {self.count}")


@pytest.fixture
def use(tmp_path, monkeypatch):
    """infer with the counting session in place of a model."""
    trained = SimpleNamespace(folder=tmp_path / "run")
    monkeypatch.setattr(infer, "load_trained", lambda *_: trained)

    def run(*overrides):
        cfg = compose("infer", "ckpt=here", *overrides)
        cfg.session._target_ = f"{__name__}.Counter"
        return infer.run(cfg)

    return run


def test_pieces_are_printed_as_they_come(use, capsys):
    (answer,) = use("prompt=hello")
    assert capsys.readouterr().out == "5 of 5\n"
    assert answer == {"given": {"prompt": "hello"}, "text": "5 of 5", "files": []}


def test_pictures_go_into_the_run_folder_and_their_place_is_printed(use, tmp_path, capsys):
    Image.new("RGB", (1, 1)).save(tmp_path / "a.png")
    use("prompt=hello", f"image=[{tmp_path / 'a.png'}]")
    assert f"written: {tmp_path / 'run/inference/seen.png'}" in capsys.readouterr().out
    assert Image.open(tmp_path / "run/inference/seen.png").size == (3, 2)


def test_each_row_of_a_file_begins_anew_and_a_bad_one_is_named(use, tmp_path, capsys):
    file = tmp_path / "rows.jsonl"
    file.write_text('{"prompt": "ab"}\n\n{"prompt": ""}\n{"prompt": "abc"}\n')
    answers = use(f"file={file}", f"out={tmp_path / 'out'}")
    assert [answer["text"] for answer in answers] == ["2 of 2", "3 of 3"]
    rows = [json.loads(line) for line in (tmp_path / "out/answers.jsonl").read_text().splitlines()]
    assert [row.get("text") or row["error"] for row in rows] == ["2 of 2", "give prompt=", "3 of 3"]
    assert "1 row(s) not answered" in capsys.readouterr().out


def test_a_text_file_has_a_text_a_line(use, tmp_path):
    (tmp_path / "rows.txt").write_text("ab\nWhat, {this}?\n")
    assert [a["given"]["prompt"] for a in use(f"file={tmp_path / 'rows.txt'}")] == ["ab", "What, {this}?"]


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("", "holds no rows"),
        ("[1]", "rows.jsonl:1: expected an object with keys out of prompt, image, got list"),
        ('{"prompt": "a"}\n{"promt": 1}', "rows.jsonl:2: expected an object with keys out of prompt, image, got promt"),
        ("{", "rows.jsonl:1: no JSON"),
    ],
)
def test_a_file_that_can_not_be_used_is_refused_before_the_model_is_loaded(use, tmp_path, monkeypatch, content, error):
    monkeypatch.setattr(infer, "load_trained", lambda *_: pytest.fail("loaded"))
    (tmp_path / "rows.jsonl").write_text(content)
    with pytest.raises(ValueError, match=error):
        use(f"file={tmp_path / 'rows.jsonl'}")


def test_further_lines_go_on_in_the_same_session(use, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("de, f\ng\n\nnever\n"))
    answers = use("prompt=abc", "loop=true")
    assert [answer["text"] for answer in answers] == ["3 of 3", "5 of 8", "1 of 9"]


def test_a_loop_may_begin_with_the_first_line(use, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("ab\nc\n"))
    assert [answer["text"] for answer in use("loop=true")] == ["2 of 2", "1 of 3"]


@pytest.fixture
def not_loaded(monkeypatch):
    monkeypatch.setattr(infer, "load_trained", lambda *_: pytest.fail("loaded"))


def test_a_port_that_is_taken_is_said_to_be_before_the_model_is_loaded(use, not_loaded):
    with listen(0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=f"^port={port} can't be used .*; choose another, or 0 for any$"):
            use("serve=true", f"port={port}")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("port=70000", "port=70000 must be a whole number from 0 to 65535"),
        ("serving.batch_size=0", "serving.batch_size=0 must be a whole number of 1 or more"),
        ("serving.waiting=-1", "serving.waiting=-1 must be a whole number of 0 or more"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused_before_the_model_is_loaded(use, not_loaded, override, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        use("serve=true", override)
