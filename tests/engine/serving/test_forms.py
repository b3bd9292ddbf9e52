"""Sessions of one client at a time, behind a form. The session here counts letters."""

import io
import json
import socket
from base64 import b64encode
from pathlib import Path
from time import sleep

import httpx
import pytest
from PIL import Image

from mirage_pl.engine.seams import Piece
from mirage_pl.engine.serving.app import build_forms
from mirage_pl.engine.serving.forms import Sessions
from tests.engine.serving.echo import LIMITS, served

TAKES = {"prompt": "text", "image": "image", "times": "number"}


class Counter:
    """Counts letters, and remembers how many there were. Of a prompt that begins with a z it counts slowly."""

    def __init__(self):
        self.count = 0

    def begin(self, prompt=None, image=(), times=1):
        self.count = 0
        if not prompt:
            raise ValueError("give prompt=")
        if image:
            assert all(Path(path).is_file() for path in ([image] if isinstance(image, str) else image))
            yield Piece("picture", Image.new("RGB", (3, 2)), "seen.png")
        yield from self.step(prompt)

    def step(self, prompt=None):
        for _ in range(8 * prompt.startswith("z")):
            sleep(0.05)
            yield Piece("text", "z")
        self.count += len(prompt)
        yield Piece("text", f"{len(prompt)} ")
        yield Piece("text", f"of {self.count}")


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("forms")
    (folder.parent / "secret").write_text("secret")
    with served(build_forms(Sessions(Counter, TAKES, {}, folder), LIMITS)) as address:
        yield address


@pytest.fixture(scope="module")
def ask(address):
    """Post JSON to a server of counting sessions; the status and the lines of the answer."""
    with httpx.Client(trust_env=False) as http:

        def post(path, request):
            body = request if isinstance(request, bytes) else json.dumps(request).encode()
            answer = http.post(address + path, content=body, headers={"Content-Type": "application/json"})
            if answer.status_code == 200:
                return 200, [json.loads(line) for line in answer.text.splitlines()]
            return answer.status_code, answer.json()["error"]["message"]

        yield post


def test_a_server_keeps_many_sessions_apart(ask):
    first, second = (ask("/begin", {"prompt": text})[1][0]["session"] for text in ("abc", "ab"))
    assert "".join(line["content"] for line in ask(f"/step/{first}", {"prompt": "d"})[1]) == "1 of 4"
    assert "".join(line["content"] for line in ask(f"/step/{second}", {"prompt": "d"})[1]) == "1 of 3"


def test_a_picture_comes_and_goes_through_the_server(ask, address):
    image = io.BytesIO()
    Image.new("RGB", (1, 1)).save(image, "png")
    upload = {"name": "a.png", "data": b64encode(image.getvalue()).decode()}
    status, lines = ask("/begin", {"prompt": "a", "image": [upload]})
    assert status == 200
    answer = httpx.get(address + lines[0]["content"])
    assert Image.open(io.BytesIO(answer.content)).size == (3, 2)
    for path in ("/files/../secret", "/files/%2e%2e%2fsecret", "/files/..%2Fsecret"):
        assert httpx.get(address + path).status_code == 404


@pytest.mark.parametrize(
    ("path", "request_", "error"),
    [
        ("/begin", {"prompt": ""}, "give prompt="),
        ("/begin", {"promt": "a"}, "unknown promt; expected prompt, image, times"),
        ("/begin", {"prompt": "a", "image": "/etc/hostname"}, "image: expected"),
        ("/begin", b"[1]", "the body must be a JSON object"),
        ("/begin", b"{", "the body is no JSON"),
        ("/begin", {"prompt": 5}, "prompt must be text, got 5"),
        ("/begin", {"prompt": "a", "times": [1]}, "times must be a finite number, got [1]"),
        ("/begin", b'{"prompt": "a", "times": 1e400}', "times must be a finite number, got Infinity"),
        ("/step/none", {"prompt": "a"}, "no session none; begin another"),
    ],
)
def test_a_bad_request_is_refused_and_the_server_stays_up(ask, path, request_, error):
    status, said = ask(path, request_)
    assert status == 400
    assert error in said
    assert ask("/begin", {"prompt": "a"})[0] == 200


def leave(address, when):
    """Send a request that takes a while, and leave: before the first piece has come, or after."""
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        body = b'{"prompt": "zz"}'
        head = f"POST /begin HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        if when == "midway":
            assert client.recv(200)


@pytest.mark.parametrize("when", ["at once", "midway"])
def test_a_client_that_leaves_stops_nobody(ask, address, when):
    for _ in range(3):
        leave(address, when)
    assert ask("/begin", {"prompt": "ab"})[1][-1]["content"] == "of 2"


def test_what_a_session_began_with_is_not_given_again(ask):
    key = ask("/begin", {"prompt": "a"})[1][0]["session"]
    assert ask(f"/step/{key}", {"times": 3}) == (400, "times: given where a session begins; begin another")
    assert ask(f"/step/{key}", {"prompt": "b"})[0] == 200


def test_the_form_has_a_field_for_all_that_a_session_takes(browser, address):
    page = browser.new_page()
    page.goto(address)
    page.get_by_label("prompt").fill("abc")
    page.get_by_label("image").set_input_files(
        {"name": "a.png", "mimeType": "image/png", "buffer": b"an image, for all that the form knows"}
    )
    page.get_by_role("button", name="Begin").click()
    page.get_by_text("3 of 3").wait_for()
    page.locator("#output img").wait_for()
    assert page.evaluate("document.querySelector('#output img').naturalWidth") == 3
    page.get_by_label("prompt").fill("d")
    page.get_by_role("button", name="Go on").click()
    page.get_by_text("1 of 4").wait_for()
    page.get_by_label("prompt").fill("")
    page.get_by_role("button", name="Begin").click()
    page.get_by_text("give prompt=").wait_for()
    page.close()
