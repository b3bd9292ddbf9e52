"""Rows that a family's collator can use: the others are refused, or left out, before the first batch."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from rich.progress import track

from data_modules.image_check import check_images
from data_modules.images import ImageSource
from data_modules.loading.loader import Loading

MANY = 1000
"""Rows whose images are decoded with a progress bar."""


@runtime_checkable
class Choosy(Protocol):
    """A collator that can't use every sample."""

    def images(self, sample: Any) -> Sequence[ImageSource]:
        """Return the images that :meth:`problem` decodes."""
        ...

    def problem(self, sample: Any, answers: bool = True, max_length: int | None = None) -> str | None:
        """Say why a sample can't be used, in a line that names its row; nothing where it can."""
        ...

    def check_training(self, samples: Any) -> None:
        """Refuse rows that teach nothing of what the stage learns."""
        ...


@runtime_checkable
class Checked(Protocol):
    """Rows that can be looked through before the first batch."""

    @property
    def skips(self) -> bool:
        """Whether bad rows are left out, not refused."""
        ...

    @property
    def checks_all(self) -> bool:
        """Whether :meth:`usable` looks at every row."""
        ...

    def usable(self, problem: Callable[[Any], str | None]) -> Any:
        """Return the rows without those that have a problem, or refuse them."""
        ...


def usable(rows: Any, collate: Any, loader: Loading, split: str, rank: int = 0, num_ranks: int = 1) -> Any:
    """Leave out, or refuse, what the collator can't use.

    Args:
        rows: of ``train`` or ``val``.
        collate: one that isn't :class:`Choosy` takes every sample.
        loader: its limit counts where bad rows are left out; elsewhere the data module refuses longer ones.
        split: ``train`` or ``val``.
        rank: this process.
        num_ranks: processes that check the same rows, each beginning elsewhere.

    Raises:
        ValueError: a row can't be used, or all of them together teach nothing.
    """
    if not isinstance(collate, Choosy):
        return rows
    if isinstance(rows, Checked):
        if rows.checks_all:
            cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
            record = None if loader.decoded is None else Path(loader.decoded)
            check_images(images_of(rows, collate, rank, num_ranks), record, max(1, cores // num_ranks))
        limit = loader.limit(split) if rows.skips and loader.on_overlong == "error" else None
        rows = rows.usable(partial(collate.problem, max_length=limit and limit[1]))
    if split == "train":
        collate.check_training(rows)
    return rows


def images_of(rows: Any, collate: Choosy, rank: int, num_ranks: int) -> Iterator[ImageSource]:
    """Yield the images of all rows, from a rank's share on and around; a bad row has none."""
    first = len(rows) * rank // num_ranks
    order = [*range(first, len(rows)), *range(first)]
    for index in track(order, "Checking images", disable=len(order) < MANY or rank > 0, transient=True):
        with suppress(ValueError):
            yield from collate.images(rows[index])
