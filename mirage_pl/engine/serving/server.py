"""Listen on this machine, until Ctrl-C."""

import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from mirage_pl.engine.seams import Session
from mirage_pl.engine.serving.app import build_chat, build_forms
from mirage_pl.engine.serving.chat import Chat
from mirage_pl.engine.serving.forms import Sessions
from mirage_pl.engine.serving.limits import Limits
from mirage_pl.engine.serving.page import Paged, write_own

ADDRESS = "127.0.0.1"
GRACE_S = 2
"""Seconds that clients get to read the end, once the server is to stop."""
KEEP_ALIVE_S = 30


def listen(port: int) -> socket.socket:
    """Take a port.

    Args:
        port: 0 for any that is free.

    Raises:
        ValueError: it can't be used.
    """
    # asyncio sends at once, not after the 40 ms that Linux waits for more, only where the protocol is named
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((ADDRESS, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise ValueError(f"port={port} can't be used ({error.strerror}); choose another, or 0 for any") from None
    return listener


class Server(uvicorn.Server):
    """A server that ends answers as soon as it is to stop.

    Args:
        app: the application.
        stop: called in the event loop, before clients are waited for.
    """

    def __init__(self, app: ASGIApp, stop: Callable[[], None]) -> None:
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=GRACE_S,
        )
        super().__init__(config)
        self.stop = stop

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End what is being answered, then the server."""
        self.stop()
        await super().shutdown(sockets)


def serve(
    listener: socket.socket,
    make: Callable[[], Session],
    model: str,
    takes: Mapping[str, str],
    given: Mapping[str, Any],
    limits: Limits,
) -> None:
    """Serve a trained run until Ctrl-C.

    Args:
        listener: from :func:`listen`.
        make: opens a session.
        model: its name for clients.
        takes: names and kinds of a session's inputs.
        given: defaults of the inputs.
        limits: how much it takes on.

    Raises:
        ValueError: defaults, of a session that has its questions from many.
    """
    session = make()
    if isinstance(session, Chat) and given:
        raise ValueError(f"serve=true answers what clients ask; leave out {', '.join(f'{name}=' for name in given)}")
    with TemporaryDirectory() as folder:
        if isinstance(session, Chat):
            app, batcher = build_chat(session, model, limits)
            server = Server(app, batcher.stop)
        else:
            own = write_own(session, model) if isinstance(session, Paged) else None
            server = Server(build_forms(Sessions(make, takes, given, Path(folder)), limits, own), lambda: None)
        print(f"serving {model} on http://{ADDRESS}:{listener.getsockname()[1]}; Ctrl-C ends it", flush=True)
        with suppress(KeyboardInterrupt):  # Ctrl-C is how a server ends
            server.run([listener])
        print("ended")
