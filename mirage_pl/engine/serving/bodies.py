"""Read the body of a request, however a client sends it."""

import asyncio
from contextlib import suppress

from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope

from mirage_pl.engine.serving.refusals import Refusal

MIB = 2**20
LINGER_S = 5.0
"""Seconds for which what a refused client still sends is read: a client that is cut off sees no answer."""


class Gone(Exception):
    """The client has closed the connection."""


class Incoming:
    """What a client sends.

    Args:
        scope: of the request.
        receive: of the request.

    Attributes:
        whole: whether all of it has been read.
    """

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.headers, self.receive, self.whole = Headers(scope=scope), receive, False

    async def next(self) -> Message:
        """Return the next message.

        Raises:
            Gone: the client has left.
        """
        message = await self.receive()
        if message["type"] == "http.disconnect":
            raise Gone
        self.whole = not message.get("more_body")
        return message

    async def read(self, most_mib: float) -> bytes:
        """Read a body of JSON.

        Args:
            most_mib: most MiB.

        Raises:
            Refusal: another content type, or too large.
            Gone: the client has left.
        """
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise Refusal(f"Content-Type is {kind[:100]!r}; expected application/json", 415, "unsupported_media_type")
        declared = self.headers.get("content-length", "0")
        size, pieces = int(declared) if declared.isdecimal() and len(declared) < 20 else 0, list[bytes]()
        while size <= most_mib * MIB:
            if self.whole:
                return b"".join(pieces)
            pieces.append((await self.next()).get("body", b""))
            size = max(size, sum(map(len, pieces)))
        raise Refusal(f"the body has more than {most_mib:g} MiB, the most that is taken", 413, "body_too_large")

    async def drain(self) -> None:
        """Read on what the client still sends, and forget it, so that it gets to see why it is refused."""
        if self.headers.get("expect", "").lower() == "100-continue":
            return  # it waits for an answer before it sends
        with suppress(TimeoutError, Gone):
            async with asyncio.timeout(LINGER_S):
                while not self.whole:
                    await self.next()

    async def leave(self) -> None:
        """Wait until the client closes the connection."""
        with suppress(Gone):
            while True:
                await self.next()
