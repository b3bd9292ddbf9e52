"""Sessions over HTTP, on this machine only: a page with a form, and the JSON that it speaks.

``POST /begin`` takes an object with the session's keys and answers a line of JSON for each piece, as it comes:
``{"session": id, "kind": "text", "content": …}``, or ``"kind": "picture"`` with an address. ``POST /step/ID`` goes on
in the same way. An image or a clip is given as ``{"name": "a.png", "data": base64}``. What can't be used is status 400
and ``{"error": …}``.
"""

import json
from base64 import b64decode
from binascii import Error as NotBase64
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any

from mirage_pl.engine.seams import Piece, Session
from mirage_pl.engine.sessions.page import write_page

LARGEST = 64 * 2**20
"""Bytes of a request."""
KEPT = 64
"""Sessions at a time; the one that was used longest ago is forgotten first."""


class Sessions:
    """The sessions that are open; the model answers one at a time.

    Args:
        make: opens one.
        takes: names of what a session is given, and their kinds.
        given: values for what a request doesn't give.
        folder: for files that come and go.
    """

    def __init__(
        self, make: Callable[[], Session], takes: Mapping[str, str], given: Mapping[str, Any], folder: Path
    ) -> None:
        self.make, self.takes, self.given, self.folder = make, takes, given, folder
        self.open: OrderedDict[str, Session] = OrderedDict()
        self.lock = Lock()

    def use(self, path: str, request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Begin, or go on, and yield what is answered.

        Raises:
            ValueError: an unknown session, an unknown key, or what the session itself refuses.
        """
        if unknown := request.keys() - self.takes.keys():
            raise ValueError(f"unknown {', '.join(sorted(unknown))}; expected {', '.join(self.takes)}")
        given = {name: self.take(name, value) for name, value in request.items() if value not in (None, "", [])}
        with self.lock:
            if path == "/begin":
                key = token_hex(8)
                session = self.open[key] = self.make()
                if len(self.open) > KEPT:
                    self.open.popitem(last=False)
                pieces = session.begin(**dict(self.given) | given)
            else:
                key = path.removeprefix("/step/")
                if key not in self.open:
                    raise ValueError(f"no session {key}; begin another")
                self.open.move_to_end(key)
                pieces = self.open[key].step(**given)
            yield from ({"session": key} | self.describe(piece) for piece in pieces)

    def take(self, name: str, value: Any) -> Any:
        """A text or a number as it is; of an upload, or several, the paths of files.

        Raises:
            ValueError: no upload: paths of this machine are nothing to read for whoever sends a request.
        """
        if self.takes[name] in ("text", "number"):
            return value
        return [self.save(name, upload) for upload in (value if isinstance(value, list) else [value])]

    def save(self, name: str, upload: Any) -> str:
        """Write an upload to a file."""
        try:
            content = b64decode(upload["data"], validate=True)
            file = self.folder / f"{token_hex(8)}{Path(str(upload['name'])).suffix[:8]}"
        except (TypeError, KeyError, NotBase64):
            raise ValueError(f'{name}: expected {{"name": …, "data": base64}}') from None
        file.write_bytes(content)
        return str(file)

    def describe(self, piece: Piece) -> dict[str, Any]:
        """A piece as JSON; a picture as the address of its file."""
        if piece.kind == "text":
            return {"kind": "text", "content": piece.content}
        file = self.folder / f"{token_hex(8)}-{piece.name}"
        piece.content.save(file)
        return {"kind": piece.kind, "content": f"/files/{file.name}"}


class Handler(BaseHTTPRequestHandler):
    """Answer requests; the server has the sessions."""

    server: "Server"

    def do_GET(self) -> None:
        """Send the page, or a file that a session showed."""
        file = self.server.sessions.folder / Path(self.path).name
        if self.path == "/":
            self.send(200, "text/html; charset=utf-8", write_page(self.server.sessions.takes).encode())
        elif self.path.startswith("/files/") and file.is_file():
            self.send(200, "application/octet-stream", file.read_bytes())
        else:
            self.refuse(404, "no such page")

    def do_POST(self) -> None:
        """Use a session; what it says goes out piece by piece."""
        try:
            lines = self.server.sessions.use(self.path, self.read())
            first = next(lines, None)
        except ValueError as error:
            self.refuse(400, str(error))
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.end_headers()
        try:
            for line in chain([first] if first else [], lines):
                self.write_line(line)
        except ValueError as error:
            self.write_line({"error": str(error)})
        except ConnectionError:
            return  # whoever asked has gone

    def read(self) -> dict[str, Any]:
        """The request's object.

        Raises:
            ValueError: too large, or no JSON object.
        """
        length = int(self.headers.get("Content-Length") or 0)
        if length > LARGEST:
            raise ValueError(f"a request of {length} bytes; at most {LARGEST} are taken")
        request = json.loads(self.rfile.read(length) or b"{}")
        if not isinstance(request, dict):
            raise ValueError("expected a JSON object")
        return request

    def write_line(self, line: Mapping[str, Any]) -> None:
        """Send one line of JSON at once."""
        self.wfile.write(json.dumps(line, allow_nan=False).encode() + b"\n")
        self.wfile.flush()

    def refuse(self, status: int, reason: str) -> None:
        """Send an error."""
        self.send(status, "application/json", json.dumps({"error": reason}, allow_nan=False).encode())

    def send(self, status: int, kind: str, content: bytes) -> None:
        """Send a whole answer."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Requests aren't printed."""


class Server(ThreadingHTTPServer):
    """An HTTP server with sessions.

    Args:
        port: 0 for any that is free.
        sessions: what requests use.
    """

    daemon_threads = True

    def __init__(self, port: int, sessions: Sessions) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.sessions = sessions


def serve(make: Callable[[], Session], takes: Mapping[str, str], given: Mapping[str, Any], port: int) -> None:
    """Serve sessions until Ctrl-C.

    Raises:
        ValueError: the port is taken.
    """
    with TemporaryDirectory() as folder:
        try:
            server = Server(port, Sessions(make, takes, given, Path(folder)))
        except OSError as error:
            raise ValueError(f"port={port} can't be used ({error.strerror}); choose another, or 0 for any") from None
        with server:
            print(f"serving on http://127.0.0.1:{server.server_port}; Ctrl-C ends it", flush=True)
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                print("ended")
