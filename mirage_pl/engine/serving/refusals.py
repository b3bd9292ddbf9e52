"""What a client is told when it is refused: OpenAI's shape of an error."""

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

KINDS = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "server_error",
    504: "timeout_error",
}
"""OpenAI's type of an error by HTTP status; any other is ``invalid_request_error``."""


class Refusal(Exception):
    """A request that isn't answered.

    Args:
        message: what was given, what was expected.
        status: of HTTP.
        code: a word for programs.
        param: where in the request.
        retry_after: seconds after which to try again.
    """

    def __init__(
        self,
        message: str,
        status: int = 400,
        code: str | None = None,
        param: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message, self.status, self.code, self.param = message, status, code, param
        self.retry_after = retry_after

    def body(self) -> dict[str, Any]:
        """The error as JSON."""
        kind = KINDS.get(self.status, "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> Response:
        """The whole response."""
        headers = None if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return Json(self.body(), self.status, headers)


class Json(Response):
    """Strict JSON in ASCII: what it quotes of a request may be half a character."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Content as bytes."""
        return json.dumps(content, allow_nan=False).encode()


async def refuse(_request: Request, error: Exception) -> Response:
    """Answer a request that was refused, or that met a mistake of ours."""
    refusal = error if isinstance(error, Refusal) else Refusal("the server made a mistake; its log says more", 500)
    return refusal.response()
