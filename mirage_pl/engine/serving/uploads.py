"""Images in requests: their bytes, in a ``data:`` URL. Nothing is fetched, and no file of this machine is read."""

from dataclasses import dataclass

from data_modules.files.inline import InlineImage, read_data_url
from data_modules.images import image_size
from mirage_pl.engine.serving.limits import Limits
from mirage_pl.engine.serving.refusals import Refusal

SIGNATURES = {
    "PNG": (0, b"\x89PNG\r\n\x1a\n"),
    "JPEG": (0, b"\xff\xd8\xff"),
    "GIF": (0, b"GIF8"),
    "WebP": (8, b"WEBP"),
}
"""Where a file of each kind that is taken has which bytes. Pillow knows more kinds, and runs programs for some."""


@dataclass(frozen=True)
class Upload(InlineImage):
    """An image that came with a request."""

    def __str__(self) -> str:
        return f"of {len(self.content)} bytes"


def read_upload(url: str, param: str) -> Upload:
    """Take an image's bytes out of its URL.

    Args:
        url: ``data:image/png;base64,…``.
        param: where in the request it is.

    Raises:
        Refusal: another URL, or no PNG, JPEG, GIF or WebP.
    """
    kind = url.partition(":")[0].lower() if ":" in url[:20] else ""
    if kind != "data":
        what = f"a {kind}: URL" if kind else "no URL"
        raise Refusal(
            f"{param} is {what}, which isn't fetched; give the image itself as data:image/png;base64,…",
            code="invalid_image_url",
            param=param,
        )
    try:
        content = read_data_url(f"data{url[4:]}").content
    except ValueError:
        raise Refusal(
            f"{param} holds no base64; expected data:image/png;base64,…", code="invalid_image", param=param
        ) from None
    if not any(content[start : start + len(mark)] == mark for start, mark in SIGNATURES.values()):
        kinds = ", ".join(SIGNATURES)
        raise Refusal(
            f"{param} is an image of another kind, or none; taken are {kinds}", code="invalid_image", param=param
        )
    return Upload(content)


def check_uploads(uploads: dict[str, Upload], limits: Limits) -> None:
    """Measure images by their headers, before anything is decoded.

    Args:
        uploads: by their places in the request.
        limits: for all of them.

    Raises:
        Refusal: too many, too large, or one without a readable header.
    """
    if len(uploads) > limits.images:
        raise Refusal(
            f"{len(uploads)} images; at most {limits.images} are taken", code="too_many_images", param="messages"
        )
    pixels = 0
    for param, upload in uploads.items():
        try:
            width, height = image_size(upload, param)
        except ValueError as error:
            raise Refusal(str(error), code="invalid_image", param=param) from None
        pixels += width * height
        if pixels > limits.megapixels * 1e6:
            raise Refusal(
                f"{param} has {width} x {height} pixels; the images of a request may have {limits.megapixels:g} "
                "million together; shrink it",
                code="image_too_large",
                param=param,
            )
