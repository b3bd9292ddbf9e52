"""Help as wide as the console: no word is lost, and a key's comment stays beside it or goes below it."""

import re
from collections.abc import Iterator, Sequence

STEP = 4
"""Columns by which what is continued is indented."""
NARROW = 30
"""With fewer columns left beside a key, its comment goes below it."""

_COMMENTED = re.compile(r"( *\S.*?\s+)# (.*)")
"""A key and its value, then a comment."""
_COMMENT = re.compile(r"( *)# (.*)")
_EXPLAINED = re.compile(r"( +\S.*?\s{3,})(\S.*)")
"""A command, then what it does."""
_LISTED = re.compile(r" |[\w/]+: ")
"""Begins a line that is no paragraph."""
_SHELL_WORD = re.compile(r"""(?:[^\s"']|"[^"]*"|'[^']*')+""")
_COMMAND = "python -m "


def wrap_help(text: str, width: int) -> str:
    """Wrap the lines of a help that are wider than the console; what fits stays as it is written.

    A word that is itself wider than the console stays whole.

    Args:
        text: paragraphs, commands with or without an explanation, lists, and lines of YAML with comments.
        width: of the console, in columns.
    """
    return "\n".join(line for entry in gather_entries(text.splitlines()) for line in wrap_entry(entry, width))


def gather_entries(lines: Sequence[str]) -> list[list[str]]:
    """Gather each line with those that go on with its comment."""
    entries: list[list[str]] = []
    for line in lines:
        comment = _COMMENT.fullmatch(line)
        first = entries[-1][0] if entries else ""
        if comment and _COMMENTED.fullmatch(first) and len(comment[1]) > count_indent(first) + STEP:
            entries[-1].append(line)
        else:
            entries.append([line])
    return entries


def wrap_entry(lines: Sequence[str], width: int) -> Iterator[str]:
    """Wrap a line together with those that go on with its comment."""
    first = lines[0]
    if max(map(len, lines)) <= width:
        yield from lines
    elif found := _COMMENTED.fullmatch(first):
        comment = " ".join([found[2], *(line.strip().lstrip("#") for line in lines[1:])])
        yield from wrap_pair(found[1], comment.split(), "# ", width)
    elif found := _COMMENT.fullmatch(first):
        mark = f"{found[1]}# "
        yield from (mark + line for line in fill(found[2].split(), width - len(mark)))
    elif found := _EXPLAINED.fullmatch(first):
        yield from wrap_pair(found[1], found[2].split(), "", width)
    else:
        yield from wrap_head(first, width)


def wrap_pair(head: str, words: Sequence[str], mark: str, width: int) -> Iterator[str]:
    """Wrap a comment beside its key, or below it where there is too little room."""
    if width - len(head) >= NARROW:
        beside = fill(words, width - len(head) - len(mark))
        yield from ((" " * len(head) if number else head) + mark + line for number, line in enumerate(beside))
    else:
        yield from wrap_head(head.rstrip(), width)
        below = " " * (count_indent(head) + STEP) + mark
        yield from (below + line for line in fill(words, width - len(below)))


def wrap_head(line: str, width: int) -> Iterator[str]:
    """Wrap a line without a comment; a command so that it can be copied."""
    indent = count_indent(line)
    hanging = indent + STEP if _LISTED.match(line) else indent
    command = line.strip().startswith(_COMMAND)
    words, end = (_SHELL_WORD.findall(line), " \\") if command else (line.split(), "")
    if len(line) <= width:
        yield line
        return
    filled = fill(words, width - hanging - len(end))
    parts = [" " * (hanging if number else indent) + part for number, part in enumerate(filled)]
    yield from (part + end for part in parts[:-1])
    yield parts[-1]


def fill(words: Sequence[str], width: int) -> list[str]:
    """Fill lines with as many words as fit, at least one."""
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def count_indent(line: str) -> int:
    """Columns before a line's first word."""
    return len(line) - len(line.lstrip(" "))
