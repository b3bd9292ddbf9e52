"""Rows out of JSON that isn't one object a line: an array, indented or not, or objects one after the other.

The file is scanned for where its rows start and end, block by block; no row is kept.

Legend: N rows, B bytes of a block.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_modules.files.lines import BLOCK, JsonRows, Lines, index_lines, within
from data_modules.files.packed import plain_errors

ROW_KEYS = {"messages", "conversations", "conversation", "sequence_plan", "choices", "options"}
"""Keys of a row that may hold a list of objects."""

LIST_KEYS = {"data", "dataset", "rows", "examples", "samples", "instances", "items", "records", "entries", "questions"}
LIST_KEYS |= {"annotations", "train", "val", "valid", "validation", "dev", "test"}
"""Keys of a file's only object under which a list of objects are the rows, whatever stands beside it."""

PEEK = 1 << 20
"""Most bytes that are looked at to tell lines from a document."""

Span = tuple[int, int]

_LIST = re.compile(rb'\{\s*"[^"]*"\s*:\s*\[\s*\{')


class Document(JsonRows):
    """The rows of a JSON file: the elements of its array, or of the one list of objects in its object.

    Args:
        file: the file.
        name: what it is called in errors, if not by its path.

    Attributes:
        spans_N2: first byte of each row, and the byte after its last.
        lines_N: the line in which each row starts, from 1.

    Raises:
        ValueError: it has no such list, several, or isn't whole; doesn't name it.
    """

    layout = "give a list of objects"

    def __init__(self, file: Path, name: Path | None = None) -> None:
        super().__init__(file, name)
        self.spans_N2 = np.array(find_rows(file), np.int64).reshape(-1, 2)
        starts_L1, _ = index_lines(file)
        self.lines_N = np.searchsorted(starts_L1, self.spans_N2[:, 0], side="right")

    def __len__(self) -> int:
        return len(self.spans_N2)

    def span(self, index: int) -> tuple[int, int]:
        """Return where a row begins and ends."""
        start, end = self.spans_N2[index].tolist()
        return start, end

    def where(self, index: int) -> str:
        """Return ``file:row 3 (line 12)``, rows counted from 0."""
        return f"{self.name}:row {within(index, self)} (line {self.lines_N[index]})"


def open_json(file: Path, name: Path | None = None) -> Lines | Document:
    """Open a JSON file, whichever way its rows lie in it.

    Raises:
        ValueError: it can't be read; doesn't name it.
    """
    return Document(file, name) if is_document(file, name) else Lines(file, name)


def is_document(file: Path, name: Path | None = None) -> bool:
    """Say whether a file is JSON as a whole rather than one value a line.

    A line that is whole JSON with others below it is one of many; so is a broken one that has an object below it. The
    only line of a ``.jsonl`` file is a row, unless a list of objects in it are the rows.

    Args:
        file: the file.
        name: what it is called, if not by its path.
    """
    with plain_errors(), file.open("rb") as stream:
        head = stream.read(PEEK).removeprefix(b"\xef\xbb\xbf").lstrip()
        more = bool(stream.read(1))
    lines = [line.strip() for line in head.split(b"\n", 64) if line.strip()]
    if not lines or lines[0][:1] not in (b"{", b"["):
        return False
    alone = len(lines) == 1
    if alone and more:
        return lines[0][:1] == b"[" or _LIST.match(lines[0]) is not None
    try:
        first = json.loads(lines[0])
    except (ValueError, RecursionError):
        return lines[0][:1] == b"[" or _follows(lines[0]) or (not alone and lines[1][:1] not in (b"{", b"["))
    lined = (name or file).name.lower().removesuffix(".gz").endswith(".jsonl")
    return _are_objects(first) or (alone and (isinstance(first, list) or _holds_rows(first, named=not lined)))


def _holds_rows(value: Mapping[str, Any], named: bool) -> bool:
    """Whether a file's only object is no row, but holds them: in a list or, where that may be, each by a name."""
    lists = [key for key, entry in value.items() if may_hold_rows(key, value) and _are_objects(entry)]
    return bool(lists) or (named and len(value) > 1 and all(isinstance(entry, dict) for entry in value.values()))


def may_hold_rows(key: str, entries: Mapping[str, Any]) -> bool:
    """Whether a list of objects under this key of a file's only object is one of rows."""
    return key.lower() in LIST_KEYS or (len(entries) == 1 and key not in ROW_KEYS)


def _are_objects(entry: Any) -> bool:
    return isinstance(entry, list) and bool(entry) and all(isinstance(item, dict) for item in entry)


def _follows(line: bytes) -> bool:
    """Whether a line holds a value and then a comma, or another value."""
    try:
        text = line.decode()
        end = json.JSONDecoder().raw_decode(text)[1]
    except (ValueError, RecursionError):
        return False
    rest = text[end:].lstrip()
    return rest == "," or rest.lstrip(", ")[:1] in ("{", "[")


def find_rows(file: Path) -> list[Span]:
    """Find the rows of a document.

    Raises:
        ValueError: it isn't whole, or doesn't say which of its lists are the rows.
    """
    with plain_errors(), file.open("rb") as stream:
        data = mmap(stream.fileno(), 0, access=ACCESS_READ)
    with closing(data):
        values = parts(data, 3 if data[:3] == b"\xef\xbb\xbf" else 0, len(data))
        if len(values) == 1 and _first(data, values[0]) == b"{":
            return inner_rows(data, values[0])
        rows = [elements(data, span) if _first(data, span) == b"[" else [span] for span in values]
        return [span for spans in rows for span in spans]


def inner_rows(data: mmap, span: Span) -> list[Span]:
    """Find the rows within a file's only object: its list of objects, its objects by name, or itself.

    Raises:
        ValueError: there are several such lists.
    """
    entries = dict(_entry(data, part) for part in elements(data, span))
    lists = {
        key: inner
        for key, value in entries.items()
        if may_hold_rows(key, entries) and _first(data, value) == b"[" and (inner := _objects(data, value))
    }
    if len(lists) > 1:
        raise ValueError(f"has several lists of objects, {', '.join(lists)}; keep the one whose elements are the rows")
    if lists:
        return next(iter(lists.values()))
    if len(entries) > 1 and all(_first(data, value) == b"{" for value in entries.values()):
        return list(entries.values())
    return [span]


def elements(data: mmap, span: Span) -> list[Span]:
    """Find what lies between the brackets of an array or object."""
    return parts(data, span[0] + 1, span[1] - 1)


def parts(data: mmap, first: int, last: int) -> list[Span]:
    """Cut bytes where commas part values, or one value follows another; spaces around them go.

    A comma at the end parts nothing.

    Raises:
        ValueError: a bracket or string is never closed.
    """
    cuts: list[NDArray[np.int64]] = []
    inside, depth = False, 0
    for start, block in blocks(data, first, last):
        bytes_B = np.frombuffer(block, np.uint8)
        free_B, inside = outside_strings(bytes_B, inside)
        change_B = np.where(free_B, _DEPTH[bytes_B], 0)
        depths_B = depth + np.cumsum(change_B)
        if depths_B.min() < 0:
            raise ValueError(f"broken JSON: the bracket at byte {start + int(np.argmin(depths_B))} was never opened")
        ends_B = (depths_B == 0) & ((change_B == -1) | (free_B & (bytes_B == ord(","))))
        cuts.append(start + np.flatnonzero(ends_B) + 1)
        depth = int(depths_B[-1])
    if depth or inside:
        raise ValueError(f"broken JSON: {'a string' if inside else 'a bracket'} is never closed; is the file whole?")
    bounds = np.unique(np.concatenate([np.array([first]), *cuts, np.array([last])])).tolist()
    return list(_trimmed(data, zip(bounds, bounds[1:], strict=False)))


def blocks(data: mmap, first: int, last: int) -> Iterator[tuple[int, bytes]]:
    """Yield bytes, block by block; none ends in a backslash, which belongs to the next character."""
    while first < last:
        end = min(first + BLOCK, last)
        while end < last and data[end - 1] == ord("\\"):
            end += 1
        yield first, data[first:end]
        first = end


def outside_strings(bytes_B: NDArray[np.uint8], inside: bool) -> tuple[NDArray[np.bool_], bool]:
    """Say of each byte whether it is outside of strings.

    Args:
        bytes_B: of a block, at whose start nothing is escaped.
        inside: whether it starts in a string.

    Returns:
        And whether it ends in one.
    """
    quotes_B = bytes_B == ord('"')
    slashes = np.flatnonzero(bytes_B == ord("\\"))
    if slashes.size:
        first = np.flatnonzero(np.diff(slashes, prepend=-2) > 1)  # of each run of backslashes
        lengths = np.diff(np.append(first, slashes.size))
        escaped = slashes[first] + lengths
        quotes_B[escaped[(lengths % 2 == 1) & (escaped < bytes_B.size)]] = False
    inside_B = (np.cumsum(quotes_B) + inside) % 2 == 1
    return ~inside_B, bool(inside_B[-1])


def _trimmed(data: mmap, spans: Iterable[Span]) -> Iterator[Span]:
    """Take spaces, and the comma at its end, off each span; what then is empty after a value was its comma alone."""
    after_value = False
    for start, end in spans:
        left, right = _edges(data, start, end)
        comma = right > left and data[right - 1] == ord(",")
        if comma:
            left, right = _edges(data, left, right - 1)
        if right > left or (comma and not after_value):
            yield left, right
        after_value = right > left and not comma


def _edges(data: mmap, start: int, end: int) -> Span:
    """Where a span begins and ends without the spaces around it."""
    while start < end and data[start] in b" \t\r\n":
        start += 1
    while end > start and data[end - 1] in b" \t\r\n":
        end -= 1
    return start, end


def _objects(data: mmap, span: Span) -> list[Span]:
    inner = elements(data, span)
    return inner if all(_first(data, one) == b"{" for one in inner) else []


def _entry(data: mmap, span: Span) -> tuple[str, Span]:
    """Split an entry of an object into its key and where its value lies."""
    head = data[span[0] : min(span[1], span[0] + 4096)].decode(errors="replace")
    try:
        key, end = json.JSONDecoder().raw_decode(head)
        colon = head.index(":", end)
    except (ValueError, RecursionError):
        raise ValueError(f"broken JSON at byte {span[0]}; is the file whole?") from None
    return str(key), _edges(data, span[0] + len(head[: colon + 1].encode()), span[1])


def _first(data: mmap, span: Span) -> bytes:
    return data[span[0] : min(span[0] + 1, span[1])]


_DEPTH = np.zeros(256, np.int64)
_DEPTH[[ord("{"), ord("[")]], _DEPTH[[ord("}"), ord("]")]] = 1, -1
