r"""What an answer settles on: its last box, or what it calls its answer; without the dress that models put around it.

One rule for all graders: the last ``\boxed{…}`` counts, and where it is malformed there is no answer, whatever stood in
an earlier one. A row whose own answer has no box accepts answers without one, too; one whose answer is boxed doesn't.
"""

import re
from unicodedata import normalize

MAX_LENGTH = 2_000
"""Most characters of a piece of text that may be a choice or a number."""

_BOX = re.compile(r"\\boxed(?![A-Za-z])")
_TOKEN = re.compile(r"[A-Za-z0-9](?!\w)")
_FINAL = re.compile(r"(?i)\bfinal answer(?: is)?\s*:(.*)")
_SAYS = [
    re.compile(rf"(?i)\b(?:{words})\b[*_`\"']*\s*(?:\bis\b|\bwould be\b|:|=|：)+[*_`\"':\s]*")
    for words in ("answer|solution|result", "option|choice")
]
"""What comes before an answer in a sentence; the second is looked for where there is none of the first."""

_FONT = (
    r"text(?:bf|it|rm|tt|sf|up|normal)?|emph|underline|math(?:rm|bf|it|sf|tt|cal|bb|frak)|bm|boldsymbol|mbox|fbox|boxed"
)
_FONT = (
    rf"\\(?:{_FONT}|operatorname|rm|bf|it|sf|tt|bfseries|itshape|displaystyle|textstyle|left|right|big|Big)(?![A-Za-z])"
)
_WRAPPED = re.compile(rf"(?:{_FONT}|\\(?:textcolor|colorbox)\s*\{{[^{{}}]*\}})\s*\{{([^{{}}]*)\}}")
_SWITCH = re.compile(rf"{_FONT}\s*(?!\s*\{{)|\\color\s*\{{[^{{}}]*\}}\s*")
_SPACE = re.compile(r"\\[,;:! ]|\\q?quad(?![A-Za-z])|~|\s+")
_RAISED = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻]+")
_VULGAR = re.compile(r"(?<=\d)[¼½¾⅐-⅞]")
_SIGNS = {ord(sign): "-" for sign in "−–—‐‑‒﹣"} | {ord("⁄"): "/", ord("∕"): "/"}
_DRESS = [("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("**", "**"), ("__", "__"), ("*", "*"), ("`", "`")]
_DRESS += [('"', '"'), ("“", "”"), ("‘", "’"), ("'", "'"), ("「", "」")]


def has_box(text: str) -> bool:
    r"""Say whether a text has a ``\boxed``, whole or not."""
    return _BOX.search(text) is not None


def boxed(text: str) -> str | None:
    r"""Return what the last ``\boxed{…}`` of a text holds, braces within included; ``None`` if there is none, or it is
    empty or never closed."""
    starts = [match.end() for match in _BOX.finditer(text)]
    rest = text[starts[-1] :].lstrip(" ") if starts else ""
    if not rest.startswith("{"):
        single = _TOKEN.match(rest)  # \boxed B is \boxed{B}
        return single and single[0]
    depth = end = 0
    while end < len(rest):
        if rest[end] == "\\":
            end += 2  # an escaped brace closes nothing
            continue
        depth += {"{": 1, "}": -1}.get(rest[end], 0)
        end += 1
        if not depth:
            return rest[1 : end - 1] if rest[1 : end - 1].strip() else None
    return None


def settled(text: str) -> str | None:
    r"""Return what the last box holds, or what the last line ``The final answer is: …`` says."""
    if has_box(text):
        return boxed(text)
    lines = _FINAL.findall(text)
    return lines[-1] if lines and lines[-1].strip() else None


def stated(text: str) -> list[str]:
    """Return what the last sentence of the kind ``The answer is …`` says, if there is one."""
    lines = [line for line in text.splitlines() if line.strip()]
    for says in _SAYS:
        said = [line[match.end() :].strip("*_` ") for line in lines for match in says.finditer(line)]
        if said:
            return said[-1:]
    return []


def undressed(text: str) -> str:
    r"""Return a text without LaTeX's and Markdown's dress: ``\text{B}``, ``**B**``, ``$B$`` and ``Ｂ`` are ``B``.

    Spaces become one, as Unicode's other forms become their plain ones (NFKC); punctuation at the end goes.
    """
    text = plain_characters(text)
    for _ in range(20):
        shorter = _peel(text)
        if shorter == text:
            break
        text = shorter
    return text


def plain_characters(text: str) -> str:
    """Return a text in Unicode's plain forms, as it is meant: ``１０²`` is ``10^2``, ``1½`` is ``1 1/2``."""
    text = _RAISED.sub(lambda match: f"^{match[0]}" if len(match[0]) == 1 else f"^{{{match[0]}}}", text)
    text = normalize("NFKC", _VULGAR.sub(lambda match: f" {match[0]}", text))
    return text.translate(_SIGNS)


def _peel(text: str) -> str:
    text = _SPACE.sub(" ", _SWITCH.sub("", _WRAPPED.sub(r"\1", text))).strip()
    for left, right in _DRESS:
        inner = text[len(left) : len(text) - len(right)]
        if text.startswith(left) and text.endswith(right) and len(text) > len(left + right) and right not in inner:
            text = inner.strip()
    bare = text.rstrip(".,;: ")
    return bare or text


def same(one: str, other: str) -> bool:
    """Say whether two answers are one: dress, case and spacing don't matter."""
    return undressed(one).casefold() == undressed(other).casefold()
