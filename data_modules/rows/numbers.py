r"""Numbers as people and models write them: signs, fractions, thousands, powers of ten, percent, money and units.

What isn't one number isn't read as one: a pair, a range, a date, ``5x``. Values are exact.
"""

import re
from dataclasses import dataclass
from fractions import Fraction

from data_modules.rows.answers import undressed

MAX_LENGTH = 200
"""Most characters of a number with all that stands around it."""

_DIGITS = r"(?:\d{1,3}(?:,\d{3})+|\d{1,3}(?: \d{3})+|\d{1,3}(?:'\d{3})+|\d{1,40})"
_DECIMAL = rf"(?:{_DIGITS}(?:\.\d{{0,40}})?|\.\d{{1,40}})"
_POWER = r"(?:[eE]([-+]?\d{1,3})|\s*(?:x|×|\*|\\times|\\cdot|·)\s*10\s*\^\s*\{?([-+]?\d{1,3})\}?)"
_RATIO = r"(?:\\[dtc]?frac\s*(?:\{\s*([-+]?\d{1,40})\s*\}\s*\{\s*(\d{1,40})\s*\}|(\d)(\d))|(\d{1,40})\s*/\s*(\d{1,40}))"
_NUMBER = re.compile(rf"([-+]?)\s*(?:(?:(\d{{1,40}})\s+)?{_RATIO}|({_DECIMAL}){_POWER}?)")
_MIXED = re.compile(r"(\d)\s*(?=\\[dtc]?frac)")
_EQUATION = re.compile(r"((?:\\?[A-Za-z]+(?:_\{?\w{1,9}\}?)?(?:\(\w\))?|\\angle\s*[A-Z]{1,3}))\s*=\s*")
_ABOUT = re.compile(r"(?i)^(?:about|approximately|approx\.?|roughly|exactly|≈|~|\\approx|\\sim)\s*")
_MONEY = re.compile(r"(?i)\\?\$|[€£¥₹₩]|(?:us\$?|usd|eur|gbp|rs\.?)(?=\s*\d)")
_WORDS = {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12}
_ALIASES = {"percent": "%", "per cent": "%", "pct": "%", "degree": "°", "deg": "°", "meter": "m", "metre": "m"}
_ALIASES |= {
    "centimeter": "cm",
    "centimetre": "cm",
    "kilometer": "km",
    "kilometre": "km",
    "gram": "g",
    "kilogram": "kg",
}
_ALIASES |= {"millimeter": "mm", "millimetre": "mm", "second": "s", "sec": "s", "minute": "min", "hour": "h", "hr": "h"}
_ALIASES |= {
    "inch": "in",
    "inche": "in",
    "foot": "ft",
    "feet": "ft",
    "mile": "mi",
    "pound": "lb",
    "liter": "l",
    "litre": "l",
}
_ALIASES |= {"dollar": "$", "usd": "$", "buck": "$", "euro": "€", "eur": "€", "cent": "¢", "milliliter": "ml"}
_KNOWN = {
    *_ALIASES.values(),
    "cm",
    "mm",
    "km",
    "m",
    "g",
    "kg",
    "mg",
    "s",
    "ms",
    "min",
    "h",
    "in",
    "ft",
    "yd",
    "mi",
    "lb",
}
_KNOWN |= {
    "l",
    "ml",
    "mph",
    "kmh",
    "n",
    "j",
    "w",
    "kw",
    "v",
    "a",
    "k",
    "c",
    "f",
    "hz",
    "pa",
    "mol",
    "unit",
    "oz",
    "day",
}
_UNIT = re.compile(r"(?i)(?:\\?%|°\s*[CF]?|[€£¥₹₩¢$]|[a-zµμω]+)(?:[ ·/*-]*(?:\^?-?[23]|per|[a-z]+))*")
_NO_UNIT = re.compile(
    r"(?i)\b(?:and|or|to|x|y|z|squared|cubed|pi|factorial|times|over|by|half|halves|thirds?|quarters?)\b"
)


@dataclass(frozen=True)
class Number:
    """A number that was read.

    Attributes:
        value: exact; of ``50%`` it is 50.
        unit: ``%``, ``cm``, …, empty for none; words that aren't known units count as none.
        name: ``x`` of ``x = 5``; empty for none.
    """

    value: Fraction
    unit: str
    name: str

    def same(self, given: "Number") -> bool:
        """Say whether an answer is this truth.

        A unit or a name may be left out, but not changed. ``50%`` is 0.5; it is 50, too, where that can be no share.
        """
        if self.name and given.name and self.name != given.name:
            return False
        units = {self.unit, given.unit}
        if "%" in units and len(units) > 1:
            if units != {"%", ""}:
                return False
            percent, other = (self, given) if self.unit else (given, self)
            return percent.value / 100 == other.value or (percent.value == other.value and abs(other.value) > 1)
        return self.value == given.value and (len(units) == 1 or "" in units)


def read_number(text: str) -> Number | None:
    """Read a text that is one number and what belongs to it: its name, its unit, "about".

    Returns:
        ``None`` where it is something else.
    """
    plain = undressed(text)
    if len(plain) > MAX_LENGTH:
        return None
    plain = plain.replace("{,}", ",").replace(r"^\circ", "°").replace(r"^{\circ}", "°").replace(r"\circ", "°")
    name = _EQUATION.match(plain)
    plain = _ABOUT.sub("", plain[name.end() :] if name else plain, count=1).strip()
    plain = re.sub(r"(?i)^(?:negative|minus)\s+", "-", plain)
    money = _MONEY.search(plain)
    if money and not plain[: money.start()].strip("-+( "):
        plain = plain[: money.start()] + plain[money.end() :].lstrip() + " $"
    if plain.startswith("(") and plain.endswith(")") and "," not in plain:
        plain = plain[1:-1].strip()
    match = _NUMBER.match(_MIXED.sub(r"\1 ", plain))
    if match is None:
        return None
    value = _value(match)
    factor, unit = _read_unit(_MIXED.sub(r"\1 ", plain)[match.end() :])
    return None if value is None or unit is None else Number(value * factor, unit, name[1] if name else "")


def _value(match: re.Match[str]) -> Fraction | None:
    sign, whole, *ratio, decimal, power, tens = match.groups()
    size: Fraction
    if decimal is None:
        above, below = [part for part in ratio if part is not None]
        if not int(below):
            return None
        size = Fraction(int(whole or 0)) + Fraction(int(above), int(below))
    else:
        size = Fraction(re.sub(r"[, ']", "", decimal).rstrip(".")) * Fraction(10) ** int(power or tens or 0)
    return -size if sign == "-" else size


def _read_unit(rest: str) -> tuple[int, str | None]:
    """Read what follows a number: a factor such as thousand, and a unit; ``None`` where it is neither."""
    factor, words = 1, rest.strip()
    if (first := words.split(" ", 1)[0].lower().rstrip("s")) in _WORDS:
        factor, words = _WORDS[first], words[len(words.split(" ", 1)[0]) :].strip()
    if not words:
        return factor, ""
    if not _UNIT.fullmatch(words) or _NO_UNIT.search(words):
        return factor, None
    plain = " ".join(words.replace("\\", "").split())
    bare = plain.lower() if len(plain) > 1 else plain
    unit = next(
        (form for form in (_ALIASES.get(bare), _ALIASES.get(bare.rstrip("s")), bare, bare.rstrip("s")) if form), ""
    )
    if unit.lower() in _KNOWN or re.fullmatch(r"[%°$€£¥₹₩¢].*", unit) or re.search(r"[/^]", unit):
        return factor, unit.lower()
    spaced = rest[:1].isspace() and len(plain) > 2
    return factor, "" if spaced else None
