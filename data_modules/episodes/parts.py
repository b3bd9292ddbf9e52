"""Several indices as one data set: how much of each, and what is different about its clips and files."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from data_modules.episodes.form import Form, as_plain
from data_modules.episodes.window import Window

KEYS = ("file", "weight", "share", "window", "form")


@dataclass(frozen=True)
class Part:
    """An index among several.

    Attributes:
        file: what names episodes.
        window: which frames of an episode are a clip.
        form: of the files.
        weight: a clip comes so often in an epoch.
        share: of all clips of an epoch that are its own, in proportion to those of the others; ``None``: by weight.
    """

    file: str
    window: Window
    form: Form
    weight: float = 1.0
    share: float | None = None


def list_parts(files: Any, window: Window, form: Form) -> list[Part]:
    """Read what ``task.train_file`` and its like may be: a path, or a list of paths and of {file, share, window, form}.

    Args:
        files: the value.
        window: of parts that say nothing else.
        form: of parts that say nothing else.

    Raises:
        ValueError: it is none of these, or a number is not above 0.
    """
    value = as_plain(files)
    entries = value if isinstance(value, list) else [value]
    if not entries:
        raise ValueError("[] names no episodes; give a path, or null for none")
    parts = [read_part(entry, window, form) for entry in entries]
    with_share = [part for part in parts if part.share is not None]
    if with_share and len(with_share) < len(parts):
        without = next(part.file for part in parts if part.share is None)
        raise ValueError(
            f"{without} has no share, but {with_share[0].file} has one; give one to each, or weights alone"
        )
    return parts


def read_part(entry: Any, window: Window, form: Form) -> Part:
    """Read an entry of the list."""
    if isinstance(entry, dict) and isinstance(entry.get("file"), str) and entry.keys() <= set(KEYS):
        numbers = {key: entry[key] for key in ("weight", "share") if entry.get(key) is not None}
        if len(numbers) > 1 or any(isinstance(each, bool) or not is_positive(each) for each in numbers.values()):
            raise ValueError(f"{entry['file']} has {numbers}; give a weight or a share, a number above 0")
        return Part(entry["file"], change(window, entry, "window"), change(form, entry, "form"), **numbers)
    if not isinstance(entry, str):
        raise ValueError(f"{entry!r} names no episodes; give a path, or {{file: …, share: 0.5, window: …, form: …}}")
    return Part(entry, window, form)


def is_positive(number: Any) -> bool:
    """Whether it is a number above 0, and not infinite."""
    return isinstance(number, int | float) and 0 < number < float("inf")


def change(options: Any, entry: Mapping[str, Any], key: str) -> Any:
    """The options with what an entry changes of them.

    Raises:
        ValueError: an option that there isn't, or a value that it can't have; names file and option.
    """
    changes, known = entry.get(key) or {}, asdict(options)
    if not isinstance(changes, dict) or (unknown := sorted(changes.keys() - known.keys())):
        wrong = unknown if isinstance(changes, dict) else changes
        raise ValueError(f"{entry['file']} has {key} with {wrong}; it may change {', '.join(known)}")
    if "keys" in changes:
        changes = changes | {"keys": {**known["keys"], **changes["keys"]}}
    try:
        return type(options)(**known | changes)
    except ValueError as error:
        raise ValueError(f"{entry['file']}: {error}") from None


def count_clips(parts: Sequence[Part], sizes: Sequence[int]) -> list[int]:
    """How many clips of each part an epoch has: with shares as many in all as there are, divided by them."""
    if parts[0].share is None:
        return [max(1, round(part.weight * size)) for part, size in zip(parts, sizes, strict=True)]
    shares = [part.share or 0.0 for part in parts]
    return [max(1, round(share / sum(shares) * sum(sizes))) for share in shares]
