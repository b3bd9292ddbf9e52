"""Images inside ``.zip`` files, read where they lie: data sets are published with their images zipped."""

import os
import stat
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from struct import unpack
from typing import Literal

from data_modules.files.packed import read_at

LARGEST = 1 << 30
"""Most bytes that an image may unpack to."""

OPEN_FILES = 64
"""Zip files whose lists of members are kept."""

_HEADER = 30
"""Bytes of what stands before a member, without its name."""


@dataclass(frozen=True)
class ZippedImage:
    """An image in a ``.zip`` file, by its place (:class:`data_modules.images.ImageSource`).

    Attributes:
        file: the zip file.
        member: the image's name in it.
        start: first byte of what stands before its content.
        packed: bytes of its content in the file.
        unpacked: bytes of its content.
        deflated: its content is compressed.
    """

    file: Path
    member: str
    start: int
    packed: int
    unpacked: int
    deflated: bool

    def __str__(self) -> str:
        return f"{self.file}:{self.member}"

    def read_bytes(self) -> bytes:
        """Return the image file's bytes.

        Raises:
            OSError: the zip file is gone or damaged; names the image, as a path's error does.
        """
        try:
            name, extra = unpack("<HH", read_at(self.file, self.start, _HEADER)[26:])
            content = read_at(self.file, self.start + _HEADER + name + extra, self.packed)
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, self.unpacked) if self.deflated else content
        except (ValueError, zlib.error) as error:
            raise OSError(f"image {self}: {error}") from None

    def open(self, mode: Literal["rb"] = "rb") -> BytesIO:
        """Return the image file's bytes as a file."""
        return BytesIO(self.read_bytes())

    def is_file(self) -> bool:
        """Say whether the zip file is there."""
        return self.file.is_file()

    def stat(self) -> os.stat_result:
        """Return the status of the zip file."""
        return self.file.stat()


def find_zipped(root: Path, parts: Sequence[str]) -> ZippedImage | None:
    """Find an image in the zip files of a folder, its leading folders dropped one by one as for files.

    Args:
        root: the folder; those below it aren't searched.
        parts: the image's path from there.

    Raises:
        ValueError: a zip file is damaged, or holds the image in a way that can't be read.
    """
    try:
        archives = _archives(root, root.stat().st_mtime_ns)
    except OSError:
        return None
    tails = [root.name, *parts] if archives else []
    for first in range(len(tails)):
        name = "/".join(tails[first:])
        for file in archives:
            status = file.stat()
            member = _members(file, status.st_mtime_ns, status.st_size).get(name)
            if member is not None:
                return _located(file, member)
    return None


@lru_cache(OPEN_FILES)
def _archives(root: Path, changed_ns: int) -> list[Path]:
    return sorted(
        file for file in root.iterdir() if file.suffix.lower() == ".zip" and stat.S_ISREG(file.stat().st_mode)
    )


@lru_cache(OPEN_FILES)
def _members(file: Path, changed_ns: int, size: int) -> dict[str, zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(file) as archive:
            return {member.filename: member for member in archive.infolist()}
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        raise ValueError(f"{file} can't be read as a zip file ({error}); is it whole? download it again") from None


def _located(file: Path, member: zipfile.ZipInfo) -> ZippedImage:
    if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"image {member.filename} in {file} is encrypted or packed in a rare way; unzip the file")
    if member.file_size > LARGEST:
        raise ValueError(f"image {member.filename} in {file} unpacks to {member.file_size} bytes; leave the row out")
    deflated = member.compress_type == zipfile.ZIP_DEFLATED
    return ZippedImage(file, member.filename, member.header_offset, member.compress_size, member.file_size, deflated)
