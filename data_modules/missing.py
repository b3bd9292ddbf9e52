"""Make data where it is missing."""

from collections.abc import Iterable
from glob import has_magic
from pathlib import Path
from typing import Any, Protocol


class Makes(Protocol):
    """What :func:`make_missing` needs of a maker."""

    def makes(self, files: Iterable[Any]) -> bool:
        """Return whether it makes any of these files."""
        ...

    def is_made(self) -> bool:
        """Return whether the data exists."""
        ...

    def make(self) -> None:
        """Make it."""
        ...


def make_missing(maker: Makes | None, files: Iterable[Any]) -> None:
    """Make a task's files where they are missing; a user's own files are never made.

    Args:
        maker: of the task; ``None``: it makes none.
        files: what the splits read.

    Raises:
        ValueError: the data is there, but one of its files isn't.
    """
    made = [file for file in files if maker is not None and maker.makes([file])]
    if maker is None or not made:
        return
    if not maker.is_made():
        maker.make()
    for file in map(Path, made):
        if not (file.exists() or has_magic(str(file))):
            raise ValueError(
                f"{file} is missing, though {file.parent} was made before; delete that folder, and the same command "
                "makes it anew, or correct the path (null: no such split)"
            )
