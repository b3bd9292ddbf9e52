"""The files of rows in a folder: a saved Hugging Face data set, or files of one kind and one split."""

import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

NO_ROWS = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "made.json", "config.json"}
"""Files beside rows that say something of them."""


class RowlessError(ValueError):
    """A folder has no file of rows."""


_SPLIT = re.compile(r"(?i)(?:^|[-_.])(train|val|valid|validation|dev|test)(?:ing)?(?=[-_.\d]|$)")


def list_folder(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """Return the files of a folder that hold its rows, sorted.

    Args:
        folder: it, or one that has them in ``data/``.
        suffixes: of files that hold rows.

    Raises:
        RowlessError: there are none.
        ValueError: they are of several kinds, or of several splits; says what to give instead.
    """
    if (splits := folder / "dataset_dict.json").is_file():
        names = ", ".join(str(folder / split) for split in _described(splits, "splits"))
        raise ValueError(f"{folder} is a data set saved in splits; give one of {names}")
    if (state := folder / "state.json").is_file():
        return [folder / Path(entry["filename"]).name for entry in _described(state, "_data_files")]
    files = _rows(folder, suffixes) or _rows(folder / "data", suffixes)
    if not files:
        raise RowlessError(f"{folder} is a folder without files of rows ({', '.join(suffixes)}); give the file itself")
    kinds = sorted({next(suffix for suffix in suffixes if file.name.lower().endswith(suffix)) for file in files})
    if len(kinds) > 1:
        globs = " or ".join(f"{files[0].parent}/*{kind}" for kind in kinds)
        raise ValueError(f"{folder} is a folder with files of several kinds; give {globs}")
    names_of = {file: match[1] if (match := _SPLIT.search(file.name)) else "" for file in files}
    if len(found := sorted(set(names_of.values()))) > 1:
        globs = " or ".join(f"{files[0].parent}/{name}*{kinds[0]}" for name in found if name)
        raise ValueError(f"{folder} is a folder with files of several splits; give {globs}")
    return files


def _described(file: Path, key: str) -> list[Any]:
    """What a file of a saved data set says under a key."""
    try:
        return list(json.loads(file.read_text())[key])
    except (OSError, ValueError, KeyError, TypeError):
        raise ValueError(f"{file} says nothing of {key}; save the data set anew, or give its files") from None


def _rows(folder: Path, suffixes: Collection[str]) -> list[Path]:
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    wanted = [file for file in files if file.name.lower().endswith(tuple(suffixes)) and not file.name.startswith(".")]
    return [file for file in wanted if file.is_file() and file.name not in NO_ROWS]
