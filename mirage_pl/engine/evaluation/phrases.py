"""How shares, differences and their tests are written."""

from collections.abc import Mapping


def write_percent(share: Mapping[str, float]) -> tuple[str, str]:
    """Write a share and its interval: ``("81.5 %", "[77.4, 85.0]")``."""
    return f"{100 * share['mean']:.1f} %", f"[{100 * share['low']:.1f}, {100 * share['high']:.1f}]"


def write_points(difference: Mapping[str, float]) -> tuple[str, str]:
    """Write a difference and its interval: ``("+2.3 points", "[-1.1, +5.7]")``.

    0 has no sign: ends of +0.0 and -0.0 show that the interval just excludes it.
    """
    numbers = (round(100 * difference["difference"], 1), 100 * difference["low"], 100 * difference["high"])
    value, low, high = (f"{number:+.1f}" if number else "0.0" for number in numbers)
    return f"{value} points", f"[{low}, {high}]"


def write_p(p: float) -> str:
    """Write a p: ``0.25``, ``0.031``, ``< 0.001``."""
    return "< 0.001" if p < 0.001 else f"{p:.{2 if p >= 0.095 else 3}f}"


def judge_interval(difference: Mapping[str, float]) -> str:
    """Say ``better`` or ``worse`` if the interval excludes 0, else ``not distinguishable``; higher is better.

    With a ``p`` it is written first, and a difference whose interval excludes 0 although p >= 0.05 is ``borderline``.
    """
    p = difference.get("p")
    prefix = "" if p is None else f"p {'' if p < 0.001 else '= '}{write_p(p)}: "
    if difference["low"] <= 0 <= difference["high"]:
        return f"{prefix}not distinguishable"
    return f"{prefix}{'borderline ' if p and p >= 0.05 else ''}{'better' if difference['low'] > 0 else 'worse'}"
