"""Rows that a family's collator can use: the others are refused, or left out, before the first batch."""

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, runtime_checkable

from data_modules.loading.loader import Loading


@runtime_checkable
class Choosy(Protocol):
    """A collator that can't use every sample."""

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

    def usable(self, problem: Callable[[Any], str | None]) -> Any:
        """Return the rows without those that have a problem, or refuse them."""
        ...


def usable(rows: Any, collate: Any, loader: Loading, split: str) -> Any:
    """Leave out, or refuse, what the collator can't use.

    Args:
        rows: of ``train`` or ``val``.
        collate: one that isn't :class:`Choosy` takes every sample.
        loader: its limit counts where bad rows are left out; elsewhere the data module refuses longer ones.
        split: ``train`` or ``val``.

    Raises:
        ValueError: a row can't be used, or all of them together teach nothing.
    """
    if not isinstance(collate, Choosy):
        return rows
    if isinstance(rows, Checked):
        limit = loader.limit(split) if rows.skips and loader.on_overlong == "error" else None
        rows = rows.usable(partial(collate.problem, max_length=limit and limit[1]))
    if split == "train":
        collate.check_training(rows)
    return rows
