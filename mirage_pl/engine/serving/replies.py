"""OpenAI's chat protocol: how an answer is written."""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass, field
from secrets import token_hex
from time import time
from typing import Any

from mirage_pl.engine.runs.folder import make_strict
from mirage_pl.engine.serving.chat import End, Event, Mark, Prompt
from mirage_pl.engine.serving.requests import Request

DONE = b"data: [DONE]\n\n"


def write_event(content: Mapping[str, Any]) -> bytes:
    """Write a server-sent event."""
    return b"data: " + json.dumps(make_strict(content), allow_nan=False).encode() + b"\n\n"


@dataclass
class Reply:
    """The answer to a request.

    Attributes:
        model: its name.
        request: what was asked.
        prompt: the question as the model reads it.
    """

    model: str
    request: Request
    prompt: Prompt
    id: str = field(default_factory=lambda: f"chatcmpl-{token_hex(12)}")
    created: int = field(default_factory=lambda: int(time()))

    def frame(self, kind: str, choice: Mapping[str, Any]) -> dict[str, Any]:
        """What all that is sent has around it."""
        head = {"id": self.id, "object": kind, "created": self.created, "model": self.model}
        return head | {"choices": [{"index": 0, "logprobs": None, **choice}]}

    def usage(self, end: End) -> dict[str, Any]:
        """Tokens; those without text count as reasoning."""
        return {
            "prompt_tokens": self.prompt.num_tokens,
            "completion_tokens": end.columns,
            "total_tokens": self.prompt.num_tokens + end.columns,
            "completion_tokens_details": {"reasoning_tokens": end.unspoken},
        }

    async def whole(self, events: AsyncIterator[Event]) -> dict[str, Any]:
        """The answer in one piece."""
        texts: list[str] = []
        marks: dict[int, Mark] = {}
        end = End("stop", 0, 0)
        async for event in events:
            if isinstance(event, Mark):
                marks[event.number] = event
            elif isinstance(event, End):
                end = event
            else:
                texts.append(event)
        message = {"role": "assistant", "content": "".join(texts), "refusal": None}
        content = self.frame("chat.completion", {"message": message, "finish_reason": end.reason})
        content["usage"] = self.usage(end)
        if self.request.question.marks:
            content["marks"] = [asdict(mark) for _, mark in sorted(marks.items())]
        return dict(make_strict(content))

    async def pieces(self, events: AsyncIterator[Event]) -> AsyncIterator[bytes]:
        """The answer as server-sent events."""
        usage = {"usage": None} if self.request.usage else {}
        kind = "chat.completion.chunk"
        begun = False
        async for event in events:
            if not begun:
                begun = True
                first = {"delta": {"role": "assistant", "content": ""}, "finish_reason": None}
                yield write_event(self.frame(kind, first) | usage)
            if isinstance(event, End):
                yield write_event(self.frame(kind, {"delta": {}, "finish_reason": event.reason}) | usage)
                if self.request.usage:
                    yield write_event(self.frame(kind, {}) | {"choices": [], "usage": self.usage(event)})
            elif isinstance(event, Mark):
                yield write_event(
                    self.frame(kind, {"delta": {}, "finish_reason": None}) | usage | {"marks": [asdict(event)]}
                )
            else:
                yield write_event(self.frame(kind, {"delta": {"content": event}, "finish_reason": None}) | usage)
        yield DONE
