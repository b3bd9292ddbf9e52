"""Whether image files can be decoded: tried by several threads, and remembered for as long as a file doesn't change."""

import os
import time
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import blake2b
from itertools import islice
from pathlib import Path

from data_modules.images import DECODING, ImageSource, named, opened, shown

BATCH = 256
"""Images that are decoded between two looks at what other processes have recorded."""

SETTLED_S = 2
"""Age of a file's last change from which a later change has another time: clocks of disks are coarse."""

_DECODED: set[str] = set()
"""Keys of images that this process knows can be decoded."""


def check_image(source: ImageSource, where: str) -> None:
    """Decode an image for what may be wrong with it; once for many rows, as long as its file doesn't change.

    Raises:
        ValueError: as :func:`data_modules.images.open_image` does.
    """
    with named(source, where):
        key = image_key(source)
        if key not in _DECODED:
            decode(source)
            _DECODED.add(key)


def check_images(sources: Iterable[ImageSource], record: Path | None, num_threads: int) -> None:
    """Decode images ahead, so that :func:`check_image` of one that is sound takes no time; it says what is wrong.

    Args:
        sources: images, in the order in which they are quick to read.
        record: file that lists images that could be decoded, for later and for other processes; ``None``: none.
        num_threads: images decoded at a time.
    """
    recorded = Record(record)
    with warnings.catch_warnings(), ThreadPoolExecutor(num_threads) as threads:  # threads share the warning filters
        remaining = iter(sources)
        while batch := set(islice(remaining, BATCH)):
            _DECODED.update(recorded.read())
            recorded.write(key for key in threads.map(decode_ahead, batch) if key)


def decode_ahead(source: ImageSource) -> str | None:
    """Decode an image that isn't known yet; return its key where that is new, sound, and to be kept."""
    with suppress(Exception):
        key = image_key(source)
        if key not in _DECODED:
            decode(source)
            _DECODED.add(key)
            return key if time.time_ns() - source.stat().st_mtime_ns > SETTLED_S * 1e9 else None
    return None


def decode(source: ImageSource) -> None:
    """Decode an image as :func:`data_modules.images.open_image` does, but a JPEG at an eighth of its size.

    Raises:
        Exception: of any kind, where the file is damaged.
    """
    with opened(source) as image:
        image.draft(None, (1, 1))
        shown(image)


def image_key(source: ImageSource) -> str:
    """Name what an image's decoding depends on: place and time of its file, or its bytes if it is within a row.

    Returns:
        32 hexadecimal digits.

    Raises:
        OSError: it can't be read.
    """
    file = source.stat()
    place = os.fsencode(f"{os.path.abspath(str(source))} {file.st_mtime_ns} {file.st_size}")
    content = place if file.st_mtime_ns else source.read_bytes()
    return blake2b(content, digest_size=16, key=DECODING.encode()).hexdigest()


class Record:
    """A text file of keys, a line each, to which several processes append; without it nothing is remembered.

    Args:
        file: made when something is written; ``None``: nothing is read or written.
    """

    def __init__(self, file: Path | None) -> None:
        self.file, self.position = file, 0

    def read(self) -> Iterator[str]:
        """Yield the keys that were added since the last call; a damaged line names no image."""
        with suppress(OSError):
            if self.file is not None:
                with self.file.open("rb") as lines:
                    lines.seek(self.position)
                    content = lines.read()
                whole = content.rfind(b"\n") + 1
                self.position += whole
                yield from content[:whole].decode("ascii", "replace").split()

    def write(self, keys: Iterable[str]) -> None:
        """Append keys; where that can't be done, later starts decode these images again."""
        lines = "".join(f"{key}\n" for key in keys)
        if self.file is not None and lines:
            with suppress(OSError):
                self.file.parent.mkdir(parents=True, exist_ok=True)
                with self.file.open("a") as file:
                    file.write(lines)
