"""``POST /v1/chat/completions``: from a request's first byte to its answer's last."""

import asyncio
import logging
from collections.abc import Awaitable
from contextlib import suppress

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from mirage_pl.engine.serving.batcher import Batcher, Place
from mirage_pl.engine.serving.bodies import Gone, Incoming
from mirage_pl.engine.serving.limits import Limits
from mirage_pl.engine.serving.refusals import Json, Refusal
from mirage_pl.engine.serving.replies import DONE, Reply, write_event
from mirage_pl.engine.serving.requests import read_request

log = logging.getLogger(__name__)

SSE = [(b"content-type", b"text/event-stream; charset=utf-8")]


class Completions:
    """An ASGI app that answers chat requests.

    Args:
        batcher: answers the questions.
        model: its name.
        limits: of a request.
    """

    def __init__(self, batcher: Batcher, model: str, limits: Limits) -> None:
        self.batcher, self.model, self.limits = batcher, model, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        incoming, response = Incoming(scope, receive), Answer(send)
        try:
            with self.batcher.place() as place:
                async with asyncio.timeout(self.limits.seconds):
                    body = await incoming.read(self.limits.body_mib)
                    await until_gone(incoming, self.answer(body, place, response))
        except Gone:
            return
        except TimeoutError:
            message = f"the request took more than {self.limits.seconds:g} seconds; ask for a shorter answer"
            await response.refuse(Refusal(message, 504, "timeout"), incoming)
        except Refusal as refusal:
            await response.refuse(refusal, incoming)
        except Exception:
            log.exception("a request failed")
            await response.refuse(Refusal("the server made a mistake; its log says more", 500), incoming)

    async def answer(self, body: bytes, place: Place, response: "Answer") -> None:
        """Answer a body.

        Raises:
            Refusal: it can't be answered.
        """
        request = read_request(body, self.model, self.limits)
        try:
            prompt = await self.batcher.prepare(request.question)
        except ValueError as error:
            code = "invalid_value"
            raise Refusal(" ".join(str(error).split()), code=code, param="messages") from None
        check_length(prompt.num_tokens, request.question.options.max_tokens, self.batcher.chat.longest)
        reply = Reply(self.model, request, prompt)
        events = self.batcher.answer(place, prompt, together=not request.stream)
        if not request.stream:
            await response.send_whole(Json(await reply.whole(events)))
            return
        async for piece in reply.pieces(events):
            await response.send_piece(piece, last=piece is DONE)


def check_length(num_tokens: int, max_tokens: int | None, longest: int) -> None:
    """Check that a question and its answer have room.

    Args:
        num_tokens: of the question.
        max_tokens: of the answer, if the client says so.
        longest: of both.

    Raises:
        Refusal: they don't.
    """
    if num_tokens + (max_tokens or 1) > longest:
        raise Refusal(
            f"the model takes {longest} tokens, and these are {num_tokens + (max_tokens or 1)}: {num_tokens} of the "
            f"messages, {max_tokens or 1} of the answer; shorten them",
            code="context_length_exceeded",
            param="messages" if num_tokens >= longest else "max_tokens",
        )


async def until_gone(incoming: Incoming, work: Awaitable[None]) -> None:
    """Do something for as long as the client is there.

    Raises:
        Gone: it has left.
    """
    doing, watching = asyncio.ensure_future(work), asyncio.ensure_future(incoming.leave())
    try:
        await asyncio.wait({doing, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise Gone
        doing.result()
    finally:
        for task in (doing, watching):
            task.cancel()
        await asyncio.gather(doing, watching, return_exceptions=True)


class Answer:
    """What is sent to one client.

    Args:
        send: of the request.
    """

    def __init__(self, send: Send) -> None:
        self.send, self.begun = send, False

    async def send_whole(self, response: Response) -> None:
        """Send a response in one piece."""
        self.begun = True
        start = {"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers}
        await self.send(start)
        await self.send({"type": "http.response.body", "body": response.body})

    async def send_piece(self, piece: bytes, last: bool = False) -> None:
        """Send a piece of an answer that is streamed."""
        if not self.begun:
            self.begun = True
            await self.send({"type": "http.response.start", "status": 200, "headers": SSE})
        message: Message = {"type": "http.response.body", "body": piece, "more_body": not last}
        await self.send(message)

    async def refuse(self, refusal: Refusal, incoming: Incoming) -> None:
        """Send why there is no answer, or no more of it."""
        if not self.begun:
            await incoming.drain()
            await self.send_whole(refusal.response())
            return
        with suppress(TimeoutError):  # who doesn't read what comes isn't waited for
            async with asyncio.timeout(1):
                await self.send_piece(write_event(refusal.body()), last=True)
