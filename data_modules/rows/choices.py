r"""Multiple choice: the letter that an answer settles on.

A letter may be written as ``B``, ``(B)``, ``B.``, ``B: left`` or by the choice's own text, where the choices are known.
"""

import re
from collections.abc import Sequence
from string import ascii_uppercase

from data_modules.rows.answers import MAX_LENGTH, boxed, has_box, stated, undressed
from data_modules.scores import Scores

_LEAD = re.compile(r"(?i)^(?:the\s+)?(?:(?:correct|right|best|final)\s+)?(?:answer|option|choice)(?:\s+is)?\s*:?\s*")
_ALONE = re.compile(r"[(\[{<]?\s*([A-Za-z])\s*[)\]}>]?\s*[.:)]?")
_LABELLED = re.compile(r"(?:[(\[{<]\s*([A-Za-z])\s*[)\]}>]\s*[.:,–—-]?|([A-Za-z])\s*(?:[.:)\]]|\s[–—-]\s))\s*(.+)")
_BESIDE = re.compile(r"([A-Za-z])(?:\s+|\s*[-,/]\s*)[(\[]?(.+?)[)\]]?")
_CLAUSE = re.compile(r"(?:\.\s|,\s|;\s|\s(?:because|since|as|for)\s)")
_INLINE = re.compile(r"\(([A-Za-z])\)\s*")
_LINE = re.compile(r"\s*[(\[]?([A-Z])[)\].:]+\s*(.+?)\s*")


def choice(text: str, choices: Sequence[str] = ()) -> str | None:
    """The letter that the last box of an answer holds, as a capital; ``None`` without one."""
    content = boxed(text)
    return None if content is None else read_letter(content, choices)


def find_letter(text: str, choices: Sequence[str] = ()) -> str | None:
    """The letter that an answer settles on, in a box or, where there is none, in words."""
    if has_box(text):
        return choice(text, choices)
    lines = [line for line in text.splitlines() if line.strip()]
    for part in (*stated(text), text, *lines[-1:], *lines[:1]):
        if len(part) > MAX_LENGTH:
            continue
        if letter := read_letter(part, choices) or read_letter(_CLAUSE.split(part)[0], choices):
            return letter
    return None


def read_letter(text: str, choices: Sequence[str] = ()) -> str | None:
    """Read a piece of text that is an answer and nothing else.

    Args:
        text: such as ``(B)``, ``B.``, ``B: left`` or ``left``.
        choices: their texts, where they are known.

    Returns:
        A capital; ``None`` where it is no choice, several, or a letter beside another choice's text.
    """
    plain = undressed(text).replace(r"\{", "{").replace(r"\}", "}")
    plain = undressed(_LEAD.sub("", plain)) or plain
    if alone := _ALONE.fullmatch(plain):
        return alone[1].upper()
    texts = [undressed(one).casefold() for one in choices]
    if plain.casefold() in texts:
        return ascii_uppercase[texts.index(plain.casefold())] if texts.count(plain.casefold()) == 1 else None
    if labelled := _LABELLED.fullmatch(plain):
        letter, said = (labelled[1] or labelled[2]).upper(), undressed(labelled[3]).casefold()
        others = {one for index, one in enumerate(texts) if ascii_uppercase[index] != letter}
        own = said in texts and said not in others
        return letter if own or not (said in others or _several(said)) else None
    if beside := _BESIDE.fullmatch(plain):
        letter, said = beside[1].upper(), undressed(beside[2]).casefold()
        return letter if said in texts and ascii_uppercase[texts.index(said)] == letter else None
    return None


def _several(said: str) -> bool:
    """Whether what follows a letter are more letters: ``B) and (C)``."""
    words = re.findall(r"\w+", said)
    return all(len(word) == 1 and word.isalpha() or word in ("and", "or") for word in words)


def grade_choice(expected: str | None, given: str | None, group: str) -> Scores:
    """Grade a letter against the right one: ``success``, ``wrong``, or ``invalid`` where an answer settles on none."""
    right = given is not None and given == expected
    return Scores({"success": right}, "success" if right else "wrong" if given else "invalid", group)


def lettered(choices: Sequence[object]) -> str:
    """Write choices as lines, ``(A) left``."""
    return "\n".join(f"({letter}) {text}" for letter, text in zip(ascii_uppercase, choices, strict=False))


def unordered(lettered: str) -> str:
    """What :func:`lettered` wrote, as it is for every order of the choices."""
    return "\n".join(sorted(re.split(r"(?:^|\n)\([A-Z]\) ", lettered)[1:]))


def split_choices(text: str) -> tuple[str, list[str]]:
    """Split a text that lists choices, a line each or all in one, as ``Is it? (a) yes (b) no``.

    Returns:
        What stands before them, and the choices; none where it lists less than two. What follows their last line is
        left out.
    """
    lines = text.splitlines()
    if len(choices := listed(text)) > 1:
        first = max(number for number, line in enumerate(lines) if (match := _LINE.fullmatch(line)) and match[1] == "A")
        return "\n".join(lines[:first]).rstrip(), choices
    for number, line in enumerate(lines):
        places = list(_INLINE.finditer(line))
        letters = "".join(match[1].upper() for match in places)
        first = letters.rfind("AB")
        if first >= 0 and ascii_uppercase.startswith(letters[first:]):
            ends = [*(match.start() for match in places[first + 1 :]), len(line)]
            before = [*lines[:number], line[: places[first].start()]]
            inline = zip(places[first:], ends, strict=True)
            return "\n".join(before).rstrip(), [line[match.end() : end].strip() for match, end in inline]
    return text, []


def listed(question: str) -> list[str]:
    """Return the choices that a question lists, a line each from A on; none where it doesn't."""
    choices: list[str] = []
    for line in question.splitlines():
        match = _LINE.fullmatch(line)
        if match and match[1] == "A":
            choices = [match[2]]
        elif match and choices and match[1] == ascii_uppercase[len(choices) % 26]:
            choices.append(match[2])
    return choices
