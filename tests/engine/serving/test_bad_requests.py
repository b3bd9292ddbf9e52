"""Requests that can't be answered get a clear 4xx in OpenAI's shape, and the server stays up."""

import io
import json
import socket
import struct
import time
import zlib
from base64 import b64decode, b64encode
from random import Random

import pytest
from PIL import Image

GOOD = [{"role": "user", "content": "one"}]


def said(content):
    return [{"role": "user", "content": content}]


def shown(url):
    return said([{"type": "image_url", "image_url": {"url": url}}])


def png(width, height):
    """A PNG of a few hundred bytes that says to have so many pixels, all black."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def data(content, kind="png"):
    return f"data:image/{kind};base64,{b64encode(content).decode()}"


def cut_off():
    file = io.BytesIO()
    Image.effect_noise((200, 200), 80).save(file, "png")
    return file.getvalue()[:5000]


def animated():
    file = io.BytesIO()
    frames = [Image.new("RGB", (300, 300), color) for color in ("red", "green")]
    frames[0].save(file, "gif", save_all=True, append_images=frames[1:])
    return file.getvalue()


BAD = {
    "no messages": ({"messages": []}, "messages must be an array of messages, got none"),
    "messages of another type": ({"messages": "one"}, "messages must be an array of messages, got a string"),
    "a message of another type": ({"messages": ["one"]}, "messages[0] must be an object, got a string"),
    "nobody says it": ({"messages": [{"content": "one"}]}, "messages[0].role must be one of system"),
    "a tool says it": ({"messages": [{"role": "tool", "content": "one"}]}, "messages[0].role must be one of"),
    "the assistant is last": ({"messages": [*GOOD, {"role": "assistant", "content": "a"}]}, "must be the user's"),
    "no content": ({"messages": [{"role": "user"}]}, "messages[0].content must be a string or an array"),
    "content of another type": ({"messages": said(5)}, "messages[0].content must be a string or an array"),
    "a part of another type": ({"messages": said([5])}, 'messages[0].content[0] must be {"type": "text"'),
    "a sound": ({"messages": said([{"type": "input_audio"}])}, 'messages[0].content[0] must be {"type": "text"'),
    "half a character": ({"messages": said("\ud83d")}, "messages[0].content[0].text has half a character"),
    "an address in place of an image": (
        {"messages": said([{"type": "image_url", "image_url": "data:"}])},
        "messages[0].content[0] must be",
    ),
    "a file": ({"messages": shown("file:///etc/hostname")}, "is a file: URL, which isn't fetched; give the image"),
    "a file of windows": ({"messages": shown("C:\\secret.png")}, "is a c: URL"),
    "a path": ({"messages": shown("/etc/hostname")}, "is no URL, which isn't fetched"),
    "a path that leads out": ({"messages": shown("../../etc/hostname")}, "is no URL, which isn't fetched"),
    "the web": ({"messages": shown("https://example.org/a.png")}, "is a https: URL, which isn't fetched"),
    "the web, unencrypted": ({"messages": shown("http://127.0.0.1:1/a.png")}, "is a http: URL, which isn't fetched"),
    "no base64": ({"messages": shown("data:image/png;base64,????")}, "holds no base64"),
    "nothing": ({"messages": shown("data:image/png;base64,")}, "is an image of another kind, or none"),
    "a text": ({"messages": shown(data(b"hello"))}, "is an image of another kind, or none; taken are PNG, JPEG"),
    "a program": ({"messages": shown(data(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9"))}, "another kind"),
    "a drawing": ({"messages": shown(data(b"<svg xmlns='http://www.w3.org/2000/svg'/>"))}, "another kind"),
    "an image that is cut off": ({"messages": shown(data(cut_off()))}, "cannot be read"),
    "a PNG without pixels": ({"messages": shown(data(b"\x89PNG\r\n\x1a\n"))}, "cannot be read"),
    "an image as large as a house": ({"messages": shown(data(png(20_000, 20_000)))}, "is too large to decode"),
    "a bomb": ({"messages": shown(data(png(9_000, 9_000)))}, "has 9000 x 9000 pixels; the images of a request may"),
    "a large animation": ({"messages": shown(data(animated(), "gif")) * 12}, "at most 2 are taken"),
    "too many images": ({"messages": shown(data(png(1, 1))) * 3}, "3 images; at most 2 are taken"),
    "100,000 tokens": ({"messages": said("one " * 100_000)}, "400000 characters; at most 10000 are taken"),
    "more tokens than the model takes": ({"messages": said("a " * 4_000)}, "the model takes 2000 tokens, and these"),
    "no model": ({"model": None}, "model is missing; the model is 'echo'"),
    "a model of another type": ({"model": 5}, "model must be the name of a model, as a string, got a number"),
    "two answers": ({"n": 2}, "n must be 1"),
    "no answers": ({"n": 0}, "n must be 1"),
    "hot": ({"temperature": 3}, "temperature must be a number from 0 to 2, got 3"),
    "endlessly hot": ({"temperature": "inf"}, "temperature must be a number from 0 to 2, got a string"),
    "true is no number": ({"temperature": True}, "temperature must be a number from 0 to 2, got a boolean"),
    "none of them": ({"top_p": 0}, "top_p must be a number above 0 and at most 1, got 0"),
    "an answer without tokens": ({"max_tokens": 0}, "max_tokens must be a whole number of 1 or more, got 0"),
    "half a token": ({"max_tokens": 1.5}, "max_tokens must be a whole number of 1 or more, got a number"),
    "many tokens": ({"max_completion_tokens": 10**12}, "max_completion_tokens must be a whole number"),
    "a seed of another type": ({"seed": "a"}, "seed must be a whole number of 64 bits, got a string"),
    "a long seed": ({"seed": 2**64}, "seed must be a whole number of 64 bits"),
    "an empty stop": ({"stop": ""}, "stop must be a string, or up to 4 of them, none empty"),
    "many stops": ({"stop": list("abcde")}, "stop must be a string, or up to 4"),
    "a stream that is none": ({"stream": "yes"}, "stream must be true or false, got a string"),
    "options of no stream": ({"stream_options": {"include_usage": True}}, "stream_options is for stream=true only"),
    "tools": ({"tools": [{"type": "function"}]}, "tools isn't supported; leave it out"),
    "penalties": ({"frequency_penalty": 1}, "frequency_penalty isn't supported"),
    "a word that means nothing": ({"temprature": 1}, "unknown parameter 'temprature'"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_is_named(post, name):
    values, message = BAD[name]
    status, content = post(**values)
    assert status == 400
    assert content["error"].keys() == {"message", "type", "param", "code"}
    assert content["error"]["type"] == "invalid_request_error"
    assert message in content["error"]["message"]
    assert "\n" not in content["error"]["message"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the body is no JSON"),
        (b"{", "the body is no JSON"),
        (b"[]", "the body must be a JSON object, got an array"),
        (b"\xff\xfe\xff", "the body is no JSON"),
        (b'{"temperature": NaN}', "it must be UTF-8, finite"),
        (b'{"temperature": 1e999, "model": "echo", "messages": [{"role": "user", "content": "a"}]}', "got inf"),
        (b'{"seed": 1' + b"0" * 5000 + b"}", "the body is no JSON"),
        (b'{"a": ' + b"[" * 200_000, "the body is no JSON"),
    ],
)
def test_a_body_that_is_no_strict_json_is_refused(server, body, message, http):
    headers = {"Content-Type": "application/json"}
    answer = http.post(f"{server.address}/v1/chat/completions", content=body, headers=headers)
    assert answer.status_code == 400
    assert message in answer.json()["error"]["message"]


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_that_is_too_large_is_refused_before_it_is_kept(server, declared, http):
    piece = b" " * 2**16
    body = piece * 40 if declared else (piece for _ in range(40))
    headers = {"Content-Type": "application/json"}
    answer = http.post(f"{server.address}/v1/chat/completions", content=body, headers=headers)
    assert answer.status_code == 413
    assert answer.json()["error"]["message"] == "the body has more than 1 MiB, the most that is taken"


def test_a_form_is_refused(server, http):
    answer = http.post(f"{server.address}/v1/chat/completions", data={"model": "echo"})
    assert answer.status_code == 415
    assert "expected application/json" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"Host": "evil.example:8000"}, "Host is 'evil.example:8000'"),
        ({"Host": "127.0.0.1.evil.example"}, "Host is"),
        ({"Origin": "https://evil.example"}, "comes from a page of 'https://evil.example'"),
        ({"Origin": "null"}, "comes from a page of 'null'"),
        ({"Origin": "http://localhost:1"}, "comes from a page of"),
        ({"Sec-Fetch-Site": "cross-site"}, "comes from another site's page"),
    ],
)
def test_other_names_and_other_sites_pages_are_kept_out(server, post, headers, reason, http):
    status, content = post(headers=headers)
    assert status == 403
    assert reason in content["error"]["message"]
    assert http.get(f"{server.address}/v1/models", headers=headers).status_code == 403
    asked = {"Access-Control-Request-Method": "POST"} | headers
    preflight = http.options(f"{server.address}/v1/chat/completions", headers=asked)
    assert "access-control-allow-origin" not in preflight.headers


def test_a_page_of_ours_and_a_link_from_elsewhere_are_let_in(server, post, http):
    assert post(headers={"Origin": server.address, "Sec-Fetch-Site": "same-origin"})[0] == 200
    port = server.address.rpartition(":")[2]
    for host in (f"localhost:{port}", "localhost", f"[::1]:{port}", "[::1]", f"LOCALHOST:{port}"):
        assert post(headers={"Host": host})[0] == 200
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert http.get(server.address, headers=link).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/chat/completions", 405),
        ("GET", "/v1/embeddings", 404),
        ("POST", "/v1/models", 405),
        ("GET", "/../../etc/hostname", 404),
        ("GET", "/files/hostname", 404),
        ("GET", "/%2e%2e/%2e%2e/etc/hostname", 404),
        ("GET", "/page.js/../../../server.py", 404),
    ],
)
def test_there_is_nothing_else(server, method, path, status):
    host, _, port = server.address.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        head, _, body = b"".join(iter(lambda: connection.recv(65536), b"")).partition(b"\r\n\r\n")
    assert f" {status} " in head.decode().splitlines()[0]
    assert json.loads(body)["error"]["type"] in ("not_found_error", "invalid_request_error")


def test_an_image_of_one_pixel_and_the_first_frame_of_an_animation_are_answered(post, url_of):
    for content, size in ((png(1, 1), "1x1"), (animated(), "300x300")):
        status, answer = post(messages=shown(data(content)))
        assert (status, answer["choices"][0]["message"]["content"]) == (200, f"{size} ")


def test_the_server_is_still_up_after_all_of_them(server, post, http):
    for values, _ in BAD.values():
        post(**values)
    status, answer = post("still here")
    assert (status, answer["choices"][0]["message"]["content"]) == (200, "still here ")
    end = time.monotonic() + 10  # a request counts until its connection has been seen to end
    while http.get(f"{server.address}/health").json()["open"] and time.monotonic() < end:
        time.sleep(0.01)
    assert http.get(f"{server.address}/health").json()["open"] == 0


VALUES = [
    None,
    True,
    0,
    -1,
    2**70,
    1.5,
    1e300,
    "",
    "a",
    "\x00",
    "data:,",
    [],
    [[]],
    {},
    {"type": "text"},
    ["a", 1],
    "é" * 300,
]


def nodes(value):
    """Yield every place of a JSON value, as (container, key)."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from nodes(value[key])


def test_requests_that_are_damaged_anywhere_are_answered_or_refused(server, http, url_of):
    random = Random(0)
    file = b64decode(url_of(size=(40, 30)).partition(",")[2])
    statuses = set()
    for number in range(250):
        damaged = bytearray(file)
        for _ in range(number % 3):
            damaged[random.randrange(len(damaged))] = random.randrange(256)
        parts = [{"type": "text", "text": "one"}, {"type": "image_url", "image_url": {"url": data(bytes(damaged))}}]
        request = {"model": "echo", "messages": [{"role": "user", "content": parts}], "stream": False, "stop": ["x"]}
        request |= {"temperature": 1, "max_tokens": 9, "marks": True, "stream_options": None, "tools": []}
        for _ in range(random.randrange(3)):
            container, key = random.choice(list(nodes(request)))
            container[key] = random.choice(VALUES)
        headers = {"Content-Type": "application/json"}
        answer = http.post(f"{server.address}/v1/chat/completions", content=json.dumps(request), headers=headers)
        statuses.add(answer.status_code)
        assert answer.status_code in (200, 400, 404), (request, answer.text)
        assert answer.status_code == 200 or answer.json()["error"]["message"]
    assert statuses == {200, 400, 404}
    assert http.get(f"{server.address}/health").json()["open"] == 0
