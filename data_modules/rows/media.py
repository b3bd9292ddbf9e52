"""Videos and sounds in rows, which no collator reads: refused, not taken for text."""

import re
from collections.abc import Mapping
from typing import Any

COLUMNS = {f"{medium}{end}" for medium in ("video", "audio") for end in ("", "s", "_path", "_paths", "_url", "_urls")}
"""Columns of data sets for other models that hold them."""
_MARKER = re.compile(r"(?<!\\)<(video|audio)>")
_WORD = re.compile(r"\\(<(?:video|audio)>)")


def check_columns(row: Mapping[str, Any]) -> None:
    """Refuse a row that shows a video or plays a sound.

    Raises:
        ValueError: names the column.
    """
    if used := [name for name in row if name.lower() in COLUMNS and row[name]]:
        raise ValueError(
            f"column {used[0]} holds what is neither text nor an image; leave such rows out, or that column where "
            "the question does without it"
        )


def unmark(text: str) -> str:
    r"""Return a text whose ``\<video>`` and ``\<audio>`` are the words themselves.

    Raises:
        ValueError: it has a marker of a video or a sound.
    """
    if marker := _MARKER.search(text):
        raise ValueError(
            f"{marker[0]} in a text stands for what is neither text nor an image; leave such rows out, and write "
            f"\\{marker[0]} for the word itself"
        )
    return _WORD.sub(r"\1", text)
