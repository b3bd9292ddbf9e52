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
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    for file in ("config.yaml", "checkpoints/last.ckpt"):
        (folder / file).touch()
    monkeypatch.setattr(infer, "load_trained", lambda *_: SimpleNamespace(folder=folder))

    def run(*overrides):
        cfg = compose("infer", f"ckpt={folder}", *overrides)
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


def test_what_an_earlier_use_wrote_is_never_overwritten(use, tmp_path, capsys):
    Image.new("RGB", (1, 1)).save(tmp_path / "a.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/seen.png").write_bytes(b"mine")
    for name in ("seen-2.png", "seen-3.png"):
        use("prompt=hello", f"image=[{tmp_path / 'a.png'}]", f"out={tmp_path / 'out'}")
        assert f"written: {tmp_path / 'out' / name}" in capsys.readouterr().out
    assert (tmp_path / "out/seen.png").read_bytes() == b"mine"


def test_a_folder_of_pieces_is_another_one_for_another_use(tmp_path):
    pictures = [Piece("picture", Image.new("RGB", (1, 1)), f"points/{number}.png") for number in range(2)]
    for folder in ("points", "points-2"):
        files = infer.show_pieces(pictures, {}, tmp_path)["files"]
        assert files == [str(tmp_path / folder / f"{number}.png") for number in range(2)]


def read(tmp_path):
    return [json.loads(line) for line in (tmp_path / "out/answers.jsonl").read_text().split("\n")[:-1]]


@pytest.fixture
def answer(use, tmp_path):
    """Answer a file of rows; what came of it."""

    def run(rows, *overrides):
        content = rows if isinstance(rows, bytes) else "".join(json.dumps(row) + "\n" for row in rows).encode()
        (tmp_path / "rows.jsonl").write_bytes(content)
        return use(f"file={tmp_path / 'rows.jsonl'}", f"out={tmp_path / 'out'}", *overrides)

    return run


@pytest.fixture
def not_loaded(monkeypatch):
    monkeypatch.setattr(infer, "load_trained", lambda *_: pytest.fail("loaded"))


def test_each_row_of_a_file_begins_anew_and_a_bad_one_is_named(answer, tmp_path, capsys):
    answers = answer(b'{"prompt": "ab"}\n\n{"prompt": ""}\n{"prompt": "abc\xe2\x80\xa8"}\n')
    assert [answer["text"] for answer in answers] == ["2 of 2", "4 of 4"]
    assert [(row["line"], row.get("text") or row["error"]) for row in read(tmp_path)] == [
        (1, "2 of 2"),
        (3, f"{tmp_path}/rows.jsonl:3: give prompt="),
        (4, "4 of 4"),
    ]
    assert "1 row(s) not answered" in capsys.readouterr().out


BAD = {
    "[1]": "expected an object with keys out of prompt, image, got list",
    '{"promt": 1}': "expected an object with keys out of prompt, image, got promt",
    "{": "no JSON",
    '{"prompt": 5}': "prompt must be text, got 5",
    '{"prompt": ["a"]}': 'prompt must be text, got ["a"]',
    '{"image": {"path": "a"}}': 'image must be a path or a list of paths, got {"path": "a"}',
    '{"image": [1]}': "image must be a path or a list of paths, got [1]",
    "[" * 100_000: "no JSON",
    "\xff": "'utf-8' codec can't decode",
}


@pytest.mark.parametrize("row", BAD, ids=lambda row: row[:20])
def test_a_row_that_can_not_be_read_is_reported_by_line_and_the_others_are_answered(answer, tmp_path, capsys, row):
    answers = answer(b'{"prompt": "ab"}\n' + row.encode("latin-1") + b'\n{"prompt": "c"}\n')
    assert [answer["line"] for answer in answers] == [1, 3]
    assert f"[2] not answered: {tmp_path}/rows.jsonl:2: {BAD[row]}" in capsys.readouterr().out
    assert BAD[row] in read(tmp_path)[1]["error"]


@pytest.mark.parametrize(
    "content", [b"", b"\n \n", *(row.encode("latin-1") for row in BAD)], ids=lambda row: str(row[:20])
)
def test_a_file_without_any_row_is_refused_before_the_model_is_loaded(answer, not_loaded, content):
    with pytest.raises(ValueError, match="rows.jsonl(:1: | holds no rows)"):
        answer(content)


ROWS = [{"prompt": word} for word in ("a", "bb", "ccc", "dddd")]


def test_a_command_that_was_stopped_goes_on_where_it_stopped(answer, tmp_path, monkeypatch, capsys):
    begin = Counter.begin

    def stopped(self, prompt=None, image=()):
        if prompt == "ccc":
            raise KeyboardInterrupt
        yield from begin(self, prompt, image)

    with monkeypatch.context() as patched:
        patched.setattr(Counter, "begin", stopped)
        with pytest.raises(KeyboardInterrupt):
            answer(ROWS)
    assert [row["line"] for row in read(tmp_path)] == [1, 2]
    with (tmp_path / "out/answers.jsonl").open("a") as file:
        file.write('{"line": 3, "gi')
    capsys.readouterr()
    answers = answer(ROWS)
    assert [row["text"] for row in read(tmp_path)] == ["1 of 1", "2 of 2", "3 of 3", "4 of 4"]
    assert [answer["line"] for answer in answers] == [1, 2, 3, 4]
    assert capsys.readouterr().out.startswith("2 row(s) were answered before\n[3] 3 of 3\n[4] ")


def test_what_is_answered_loads_no_model_and_rows_that_were_added_are_answered(answer, tmp_path, monkeypatch, request):
    answer(ROWS)
    with monkeypatch.context() as patched:
        patched.setattr(infer, "load_trained", lambda *_: pytest.fail("loaded"))
        assert len(answer(ROWS)) == 4
    assert len(answer([*ROWS, {"prompt": "e"}])) == 5
    assert [row["line"] for row in read(tmp_path)] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("rows", "overrides", "message"),
    [
        ([{"prompt": "x"}, *ROWS[1:]], [], r"answers.jsonl:1 answers line 1 of a file that was another"),
        (ROWS[:2], [], r"answers.jsonl:3 answers line 3 of a file that was another"),
        (ROWS, ["decoding.seed=7"], r"written with other settings \(session.decoding.seed was 0, is 7\)"),
    ],
)
def test_other_rows_and_other_settings_do_not_go_on(answer, tmp_path, rows, overrides, message):
    answer(ROWS)
    before = read(tmp_path)
    with pytest.raises(ValueError, match=f"{message}; give another out=, or delete .*answers.jsonl$"):
        answer(rows, *overrides)
    assert read(tmp_path) == before


def test_a_text_file_has_a_text_a_line(use, tmp_path):
    (tmp_path / "rows.txt").write_text("ab\nWhat, {this}?\n")
    assert [a["given"]["prompt"] for a in use(f"file={tmp_path / 'rows.txt'}")] == ["ab", "What, {this}?"]


def test_further_lines_go_on_in_the_same_session(use, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("de, f\ng\n\nnever\n"))
    answers = use("prompt=abc", "loop=true")
    assert [answer["text"] for answer in answers] == ["3 of 3", "5 of 8", "1 of 9"]


def test_a_loop_may_begin_with_the_first_line(use, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("ab\nc\n"))
    assert [answer["text"] for answer in use("loop=true")] == ["2 of 2", "1 of 3"]


def test_a_loop_ends_where_no_line_can_be_answered_and_goes_on_after_one_that_cannot(use, monkeypatch, capsys):
    def begin(self, prompt=None, image=()):
        if prompt != "good":
            raise ValueError("give clip=" if prompt[0] == "x" else f"{prompt} is no word")
        return self.step(prompt)

    monkeypatch.setattr(Counter, "begin", begin)
    monkeypatch.setattr("sys.stdin", io.StringIO("x1\nx2\nx3\n"))
    with pytest.raises(ValueError, match=r"^give clip=$"):
        use("loop=true")
    assert capsys.readouterr().err == "error: give clip=\n"
    monkeypatch.setattr("sys.stdin", io.StringIO("x1\nbad\nworse\ngood\n"))
    assert [answer["text"] for answer in use("loop=true")] == ["4 of 4"]


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


@pytest.mark.parametrize("override", ["loop=true", "file=rows.txt"])
def test_a_server_is_asked_by_its_clients_alone(use, not_loaded, override):
    with pytest.raises(ValueError, match="^serve=true answers clients; leave out file= and loop=true$"):
        use("serve=true", override)
