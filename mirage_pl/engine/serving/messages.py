"""The messages of a chat request: who said which texts, and showed which images."""

import re
from dataclasses import dataclass, field
from typing import Any

from mirage_pl.engine.serving.chat import Message
from mirage_pl.engine.serving.json_values import name_type
from mirage_pl.engine.serving.limits import Limits
from mirage_pl.engine.serving.refusals import Refusal
from mirage_pl.engine.serving.uploads import Upload, check_uploads, read_upload

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
HALF = re.compile("[\ud800-\udfff]")
"""Half of a character that UTF-16 writes as two."""


@dataclass
class Count:
    """Texts and images so far."""

    characters: int = 0
    uploads: dict[str, Upload] = field(default_factory=dict)


def read_messages(value: Any, limits: Limits) -> tuple[Message, ...]:
    """Read what was said.

    Raises:
        Refusal: no messages, one that is bad, or too much of them.
    """
    if not isinstance(value, list) or not value:
        got = "none" if value in (None, []) else name_type(value)
        raise Refusal(f"messages must be an array of messages, got {got}", code="invalid_type", param="messages")
    count = Count()
    messages = tuple(read_message(entry, f"messages[{number}]", count) for number, entry in enumerate(value))
    if messages[-1].role != "user":
        raise Refusal("the last message must be the user's", code="invalid_value", param="messages")
    if count.characters > limits.characters:
        raise Refusal(
            f"{count.characters} characters; at most {limits.characters} are taken",
            code="context_length_exceeded",
            param="messages",
        )
    check_uploads(count.uploads, limits)
    return messages


def read_message(entry: Any, at: str, count: Count) -> Message:
    """Read one message.

    Raises:
        Refusal: it is bad.
    """
    if not isinstance(entry, dict):
        raise Refusal(f"{at} must be an object, got {name_type(entry)}", code="invalid_type", param=at)
    role = entry.get("role")
    if not isinstance(role, str) or role not in ROLES:
        known = ", ".join(ROLES)
        raise Refusal(f"{at}.role must be one of {known}", code="invalid_value", param=f"{at}.role")
    if entry.get("tool_calls") or entry.get("function_call"):
        raise Refusal(f"{at} calls tools, which aren't supported", code="unsupported_value", param=f"{at}.tool_calls")
    content = entry.get("content")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(parts, list) or not parts:
        raise Refusal(f"{at}.content must be a string or an array of parts", code="invalid_type", param=f"{at}.content")
    read = tuple(read_part(part, f"{at}.content[{number}]", count) for number, part in enumerate(parts))
    if ROLES[role] == "assistant" and not all(isinstance(part, str) for part in read):
        raise Refusal(f"{at} is the assistant's, and shows an image; only questions do", param=f"{at}.content")
    return Message(ROLES[role], read)  # type: ignore[arg-type]


def read_part(part: Any, at: str, count: Count) -> str | Upload:
    """Read one part of a message.

    Raises:
        Refusal: it is neither text nor an image.
    """
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text" and isinstance(part.get("text"), str):
        count.characters += len(part["text"])
        if HALF.search(part["text"]):
            raise Refusal(f"{at}.text has half a character; was it cut?", code="invalid_value", param=f"{at}.text")
        return str(part["text"])
    if kind == "image_url":
        image = part.get("image_url")
        url = image.get("url") if isinstance(image, dict) else None
        if isinstance(url, str):
            count.uploads[f"{at}.image_url.url"] = upload = read_upload(url, f"{at}.image_url.url")
            return upload
    raise Refusal(
        f'{at} must be {{"type": "text", "text": …}} or {{"type": "image_url", "image_url": {{"url": "data:…"}}}}',
        code="invalid_value",
        param=at,
    )
