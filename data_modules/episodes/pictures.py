"""A folder of pictures as an episode: a picture a frame, and what else is known of frames in pictures or numbers.

A key is the name of a folder in it (``rgb``), a pattern (``*.color.png``), or the name of a file without its ending
(``poses`` for ``poses.npy`` or ``poses.txt``). Files of frames are told apart by the last number in their names.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data_modules.images import open_image

COLOURS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
NUMBERS = (".npy", ".txt", ".csv")
ENDINGS = (*COLOURS, ".tif", ".tiff", *NUMBERS)
"""Of what may be a frame's."""
KEPT = 4
"""Folders whose lists of files are kept, and whose numbers are."""


class Pictures:
    """The files of a folder.

    Args:
        file: the folder.
    """

    coded = False

    def __init__(self, file: Path) -> None:
        self.file, self.arrays = file, dict[str, Any]()
        self.counted: tuple[str, Sequence[tuple[int, Path]]] | None = None

    def has(self, key: str) -> bool:
        """Whether there is something of this name."""
        return bool(list_frames(self.file, key)) or find_single(self.file, key) is not None

    def keys(self) -> Sequence[str]:
        """Return names of what there is, for errors."""
        entries = sorted(self.file.iterdir())
        return [entry.name if entry.is_dir() else entry.stem for entry in entries if entry.is_dir() or is_known(entry)][
            :20
        ]

    def cameras(self) -> Sequence[str]:
        """Return none: a folder doesn't say which pictures are colours."""
        return ()

    def count(self, key: str) -> int:
        """How many frames there are.

        Raises:
            ValueError: some are missing in between; names them.
        """
        files = number_frames(self.file, key)
        self.counted = key, files
        return len(files)

    def frames(self, key: str, places: Sequence[int]) -> Any:
        """Read pictures of some frames, [len(places), H, W, 3].

        Raises:
            ValueError: one can't be read, or is of another size; names it.
        """
        files = number_frames(self.file, key)
        read = {place: read_colours(files[place][1]) for place in dict.fromkeys(places)}
        return stack([read[place] for place in places], [files[place][1] for place in places])

    def numbers(self, key: str) -> Any:
        """Read numbers: a file of them, or one of each frame, in the order of frames.

        Raises:
            ValueError: one can't be read, is of another size, or is missing; names it.
        """
        if key not in self.arrays:
            single = find_single(self.file, key)
            files = [] if single is not None else self.match_frames(key)
            self.arrays[key] = stack([read_numbers(file) for file in files], files) if files else read_numbers(single)
        return self.arrays[key]

    def match_frames(self, key: str) -> Sequence[Path]:
        """The files of a key, of the same frames as those that were counted.

        Raises:
            ValueError: they are of other frames; names the first.
        """
        files = list_frames(self.file, key)
        counted, pictures = self.counted or (key, files)
        theirs, ours = ([number for number, _ in each] for each in (pictures, files))
        if theirs != ours:
            number = min(set(theirs) ^ set(ours))
            has, lacks = (counted, key) if number in theirs else (key, counted)
            raise ValueError(f"{self.file}: {has} has frame {number}, {lacks} hasn't; they need the same frames")
        return [file for _, file in files]

    def text(self, key: str) -> str:
        """Return what a text file says."""
        return (self.file / f"{key}.txt").read_text().strip()

    def texts(self, key: str) -> Sequence[str]:
        """Return the lines of a text file."""
        return self.text(key).splitlines()


def open_pictures(folder: Path) -> Pictures:
    """Open a folder; one in which files came or went is read again."""
    places = [folder, *sorted(place for place in folder.iterdir() if place.is_dir())]
    return _open(folder, tuple(place.stat().st_mtime_ns for place in places))


@lru_cache(KEPT)
def _open(folder: Path, _changed: tuple[int, ...]) -> Pictures:
    return Pictures(folder)


def is_pictured(folder: Path, key: str) -> bool:
    """Whether a folder is an episode: it has pictures of this name."""
    return any(file.suffix.lower() in COLOURS for _, file in list_frames(folder, key)[:1])


def find_single(folder: Path, key: str) -> Path | None:
    """The file of numbers of this name; ``None``: there is none."""
    files = [folder / f"{key}{ending}" for ending in NUMBERS]
    return next((file for file in files if file.is_file()), None)


def is_known(file: Path) -> bool:
    """Whether a file's ending says that it is a picture or numbers."""
    return file.suffix.lower() in ENDINGS


def list_frames(folder: Path, key: str) -> Sequence[tuple[int, Path]]:
    """The files of a key with their numbers, in the order of these; nothing where there are none."""
    place = folder / key
    changed = place.stat().st_mtime_ns if place.is_dir() else folder.stat().st_mtime_ns if folder.is_dir() else 0
    return _list(folder, key, changed)


@lru_cache(KEPT * 4)
def _list(folder: Path, key: str, _changed: int) -> Sequence[tuple[int, Path]]:
    place = folder / key
    files = place.iterdir() if place.is_dir() else folder.glob(key) if "*" in key else ()
    known = [file for file in files if file.is_file() and is_known(file)]
    numbers = [re.findall(r"\d+", file.name.removesuffix(file.suffix)) for file in known]
    return tuple(sorted((int(found[-1]), file) for found, file in zip(numbers, known, strict=True) if found))


def number_frames(folder: Path, key: str) -> Sequence[tuple[int, Path]]:
    """The files of a key with their numbers.

    Raises:
        ValueError: two have one number, or numbers aren't evenly spaced; names them.
    """
    files = list_frames(folder, key)
    numbers = np.array([number for number, _ in files])
    steps = np.diff(numbers)
    if len(steps) and not steps.min():
        at = int(steps.argmin())
        raise ValueError(f"{folder}: {files[at][1].name} and {files[at + 1][1].name} have one number; rename one")
    if len(steps) and steps.max() != steps.min():
        step = int(steps.min())
        at = int((steps != step).argmax())
        first, last = numbers[at] + step, numbers[at + 1] - step
        missing = f"{first} to {last}" if last > first else f"{first}"
        raise ValueError(
            f"{folder}: frames of {key} have a gap: {missing} between {files[at][1].name} and {files[at + 1][1].name}; "
            "put in what is missing, or divide the folder there"
        )
    return files


def read_colours(file: Path) -> Any:
    """Read a picture, [H, W, 3] in uint8."""
    return np.asarray(open_image(file, f"episode {file.parent}"))


def read_numbers(file: Path | None) -> Any:
    """Read an array, a table of text, or a picture of one channel, whose values stay as they are.

    Raises:
        ValueError: it can't be read, or is a picture of colours; names it.
    """
    assert file is not None
    kind = file.suffix.lower()
    try:
        if kind == ".npy":
            return np.load(file, allow_pickle=False)
        if kind in NUMBERS:
            return np.loadtxt(file, delimiter="," if kind == ".csv" else None)
        with Image.open(file) as picture:
            values = np.asarray(picture)
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise ValueError(f"{file} can't be read as numbers ({type(error).__name__}); write it again") from None
    if values.ndim != 2:
        raise ValueError(f"{file} is a picture of {values.shape[-1]} channels; numbers need one of 8, 16 or 32 bits")
    return values


def stack(arrays: Sequence[Any], files: Sequence[Path]) -> Any:
    """Arrays of files as one.

    Raises:
        ValueError: one has another shape than the first; names it.
    """
    wrong = [file for array, file in zip(arrays, files, strict=True) if array.shape != arrays[0].shape]
    if wrong:
        shape = next(array.shape for array, file in zip(arrays, files, strict=True) if file == wrong[0])
        raise ValueError(f"{wrong[0]} has shape {shape}, but {files[0].name} {arrays[0].shape}; make them one size")
    return np.stack(arrays) if arrays else np.zeros((0,))
