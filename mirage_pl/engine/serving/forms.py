"""Sessions that answer one client at a time, behind a form: a world to walk in, a clip to go on from.

``POST /begin`` takes an object of the session's inputs and answers with a line of JSON for each piece, as it comes:
``{"session": id, "kind": "text", "content": …}``, or ``"kind": "picture"`` with an address. ``POST /step/ID`` continues
a session in the same way. An image or clip is ``{"name": "a.png", "data": base64}``.
"""

import asyncio
import json
from base64 import b64decode
from binascii import Error as NotBase64
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Generator, Mapping
from pathlib import Path
from secrets import token_hex
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from mirage_pl.engine.inputs import check_kind, list_steps
from mirage_pl.engine.runs.folder import make_strict
from mirage_pl.engine.seams import Piece, Session
from mirage_pl.engine.serving.bodies import Incoming
from mirage_pl.engine.serving.json_values import read_object
from mirage_pl.engine.serving.limits import Limits
from mirage_pl.engine.serving.refusals import Refusal

KEPT = 64
"""Most open sessions; the least recently used one is closed."""


class Sessions:
    """Open sessions; who uses them takes care that it is one at a time.

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

    def use(self, key: str | None, request: Mapping[str, Any]) -> Generator[dict[str, Any]]:
        """Begin or continue a session and yield its pieces as JSON objects.

        Args:
            key: of the session to continue; ``None``: begin one.
            request: its inputs.

        Raises:
            ValueError: an unknown session or input, or one that the session refuses.
        """
        if unknown := request.keys() - self.takes.keys():
            raise ValueError(f"unknown {', '.join(sorted(unknown))}; expected {', '.join(self.takes)}")
        given = {name: self.read_value(name, value) for name, value in request.items() if value not in (None, "", [])}
        if key is None:
            key = token_hex(8)
            session = self.open[key] = self.make()
            if len(self.open) > KEPT:
                self.open.popitem(last=False)
            pieces = session.begin(**dict(self.given) | given)
        else:
            if key not in self.open:
                raise ValueError(f"no session {key}; begin another")
            if others := given.keys() - list_steps(type(self.open[key]), self.takes).keys():
                raise ValueError(f"{', '.join(sorted(others))}: given where a session begins; begin another")
            self.open.move_to_end(key)
            pieces = self.open[key].step(**given)
        yield from ({"session": key} | self.write_piece(piece) for piece in pieces)

    def read_value(self, name: str, value: Any) -> Any:
        """Return a text or number unchanged, an upload as the path of a file, several as a list of paths.

        Raises:
            ValueError: another type, or not an upload. A request can't name files of this machine.
        """
        if self.takes[name] in ("text", "number"):
            check_kind(name, self.takes[name], value)
            return value
        files = [self.save_upload(name, upload) for upload in (value if isinstance(value, list) else [value])]
        return files[0] if len(files) == 1 else files

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


class Pieces(StreamingResponse):
    """Pieces of a session as lines of JSON; a session that refuses midway has the reason in its last line.

    Args:
        first: the first piece, if there is any.
        lines: the others.
        done: called when the answer has ended, or the client has left.
    """

    def __init__(
        self, first: Mapping[str, Any] | None, lines: Generator[Mapping[str, Any]], done: Callable[[], None]
    ) -> None:
        super().__init__(self.write(first), media_type="application/x-ndjson")
        self.lines, self.done = lines, done

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the lines."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.lines.close()
            self.done()

    async def write(self, piece: Mapping[str, Any] | None) -> AsyncIterator[bytes]:
        """Yield a line for each piece."""
        try:
            while piece is not None:
                yield json.dumps(make_strict(piece), allow_nan=False).encode() + b"\n"
                piece = await run_in_threadpool(next, self.lines, None)
        except ValueError as error:
            yield json.dumps(Refusal(str(error)).body()).encode() + b"\n"


class Forms:
    """Routes to sessions, which answer one request at a time; a client that leaves ends its own.

    Args:
        sessions: that requests use.
        limits: of a request.
    """

    def __init__(self, sessions: Sessions, limits: Limits) -> None:
        self.sessions, self.limits, self.open = sessions, limits, 0
        self.turn = asyncio.Lock()  # who waits for it holds no thread, which the one whose turn it is needs

    def routes(self) -> list[Route]:
        """The routes."""
        return [
            Route("/begin", self.use, methods=["POST"]),
            Route("/step/{key}", self.use, methods=["POST"]),
            Route("/files/{name}", self.show, methods=["GET"]),
        ]

    async def use(self, request: Request) -> Response:
        """Use a session and send its pieces as they come."""
        if self.open > self.limits.waiting:
            raise Refusal(f"{self.open} requests wait; try again later", 429, "too_many_requests", retry_after=1)
        self.open += 1
        try:
            body = await Incoming(request.scope, request.receive).read(self.limits.body_mib)
            lines = self.sessions.use(request.path_params.get("key"), read_object(body))
            await self.turn.acquire()
            try:
                first = await run_in_threadpool(next, lines, None)
            except BaseException:
                lines.close()
                self.turn.release()
                raise
        except ValueError as error:
            raise Refusal(str(error), code="invalid_value") from None
        finally:
            self.open -= 1
        return Pieces(first, lines, self.turn.release)

    async def show(self, request: Request) -> Response:
        """Send a file of a session; no other file has such a name."""
        file = self.sessions.folder / Path(request.path_params["name"]).name
        if not file.is_file():
            raise Refusal("no such file", 404, "not_found")
        return FileResponse(file)
