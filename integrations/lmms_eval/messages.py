"""lmms-eval's messages as a question of ours."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from data_modules.files.inline import InlineImage
from data_modules.images import open_image
from data_modules.rows.chat import read_conversation
from data_modules.rows.jsonl import IMAGE, parse_row
from data_modules.samples import Picture, Sample

STORED = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
"""Modes of images that a PNG file holds as they are."""


def read_messages(messages: Sequence[Mapping[str, Any]], where: str) -> Sample:
    """Read what a task asks.

    Args:
        messages: of ``doc_to_messages``: roles, and content of texts and images.
        where: the place of its row, for errors.

    Raises:
        ValueError: something else than texts and images is shown, or nobody asks; names ``where``.
    """
    try:
        turns = [{**turn, "content": [read_part(part) for part in turn["content"]]} for turn in messages]
        return parse_row(read_conversation(turns, []), where, Path(), leave="all")
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def read_part(part: Mapping[str, Any]) -> dict[str, Any]:
    """Read a part of a message.

    Raises:
        ValueError: it is neither text nor an image.
    """
    if part["type"] == "text":
        return {"type": "text", "text": part["text"].replace(IMAGE, f"\\{IMAGE}")}
    if part["type"] != "image":
        raise ValueError(f"the question has a part of type {part['type']}; runs are shown texts and images")
    image = part["url"]
    return {"type": "image", "image": store_image(image) if isinstance(image, Image.Image) else image}


def store_image(image: Image.Image) -> InlineImage:
    """An opened image as a file, of the same pixels."""
    content = BytesIO()
    (image if image.mode in STORED else image.convert("RGB")).save(content, "PNG", compress_level=1)
    return InlineImage(content.getvalue())


def write_messages(sample: Sample) -> list[dict[str, Any]]:
    """Write a question of ours as messages that any of lmms-eval's chat models reads.

    Raises:
        ValueError: an image can't be read; names its row.
    """
    content = [
        {"type": "image", "url": open_image(part.path, sample.where)}
        if isinstance(part, Picture)
        else {"type": "text", "text": part.text}
        for part in sample.question
    ]
    return [{"role": "user", "content": content}]
