"""Quote words of a command line for Hydra, so that free text is taken as typed."""

import re
from collections.abc import Collection, Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

WORD = re.compile(r"(?P<key>\+{0,2}[A-Za-z_][\w./@:-]*)=(?P<value>.*)", re.DOTALL)


def quote_words(words: Sequence[str], text: Collection[str], swept: bool) -> list[str]:
    """Quote values that Hydra would refuse or misread.

    Args:
        words: of the command line, without the program's name.
        text: keys whose values are always text: ``prompt=2024``, ``prompt="a, b"``; only ``null`` stays null.
        swept: whether commas separate points of a sweep; otherwise they are part of the text.
    """
    return [quote_word(word, text, swept) for word in words]


def quote_word(word: str, text: Collection[str], swept: bool) -> str:
    """Quote the value of ``key=value`` where that is needed."""
    parts = WORD.fullmatch(word)
    if parts is None or (parts["key"] in text and parts["value"] == "null"):
        return word
    if parts["key"] in text or not is_understood(word, swept):
        return f"{parts['key']}={quote_text(parts['value'])}"
    return word


def is_understood(word: str, swept: bool) -> bool:
    """Whether Hydra can parse a word as one value or, in a sweep, several."""
    try:
        return swept or not OverridesParser.create().parse_override(word).is_sweep_override()
    except HydraException:
        return False


def quote_text(value: str) -> str:
    r"""Write a text as a quoted string of Hydra's that stands for exactly that text.

    Backslashes are doubled before a quote (Hydra) and before ``${`` (OmegaConf, which would interpolate).
    """
    escaped = re.sub(r"(\\*)\$\{", lambda match: 2 * match[1] + r"\${", value)
    return "'" + re.sub(r"(\\*)('|\Z)", lambda match: 2 * match[1] + (r"\'" if match[2] else ""), escaped) + "'"
