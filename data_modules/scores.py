"""What a data set says of one answer, clip or episode: named values, an outcome in a word, and a group."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Scores:
    """What a data set says of one answer.

    Attributes:
        values: measure -> value: ``{"success": True, "optimal": False}``, ``{"psnr": 31.2}``; none where
            there is no truth.
        outcome: a short word such as ``success``, ``hole`` or ``invalid``.
        group: what reports count the sample under.
    """

    values: Mapping[str, float]
    outcome: str
    group: str
