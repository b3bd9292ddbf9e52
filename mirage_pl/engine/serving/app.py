"""The web application: its addresses, and who may use them."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from mirage_pl.engine.serving.batcher import Batcher
from mirage_pl.engine.serving.chat import Chat
from mirage_pl.engine.serving.completions import Completions
from mirage_pl.engine.serving.forms import Forms, Sessions
from mirage_pl.engine.serving.guard import Guard
from mirage_pl.engine.serving.limits import Limits
from mirage_pl.engine.serving.page import Page, write_chat, write_form
from mirage_pl.engine.serving.refusals import Json, Refusal, refuse


def build_chat(chat: Chat, model: str, limits: Limits) -> tuple[Guard, Batcher]:
    """Serve a session that answers many at a time.

    Args:
        chat: the session.
        model: its name for clients.
        limits: how much it takes on.

    Returns:
        The application, and the batcher, which the server stops.
    """
    batcher = Batcher(chat, limits)
    entry = {"id": model, "object": "model", "created": 0, "owned_by": "mirage_pl"}

    async def health(_request: Request) -> Response:
        waiting, open_ = len(batcher.waiting), len(batcher.places)
        content = {"status": "ok" if batcher.works else "stopping", "model": model, "open": open_, "waiting": waiting}
        return Json(content, 200 if batcher.works else 503)

    async def models(_request: Request) -> Response:
        return Json({"object": "list", "data": [entry]})

    async def one_model(request: Request) -> Response:
        if request.path_params["name"] != model:
            name = request.path_params["name"]
            raise Refusal(f"no model {name!r:.200}; the model is {model!r}", 404, "model_not_found", "model")
        return Json(entry)

    @asynccontextmanager
    async def working(_app: Starlette) -> AsyncIterator[None]:
        batcher.start()
        yield
        batcher.stop()

    routes: list[BaseRoute] = [
        Route("/v1/chat/completions", Completions(batcher, model, limits), methods=["POST"]),
        Route("/v1/models", models),
        Route("/v1/models/{name:path}", one_model),
        Route("/health", health),
        *write_chat(chat, model, limits).routes(),
    ]
    return build(routes, limits, working), batcher


def build_forms(sessions: Sessions, limits: Limits, own: Page | None = None) -> Guard:
    """Serve sessions that are used one at a time.

    Args:
        sessions: that clients use.
        limits: how much they may send.
        own: their page; ``None``: a form.
    """

    async def health(_request: Request) -> Response:
        return Json({"status": "ok"})

    page = own or write_form(sessions.takes)
    return build([Route("/health", health), *Forms(sessions, limits).routes(), *page.routes()], limits)


def build(routes: Sequence[BaseRoute], limits: Limits, lifespan: Any = None) -> Guard:
    """Put an application together."""
    handlers: Mapping[Any, Any] = {Refusal: refuse, HTTPException: refuse_address, Exception: refuse}
    return Guard(Starlette(routes=routes, exception_handlers=handlers, lifespan=lifespan), limits.hosts)


async def refuse_address(request: Request, error: Exception) -> Response:
    """Answer a request for something that isn't here, or by another method."""
    status = error.status_code if isinstance(error, HTTPException) else 404
    if status == 405:
        return Refusal(f"{request.method} isn't for {request.url.path[:100]}", 405, "method_not_allowed").response()
    return Refusal(f"nothing is at {request.url.path[:100]}", status, "not_found").response()
