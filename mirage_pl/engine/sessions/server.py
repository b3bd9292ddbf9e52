"""Sessions over HTTP, on this machine only: a page with a form, and the JSON that it speaks.

``POST /begin`` takes an object of the session's inputs and answers with a line of JSON for each piece, as it comes:
``{"session": id, "kind": "text", "content": …}``, or ``"kind": "picture"`` with an address. ``POST /step/ID`` continues
a session in the same way. An image or clip is ``{"name": "a.png", "data": base64}``. A refused request gets status 400
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
"""Most bytes of a request."""
KEPT = 64
"""Most open sessions; the least recently used one is closed."""


class Sessions:
    """Open sessions, used one at a time.

    Args:
        make: opens a session.
        takes: names and kinds of a session's inputs.
        given: defaults of the inputs.
        folder: for temporary files.
    """

    def __init__(
        self, make: Callable[[], Session], takes: Mapping[str, str], given: Mapping[str, Any], folder: Path
    ) -> None:
        self.make, self.takes, self.given, self.folder = make, takes, given, folder
        self.open: OrderedDict[str, Session] = OrderedDict()
        self.lock = Lock()

    def use(self, path: str, request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Begin or continue a session and yield its pieces as JSON objects.

        Raises:
            ValueError: an unknown session or input, or one that the session refuses.
        """
        if unknown := request.keys() - self.takes.keys():
            raise ValueError(f"unknown {', '.join(sorted(unknown))}; expected {', '.join(self.takes)}")
        given = {name: self.read_value(name, value) for name, value in request.items() if value not in (None, "", [])}
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
            yield from ({"session": key} | self.write_piece(piece) for piece in pieces)

    def read_value(self, name: str, value: Any) -> Any:
        """Return a text or number unchanged, uploads as paths of files.

        Raises:
            ValueError: not an upload. A request can't name files of this machine.
        """
        if self.takes[name] in ("text", "number"):
            return value
        return [self.save_upload(name, upload) for upload in (value if isinstance(value, list) else [value])]

    def save_upload(self, name: str, upload: Any) -> str:
        """Write an upload to a file."""
        try:
            content = b64decode(upload["data"], validate=True)
            file = self.folder / f"{token_hex(8)}{Path(str(upload['name'])).suffix[:8]}"
        except (TypeError, KeyError, NotBase64):
            raise ValueError(f'{name}: expected {{"name": …, "data": base64}}') from None
        file.write_bytes(content)
        return str(file)

    def write_piece(self, piece: Piece) -> dict[str, Any]:
        """Return a piece as JSON; a picture is saved, and its address returned."""
        if piece.kind == "text":
            return {"kind": "text", "content": piece.content}
        file = self.folder / f"{token_hex(8)}-{piece.name}"
        piece.content.save(file)
        return {"kind": piece.kind, "content": f"/files/{file.name}"}


class Handler(BaseHTTPRequestHandler):
    """Answers requests with the server's sessions."""

    server: "Server"

    def do_GET(self) -> None:
        """Send the page, or a file of a session."""
        file = self.server.sessions.folder / Path(self.path).name
        if self.path == "/":
            self.send(200, "text/html; charset=utf-8", write_page(self.server.sessions.takes).encode())
        elif self.path.startswith("/files/") and file.is_file():
            self.send(200, "application/octet-stream", file.read_bytes())
        else:
            self.refuse(404, "no such page")

    def do_POST(self) -> None:
        """Use a session and send its pieces as they come."""
        try:
            lines = self.server.sessions.use(self.path, self.read_request())
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
            return  # the client has closed the connection

    def read_request(self) -> dict[str, Any]:
        """Read the request's JSON object.

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
        """Send one line of JSON and flush."""
        self.wfile.write(json.dumps(line, allow_nan=False).encode() + b"\n")
        self.wfile.flush()

    def refuse(self, status: int, reason: str) -> None:
        """Send an error as JSON."""
        self.send(status, "application/json", json.dumps({"error": reason}, allow_nan=False).encode())

    def send(self, status: int, kind: str, content: bytes) -> None:
        """Send a complete response."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Print nothing."""


class Server(ThreadingHTTPServer):
    """An HTTP server with sessions.

    Args:
        port: 0 for any free port.
        sessions: used by requests.
    """

    daemon_threads = True

    def __init__(self, port: int, sessions: Sessions) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.sessions = sessions


def serve(make: Callable[[], Session], takes: Mapping[str, str], given: Mapping[str, Any], port: int) -> None:
    """Serve sessions until Ctrl-C.

    Raises:
        ValueError: the port can't be used.
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
