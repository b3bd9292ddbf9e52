"""Photographs of a user's folder as square pictures. Knows files and pixels, and nothing of what they are used for."""

from hashlib import sha256
from pathlib import Path

from PIL import Image, ImageOps

from data_modules.images import opened, shown

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})


def photo_names(folder: Path) -> list[str]:
    """List the photographs below a folder, relative to it and sorted; none is opened.

    Raises:
        ValueError: the folder doesn't exist.
    """
    if not folder.is_dir():
        raise ValueError(f"task.photos={folder} is no folder; give one of photographs, or null for drawn scenes")
    files = (file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    return sorted(file.relative_to(folder).as_posix() for file in files)


def read_photo(file: Path, side: int) -> Image.Image:
    """Read a photograph as it is shown, and cut the square in its middle, shrunk to ``side`` pixels.

    Args:
        file: an image file.
        side: width and height wanted, in pixels; nothing is enlarged.

    Returns:
        The square, RGB.

    Raises:
        ValueError: it can't be read, or its shorter side has fewer than ``side`` pixels.
    """
    try:
        with opened(file) as image:
            if min(image.size) >= side:
                image.draft("RGB", (2 * side, 2 * side))  # a JPEG is decoded no larger than shrinking well needs
                return ImageOps.fit(shown(image), (side, side))
            width, height = image.size
    except Exception as error:  # of a broken file Pillow's readers raise whatever they stumble over
        raise ValueError(f"{file} cannot be read ({error or type(error).__name__})") from None
    raise ValueError(f"{file} has {width}x{height} pixels, too few for task.side={side}")


def digest(image: Image.Image) -> str:
    """Digest of what a picture shows, 64 hex digits: the same for the same pixels, whatever the file's name or kind."""
    return sha256(f"{image.mode} {image.size} ".encode() + image.tobytes()).hexdigest()
