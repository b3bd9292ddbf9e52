"""Keep other sites out: a page anywhere may make a browser send requests here, and a name may be made to lead here."""

from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mirage_pl.engine.serving.bodies import Incoming
from mirage_pl.engine.serving.refusals import Refusal

OURS = ("localhost", "127.0.0.1", "[::1]")
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class Guard:
    """Refuse requests by another name, or from another site's page.

    Args:
        app: what is guarded.
        hosts: further names of this server.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str] = ()) -> None:
        self.app, self.hosts = app, {*OURS, *(host.lower() for host in hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            try:
                self.check(scope["method"], Headers(scope=scope))
            except Refusal as refusal:
                await Incoming(scope, receive).drain()
                await refusal.response()(scope, receive, with_headers(send))
            else:
                await self.app(scope, receive, with_headers(send))

    def check(self, method: str, headers: Headers) -> None:
        """Check where a request comes from.

        Raises:
            Refusal: from elsewhere.
        """
        host = headers.get("host", "").lower()
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        if name not in self.hosts:
            known = ", ".join(sorted(self.hosts))
            raise Refusal(
                f"Host is {host[:100]!r}, but this server is {known}; add a proxy's name to serving.hosts",
                403,
                "unknown_host",
            )
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in (f"http://{host}", f"https://{host}"):
            raise Refusal(f"the request comes from a page of {origin[:100]!r}, not of ours", 403, "other_origin")
        visit = method == "GET" and headers.get("sec-fetch-mode") == "navigate"
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and not visit:
            raise Refusal("the request comes from another site's page", 403, "other_origin")


def with_headers(send: Send) -> Send:
    """Add headers that keep a browser from taking in anything from elsewhere."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return sending
