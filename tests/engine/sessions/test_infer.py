"""Using a run: once, by a file, line by line, over HTTP. The session here counts letters."""

import io
import json
from base64 import b64encode
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from PIL import Image

from mirage_pl.engine.seams import Piece
from mirage_pl.engine.sessions import infer
from mirage_pl.engine.sessions.page import write_page
from mirage_pl.engine.sessions.server import Server, Sessions
from tests.conftest import compose

TAKES = {"prompt": "text", "image": "image"}


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
def ask(tmp_path):
    """Post JSON to a server of counting sessions; the status and the lines of the answer."""
    with Server(0, Sessions(Counter, TAKES, {}, tmp_path)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"

        def post(path, request):
            body = request if isinstance(request, bytes) else json.dumps(request).encode()
            try:
                with urlopen(Request(address + path, body)) as answer:
                    return answer.status, [json.loads(line) for line in answer]
            except HTTPError as error:
                return error.code, json.loads(error.read())["error"]

        post.address = address
        yield post
        server.shutdown()


def test_a_server_keeps_many_sessions_apart(ask):
    first, second = (ask("/begin", {"prompt": text})[1][0]["session"] for text in ("abc", "ab"))
    assert "".join(line["content"] for line in ask(f"/step/{first}", {"prompt": "d"})[1]) == "1 of 4"
    assert "".join(line["content"] for line in ask(f"/step/{second}", {"prompt": "d"})[1]) == "1 of 3"


def test_a_picture_comes_and_goes_through_the_server(ask, tmp_path):
    image = io.BytesIO()
    Image.new("RGB", (1, 1)).save(image, "png")
    upload = {"name": "a.png", "data": b64encode(image.getvalue()).decode()}
    status, lines = ask("/begin", {"prompt": "a", "image": [upload]})
    assert status == 200
    with urlopen(ask.address + lines[0]["content"]) as answer:
        assert Image.open(io.BytesIO(answer.read())).size == (3, 2)


@pytest.mark.parametrize(
    ("path", "request_", "error"),
    [
        ("/begin", {"prompt": ""}, "give prompt="),
        ("/begin", {"promt": "a"}, "unknown promt; expected prompt, image"),
        ("/begin", {"prompt": "a", "image": "/etc/hostname"}, "image: expected"),
        ("/begin", b"[1]", "expected a JSON object"),
        ("/begin", b"{", "Expecting"),
        ("/step/none", {"prompt": "a"}, "no session none; begin another"),
        ("/else", {}, "no session"),
    ],
)
def test_a_bad_request_is_refused_and_the_server_stays_up(ask, path, request_, error):
    status, said = ask(path, request_)
    assert status == 400
    assert error in said
    assert ask("/begin", {"prompt": "a"})[0] == 200


def test_the_page_has_a_field_for_all_that_a_session_takes(ask):
    page = urlopen(ask.address).read().decode()
    assert page == write_page(TAKES)
    assert '<textarea name="prompt"' in page
    assert '<input name="image" type="file"' in page
