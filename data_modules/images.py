"""Image files as pixels: what a viewer shows on a white page, or one line that says why there is nothing to show.

Everybody opens images here. Shown means: the first frame of several; upright, as the EXIF data says; colours taken from
the file's ICC profile (or a PNG's ``gAMA``) to sRGB; 16 bits scaled to 8; whatever is transparent laid on white. Pixels
of 32 bits, whole or floating, have no black and white that viewers agree on, and are refused.
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from io import BytesIO
from stat import S_ISREG
from typing import IO, Any, Literal, Protocol

import numpy as np
import PIL
from PIL import Image, ImageChops, ImageCms, ImageFile

DECODING = f"2, Pillow {PIL.__version__}"
"""Another one whenever a file's pixels may come out otherwise: what was computed from others isn't taken for these."""

ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes an image of each EXIF orientation upright."""

PNG_EXIF = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")
"""What a PNG that says how to turn it holds one of."""

SPACES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
"""Pillow's mode for each colour space of an ICC profile."""

VIEWER_GAMMA = 2.2
"""Of the screen that a PNG's ``gAMA`` is corrected for; a file made for it, as nearly all are, stays as it is."""


class ImageSource(Protocol):
    """Where an image file's bytes are: a :class:`~pathlib.Path`, or inside another file (``packed.PackedImage``).

    Its methods are those of a path, errors included; equal sources are the same image, and ``str`` names it.
    """

    def __hash__(self) -> int: ...

    def open(self, mode: Literal["rb"]) -> IO[bytes]:
        """Open the image file for reading."""

    def read_bytes(self) -> bytes:
        """Return the image file's bytes."""

    def is_file(self) -> bool:
        """Say whether there is a file to read it from."""

    def stat(self) -> os.stat_result:
        """Return what changes when the image does: size and time of the file it is in."""


def open_image(source: ImageSource, where: str) -> Image.Image:
    """Decode an image as it is shown.

    Args:
        source: the image.
        where: the row that asked for it, for the error.

    Returns:
        RGB.

    Raises:
        ValueError: it is missing, no readable image, or has more than ``PIL.Image.MAX_IMAGE_PIXELS``.
    """
    with named(source, where), opened(source) as image:
        return shown(image)


def image_size(source: ImageSource, where: str) -> tuple[int, int]:
    """Width and height in pixels of an image as it is shown, from its header alone.

    Raises:
        ValueError: as :func:`open_image` does, as far as the header shows it.
    """
    with named(source, where):
        return getattr(source, "size", None) or measure(source)


def measure(source: ImageSource) -> tuple[int, int]:
    """Width and height as :func:`image_size` returns them, with the errors as they come."""
    changed = source.stat()
    read = _image_size if changed.st_mtime_ns else _image_size.__wrapped__  # an image within a row isn't kept
    return read(source, changed.st_mtime_ns, changed.st_size)


@contextmanager
def named(source: object, where: str) -> Iterator[None]:
    """Say whatever goes wrong with an image as one line that names row and image, a ``ValueError``."""
    try:
        yield
    except FileNotFoundError:
        typed = where.partition("=")[0].isidentifier()  # as image=a.png: no row names it, but a command
        fix = "correct its path" if typed else "correct the row or set task.image_root"
        raise ValueError(f"{where}: image {source} does not exist; {fix}") from None
    except PIL.UnidentifiedImageError:
        raise ValueError(f"{where}: image {source} cannot be read ({_other_kind(source)}") from None
    except Image.DecompressionBombError as error:
        raise ValueError(f"{where}: image {source} is too large to decode ({error}); shrink it") from None
    except Exception as error:  # on damaged files Pillow raises whatever came up
        reason = next(iter(str(getattr(error, "strerror", None) or error).splitlines()), type(error).__name__)
        reason = reason.removeprefix(f"image {source}: ")
        fix = getattr(error, "fix", "replace the file")
        raise ValueError(f"{where}: image {source} cannot be read ({reason}); {fix}") from None


def _other_kind(source: Any) -> str:
    """What a file is that Pillow doesn't know, and after a semicolon what to do about it."""
    head = b""
    with suppress(OSError), getattr(source, "source", source).open("rb") as file:  # a region's is its image
        head = file.read(512)
    if head.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS); get the file with git lfs pull"
    kinds = {"HEIC or a video": head[4:8] == b"ftyp", "SVG": b"<svg" in head, "PDF": head.startswith(b"%PDF")}
    if kind := next((name for name, is_one in kinds.items() if is_one), ""):
        return f"it is {kind}); convert it to PNG or JPEG"
    if head.lstrip()[:1] == b"<":
        return "it is a web page); download the image itself"
    return f"it is {'no image of a known kind' if head else 'empty'}); replace it by PNG, JPEG or WebP"


@contextmanager
def opened(source: ImageSource) -> Iterator[Any]:
    """Open an image file and read its header; its pixels are decoded by :func:`shown`.

    Raises:
        Exception: of any kind, where the file is damaged.
    """
    with suppress(OSError):  # which is said when it is opened
        if not S_ISREG(source.stat().st_mode):
            raise ValueError("it is a folder or a pipe")  # to open a pipe would wait for ever
    with warnings.catch_warnings(), source.open("rb") as file:
        warnings.simplefilter("ignore")  # of damaged headers, and of twice MAX_IMAGE_PIXELS, which are refused here
        with Image.open(file) as image:
            if not image.width or not image.height:
                raise ValueError(f"it has {image.width} x {image.height} pixels")
            if Image.MAX_IMAGE_PIXELS and image.width * image.height > Image.MAX_IMAGE_PIXELS:
                raise Image.DecompressionBombError(f"{image.width} x {image.height} pixels")
            yield image


def shown(image: ImageFile.ImageFile) -> Image.Image:
    """The pixels of an opened file, first frame, as a viewer shows them on a white page.

    Args:
        image: from :func:`opened`, not yet loaded; a JPEG may have been told to come smaller (``draft``).

    Returns:
        RGB.

    Raises:
        Exception: of any kind, where the file is damaged; ``ValueError`` for pixels of 32 bits.
    """
    tile: Any = image.tile[0] if image.tile else (None, None, 0, "")
    stored = tile[3][0] if isinstance(tile[3], tuple) else tile[3]
    image.load()
    colours, alpha = layers(image, str(stored))
    if image.format == "GIF" and tile[1] not in (None, (0, 0, *image.size)):  # the first frame is smaller
        frame = Image.new("L", image.size, 0)
        frame.paste(255, tile[1])
        alpha = ImageChops.darker(alpha, frame) if alpha else frame
    picture = in_srgb(colours, image.info)
    if alpha and alpha.getextrema() != (255, 255):
        page = Image.new("RGB", picture.size, "white")
        page.paste(picture, mask=alpha)
        picture = page
    turn = TURNS.get(orientation(image))
    return picture if turn is None else picture.transpose(turn)


def orientation(image: ImageFile.ImageFile) -> int:
    """How an opened image has to be turned, 1 to 8 as in EXIF; Pillow turns a TIFF by itself, in its header too."""
    with suppress(Exception):  # viewers pass over damaged EXIF data
        if ORIENTATION not in getattr(image, "tag_v2", ()):
            return int(image.getexif().get(ORIENTATION, 1))
    return 1


def layers(image: Image.Image, stored: str) -> tuple[Image.Image, Image.Image | None]:
    """Colours and opacity of a loaded image.

    Args:
        image: of any mode.
        stored: Pillow's name for how the file stores a pixel (its raw mode).

    Returns:
        Colours of mode L, RGB, CMYK or LAB, and alpha of mode L or ``None``.

    Raises:
        ValueError: pixels of 32 bits.
    """
    if image.mode in ("LA", "La", "RGBA", "RGBa", "PA") or (image.mode == "P" and image.has_transparency_data):
        whole = image.convert("LA" if image.mode in ("LA", "La") else "RGBA")
        *bands, alpha = whole.split()
        empty = image.format in ("BMP", "DIB", "TGA") and alpha.getextrema() == (0, 0)  # such files mean no alpha
        return Image.merge(whole.mode[:-1], bands), None if empty else alpha
    if image.mode in ("L", "CMYK", "LAB"):
        return image, transparent(image, stored) if image.mode == "L" else None
    if image.mode == "F" or (image.mode == "I" and image.format not in ("PNG", "PPM")):
        raise ValueError("its pixels have 32 bits, and what is black and white among them isn't told; save 8 or 16")
    if image.mode.startswith("I"):
        return from_16_bits(image), transparent(image, stored)
    colours = image.convert("L" if image.mode == "1" else "RGB")
    return colours, transparent(image, stored)


def from_16_bits(image: Image.Image) -> Image.Image:
    """Scale a greyscale image of 16 bits, or of the 12 that some scanners write, to 8."""
    tags: Any = getattr(image, "tag_v2", {})
    largest = 2 ** tags.get(258, (16,))[0] - 1
    pixels = np.asarray(image).astype(np.uint32)
    pixels = (np.minimum(pixels, largest) * 255 + largest // 2) // largest
    return Image.fromarray((255 - pixels if tags.get(262) == 0 else pixels).astype(np.uint8))


def transparent(image: Image.Image, stored: str) -> Image.Image | None:
    """Opacity of an image whose file names one colour that is transparent (a PNG's ``tRNS``); ``None`` without one."""
    colour: Any = image.info.get("transparency")
    if not isinstance(colour, int | tuple):
        return None
    if stored in ("L;2", "L;4"):  # as stored, while pixels are scaled already
        colour = colour * 255 // (2 ** int(stored[-1]) - 1)
    elif stored.startswith("RGB;16"):
        colour = np.asarray(colour) >> 8
    elif image.mode == "1":
        colour = bool(colour)
    pixels = np.asarray(image)
    same = pixels == np.asarray(colour)
    return Image.fromarray(np.where(same.all(-1) if same.ndim == 3 else same, 0, 255).astype(np.uint8))


def in_srgb(colours: Image.Image, info: Any) -> Image.Image:
    """Colours as RGB on the usual screen, by what the file says about them.

    Args:
        colours: of mode L, RGB, CMYK or LAB.
        info: of the file: ``icc_profile``, ``gamma``, ``srgb``.
    """
    if colours.mode == "LAB":
        return _apply(_lab(), colours)
    profile = info.get("icc_profile")
    space, transform = _transform(bytes(profile)) if profile else ("", None)
    if transform and (space == colours.mode or (space, colours.mode) == ("RGB", "L")):
        return _apply(transform, colours.convert(space))
    picture = colours.convert("RGB")
    gamma = info.get("gamma")
    if not gamma or profile or "srgb" in info or abs(gamma * VIEWER_GAMMA - 1) < 0.05:
        return picture
    return picture.point([round(255 * (value / 255) ** (1 / gamma / VIEWER_GAMMA)) for value in range(256)] * 3)


def _apply(transform: Any, colours: Image.Image) -> Image.Image:
    picture: Any = ImageCms.applyTransform(colours, transform)
    return picture


@lru_cache(1)
def _lab() -> Any:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.buildTransform(lab, srgb, "LAB", "RGB")


@lru_cache(64)
def _transform(icc: bytes) -> tuple[str, Any]:
    """Mode of a profile's colours, and what takes them to sRGB: ``None`` if they are, or the profile is damaged."""
    try:
        profile = ImageCms.ImageCmsProfile(BytesIO(icc))
        mode = SPACES[profile.profile.xcolor_space.strip()]
        transform = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB")
    except Exception:  # viewers pass over a damaged profile
        return "", None
    grid = np.stack(np.meshgrid(*[np.arange(0, 256, 15)] * 3), -1).reshape(-1, 18, 3)
    colours = Image.fromarray(grid.astype(np.uint8)).convert(mode)
    difference = np.asarray(_apply(transform, colours)).astype(int) - np.asarray(colours.convert("RGB"))
    return mode, transform if np.abs(difference).max() > 2 else None


@lru_cache(1_000_000)
def _image_size(source: ImageSource, _changed_ns: int, _size: int) -> tuple[int, int]:
    with opened(source) as image:
        # Pillow decodes a PNG to look for EXIF data behind the pixels.
        upright = image.format == "PNG" and not any(word in source.read_bytes() for word in PNG_EXIF)
        sideways = image.width != image.height and not upright and orientation(image) in (5, 6, 7, 8)
        return (image.height, image.width) if sideways else image.size
