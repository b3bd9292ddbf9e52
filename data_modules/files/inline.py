"""Images inside rows: ``data:`` URLs, and bytes in a nested column."""

import os
import stat
from base64 import b64decode
from binascii import Error as NoBase64
from dataclasses import dataclass, field
from io import BytesIO
from typing import Literal
from urllib.parse import unquote_to_bytes

from PIL import Image


@dataclass(frozen=True)
class InlineImage:
    """An image whose file's bytes are in the row itself."""

    content: bytes = field(repr=False)

    def __str__(self) -> str:
        return f"of {len(self.content)} bytes within the row"

    def read_bytes(self) -> bytes:
        """Return the image file's bytes."""
        return self.content

    def open(self, mode: Literal["rb"] = "rb") -> BytesIO:
        """Return the image file's bytes as a file."""
        return BytesIO(self.content)

    def is_file(self) -> bool:
        """Say that there is one to read."""
        return True

    def stat(self) -> os.stat_result:
        """Return a status that never changes, as the image doesn't."""
        status = (stat.S_IFREG, 0, 0, 1, 0, 0, len(self.content), 0, 0, 0)
        return os.stat_result(status, {"st_mtime_ns": 0})


def encode_image(image: Image.Image) -> InlineImage:
    """Return a drawn image as the bytes of a PNG file."""
    file = BytesIO()
    image.save(file, "PNG", compress_level=1)
    return InlineImage(file.getvalue())


def read_data_url(url: str) -> InlineImage:
    """Decode ``data:image/png;base64,…``.

    Raises:
        ValueError: it is none.
    """
    head, comma, body = url.partition(",")
    if not comma or not head.startswith("data:"):
        raise ValueError(f"image {url[:60]!r}… is no data: URL; correct the row")
    try:
        content = (
            b64decode("".join(body.split()), validate=True) if head.endswith(";base64") else unquote_to_bytes(body)
        )
    except (NoBase64, ValueError) as error:
        raise ValueError(f"image {url[:60]!r}… can't be decoded ({error}); correct the row") from None
    return InlineImage(content)
