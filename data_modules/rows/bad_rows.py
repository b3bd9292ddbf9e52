"""Bad rows of a file: refused, or left out and named, up to a share."""

import logging
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from data_modules.files.sources import Source

log = logging.getLogger(__name__)

MANY = 1000
"""Rows whose checking is shown as it goes on."""

LOGGED = 10
"""Bad rows that are logged one by one."""


def good_rows(
    rows_N: NDArray[np.int64], check: Callable[[int], object], source: Source, max_bad_share: float | None
) -> NDArray[np.int64]:
    """Check rows of a file, and return those that are good.

    Args:
        rows_N: their indices; the file's other rows were left out before.
        check: raises ``ValueError`` on a bad row.
        source: the file.
        max_bad_share: most of its rows that may be left out, 0 to 1, those from before included; ``None``: none.

    Raises:
        ValueError: a bad row, or too many of them.
    """
    check_share(max_bad_share)
    good, bad = list[int](), 0
    for index in track(rows_N.tolist(), "Checking rows", disable=len(rows_N) < MANY, transient=True):
        try:
            check(index)
        except ValueError as error:
            if max_bad_share is None:
                raise
            bad += 1
            if bad <= LOGGED:
                log.warning("skipped: %s", error)
        else:
            good.append(index)
    total, left_out = len(source), len(source) - len(good)
    if max_bad_share is not None and (left_out > max_bad_share * total or not good):
        much = f"more than task.max_bad_share={max_bad_share}" if good else "and none is left"
        raise ValueError(
            f"{left_out} of {total} rows of {source} are bad, {much}; "
            "list them with python -m mirage_pl.data validate=true"
        )
    if bad:
        log.warning("skipped %d of %d rows of %s", left_out, total, source)
    return np.array(good, np.int64)


def check_share(share: float | None) -> None:
    """Demand a share, where there is one.

    Raises:
        ValueError: it is none.
    """
    if share is not None and not 0 <= share <= 1:
        raise ValueError(f"task.max_bad_share={share} is no share; give 0 to 1")
